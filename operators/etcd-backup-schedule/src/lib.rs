//! The operator of [`EtcdBackupSchedule`]s: an `EtcdBackup` for each cluster and time, and how long these are kept.
//!
//! 1. Its place is the management cluster: it reads the fleet and the backups that it made ([`observe`]).
//! 2. The crate `drover-schedule` says which run is due for a cluster. The backup of a run has a name that schedule, cluster and
//!    time decide: whoever makes it again finds that it is there ([`plan`]).
//! 3. [`retention`] says which backups are kept. Of the others the data are deleted with the object, by the operator of backups.
//! 4. [`told`] says how the clusters fare, and [`summary`] makes the status of that.
//!
//! It owns backups by labels, and no backup is deleted because the schedule, its namespace or a Cluster goes: a schedule of the same name
//! takes them up again. A change of a Cluster or of a backup decides anew, and so does the time of the next run.

mod act;
mod cause;
pub mod children;
pub mod observe;
pub mod plan;
pub mod retention;
mod summary;
pub mod told;
mod wakes;

pub use act::Action;
pub use cause::ScheduleCause;
use drover_crds::{Cluster, EtcdBackup, EtcdBackupSchedule, EtcdBackupScheduleStatus};
use drover_fleet::cause::TenancyCause;
use drover_grants::GrantCause;
use drover_runtime::{
    Cause, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights, Rule, Targets, Watches,
    WriteError, known::KnownKeys, rights::READ,
};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};
use wakes::{noted_something_else, of_cluster};

/// Why nothing new may begin.
const OF_GRANTS: &[Cause] =
    &[GrantCause::NotAdmitted.cause(), GrantCause::GrantsFrozen.cause(), GrantCause::NotYetGranted.cause()];

/// The operator of the kind [`EtcdBackupSchedule`].
#[derive(Clone, Copy, Debug)]
pub struct EtcdBackupScheduleOperator;

impl Operator for EtcdBackupScheduleOperator {
    const NAME: &'static str = "etcd-backup-schedule";
    const CAUSES: &'static [&'static [Cause]] = &[ScheduleCause::TABLE, TenancyCause::TABLE, OF_GRANTS];
    const FINALIZER: bool = false;
    /// What this operator needs: the schedules and the backups of the management cluster, which it writes as whoever wrote the schedule may.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["clusters", "etcdbackups", "etcdbackupschedules"], READ),
            Rule::on("drover.dev", &["etcdbackups"], &["create", "delete", "patch"]),
            Rule::on("drover.dev", &["etcdbackupschedules/status"], &["patch"]),
            // Policies ask whoever writes a backup for this verb; of who writes a schedule they were asked before.
            Rule::on("drover.dev", &["clusters"], &["operate"]),
            // Nobody else makes up a backup of a schedule.
            Rule::on("drover.dev", &["etcdbackupschedules"], &["manage"]),
        ],
        ..Rights::NONE
    };

    type Kind = EtcdBackupSchedule;
    type World = observe::World;
    type Action = Action;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let all = KnownKeys::default();
        let [of_clusters, of_policies, of_policy_bindings] = std::array::from_fn(|_| all.clone());
        related.on::<EtcdBackupSchedule>(move |change| {
            all.note(change);
            noted_something_else(change).then(|| change.key.clone()).into_iter().collect()
        });
        related.on::<Cluster>(move |change| of_cluster(&of_clusters, change));
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn targets(_: &EtcdBackupSchedule, _: &Inputs<'_>) -> Targets {
        std::collections::BTreeSet::from([Place::Management]).into()
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
            watches.owned::<EtcdBackup>();
        }
    }

    async fn observe(
        &self,
        owner: Owner<'_, EtcdBackupSchedule>,
        place: &PlaceContext,
    ) -> Result<observe::World, WriteError> {
        Ok(observe::observe(owner, place))
    }

    fn plan(schedule: &EtcdBackupSchedule, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(schedule, world, now)
    }

    fn clean_up(_: Owner<'_, EtcdBackupSchedule>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up()
    }

    async fn act(
        &self,
        owner: Owner<'_, EtcdBackupSchedule>,
        place: &PlaceContext,
        action: Action,
    ) -> Result<(), WriteError> {
        action.carry_out(owner, place).await
    }

    fn summarise(
        schedule: &EtcdBackupSchedule,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> EtcdBackupScheduleStatus {
        summary::summarise(schedule, statuses)
    }
}

#[cfg(test)]
mod tests;
