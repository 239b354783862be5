//! One function per action.

use std::{fmt, sync::Arc};

use drover_crds::{
    CisProfileSpec, CisReport, CisReportStatus, CisScan, CisWaiver, NodeCoverage, UsedBenchmark, Verdict,
    condition::COMPLIANT, names::DROVER_NAMESPACE,
};
use drover_operations::{Locks, Operation};
use drover_runtime::{
    ApiError, Owner, PlaceContext, StatusCause, Title, WriteError, Writer,
    operator::{field_manager, owner_of},
    owned::Change,
    request::request,
    status::{State, condition, ready_conditions},
};
use drover_scan_jobs::{
    answer::{Account, AnswerSecret, Answered},
    node::ScannedNode,
};
use drover_scans::{
    answer::NodeAnswer,
    benchmark::{self, Chosen, Roles},
    judge,
    report::{Aggregator, Finished, Scanned},
};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::ServiceAccount,
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{CisScanOperator, ScanCause, ScanError, observe::World, report::KeptReport};

/// How much longer than the scan may take the lock is held.
const LOCK_MARGIN_SECONDS: i64 = 60;
/// The engine that judges, as the image has it.
const ENGINE: &str = "kube-bench 0.15.6";

/// What is known of one node when the report is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered in the Secret of this name.
    Answered(String),
    /// It did not, and why.
    Missing {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// It was not ready, so it was not scanned.
    NotReady,
    /// It was there, and is not any more.
    Gone,
}

/// What a report is made of, but for the answers.
#[derive(Clone)]
pub struct ReportInput {
    benchmark: UsedBenchmark,
    distribution: String,
    cluster: String,
    labels: std::collections::BTreeMap<String, String>,
    profile: CisProfileSpec,
    waivers: Vec<Arc<CisWaiver>>,
    nodes: Vec<(ScannedNode, Seen)>,
    refusal: Option<String>,
}

impl ReportInput {
    /// Of a cluster whose nodes were scanned.
    pub(crate) fn of(
        scan: &CisScan,
        world: &World,
        chosen: &Chosen,
        distribution: &str,
        nodes: Vec<(ScannedNode, Seen)>,
    ) -> Self {
        let benchmark = used(scan, world, &chosen.name, &chosen.why);
        Self { nodes, distribution: distribution.to_owned(), benchmark, ..Self::refused(scan, world, String::new()) }
            .without_refusal()
    }

    /// Of a cluster that cannot be scanned at all.
    pub(crate) fn refused(scan: &CisScan, world: &World, refusal: String) -> Self {
        Self {
            benchmark: used(scan, world, "none", &refusal),
            distribution: String::new(),
            cluster: world.cluster.name.clone(),
            labels: world.cluster.labels.clone(),
            profile: world.profile.as_ref().map(|profile| profile.spec.clone()).unwrap_or_default(),
            waivers: world.waivers.clone(),
            nodes: Vec::new(),
            refusal: Some(refusal),
        }
    }

    fn without_refusal(self) -> Self {
        Self { refusal: None, ..self }
    }
}

fn used(scan: &CisScan, world: &World, name: &str, why: &str) -> UsedBenchmark {
    UsedBenchmark {
        name: name.to_owned(),
        why: drover_runtime::error::legible(why, 256),
        engine: ENGINE.to_owned(),
        profile_name: scan.spec.profile_name.clone(),
        profile_generation: world.profile.as_ref().and_then(|profile| profile.metadata.generation).unwrap_or_default(),
        fail_on: scan.spec.fail_on(),
    }
}

/// One idempotent change.
#[derive(Clone)]
pub enum Action {
    /// Take the lock of the cluster, until then.
    Lock {
        /// Now.
        now: Timestamp,
        /// When the time of the scan is over.
        until: Timestamp,
    },
    /// Release the lock of the cluster.
    Unlock,
    /// Make the Secret of this name for an answer.
    Prepare(String),
    /// Make the account of this name, which may change the Secret of its name.
    Account(String),
    /// Of a Job.
    Job(Change<Job>),
    /// Of a Secret for an answer.
    Answer(Change<AnswerSecret>),
    /// Delete the account of this name, and then the Secret for its answer, whatever its collector did to that.
    Discard(String),
    /// Read the answers, and write the report.
    Report(Box<ReportInput>),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock { .. } => formatter.write_str("take the lock"),
            Self::Unlock => formatter.write_str("release the lock"),
            Self::Prepare(name) => write!(formatter, "prepare Secret {name}"),
            Self::Account(name) => write!(formatter, "make account {name}"),
            Self::Job(change) => change.fmt(formatter),
            Self::Answer(change) => change.fmt(formatter),
            Self::Discard(name) => write!(formatter, "discard Secret {name}"),
            Self::Report(input) => write!(formatter, "report of {} nodes", input.nodes.len()),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(self, owner: Owner<'_, CisScan>, place: &PlaceContext) -> Result<(), ScanError> {
        let cluster = place.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default();
        match self {
            Self::Lock { now, until } => {
                let seconds = until.duration_since(now).as_secs() + LOCK_MARGIN_SECONDS;
                let seconds = u64::try_from(seconds).unwrap_or_default();
                Ok(Locks::of(place).take(&operation(owner), &cluster, seconds, now).await?)
            }
            Self::Unlock => Ok(Locks::of(place).release(&operation(owner), &cluster).await?),
            Self::Prepare(name) => {
                let content = [("type".to_owned(), json!("Opaque"))].into_iter().collect();
                let create = Change::create(AnswerSecret::named(&name));
                Ok(create.carry_out_with::<CisScanOperator>(owner, place, &content).await?)
            }
            Self::Account(name) => make_account(place, &name).await,
            Self::Job(change) => Ok(change.carry_out::<CisScanOperator>(owner, place).await?),
            Self::Answer(change) => Ok(change.carry_out::<CisScanOperator>(owner, place).await?),
            Self::Discard(name) => discard(place, &name).await,
            Self::Report(input) => match owner.object() {
                Some(scan) => Reporter { scan, place, input: &input }.report().await,
                None => Ok(()),
            },
        }
    }
}

fn operation(owner: Owner<'_, CisScan>) -> Operation {
    let key = owner.key();
    let uid = owner.object().and_then(kube::ResourceExt::uid).unwrap_or_default();
    Operation { kind: "CisScan", namespace: key.namespace, name: key.name, uid }
}

async fn make_account(place: &PlaceContext, name: &str) -> Result<(), ScanError> {
    let Some(Account { account, role, binding }) = Account::of(name) else { return Ok(()) };
    create_once::<ServiceAccount>(place, &account).await?;
    create_once::<Role>(place, &role).await?;
    Ok(create_once::<RoleBinding>(place, &binding).await?)
}

/// Creates an object whose name is that of one node and one scan; what is there was created by an earlier try.
async fn create_once<K>(place: &PlaceContext, object: &K) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + fmt::Debug,
{
    let api = Api::<K>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let what = format!("create {} {DROVER_NAMESPACE}/{}", K::kind(&()), object.name_any());
    match request(what, api.create(&PostParams::default(), object)).await {
        Err(error) if error.code() == Some(409) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Deletes an object; one that is not there is gone.
async fn delete<K>(place: &PlaceContext, name: &str) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + DeserializeOwned + Clone + fmt::Debug,
{
    let api = Api::<K>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let what = format!("delete {} {DROVER_NAMESPACE}/{name}", K::kind(&()));
    match request(what, api.delete(name, &DeleteParams::default())).await {
        Err(error) if error.code() == Some(404) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Its collector may have put finalizers on it, or taken Drover's labels off.
async fn discard(place: &PlaceContext, name: &str) -> Result<(), ScanError> {
    delete::<RoleBinding>(place, name).await?;
    delete::<Role>(place, name).await?;
    delete::<ServiceAccount>(place, name).await?;
    let secrets = Api::<AnswerSecret>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let what = format!("Secret {DROVER_NAMESPACE}/{name}");
    delete::<AnswerSecret>(place, name).await?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    match request(format!("patch {what}"), secrets.patch(name, &PatchParams::default(), &free)).await {
        Err(error) if error.code() == Some(404) => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}

struct Reporter<'a> {
    scan: &'a CisScan,
    place: &'a PlaceContext,
    input: &'a ReportInput,
}

impl Reporter<'_> {
    async fn report(&self) -> Result<(), ScanError> {
        let kept = KeptReport::of(self.scan, &self.input.cluster);
        if self.existing(&kept).await? {
            return Ok(());
        }
        let now = drover_runtime::clock::now();
        let status = self.status(self.finished(now).await?, now);
        let reports =
            Api::<CisReport>::namespaced(self.place.management.client(), &self.scan.namespace().unwrap_or_default());
        let name = kept.name_any();
        let body = json!({"apiVersion": CisReport::api_version(&()), "kind": CisReport::kind(&()), "status": status});
        let by = PatchParams::apply(&field_manager::<CisScanOperator>()).force();
        request(
            format!("write the status of CisReport {name}"),
            reports.patch_status(&name, &by, &Patch::Apply(&body)),
        )
        .await?;
        Ok(())
    }

    /// Creates the report if there is none, and says whether it is finished already.
    async fn existing(&self, kept: &KeptReport) -> Result<bool, ScanError> {
        let management = &self.place.management;
        let namespace = self.scan.namespace().unwrap_or_default();
        let reports = Api::<KeptReport>::namespaced(management.client(), &namespace);
        let (name, record) = (kept.name_any(), owner_of::<CisScanOperator>(self.scan));
        let found = request(format!("read CisReport {namespace}/{name}"), reports.get_opt(&name)).await?;
        if let Some(found) = found {
            let is_ours = record.title(found.meta(), self.place.fleet.installation()) == Title::Created;
            if is_ours && found.spec == kept.spec {
                return Ok(found.reported().is_some());
            }
            let message =
                format!("CisReport {name} is there and is not of this scan; find out who created it, and delete it");
            return Err(ScanError::new(ScanCause::ReportTaken, message));
        }
        let uid = self.scan.uid().unwrap_or_default();
        let writer = Writer::new(Arc::clone(management), field_manager::<CisScanOperator>(), record, &uid)
            .of_installation(self.place.fleet.installation());
        let seed = json!({"spec": kept.spec});
        writer.create_from(kept, seed).await.map_err(WriteError::unquoted)?;
        Ok(false)
    }

    async fn finished(&self, now: Timestamp) -> Result<Finished, ScanError> {
        let ReportInput { benchmark, cluster, labels, profile, nodes, distribution, .. } = self.input;
        let waivers = self.input.waivers.iter().filter(|waiver| judge::effective(waiver, now));
        let waivers: Vec<CisWaiver> = waivers.map(|waiver| CisWaiver::clone(waiver)).collect();
        let mut aggregator = Aggregator::new(Scanned {
            cluster_name: cluster,
            cluster_labels: labels,
            benchmark,
            profile,
            waivers: &waivers,
            fail_on: benchmark.fail_on,
        });
        for (node, seen) in nodes {
            match seen {
                Seen::Answered(secret) => match self.answer(node, secret).await? {
                    Ok(answer) => {
                        let targets = benchmark::targets(&benchmark.name, Roles::of(&node.labels(), distribution));
                        aggregator.add(node.name(), &node.labels(), &answer, &targets);
                    }
                    Err(message) => aggregator.missing(node.name(), "NoAnswer", &message, true),
                },
                Seen::Missing { reason, message } => aggregator.missing(node.name(), reason, message, true),
                Seen::NotReady => {
                    aggregator.missing(
                        node.name(),
                        "NodeNotReady",
                        "the node is not ready, so it was not scanned",
                        false,
                    );
                }
                Seen::Gone => aggregator.missing(node.name(), "NodeGone", "the node is not there any more", false),
            }
        }
        Ok(aggregator.finish())
    }

    /// The answer of a node, or why it does not count.
    async fn answer(&self, node: &ScannedNode, secret: &str) -> Result<Result<NodeAnswer, String>, ScanError> {
        let secrets = Api::<Answered>::namespaced(self.place.cache.client(), DROVER_NAMESPACE);
        let what = format!("read Secret {DROVER_NAMESPACE}/{secret}");
        let Some(found) = request(what, secrets.get_opt(secret)).await? else {
            return Ok(Err("its answer is not there any more".to_owned()));
        };
        let Some(stored) = found.stored() else { return Ok(Err("its answer is empty".to_owned())) };
        Ok(match NodeAnswer::unpack(stored) {
            Err(error) => Err(format!("its answer cannot be read: {error}")),
            Ok(answer) if answer.node != node.name() || Some(&answer.attempt) != self.scan.uid().as_ref() => {
                Err("its answer is of another node or another scan; find out who changes Secrets of drover-system in the cluster".to_owned())
            }
            Ok(answer) if answer.benchmark != self.input.benchmark.name => {
                Err("its answer is by another benchmark; find out who changes Secrets of drover-system in the cluster".to_owned())
            }
            Ok(answer) => Ok(answer),
        })
    }

    fn status(&self, finished: Finished, now: Timestamp) -> Value {
        let Finished { counts, nodes, missing, results, node_groups, digest, verdict } = finished;
        let verdict = if self.input.refusal.is_some() { Verdict::Incomplete } else { verdict };
        let mut status = CisReportStatus {
            observed_generation: 1,
            completed_at: Some(Time(now)),
            benchmark: self.input.refusal.is_none().then(|| self.input.benchmark.clone()),
            verdict: Some(verdict),
            counts: Some(counts),
            nodes: Some(nodes),
            missing,
            results,
            node_groups,
            digest: Some(digest),
            conditions: Vec::new(),
        };
        status.conditions = self.conditions(verdict, &status);
        for condition in &mut status.conditions {
            (condition.last_transition_time, condition.observed_generation) = (Time(now), Some(1));
        }
        serde_json::to_value(status).unwrap_or_default()
    }

    fn conditions(
        &self,
        verdict: Verdict,
        status: &CisReportStatus,
    ) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
        let counts = status.counts.unwrap_or_default();
        let NodeCoverage { summary, .. } = status.nodes.clone().unwrap_or_default();
        let cluster = &self.input.cluster;
        let found = format!(
            "{} of {} checks passed on cluster {cluster}, {} failed, {} warn, {} could not be looked at; {summary} nodes were scanned",
            counts.pass, counts.total, counts.fail, counts.warn, counts.error
        );
        let (state, cause, compliant) = match verdict {
            Verdict::Pass => (State::True, StatusCause::Ready.cause(), (State::True, ScanCause::ChecksPassed)),
            Verdict::Fail => (State::True, StatusCause::Ready.cause(), (State::False, ScanCause::ChecksFailed)),
            Verdict::Incomplete if self.input.refusal.is_some() => {
                let cause = ScanCause::BenchmarkUnavailable;
                (State::False, cause.cause(), (State::Unknown, cause))
            }
            Verdict::Incomplete => {
                let cause = ScanCause::ScanIncomplete;
                (State::False, cause.cause(), (State::Unknown, cause))
            }
        };
        let message = self.input.refusal.clone().unwrap_or(found);
        let activity = if state == State::True { drover_runtime::status::Activity::Settled } else { cause.into() };
        let mut conditions = ready_conditions(state, cause, &message, activity);
        conditions.push(condition(COMPLIANT, compliant.0, compliant.1, message));
        conditions
    }
}
