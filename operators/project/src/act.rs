//! One function per action; each may be done twice.

use drover_crds::Project;
use drover_runtime::Site;
use k8s_openapi::api::core::v1::Namespace;

use crate::{ProjectOperator, error::ProjectError, plan::Action};

pub(crate) async fn act(project: &Project, site: &Site, action: Action) -> Result<(), ProjectError> {
    let writer = site.writer::<ProjectOperator>(project);
    match action {
        Action::Create(desired) => writer.create(&*desired).await?,
        Action::Apply { desired, live, reverted } => writer.apply(&*desired, &live, &reverted).await?,
        Action::Adopt { desired, live } => writer.adopt(&*desired, &live).await?,
        Action::Free { live, holder } => {
            site.writer_in_the_name_of::<ProjectOperator>(holder).release::<Namespace>(&live).await?;
        }
        Action::Release(live) => writer.release::<Namespace>(&live).await?,
        Action::Delete(live) => writer.delete::<Namespace>(&live).await?,
    }
    Ok(())
}
