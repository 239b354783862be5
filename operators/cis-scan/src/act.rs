//! One function per action.

use std::{fmt, sync::Arc};

use drover_admission::downstream::OF_SCANS;
use drover_crds::{CisReport, CisScan, CisWaiver, ReportChanges, names::DROVER_NAMESPACE};
use drover_runtime::{
    ApiError, Owner, PlaceContext, Title, WriteError, Writer, clock,
    operator::{field_manager, owner_of},
    owned::Change,
    request::request,
};
use drover_scan_jobs::{
    answer::{Account, AnswerSecret, Answered},
    node::ScannedNode,
};
use drover_scans::{
    answer::{NodeAnswer, accepted},
    benchmark,
    changes::changes,
    judge,
    kept::KeptReport,
    missing::MissingReason,
    report::{Aggregator, Finished, Scanned},
};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::ServiceAccount,
        rbac::v1::{Role, RoleBinding},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    CisScanOperator, ScanCause, ScanError,
    observe::Baseline,
    report::{ReportInput, Seen},
};

/// What to do about an answer that is not as it was handed over.
const WHO_CHANGES: &str = "; find out who changes Secrets of drover-system in the cluster";

/// One idempotent change.
#[derive(Clone)]
pub enum Action {
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
            Self::Prepare(name) => write!(formatter, "prepare Secret {name}"),
            Self::Account(name) => write!(formatter, "make account {name}"),
            Self::Job(change) => change.fmt(formatter),
            Self::Answer(change) => change.fmt(formatter),
            Self::Discard(name) => write!(formatter, "discard Secret {name}"),
            Self::Report(input) => write!(formatter, "report of {} nodes", input.nodes().len()),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(self, owner: Owner<'_, CisScan>, place: &PlaceContext) -> Result<(), ScanError> {
        match self {
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
                Some(scan) => Reporter::new(scan, place, &input).report().await,
                None => Ok(()),
            },
        }
    }
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
    // Whatever asks for it: nothing else of this namespace is deleted by its name.
    if !name.starts_with(OF_SCANS) {
        return Ok(());
    }
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

/// Writes the report of a cluster: its answers are read one by one.
struct Reporter<'a> {
    scan: &'a CisScan,
    place: &'a PlaceContext,
    input: &'a ReportInput,
}

impl<'a> Reporter<'a> {
    fn new(scan: &'a CisScan, place: &'a PlaceContext, input: &'a ReportInput) -> Self {
        Self { scan, place, input }
    }

    /// Writes the report, if it is not there.
    async fn report(&self) -> Result<(), ScanError> {
        let kept = KeptReport::of(self.scan, &self.input.cluster);
        if self.existing(&kept).await? {
            return Ok(());
        }
        let now = clock::now();
        let finished = self.finished(now).await?;
        let changes = self.changes(&finished).await?;
        let status = self.input.status(finished, changes, now);
        let reports = self.reports();
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

    fn reports(&self) -> Api<CisReport> {
        Api::namespaced(self.place.management.client(), &self.scan.namespace().unwrap_or_default())
    }

    /// What differs from the report before.
    async fn changes(&self, finished: &Finished) -> Result<Option<ReportChanges>, ScanError> {
        let before = match &self.input.baseline {
            Baseline::NotAsked => return Ok(None),
            Baseline::Missing => None,
            Baseline::Report(name) => {
                request(format!("read CisReport {name}"), self.reports().get_opt(name.as_str())).await?
            }
        };
        Ok(Some(changes(before.as_ref(), finished, &self.input.used)))
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
            if !is_ours || found.spec.cluster_name != kept.spec.cluster_name {
                let message = format!(
                    "CisReport {name} is there and is not of this scan; find out who created it, and delete it"
                );
                return Err(ScanError::new(ScanCause::ReportTaken, message));
            }
            if found.spec == kept.spec {
                return Ok(found.reported().is_some());
            }
            // It is of a scan that had this name before.
            let preconditions = Preconditions { uid: found.meta().uid.clone(), ..Preconditions::default() };
            let exactly = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            request(format!("delete CisReport {namespace}/{name}"), reports.delete(&name, &exactly)).await?;
        }
        let uid = self.scan.uid().unwrap_or_default();
        let writer = Writer::new(Arc::clone(management), field_manager::<CisScanOperator>(), record, &uid)
            .of_installation(self.place.fleet.installation());
        let seed = json!({"spec": kept.spec});
        writer.create_from(kept, seed).await.map_err(WriteError::unquoted)?;
        Ok(false)
    }

    async fn finished(&self, now: Timestamp) -> Result<Finished, ScanError> {
        let ReportInput { used, cluster, labels, profile, .. } = self.input;
        let waivers = self.input.waivers.iter().filter(|waiver| judge::effective(waiver, now));
        let waivers: Vec<CisWaiver> = waivers.map(|waiver| CisWaiver::clone(waiver)).collect();
        let mut aggregator = Aggregator::new(Scanned {
            cluster_name: cluster,
            cluster_labels: labels,
            benchmark: used,
            profile,
            waivers: &waivers,
            fail_on: used.fail_on,
        });
        for (node, seen) in self.input.nodes() {
            match seen {
                Seen::Answered(secret) => match self.answer(node, secret).await? {
                    Ok(answer) => {
                        let targets = benchmark::targets(&used.name, self.input.roles(node));
                        aggregator.add(node.name(), &node.labels(), &answer, &targets);
                    }
                    Err(message) => aggregator.missing(node.name(), MissingReason::NoAnswer, &message),
                },
                Seen::Missing(reason, message) => aggregator.missing(node.name(), *reason, message),
            }
        }
        if let Some(message) = self.input.unseen_control_plane() {
            aggregator.missing("control-plane", MissingReason::NoControlPlane, &message);
        }
        Ok(aggregator.finish())
    }

    /// The answer of a node, or why it does not count.
    async fn answer(&self, node: &ScannedNode, secret: &str) -> Result<Result<NodeAnswer, String>, ScanError> {
        let secrets = Api::<Answered>::namespaced(self.place.cache.client(), DROVER_NAMESPACE);
        let what = format!("read Secret {DROVER_NAMESPACE}/{secret}");
        let Some(found) = request(what, secrets.get_opt(secret)).await? else {
            return Ok(Err(format!("its answer is not there any more{WHO_CHANGES}")));
        };
        let Some(stored) = found.stored() else { return Ok(Err(format!("its answer is empty{WHO_CHANGES}"))) };
        Ok(match NodeAnswer::unpack(stored) {
            Err(error) => Err(format!("its answer cannot be read: {error}{WHO_CHANGES}")),
            Ok(answer) => accepted(answer, node.name(), self.scan.uid().as_deref(), &self.input.used.name),
        })
    }
}
