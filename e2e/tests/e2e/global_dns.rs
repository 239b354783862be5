//! Names that follow the addresses of an app on many clusters, on real API servers and a real BIND.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_e2e::Tools;
use drover_e2e::bind::{Bind, KEY, SECRET, ZONE};
use drover_e2e::existing::skip;
use drover_e2e::http_proxy::WriteTrap;
use drover_e2e::installation::{End, Installation};
use drover_e2e::objects::{api, apply_to};
use drover_e2e::proxy::Mode;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use kube::api::ListParams;
use serde_json::{Value, json};

drover_e2e::tests![
    a_name_follows_the_addresses_of_two_clusters_and_leaves_nothing,
    a_name_is_left_alone_that_others_have_or_that_is_not_granted,
    a_name_fails_over_to_the_next_tier_and_back,
    a_server_that_lags_is_named_and_holds_up_no_write,
    a_name_keeps_the_addresses_of_a_cluster_that_is_away_over_a_restart_until_its_cluster_is_deleted,
];

const NAME: &str = "shop.team.example.com";
/// What others have in the zone.
const FOREIGN: &str = "other A 192.0.2.1\ntaken.team A 192.0.2.2\n\
                       a-taken.team TXT \"heritage=external-dns,external-dns/owner=somewhere-else\"";

fn the_key(bind: &Bind) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "dns-key", "namespace": "drover-system",
            "labels": {"drover.dev/usable-by": "global-dns-provider"}, "annotations": {"drover.dev/hosts": bind.server()},
        },
        "stringData": {"tsigSecret": SECRET},
    })
}

fn a_provider(bind: &Bind) -> Value {
    let rfc2136 = json!({"server": bind.server(), "keyName": KEY, "verifyServers": [bind.server()]});
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNSProvider", "metadata": {"name": "main"},
        "spec": {
            "rfc2136": rfc2136, "credentialsSecretRef": {"name": "dns-key"}, "domains": [ZONE],
            "grants": [{"from": {"names": [TEAM]}, "suffixes": [format!("team.{ZONE}")]}],
        },
    })
}

fn names(name: &str, fqdns: &[&str], spec: &Value) -> Value {
    let selection = json!({"clusters": {"selector": {"matchLabels": {"env": "prod"}}}, "namespaces": ["team-web"]});
    let mut whole = json!({"providerName": "main", "fqdns": fqdns, "targets": {"selection": selection}});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNS",
        "metadata": {"name": name, "namespace": TEAM}, "spec": whole,
    })
}

/// An Ingress for a host on a cluster, with these addresses.
async fn ingress(installation: &Installation, cluster: &str, host: &str, addresses: &[&str]) {
    let plane = installation.cluster(cluster).unwrap();
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let rule = json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let metadata = json!({"name": "web", "namespace": "team-web"});
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {"rules": [rule]},
    });
    apply_to(plane, &object).await.unwrap();
    addressed(installation, cluster, addresses).await;
}

/// What an ingress controller does.
async fn addressed(installation: &Installation, cluster: &str, addresses: &[&str]) {
    let points: Vec<_> = addresses.iter().map(|address| json!({"ip": address})).collect();
    let status = json!({"status": {"loadBalancer": {"ingress": points}}});
    let plane = installation.cluster(cluster).unwrap();
    let api = api(plane.client(), "ingress", "team-web").await.unwrap();
    let params = kube::api::PatchParams::default();
    api.patch_status("web", &params, &kube::api::Patch::Merge(&status)).await.unwrap();
}

struct Story {
    installation: Installation,
    bind: Bind,
    before: BTreeSet<String>,
}

impl Story {
    async fn begin(test: &str) -> Option<Self> {
        let tools = Tools::from_environment().unwrap();
        let bind = match Bind::start(&tools, FOREIGN).await {
            Ok(bind) => bind,
            Err(error) => {
                skip(test, &error.to_string());
                return None;
            }
        };
        let before = bind.records().unwrap();
        let installation = restful_story(test, &["eu", "us"]).await?;
        for (cluster, range) in [("eu", "192.0.2.0/25"), ("us", "192.0.2.128/25")] {
            patch(&installation, "cluster", cluster, json!({"spec": {"publicRanges": [range]}})).await;
            apply_to(installation.cluster(cluster).unwrap(), &a_namespace("team-web")).await.unwrap();
        }
        installation.apply(&the_key(&bind)).await.unwrap();
        ready_with(&installation, &a_provider(&bind)).await;
        Some(Self { installation, bind, before })
    }

    async fn answers(&self, what: &str, name: &str, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(|address| (*address).to_owned()).collect();
        let asked = eventually(what, soon(), async || {
            let found = self.bind.answers(name)?;
            Ok((found == expected).then_some(()))
        });
        if asked.await.is_err() {
            let status = get(&self.installation, "globaldns", "team/shop").await.unwrap_or_default();
            panic!(
                "{what}: {:?} instead of {expected:?}; {status:#}\ndrover:\n{}",
                self.bind.answers(name),
                self.installation.drover_log()
            );
        }
    }

    async fn claims(&self) -> usize {
        let api = api(self.installation.management.client(), "configmap", "drover-system").await.unwrap();
        let all = api.list(&ListParams::default().labels("drover.dev/owner-kind=GlobalDNS")).await.unwrap();
        all.items.len()
    }

    async fn nothing_is_left(&self) {
        let is_clean = async || Ok((self.bind.records()? == self.before).then_some(()));
        let outcome = eventually("the zone is as before", soon(), is_clean).await;
        assert!(outcome.is_ok(), "{:?}\n{}", self.bind.records(), self.installation.drover_log());
        assert_eq!(self.claims().await, 0);
    }
}

async fn a_name_follows_the_addresses_of_two_clusters_and_leaves_nothing() {
    let Some(mut story) = Story::begin("names").await else { return };
    let installation = &story.installation;
    ingress(installation, "eu", NAME, &["192.0.2.10", "192.0.2.200", "10.0.0.1"]).await;
    ingress(installation, "us", NAME, &["192.0.2.210"]).await;
    ready_with(installation, &names("shop", &[NAME], &json!({}))).await;
    story
        .answers("both clusters answer, each with addresses of its ranges", NAME, &["192.0.2.10", "192.0.2.210"])
        .await;
    reads(installation, "globaldns", "team/shop", "Propagated", "True/AllServersAnswer").await;
    let shop = get(installation, "globaldns", "team/shop").await.unwrap();
    assert_eq!(shop["status"]["summary"], "2 addresses of eu, us", "{shop:#}");
    assert_eq!(shop["status"]["excluded"].as_array().unwrap().len(), 2, "{shop:#}");
    quiet(installation, "the names are written").await;

    addressed(installation, "eu", &[]).await;
    story.answers("it leaves the cluster that lost its address", NAME, &["192.0.2.210"]).await;
    addressed(installation, "us", &[]).await;
    reads(installation, "globaldns", "team/shop", "TargetsResolved", "False/KeptLast").await;
    story.answers("it never becomes empty by that", NAME, &["192.0.2.210"]).await;
    addressed(installation, "eu", &["192.0.2.11"]).await;
    story.answers("it follows what comes back", NAME, &["192.0.2.11"]).await;
    addressed(installation, "us", &["192.0.2.211"]).await;
    story.answers("and the other one", NAME, &["192.0.2.11", "192.0.2.211"]).await;

    patch(installation, "cluster", "eu", json!({"spec": {"drainTraffic": true}})).await;
    story.answers("a cluster is taken out on purpose", NAME, &["192.0.2.211"]).await;
    patch(installation, "cluster", "eu", json!({"spec": {"drainTraffic": false}})).await;
    story.answers("and comes back", NAME, &["192.0.2.11", "192.0.2.211"]).await;

    story.bind.stop();
    patch(&story.installation, "globaldns", "team/shop", json!({"spec": {"ttl": 60}})).await;
    reads(&story.installation, "globaldns", "team/shop", "Ready", "False/ProviderUnavailable").await;
    story.bind.resume().await.unwrap();
    let installation = &story.installation;
    patch(installation, "globaldns", "team/shop", json!({"spec": {"ttl": 90}})).await;
    reads(installation, "globaldns", "team/shop", "Ready", "True/Ready").await;
    deleted(installation, "globaldns", "team/shop").await;
    story.nothing_is_left().await;
}

async fn a_name_keeps_the_addresses_of_a_cluster_that_is_away_over_a_restart_until_its_cluster_is_deleted() {
    let Some(mut story) = Story::begin("a cluster that is away").await else { return };
    let (connections, _requests) = proxied(&story.installation, "us", Arc::new(WriteTrap::default())).await;
    ingress(&story.installation, "eu", NAME, &["192.0.2.10"]).await;
    ingress(&story.installation, "us", NAME, &["192.0.2.210"]).await;
    ready_with(&story.installation, &names("shop", &[NAME], &json!({}))).await;
    let both = ["192.0.2.10", "192.0.2.210"];
    story.answers("both clusters answer", NAME, &both).await;

    connections.set(Mode::HangInDial);
    reads(&story.installation, "cluster", "us", "Ready", "False/Timeout").await;
    reads(&story.installation, "globaldns", "team/shop", "Ready", "True/ReadyExceptUnreachable").await;
    restart_drover(&mut story.installation, End::Kill).await;
    addressed(&story.installation, "eu", &["192.0.2.11"]).await;
    let both = ["192.0.2.11", "192.0.2.210"];
    story.answers("the other one is followed, and what cannot be looked at stays", NAME, &both).await;
    let is_told =
        |shop: Option<&Value>| shop.is_some_and(|shop| shop["status"]["published"].to_string().contains("192.0.2.11"));
    object_becomes(&story.installation, "globaldns", "team/shop", "the status knows the cluster of each", is_told)
        .await;
    addressed(&story.installation, "eu", &[]).await;
    story.answers("also if it is the only one left", NAME, &["192.0.2.210"]).await;
    addressed(&story.installation, "eu", &["192.0.2.10"]).await;

    patch(&story.installation, "cluster", "us", json!({"spec": {"deletionTimeout": "1s"}})).await;
    deleted(&story.installation, "cluster", "us").await;
    story.answers("nothing of a Cluster that is deleted is kept", NAME, &["192.0.2.10"]).await;
    deleted(&story.installation, "globaldns", "team/shop").await;
    story.nothing_is_left().await;
}

async fn a_name_fails_over_to_the_next_tier_and_back() {
    let Some(story) = Story::begin("a failover").await else { return };
    let installation = &story.installation;
    ingress(installation, "eu", NAME, &["192.0.2.10", "192.0.2.11"]).await;
    ingress(installation, "us", NAME, &["192.0.2.210"]).await;
    let tier = |cluster: &str, least: u32| json!({"clusters": {"names": [cluster]}, "minHealthy": least});
    let policy = json!({"policy": {"failover": {"tiers": [tier("eu", 2), tier("us", 1)]}}});
    ready_with(installation, &names("shop", &[NAME], &policy)).await;
    story.answers("the first tier answers", NAME, &["192.0.2.10", "192.0.2.11"]).await;
    addressed(installation, "eu", &["192.0.2.10"]).await;
    story.answers("it has too few, so the next one does", NAME, &["192.0.2.210"]).await;
    let is_second = |shop: Option<&Value>| shop.is_some_and(|shop| shop["status"]["published"][0]["tier"] == 2);
    object_becomes(installation, "globaldns", "team/shop", "the status names the tier", is_second).await;
    addressed(installation, "eu", &["192.0.2.10", "192.0.2.12"]).await;
    story.answers("and back", NAME, &["192.0.2.10", "192.0.2.12"]).await;
    deleted(installation, "globaldns", "team/shop").await;
    story.nothing_is_left().await;
}

async fn a_server_that_lags_is_named_and_holds_up_no_write() {
    let Some(story) = Story::begin("a server that lags").await else { return };
    let installation = &story.installation;
    let mut secondary = Bind::start(&Tools::from_environment().unwrap(), "").await.unwrap();
    let verified_by = async |servers: Vec<String>| {
        let rfc2136 = json!({"rfc2136": {"verifyServers": servers}});
        patch(installation, "globaldnsprovider", "main", json!({"spec": rfc2136})).await;
    };
    verified_by(vec![story.bind.server(), secondary.server()]).await;
    ingress(installation, "eu", NAME, &["192.0.2.10"]).await;
    installation.apply(&names("shop", &[NAME], &json!({}))).await.unwrap();
    story.answers("the primary answers", NAME, &["192.0.2.10"]).await;
    reads(installation, "globaldns", "team/shop", "Propagated", "False/Propagating").await;
    let shop = get(installation, "globaldns", "team/shop").await.unwrap();
    let lag = shop["status"]["conditions"].as_array().unwrap().iter().find(|found| found["type"] == "Propagated");
    let message = lag.map(|found| found["message"].to_string()).unwrap_or_default();
    assert!(message.contains(&secondary.server()), "{shop:#}");
    reads(installation, "globaldns", "team/shop", "Ready", "True/Ready").await;
    secondary.stop();
    addressed(installation, "eu", &["192.0.2.11"]).await;
    story.answers("the name follows all the same", NAME, &["192.0.2.11"]).await;
    reads(installation, "globaldns", "team/shop", "Propagated", "False/Propagating").await;
    verified_by(vec![story.bind.server()]).await;
    reads(installation, "globaldns", "team/shop", "Propagated", "True/AllServersAnswer").await;
    deleted(installation, "globaldns", "team/shop").await;
    story.nothing_is_left().await;
}

async fn a_name_is_left_alone_that_others_have_or_that_is_not_granted() {
    let Some(story) = Story::begin("foreign names").await else { return };
    let installation = &story.installation;
    let taken = "taken.team.example.com";
    ingress(installation, "eu", taken, &["192.0.2.10"]).await;
    installation.apply(&names("taken", &[taken], &json!({}))).await.unwrap();
    reads(installation, "globaldns", "team/taken", "Ready", "False/RecordConflict").await;
    installation.apply(&names("outside", &["shop.example.com"], &json!({}))).await.unwrap();
    reads(installation, "globaldns", "team/outside", "Accepted", "False/NameNotGranted").await;
    let seen = json!({"mode": "Observe"});
    ingress(installation, "us", NAME, &["192.0.2.210"]).await;
    installation.apply(&names("shop", &[NAME], &seen)).await.unwrap();
    reads(installation, "globaldns", "team/shop", "Programmed", "False/Observing").await;
    let shop = get(installation, "globaldns", "team/shop").await.unwrap();
    assert_eq!(shop["status"]["plan"][0], format!("{NAME} A: nothing -> 192.0.2.210"), "{shop:#}");
    assert_eq!(story.bind.records().unwrap(), story.before, "nothing was written");
    patch(installation, "globaldns", "team/shop", json!({"spec": {"mode": "Enforce"}})).await;
    reads(installation, "globaldns", "team/shop", "Ready", "True/Ready").await;
    installation.apply(&names("second", &[NAME], &json!({}))).await.unwrap();
    reads(installation, "globaldns", "team/second", "Accepted", "False/NameTaken").await;
    for name in ["taken", "outside", "second", "shop"] {
        deleted(installation, "globaldns", &format!("team/{name}")).await;
    }
    story.nothing_is_left().await;
}
