//! Backups at times that repeat, on real API servers: one backup a time, what is kept, and what no schedule deletes.

use drover_e2e::installation::{DROVER_USER, End, Installation};
use drover_e2e::objects::api;
use drover_e2e::s3::SECRET_KEY;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::backups::{Story, a_store, keys_of};

drover_e2e::tests![a_schedule_takes_backups_keeps_the_last_and_deletes_none_when_it_goes,];

const KIND: &str = "etcdbackupschedule";

/// Ada may write backups in the namespace, and operate on the cluster eu.
const ADA: &str = "ada";

fn a_schedule(name: &str, spec: &Value) -> Value {
    let template = json!({"storeNames": ["main"]});
    let mut whole = json!({"clusters": {"names": ["eu"]}, "template": template, "schedule": "* * * * *"});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": name, "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackupSchedule", "metadata": metadata, "spec": whole})
}

async fn a_schedule_takes_backups_keeps_the_last_and_deletes_none_when_it_goes() {
    let Some(mut story) = Story::begin().await else { return };
    story.allow(&["Backup"]).await;
    story.installation.apply(&keys_of(&story.store, "store-keys", SECRET_KEY)).await.unwrap();
    story.installation.apply(&a_store("main", &story.store, "store-keys")).await.unwrap();
    reads(&story.installation, "backupstore", "main", "Ready", "True/Ready").await;
    what_is_no_schedule_says_so(&story.installation).await;
    who_may_not_operate_writes_none(&story.installation).await;
    story.it_takes_a_backup_a_minute_and_keeps_the_last().await;
    nobody_makes_up_one_of_it(&story.installation).await;
    story.what_goes_deletes_no_data().await;
}

async fn what_is_no_schedule_says_so(installation: &Installation) {
    let refused = installation.apply(&a_schedule("bad", &json!({"schedule": "0 0 3 * * *"}))).await.unwrap_err();
    assert!(refused.to_string().contains("spec.schedule"), "{refused}");
    installation.apply(&a_schedule("bad", &json!({"schedule": "0 0 30 2 *"}))).await.unwrap();
    reads(installation, KIND, "bad", "Stalled", "True/ScheduleInvalid").await;
    installation.apply(&a_schedule("bad", &json!({"timeZone": "Europe/Atlantis"}))).await.unwrap();
    reads(installation, KIND, "bad", "ScheduleValid", "False/ScheduleInvalid").await;
    installation.apply(&a_schedule("bad", &json!({"clusters": {"names": ["absent"]}}))).await.unwrap();
    reads(installation, KIND, "bad", "Ready", "False/ClusterNotFound").await;
    deleted(installation, KIND, "bad").await;
}

/// Creates an object as Ada.
async fn creates(installation: &Installation, kind: &str, object: &Value) -> Result<(), String> {
    let client = installation.management.client_for(ADA, &[]).await.unwrap();
    let object = serde_json::from_value(object.clone()).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let outcome = api(client, kind, TEAM).await.unwrap().create(&dry, &object).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

async fn who_may_not_operate_writes_none(installation: &Installation) {
    let binding =
        ["create", "rolebinding", "ada-edits", "--clusterrole=drover-edit", "--user=ada", "--namespace", TEAM];
    installation.kubectl(&binding).unwrap();
    may(&installation.management, ADA, "create etcdbackupschedules.drover.dev", TEAM, true).await;
    let (of_eu, of_all) = (a_schedule("of-ada", &json!({})), a_schedule("of-ada", &json!({"clusters": {"all": {}}})));
    let refused = creates(installation, KIND, &of_eu).await.unwrap_err();
    assert!(refused.contains("only who has the verb operate on clusters.drover.dev eu"), "{refused}");
    let role = ["create", "clusterrole", "operator-of-eu", "--verb=operate", "--resource=clusters.drover.dev"];
    installation.kubectl(&[&role[..], &["--resource-name=eu"]].concat()).unwrap();
    installation
        .kubectl(&["create", "clusterrolebinding", "ada-operates", "--clusterrole=operator-of-eu", "--user=ada"])
        .unwrap();
    let may_now = async || Ok(creates(installation, KIND, &of_eu).await.ok());
    eventually("ada may operate on eu", soon(), may_now).await.unwrap();
    let refused = creates(installation, KIND, &of_all).await.unwrap_err();
    assert!(refused.contains("the verb operate on all clusters.drover.dev"), "{refused}");
}

impl Story {
    async fn backups(&self) -> Vec<Value> {
        let all = api(self.installation.management.client(), "etcdbackup", TEAM).await.unwrap();
        let all = all.list(&ListParams::default()).await.unwrap();
        all.items.iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }

    /// As if it had been written long ago, and Drover been down since: the newest backup that was missed is taken at once.
    async fn becomes_old(&self, name: &str) {
        let since =
            Timestamp::from_second(self.created(name).await.as_second()).unwrap() - SignedDuration::from_hours(2);
        let all = api(self.installation.management.client(), KIND, TEAM).await.unwrap();
        let change = json!({"status": {"since": since.to_string()}});
        all.patch_status(name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    }

    async fn created(&self, name: &str) -> Timestamp {
        let found = get(&self.installation, KIND, name).await.unwrap();
        found["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap()
    }

    async fn it_takes_a_backup_a_minute_and_keeps_the_last(&mut self) {
        let spec = json!({"retention": {"keepLast": 1}, "template": {"storeNames": ["main"], "verify": "Restore"}});
        self.installation.apply(&a_schedule("minutely", &spec)).await.unwrap();
        reads(&self.installation, KIND, "minutely", "Ready", "True/Ready").await;
        assert_eq!(self.backups().await.len(), 0, "it begins with its next tick");
        self.installation.stop_drover(End::Terminate).await.unwrap();
        self.becomes_old("minutely").await;
        self.installation.start_drover().await.unwrap();
        let succeeded = |found: Option<&Value>| found.is_some_and(|found| found["status"]["backups"]["verified"] == 1);
        object_becomes(&self.installation, KIND, "minutely", "the first backup succeeded", succeeded).await;
        let first = self.backups().await[0].clone();
        let name = first["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("minutely-") && name.len() == "minutely-".len() + 12 + 1 + 12, "{name}");
        assert_eq!(first["metadata"]["labels"]["drover.dev/owner-kind"], "EtcdBackupSchedule");
        assert_eq!(first["metadata"].get("ownerReferences"), None);
        let data = self.store.keys().unwrap();
        assert_eq!(data.len(), 2, "{data:?}");
        // Whatever becomes of Drover, each time has one backup.
        restart_drover(&mut self.installation, End::Kill).await;
        let what = "the next backup succeeded, and the first one is gone with its data";
        let next = async || {
            let (keys, backups) = (self.store.keys().unwrap(), self.backups().await);
            let is_gone = !backups.iter().any(|backup| backup["metadata"]["name"] == *name);
            let has_next = backups.iter().any(|backup| backup["status"]["phase"] == "Succeeded");
            Ok((is_gone && has_next && !keys.iter().any(|key| data.contains(key))).then_some(()))
        };
        eventually(what, patiently(std::time::Duration::from_mins(2)), next).await.unwrap();
        patch(&self.installation, KIND, "minutely", json!({"spec": {"suspend": true}})).await;
        reads(&self.installation, KIND, "minutely", "Ready", "True/Suspended").await;
        let status = get(&self.installation, KIND, "minutely").await.unwrap()["status"].clone();
        assert_eq!(status["recoveryPoint"]["cluster"], "eu", "{status}");
        assert_eq!(status["clusters"]["summary"], "1/1", "{status}");
    }

    async fn what_goes_deletes_no_data(&self) {
        let over = async || {
            let backups = self.backups().await;
            let all = backups.iter().all(|backup| backup["status"].get("completedAt").is_some());
            Ok(all.then_some(backups.len()))
        };
        let count = eventually("all backups are over", soon(), over).await.unwrap();
        let data = self.store.keys().unwrap();
        quiet(&self.installation, "backups were taken at times that repeat").await;
        deleted(&self.installation, KIND, "minutely").await;
        quiet(&self.installation, "the schedule is gone").await;
        assert_eq!((self.backups().await.len(), self.store.keys().unwrap()), (count, data.clone()));
        // One of the same name takes them up again.
        self.installation.apply(&a_schedule("minutely", &json!({"schedule": "@yearly"}))).await.unwrap();
        let takes_up = |found: Option<&Value>| {
            found.is_some_and(|found| found["status"]["backups"]["succeeded"].as_u64().is_some_and(|known| known > 0))
        };
        object_becomes(&self.installation, KIND, "minutely", "it takes its backups up again", takes_up).await;
        deleted(&self.installation, "cluster", "eu").await;
        reads(&self.installation, KIND, "minutely", "Ready", "False/ClusterNotFound").await;
        assert_eq!((self.backups().await.len(), self.store.keys().unwrap()), (count, data));
    }
}

/// Who may write backups of the cluster makes none that the schedule would delete, and takes none away from it.
async fn nobody_makes_up_one_of_it(installation: &Installation) {
    let forged = |name: &str, labels: Value| {
        let metadata = json!({"name": name, "namespace": TEAM, "labels": labels});
        let spec = json!({"clusterName": "eu", "storeNames": ["main"]});
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup", "metadata": metadata, "spec": spec})
    };
    let labels = json!({
        "drover.dev/owner-kind": "EtcdBackupSchedule", "drover.dev/owner-namespace": TEAM, "drover.dev/owner-name": "minutely",
    });
    creates(installation, "etcdbackup", &forged("own", json!({}))).await.unwrap();
    let refused = creates(installation, "etcdbackup", &forged("forged", labels.clone())).await.unwrap_err();
    assert!(refused.contains("the verb manage on etcdbackupschedules.drover.dev minutely"), "{refused}");
    let backups = api(installation.management.client(), "etcdbackup", TEAM).await.unwrap();
    let one = backups.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let client = installation.management.client_for(ADA, &[]).await.unwrap();
    let of_ada = api(client, "etcdbackup", TEAM).await.unwrap();
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    for (change, is_allowed) in [
        (json!({"metadata": {"labels": {"drover.dev/owner-name": "other"}}}), false),
        (json!({"metadata": {"labels": {"drover.dev/owner-kind": null}}}), false),
        (json!({"metadata": {"annotations": {"drover.dev/created": null}}}), false),
        (json!({"metadata": {"annotations": {"note": "mine"}}}), true),
        (json!({"spec": {"pinned": true}}), true),
    ] {
        let outcome = of_ada.patch(&one, &dry, &Patch::Merge(&change)).await;
        assert_eq!(outcome.is_ok(), is_allowed, "{change}: {outcome:?}");
    }
    may(&installation.management, DROVER_USER, "manage etcdbackupschedules.drover.dev", TEAM, true).await;
}
