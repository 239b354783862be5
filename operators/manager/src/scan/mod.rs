//! `drover scan`: what scans found, with the rights of the person who asks. And what the Job of a scan runs on a node.

mod answer;
mod arguments;
mod bench;
mod formats;
mod html;
mod junit;

use drover_crds::{CisReport, CisScan};
use kube::{Api, ResourceExt as _, api::ListParams};

pub(crate) use arguments::{BenchCollectArguments, BenchRunArguments, ScanArguments};
pub(crate) use bench::{bench_collect, bench_run};

use self::{
    answer::{Answer, Asked, Newest, is_of, title},
    arguments::{CheckArguments, ReportArguments, ReportFormat, ScanCommand},
    html::{Chain, Page},
};
use crate::{
    membership::{MembershipError, Side},
    output::{print, shown},
};

/// Reports of one request: each may have a megabyte.
const PAGE: u32 = 20;

/// Does what is asked of scans.
pub(crate) async fn scan(arguments: &ScanArguments) -> Result<(), MembershipError> {
    let management = Side::management(&arguments.management).await?;
    let text = match &arguments.command {
        ScanCommand::Report(asked) => report(&management, asked).await?,
        ScanCommand::Check(asked) => check(&management, asked).await?,
    };
    print(&text).map_err(MembershipError::Print)
}

/// The namespace that is meant.
fn namespace(management: &Side, named: Option<&String>) -> String {
    named.map_or_else(|| management.client.default_namespace().to_owned(), Clone::clone)
}

async fn report(management: &Side, asked: &ReportArguments) -> Result<String, MembershipError> {
    let namespace = namespace(management, asked.namespace.as_ref());
    let what = format!("get the CisScan {}", title(Some(&namespace), &asked.name));
    let scans = Api::<CisScan>::namespaced(management.client.clone(), &namespace);
    let scan = management.ask(what, scans.get(&asked.name)).await?;
    let mut reports = Vec::new();
    let api = Api::namespaced(management.client.clone(), &namespace);
    each_report(management, &api, |report| reports.extend(Some(report).filter(|report| is_of(report, &scan)))).await?;
    let asked_for = Asked { cluster: asked.cluster.as_deref(), is_partial: asked.partial };
    let answer = Answer::of(&scan, reports, asked_for);
    let answer = answer.map_err(|refusal| MembershipError::Input(shown(&refusal)))?;
    say!("{}", shown(&answer.summary()));
    Ok(match asked.output {
        ReportFormat::Table => formats::table(&answer),
        ReportFormat::Json => formats::json(&answer)?,
        ReportFormat::Junit => junit::junit(&answer),
        ReportFormat::Csv => formats::csv(&answer),
        ReportFormat::Html => {
            let chain = chain(management, &scans, &scan).await?;
            html::html(Page { answer: &answer, scan: &scan, chain: &chain })?
        }
    })
}

/// The scans that this one was compared with, one after the other.
async fn chain(management: &Side, scans: &Api<CisScan>, scan: &CisScan) -> Result<Chain, MembershipError> {
    let mut chain = Chain::of(scan);
    while let Some(name) = chain.wanted() {
        let what = format!(
            "get the CisScan {} that another scan was compared with",
            title(scan.namespace().as_deref(), &name)
        );
        let before = management.ask(what, scans.get_opt(&name)).await?;
        chain.add(before.as_ref());
    }
    Ok(chain)
}

async fn check(management: &Side, asked: &CheckArguments) -> Result<String, MembershipError> {
    let client = management.client.clone();
    let api = if asked.all_namespaces {
        Api::all(client)
    } else {
        Api::namespaced(client, &namespace(management, asked.namespace.as_ref()))
    };
    let mut newest = Newest::default();
    each_report(management, &api, |report| newest.add(&report, &asked.id, asked.benchmark.as_deref())).await?;
    if newest.with().next().is_none() {
        let clusters = newest.without().len();
        let message = format!(
            "no newest CisReport of the {clusters} clusters that have one has a check {}: check the number, the namespace and --benchmark",
            asked.id
        );
        return Err(MembershipError::Input(shown(&message)));
    }
    Ok(formats::check(&newest, &asked.id))
}

/// Reads one report after the other: all of them together may be large.
async fn each_report(
    management: &Side,
    api: &Api<CisReport>,
    mut found: impl FnMut(CisReport),
) -> Result<(), MembershipError> {
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = management.ask("list the cisreports", api.list(&parameters)).await?;
        page.items.into_iter().for_each(&mut found);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}
