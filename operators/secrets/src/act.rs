//! Writes a copy: content is nowhere else than here.

use drover_runtime::{
    ApiCause, ApiError, Cache, Operator, Owner, PlaceContext, WriteError, owned::Change, request::request,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _, api::GetParams, core::Request};
use serde_json::{Map, Value};

use crate::{Offer, SecretCopy, source::Whole};

/// Does it, in the name of the Project.
pub async fn carry_out<O: Operator>(
    change: Change<SecretCopy>,
    owner: Owner<'_, O::Kind>,
    place: &PlaceContext,
) -> Result<(), WriteError> {
    let content = match &change {
        Change::Create { desired, .. } | Change::Apply { desired, .. } => {
            let project = owner.key();
            read(&place.management, &project.namespace, &project.name, desired).await?
        }
        _ => Map::new(),
    };
    change.carry_out_with::<O>(owner, place, &content).await
}

/// The content of the source, which must still be what was decided to copy.
async fn read(
    management: &Cache,
    namespace: &str,
    project: &str,
    desired: &SecretCopy,
) -> Result<Map<String, Value>, ApiError> {
    let name = desired.name_any();
    let what = format!("read Secret {namespace}/{name}");
    let asked = async {
        let asked = Request::new(Secret::url_path(&(), Some(namespace))).get(&name, &GetParams::default());
        management.client().request::<Whole>(asked.map_err(kube::Error::BuildRequest)?).await
    };
    let (found, content) = request(&*what, asked).await.map_err(ApiError::unquoted)?.split();
    match Offer::of(&found, &name, project) {
        Ok(offer) if desired.is_like(&SecretCopy::of(&offer, "")) => Ok(content.fields(offer.kind)),
        _ => {
            let reason = "another client changed it at the same time".to_owned();
            Err(ApiError::Unquoted { what, code: 409, cause: ApiCause::Conflict, reason, refuser: None })
        }
    }
}
