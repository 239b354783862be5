//! One function per action; each may be done twice.

use std::sync::Arc;

use drover_crds::Project;
use drover_runtime::{ObjectKey, Operator as _, Owner, Site, Writer, operator::owner_of};
use k8s_openapi::api::core::v1::Namespace;

use crate::{ProjectOperator, error::ProjectError, plan::Action};

pub(crate) async fn act(project: &Project, site: &Site, action: Action) -> Result<(), ProjectError> {
    let writer = site.writer::<ProjectOperator>(project);
    match action {
        Action::Create(desired) => writer.create(&*desired).await?,
        Action::Apply { desired, live, reverted } => writer.apply(&*desired, &live, &reverted).await?,
        Action::Adopt { desired, live } => writer.adopt(&*desired, &live).await?,
        Action::Free { live, holder } => in_the_name_of(holder, project, site).release::<Namespace>(&live).await?,
        Action::Release(live) => writer.release::<Namespace>(&live).await?,
        Action::Delete(live) => writer.delete::<Namespace>(&live).await?,
    }
    Ok(())
}

/// A writer that lets go as `holder` would: who was there before is on record, and may come back.
fn in_the_name_of(holder: ObjectKey, project: &Project, site: &Site) -> Writer {
    let owner = Owner { key: holder, ..owner_of::<ProjectOperator>(project) };
    Writer::new(Arc::clone(&site.cache), format!("drover-{}", ProjectOperator::NAME), owner, "")
}
