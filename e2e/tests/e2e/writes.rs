//! How the runtime writes, on a real API server: what is not ours stays as it is, what is ours becomes as wanted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use drover_crds::names::{ANNOTATION_ADOPTED, ANNOTATION_CREATED, ANNOTATION_RELEASED_BY};
use drover_e2e::pool::{Pool, Shape};
use drover_e2e::wait::soon;
use drover_e2e::{Components, ControlPlane, require_or_skip};
use drover_runtime::{Cache, Class, Classify, ObjectKey, OwnerRecord, Step, WriteError, Writer};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

drover_e2e::tests![
    an_object_of_somebody_else_is_reported_and_stays_as_it_is,
    an_object_of_another_owner_of_the_same_name_is_not_touched,
    a_taken_name_is_told_and_not_asked_for_without_a_pause,
    a_deleted_object_is_not_brought_back_and_its_successor_is_not_touched,
    what_is_as_wanted_is_kept_and_applied_again_it_does_not_change,
    a_create_that_was_cut_short_is_recognised_and_completed,
    a_wanted_field_is_forced_back_on_what_we_created_and_other_fields_are_kept,
    on_an_adopted_object_a_field_of_somebody_else_is_a_conflict_that_names_both,
    what_is_wanted_no_longer_is_removed_and_nothing_else,
    a_released_object_keeps_everything_but_our_record,
    exactly_the_object_that_was_seen_is_deleted_and_once_more_is_no_error,
    an_apply_that_the_server_cannot_read_is_invalid_and_not_retried,
    after_a_create_that_was_cut_short_the_next_look_waits_for_what_was_created,
    what_was_written_counts_as_settled_only_when_the_cache_shows_it,
];

type Outcome = Result<(), Box<dyn Error>>;

const KIND: &str = "Test";
const NAME: &str = "map";

async fn an_object_of_somebody_else_is_reported_and_stays_as_it_is() -> Outcome {
    let Some(rig) = Rig::start("an-object-of-somebody-else").await? else { return Ok(()) };
    rig.maps.create(&PostParams::default(), &rig.map(&[("mode", "theirs")])).await?;
    let before = rig.raw().await?;
    let refused = rig.writer("ours").create(&rig.map(&[("mode", "ours")])).await;
    assert!(matches!(refused, Err(WriteError::Taken { .. })), "{refused:?}");
    assert_eq!(rig.raw().await?, before);
    Ok(())
}

async fn an_object_of_another_owner_of_the_same_name_is_not_touched() -> Outcome {
    let Some(rig) = Rig::start("an-object-of-another-owner").await? else { return Ok(()) };
    let owner = |namespace: &str| OwnerRecord { kind: KIND, key: ObjectKey::namespaced(namespace, "shop") };
    let (one, two) = (owner("team-a"), owner("team-b"));
    rig.writer_of(one.clone()).create(&rig.map(&[("mode", "a")])).await?;
    let before = rig.raw().await?;
    let refused = rig.writer_of(two.clone()).create(&rig.map(&[("mode", "b")])).await;
    assert!(matches!(refused, Err(WriteError::Taken { .. })), "{refused:?}");
    assert_eq!(rig.raw().await?, before);
    assert!(one.owns(&before.metadata) && !two.owns(&before.metadata));
    Ok(())
}

async fn a_taken_name_is_told_and_not_asked_for_without_a_pause() -> Outcome {
    let Some(rig) = Rig::start("a-taken-name").await? else { return Ok(()) };
    rig.maps.create(&PostParams::default(), &rig.map(&[])).await?;
    let refused = rig.writer("ours").create(&rig.map(&[])).await.err().ok_or("it was created")?;
    assert_eq!((refused.class(), refused.reason()), (Class::Conflict, "AlreadyExists"));
    Ok(())
}

async fn a_deleted_object_is_not_brought_back_and_its_successor_is_not_touched() -> Outcome {
    let Some(rig) = Rig::start("a-deleted-object").await? else { return Ok(()) };
    let writer = rig.writer("ours");
    writer.create(&rig.map(&[("mode", "one")])).await?;
    let gone = rig.live().await?;
    rig.maps.delete(NAME, &DeleteParams::default()).await?;

    let refused = writer.apply(&rig.map(&[("mode", "two")]), gone.meta(), &[]).await.err().ok_or("it was applied")?;
    assert_eq!(refused.class(), Class::Conflict, "{refused}");
    assert!(rig.maps.get_opt(NAME).await?.is_none());

    rig.maps.create(&PostParams::default(), &rig.map(&[("mode", "theirs")])).await?;
    let before = rig.raw().await?;
    let refused = writer.apply(&rig.map(&[("mode", "two")]), gone.meta(), &[]).await.err().ok_or("it was applied")?;
    assert_eq!(refused.class(), Class::Conflict, "{refused}");
    let refused = writer.delete::<ConfigMap>(gone.meta()).await.err().ok_or("it was deleted")?;
    assert_eq!(refused.class(), Class::Conflict, "{refused}");
    assert!(writer.release::<ConfigMap>(gone.meta()).await.is_err());
    assert_eq!(rig.raw().await?, before);
    Ok(())
}

async fn what_is_as_wanted_is_kept_and_applied_again_it_does_not_change() -> Outcome {
    let Some(rig) = Rig::start("what-is-as-wanted").await? else { return Ok(()) };
    let (writer, wanted) = (rig.writer("ours"), rig.map(&[("mode", "ours")]));
    assert_eq!(Step::between(&wanted, None), Step::Create);
    writer.create(&wanted).await?;
    let live = rig.live().await?;
    assert_eq!(Step::between(&wanted, Some(&live)), Step::Keep);
    writer.apply(&wanted, live.meta(), &[]).await?;
    assert_eq!(rig.live().await?.resource_version(), live.resource_version());
    Ok(())
}

async fn a_create_that_was_cut_short_is_recognised_and_completed() -> Outcome {
    let Some(rig) = Rig::start("a-create-that-was-cut-short").await? else { return Ok(()) };
    let owner = rig.owner("ours");
    let mut bare = rig.map(&[]);
    bare.metadata.labels = Some(owner.labels());
    let mark = owner.created_mark("", &ObjectKey::namespaced(&rig.namespace, NAME));
    bare.metadata.annotations = data(&[(ANNOTATION_CREATED, &mark)]);
    rig.maps.create(&PostParams::default(), &bare).await?;
    let (live, wanted) = (rig.live().await?, rig.map(&[("mode", "ours")]));
    assert!(owner.owns(live.meta()));
    assert_eq!(Step::between(&wanted, Some(&live)), Step::Apply { reverted: Vec::new() });
    rig.writer("ours").apply(&wanted, live.meta(), &[]).await?;
    assert_eq!(Step::between(&wanted, Some(&rig.live().await?)), Step::Keep);
    Ok(())
}

async fn a_wanted_field_is_forced_back_on_what_we_created_and_other_fields_are_kept() -> Outcome {
    let Some(rig) = Rig::start("a-wanted-field").await? else { return Ok(()) };
    let (writer, wanted) = (rig.writer("ours"), rig.map(&[("mode", "ours")]));
    writer.create(&wanted).await?;
    rig.edit(&json!({"data": {"mode": "theirs", "extra": "theirs"}, "metadata": {"labels": {"team": "blue"}}})).await?;

    let live = rig.live().await?;
    let reverted = vec!["data.mode".to_owned()];
    assert_eq!(Step::between(&wanted, Some(&live)), Step::Apply { reverted: reverted.clone() });
    writer.apply(&wanted, live.meta(), &reverted).await?;
    let live = rig.live().await?;
    assert_eq!(live.data, data(&[("mode", "ours"), ("extra", "theirs")]));
    assert_eq!(live.labels().get("team").map(String::as_str), Some("blue"));
    Ok(())
}

async fn on_an_adopted_object_a_field_of_somebody_else_is_a_conflict_that_names_both() -> Outcome {
    let Some(rig) = Rig::start("on-an-adopted-object").await? else { return Ok(()) };
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"mode": "theirs"}});
    rig.maps.patch(NAME, &PatchParams::apply("gitops"), &Patch::Apply(&theirs)).await?;
    let before = rig.raw().await?;

    let writer = rig.writer("ours");
    let refused = writer.adopt(&rig.map(&[("mode", "ours")]), &before.metadata).await.err().ok_or("it was forced")?;
    assert!(matches!(refused, WriteError::FieldConflict { .. }), "{refused:?}");
    assert!(refused.to_string().contains("gitops") && refused.to_string().contains(".data.mode"), "{refused}");
    assert_eq!(rig.raw().await?, before);

    writer.adopt(&rig.map(&[("extra", "ours")]), &before.metadata).await?;
    let live = rig.live().await?;
    assert_eq!(live.data, data(&[("mode", "theirs"), ("extra", "ours")]));
    assert!(live.annotations().contains_key(ANNOTATION_ADOPTED) && rig.owner("ours").owns(live.meta()));
    let refused = writer.apply(&rig.map(&[("mode", "ours")]), live.meta(), &[]).await;
    assert!(matches!(refused, Err(WriteError::FieldConflict { .. })), "it stays adopted: {refused:?}");

    rig.maps.delete(NAME, &DeleteParams::default()).await?;
    let refused = writer.apply(&rig.map(&[]), live.meta(), &[]).await.err().ok_or("it was applied")?;
    assert_eq!(refused.class(), Class::Conflict, "its end is no field conflict: {refused}");
    Ok(())
}

async fn what_is_wanted_no_longer_is_removed_and_nothing_else() -> Outcome {
    let Some(rig) = Rig::start("what-is-wanted-no-longer").await? else { return Ok(()) };
    let (writer, mut wanted) = (rig.writer("ours"), rig.map(&[("mode", "ours"), ("more", "ours")]));
    wanted.labels_mut().insert("tier".to_owned(), "gold".to_owned());
    writer.create(&wanted).await?;
    rig.edit(&json!({"data": {"extra": "theirs"}})).await?;

    let (less, live) = (rig.map(&[("mode", "ours")]), rig.live().await?);
    assert_eq!(Step::between(&less, Some(&live)), Step::Apply { reverted: Vec::new() });
    writer.apply(&less, live.meta(), &[]).await?;
    let live = rig.live().await?;
    assert_eq!(live.data, data(&[("mode", "ours"), ("extra", "theirs")]));
    assert!(!live.labels().contains_key("tier"));
    assert_eq!(Step::between(&less, Some(&live)), Step::Keep);
    Ok(())
}

async fn a_released_object_keeps_everything_but_our_record() -> Outcome {
    let Some(rig) = Rig::start("a-released-object").await? else { return Ok(()) };
    let (writer, mut wanted) = (rig.writer("ours"), rig.map(&[("mode", "ours")]));
    wanted.labels_mut().insert("tier".to_owned(), "gold".to_owned());
    writer.create(&wanted).await?;
    rig.edit(&json!({"metadata": {"annotations": {"note": "theirs"}}})).await?;

    writer.release::<ConfigMap>(rig.live().await?.meta()).await?;
    let live = rig.live().await?;
    assert_eq!(live.data, data(&[("mode", "ours")]));
    assert_eq!(*live.labels(), BTreeMap::from([("tier".to_owned(), "gold".to_owned())]));
    let released_by = rig.owner("ours").key.to_string();
    let created = rig.owner("ours").created_mark("", &ObjectKey::of(live.meta()));
    let annotations = [("note", "theirs"), (ANNOTATION_RELEASED_BY, &*released_by), (ANNOTATION_CREATED, &*created)];
    assert_eq!(Some(live.annotations().clone()), data(&annotations));
    Ok(())
}

async fn exactly_the_object_that_was_seen_is_deleted_and_once_more_is_no_error() -> Outcome {
    let Some(rig) = Rig::start("exactly-the-object-that-was-seen").await? else { return Ok(()) };
    let writer = rig.writer("ours");
    writer.create(&rig.map(&[])).await?;
    let live = rig.live().await?;
    writer.delete::<ConfigMap>(live.meta()).await?;
    assert!(rig.maps.get_opt(NAME).await?.is_none());
    writer.delete::<ConfigMap>(live.meta()).await?;
    Ok(())
}

async fn an_apply_that_the_server_cannot_read_is_invalid_and_not_retried() -> Outcome {
    let Some(rig) = Rig::start("an-apply-that-cannot-be-read").await? else { return Ok(()) };
    let writer = rig.writer("ours");
    let metadata = rig.map(&[]).metadata;
    let malformed = Malformed { metadata, data: 7 };
    let refused = writer.create(&malformed).await.err().ok_or("it was accepted")?;
    assert_eq!((refused.class(), refused.reason()), (Class::Invalid, "Rejected"), "{refused}");
    assert!(rig.owner("ours").owns(rig.live().await?.meta()), "what was created is recognisably ours");
    Ok(())
}

async fn after_a_create_that_was_cut_short_the_next_look_waits_for_what_was_created() -> Outcome {
    let Some(rig) = Rig::start("after-a-create-that-was-cut-short").await? else { return Ok(()) };
    let closed = watch::Sender::new(false);
    let blind = Arc::new(Cache::new(rig.client.clone(), closed.subscribe()));
    let owner = rig.owner("ours");
    let writer = Writer::new(Arc::clone(&blind), "drover-test".to_owned(), owner.clone(), "uid");
    assert!(blind.settled(&owner));
    let malformed = Malformed { metadata: rig.map(&[]).metadata, data: 7 };
    assert!(writer.create(&malformed).await.is_err());
    assert!(!blind.settled(&owner), "the cache does not show it yet, and a second create would be refused");
    Ok(())
}

async fn what_was_written_counts_as_settled_only_when_the_cache_shows_it() -> Outcome {
    let Some(rig) = Rig::start("what-was-written").await? else { return Ok(()) };
    let view = rig.cache.informer::<ConfigMap>(&OwnerRecord::query(KIND));
    let (writer, owner, key) = (rig.writer("ours"), rig.owner("ours"), ObjectKey::namespaced(&rig.namespace, NAME));
    let settled = async || {
        timeout(soon(), async {
            while !rig.cache.settled(&owner) {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    };
    writer.create(&rig.map(&[("mode", "one")])).await?;
    settled().await?;
    let seen = view.get(&key).ok_or("settled, and not to be seen")?;
    assert_eq!(seen.data, data(&[("mode", "one")]));
    writer.apply(&rig.map(&[("mode", "two")]), seen.meta(), &[]).await?;
    settled().await?;
    let seen = view.get(&key).ok_or("settled, and not to be seen")?;
    assert_eq!(seen.data, data(&[("mode", "two")]));
    writer.release::<ConfigMap>(seen.meta()).await?;
    settled().await?;
    assert!(view.get(&key).is_none(), "it is ours no longer");
    Ok(())
}

/// A namespace on a control plane.
struct Rig {
    _plane: ControlPlane,
    namespace: String,
    client: Client,
    maps: Api<ConfigMap>,
    cache: Arc<Cache>,
}

impl Rig {
    async fn start(namespace: &str) -> Result<Option<Self>, Box<dyn Error>> {
        if !require_or_skip(namespace, &Components::WithControllerManager.programs()).await? {
            return Ok(None);
        }
        let plane = Pool::from_environment()?.take(Shape::Bare, "writes").await?;
        let client = plane.client();
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.into()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        let (maps, cache) = (Api::namespaced(client.clone(), namespace), Arc::new(Cache::ungated(client.clone())));
        Ok(Some(Self { _plane: plane, namespace: namespace.to_owned(), client, maps, cache }))
    }

    fn owner(&self, name: &str) -> OwnerRecord {
        OwnerRecord { kind: KIND, key: ObjectKey::namespaced(&self.namespace, name) }
    }

    fn writer(&self, owner: &str) -> Writer {
        self.writer_of(self.owner(owner))
    }

    fn writer_of(&self, owner: OwnerRecord) -> Writer {
        Writer::new(Arc::clone(&self.cache), "drover-test".to_owned(), owner, "uid")
    }

    fn map(&self, entries: &[(&str, &str)]) -> ConfigMap {
        let (name, namespace) = (Some(NAME.to_owned()), Some(self.namespace.clone()));
        ConfigMap {
            metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() },
            data: data(entries),
            ..ConfigMap::default()
        }
    }

    async fn live(&self) -> kube::Result<ConfigMap> {
        self.maps.get(NAME).await
    }

    /// Every byte of it, the record of who manages which field included.
    async fn raw(&self) -> kube::Result<DynamicObject> {
        let resource = ApiResource::erase::<ConfigMap>(&());
        Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &resource).get(NAME).await
    }

    /// What a person does with kubectl.
    async fn edit(&self, patch: &serde_json::Value) -> kube::Result<()> {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.maps.patch(NAME, &params, &Patch::Merge(patch)).await.map(drop)
    }
}

fn data(entries: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Some(entries.collect::<BTreeMap<_, _>>()).filter(|data| !data.is_empty())
}

/// A config map as a defect would make it: `data` is no map.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Malformed {
    metadata: ObjectMeta,
    data: i64,
}

impl Resource for Malformed {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ConfigMap::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        ConfigMap::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        ConfigMap::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        ConfigMap::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
