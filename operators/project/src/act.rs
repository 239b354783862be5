//! One function per action; each may be done twice.

use drover_runtime::Writer;
use k8s_openapi::api::core::v1::Namespace;

use crate::{error::ProjectError, plan::Action};

pub(crate) async fn act(writer: &Writer, action: Action) -> Result<(), ProjectError> {
    match action {
        Action::Create(desired) => writer.create(&*desired).await?,
        Action::Apply { desired, live, reverted } => writer.apply(&*desired, &live, &reverted).await?,
        Action::Adopt { desired, live } => writer.adopt(&*desired, &live).await?,
        Action::Release(live) => writer.release::<Namespace>(&live).await?,
        Action::Delete(live) => writer.delete::<Namespace>(&live).await?,
    }
    Ok(())
}
