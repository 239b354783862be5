//! `drover rollout`: how far an app on many clusters is, and its approval and its hold, with the rights of the person who asks.

mod asked;
mod preview;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use drover_crds::MultiClusterApp;
use drover_previews::Preview;
use drover_rollouts::{Content, Difference};
use drover_runtime::{ObjectKey, OwnerRecord};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    access::list,
    command_line::{DiffArguments, RolloutArguments, RolloutCommand, RolloutName},
    membership::{MembershipError, Side},
    output::print,
};
use asked::{Asked, Outcome};
use text::Compared;

/// Who sets and removes the annotations.
const FIELD_MANAGER: &str = "drover-rollout";
/// How often a change is tried while Drover writes the status of the same object, or has to see a former change.
const TRIES: usize = 50;
/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// Does what is asked of a rollout.
pub(crate) async fn rollout(arguments: &RolloutArguments) -> Result<(), MembershipError> {
    let management = Side::management(&arguments.management).await?;
    let app = App::of(&management, arguments.command.app());
    let text = match &arguments.command {
        RolloutCommand::Status(_) => text::status(&app.read().await?),
        RolloutCommand::Diff(asked) => app.difference(asked).await?,
        RolloutCommand::Approve(asked) => return app.change(Asked::Approve, asked.revision.as_deref()).await,
        RolloutCommand::Hold(_) => return app.change(Asked::Hold, None).await,
        RolloutCommand::Resume(_) => return app.change(Asked::Resume, None).await,
    };
    print(&text).map_err(MembershipError::Print)
}

/// An app on many clusters, as a person names it.
struct App<'a> {
    management: &'a Side,
    name: &'a str,
    namespace: String,
    api: Api<MultiClusterApp>,
}

impl<'a> App<'a> {
    fn of(management: &'a Side, asked: &'a RolloutName) -> Self {
        let client = management.client.clone();
        let namespace = asked.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        Self { management, name: &asked.name, api: Api::namespaced(client, &namespace), namespace }
    }

    fn title(&self) -> String {
        format!("MultiClusterApp {}/{}", self.namespace, self.name)
    }

    async fn read(&self) -> Result<MultiClusterApp, MembershipError> {
        self.management.ask(format!("get the {}", self.title()), self.api.get(self.name)).await
    }

    /// Changes an annotation of the object as it was read, more than once where it takes that. An object that was written meanwhile is read
    /// and judged again, and the revision stays the one that was read first.
    async fn change(&self, asked: Asked, named: Option<&str>) -> Result<(), MembershipError> {
        let mut seen = named.map(str::to_owned);
        let mut unseen = None;
        for left in (0..TRIES).rev() {
            let app = self.read().await?;
            let outcome = asked::judge(&app, asked, seen.as_deref());
            let outcome = outcome.map_err(|refusal| MembershipError::Input(format!("{}: {refusal}", self.title())))?;
            let change = match outcome {
                Outcome::Nothing(said) => {
                    say!("{}: {said}", self.title());
                    return Ok(());
                }
                Outcome::Wait(annotation) => {
                    unseen = Some(annotation);
                    sleep(PAUSE).await;
                    continue;
                }
                Outcome::Change(change) => change,
            };
            seen = seen.or_else(|| asked::wanted_revision(&app));
            let annotation = (change.annotation, change.value.as_deref());
            match self.patch(&app, annotation).await {
                Err(MembershipError::Request(_, error)) if error.code() == Some(409) && left > 0 => sleep(PAUSE).await,
                outcome => {
                    outcome?;
                    if let Some(said) = change.said {
                        say!("{}: {said}", self.title());
                        return Ok(());
                    }
                }
            }
        }
        Err(MembershipError::Input(format!("{}: {}", self.title(), asked::unseen(unseen))))
    }

    async fn patch(
        &self,
        app: &MultiClusterApp,
        (annotation, value): (&str, Option<&str>),
    ) -> Result<(), MembershipError> {
        let body = json!({
            "apiVersion": MultiClusterApp::api_version(&()), "kind": MultiClusterApp::kind(&()),
            "metadata": {"resourceVersion": app.resource_version(), "annotations": {annotation: value}},
        });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch: Patch<Value> = Patch::Merge(body);
        let call = self.api.patch_metadata(self.name, &parameters, &patch);
        self.management.ask(format!("annotate the {}", self.title()), call).await.map(drop)
    }

    async fn difference(&self, asked: &DiffArguments) -> Result<String, MembershipError> {
        let app = self.read().await?;
        let api = Api::<ControllerRevision>::namespaced(self.management.client.clone(), &self.namespace);
        let found = list(self.management, &api).await?;
        let kept: Vec<Kept> = found.iter().filter_map(|found| Kept::of(self.name, found)).collect();
        let ends = asked::ends(&app, &kept, asked.revision.as_deref(), asked.to.as_deref());
        let (from, to) = ends.map_err(|refusal| MembershipError::Input(format!("{}: {refusal}", self.title())))?;
        let differs = match from {
            Some(from) => drover_rollouts::difference(&from.content, &to.content)?,
            None => Difference::default(),
        };
        let mut said = text::difference(&app, &Compared { from, to, differs: &differs });
        if asked.revision.is_none() && asked.to.is_none() {
            let preview = found.iter().find_map(|found| preview_of(&app, &to.name, found));
            said += &preview::preview(&app, preview.as_ref());
        }
        Ok(said)
    }
}

/// What Drover keeps of what a revision of the app would change. Nobody else writes what carries its labels.
fn preview_of(app: &MultiClusterApp, revision: &str, found: &ControllerRevision) -> Option<Preview> {
    let owner = OwnerRecord::recorded(&found.metadata, &MultiClusterApp::kind(&()));
    let is_of_app = owner == Some(ObjectKey::of(&app.metadata));
    let data = found.data.0.get(drover_previews::FIELD).filter(|_| is_of_app)?;
    serde_json::from_value(data.clone()).ok().filter(|preview: &Preview| preview.revision == revision)
}

/// A revision that is kept.
#[derive(Debug)]
struct Kept {
    number: i64,
    name: String,
    content: Content,
}

impl Kept {
    /// A name tells its content, so what another client wrote under one is none.
    fn of(app: &str, found: &ControllerRevision) -> Option<Self> {
        let content: Content = serde_json::from_value(found.data.0.clone()).ok()?;
        let name = content.name(app).ok().filter(|name| *name == found.name_any())?;
        Some(Self { number: found.revision.unwrap_or_default(), name, content })
    }
}
