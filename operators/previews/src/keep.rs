//! How it is kept what a revision would change. Pure.

use drover_apps::seal::Seal;
use drover_crds::{MultiClusterApp, names::ANNOTATION_REVISION};
use drover_runtime::{
    Title,
    owned::{Change, Owned},
};
use k8s_openapi::{
    api::apps::v1::ControllerRevision,
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::Preview;

/// The field of the data of a `ControllerRevision` that holds a [`Preview`]. No revision has one.
pub const FIELD: &str = "preview";

/// What is kept in an object.
#[derive(Debug)]
pub struct Kept<'a> {
    meta: &'a ObjectMeta,
    /// None where it is not what the name of the object tells: nobody else makes one up.
    pub preview: Option<Preview>,
}

/// What is kept for the app among the objects that carry its labels, true or not.
#[must_use]
pub fn kept<'a>(app: &MultiClusterApp, found: &'a [Owned<ControllerRevision>], seal: &Seal) -> Vec<Kept<'a>> {
    let ours = found.iter().filter(|found| found.title == Title::Created && found.meta().deletion_timestamp.is_none());
    let of_one = |found: &'a Owned<ControllerRevision>| {
        let data = found.live.as_deref().ok()?.data.0.get(FIELD)?;
        let preview = serde_json::from_value(data.clone()).ok();
        let is_it = |preview: &Preview| Some(name(app, preview, seal)) == found.meta().name;
        Some(Kept { meta: found.meta(), preview: preview.filter(is_it) })
    };
    ours.filter_map(of_one).collect()
}

/// The changes to what is to be kept, and nothing else.
#[must_use]
pub fn keep(
    app: &MultiClusterApp,
    wanted: &Preview,
    kept: &[Kept<'_>],
    seal: &Seal,
) -> Vec<Change<ControllerRevision>> {
    let is_it = |kept: &&Kept<'_>| kept.preview.as_ref() == Some(wanted);
    let old = kept.iter().filter(|kept| !is_it(kept)).map(|kept| Change::Delete(Box::new(kept.meta.clone())));
    let is_new = !wanted.stages.is_empty() && !kept.iter().any(|kept| is_it(&kept));
    let new = is_new.then(|| {
        let mut object = ControllerRevision {
            data: RawExtension(json!({ FIELD: wanted })),
            revision: Some(0),
            ..ControllerRevision::default()
        };
        object.metadata.annotations = Some([(ANNOTATION_REVISION.to_owned(), wanted.revision.clone())].into());
        (object.metadata.name, object.metadata.namespace) = (Some(name(app, wanted, seal)), app.namespace());
        Change::Create { desired: Box::new(object), seed: Value::Null }
    });
    new.into_iter().chain(old).collect()
}

/// Tells what it holds by the key of the installation.
fn name(app: &MultiClusterApp, preview: &Preview, seal: &Seal) -> String {
    let text = json!([app.name_any(), preview]).to_string();
    let tag = seal.tag(&app.namespace().unwrap_or_default(), "preview", text.as_bytes());
    format!("{}-preview-{tag}", app.name_any())
}
