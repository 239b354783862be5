//! Random roles, members and changes, judged by the API servers themselves: who may do what, and which rights may be handed on.
//!
//! A test says with which seed it ran; the variable `DROVER_E2E_SEED` repeats it.

#![expect(clippy::disallowed_methods, reason = "a test may read the clock")]

mod model;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use drover_crds::RoleTemplate;
use drover_e2e::ControlPlane;
use drover_e2e::installation::{End, Installation};
use drover_e2e::objects::apply_to;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use drover_roles::{Resolved, narrowed, resolve};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use model::{CLUSTERS, LABEL, PREFIX, Question, Said};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

drover_e2e::tests![
    b1_after_any_change_and_crash_the_api_servers_allow_what_bindings_say_and_nothing_else,
    r3_what_counts_as_covered_is_what_the_api_server_lets_its_holder_hand_on,
];

/// So many times something changes.
const STEPS: usize = 8;
/// What drover does by mistake, it does within this time.
const LATE: Duration = Duration::from_millis(300);
/// Questions to an API server at a time.
const AT_ONCE: usize = 16;

fn dice(what: &str) -> StdRng {
    let seed = std::env::var("DROVER_E2E_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("{what}: DROVER_E2E_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A time that is over before anybody asks what is left.
fn in_a_moment() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(1)
}

/// Also B8: in whatever order all of it is applied, the same stands in the clusters at the end.
async fn b1_after_any_change_and_crash_the_api_servers_allow_what_bindings_say_and_nothing_else() {
    let Some(mut installation) = prepared_restful("oracle", &CLUSTERS).await else { return };
    for name in CLUSTERS {
        let mut cluster = a_cluster(name);
        cluster["spec"]["tenants"][0]["adopt"] = json!("Allowed");
        if name == "us" {
            cluster["metadata"]["labels"][LABEL.0] = json!(LABEL.1);
            cluster["spec"]["identity"] = json!({"usernamePrefix": PREFIX, "groupsPrefix": PREFIX});
        }
        installation.apply(&cluster).await.unwrap();
    }
    installation.start_drover_as("drover-again").await.unwrap();
    let mut dice = dice("who may do what");
    let mut said = Said::any(&mut dice, in_a_moment());
    write(&mut installation, &mut dice, &Said::default(), &said, Crash::Never).await;
    agree(&installation, &said, "at first").await;
    for step in 1..=STEPS {
        let next = said.changed(&mut dice, in_a_moment());
        let crash = [Crash::Never, Crash::Before, Crash::Amid][dice.random_range(0..3)];
        write(&mut installation, &mut dice, &said, &next, crash).await;
        agree(&installation, &next, &format!("after step {step}, {crash:?}")).await;
        for (kind, name) in said.objects().into_keys().filter(|key| !next.objects().contains_key(key)) {
            becomes_gone(&installation, kind, name).await;
        }
        said = next;
    }

    let before = grants(&installation).await;
    write(&mut installation, &mut dice, &said, &Said::default(), Crash::Never).await;
    agree(&installation, &Said::default(), "nothing is said any more").await;
    for (kind, name) in said.objects().into_keys() {
        becomes_gone(&installation, kind, name).await;
    }
    write(&mut installation, &mut dice, &Said::default(), &said, Crash::Never).await;
    agree(&installation, &said, "all is said again, in another order").await;
    let outcome = eventually("the same grants as before", soon(), async || {
        Ok((grants(&installation).await == before).then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{before:#?}\nand now\n{:#?}", grants(&installation).await);
}

/// When drover dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Never,
    /// Before something changes; it is back afterwards.
    Before,
    /// Amid the changes; it is back at once.
    Amid,
}

/// Changes what people said, in any order.
async fn write(installation: &mut Installation, dice: &mut StdRng, from: &Said, to: &Said, crash: Crash) {
    let (from, to) = (from.objects(), to.objects());
    let mut keys: Vec<_> = from.keys().chain(to.keys()).filter(|key| from.get(*key) != to.get(*key)).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.shuffle(dice);
    if crash == Crash::Before {
        installation.stop_drover(End::Kill).await.unwrap();
    }
    let half = keys.len() / 2;
    for (number, key) in keys.into_iter().enumerate() {
        let (kind, name) = key;
        let (was, is) = (from.get(&key), to.get(&key));
        // Which role a binding gives, and where, cannot be changed.
        let is_replaced = kind.ends_with("binding") && was.is_some() && is.is_some();
        match is {
            None => delete(installation, kind, name).await,
            Some(_) if is_replaced && was.map(fixed) != is.map(fixed) => deleted(installation, kind, name).await,
            Some(_) => {}
        }
        if let Some(object) = is {
            let outcome = installation.apply(object).await;
            assert!(outcome.is_ok(), "{outcome:?}: {object:#}");
        }
        if crash == Crash::Amid && number == half {
            restart_as_itself(installation, End::Kill).await;
        }
    }
    if crash == Crash::Before {
        installation.start_drover_as("drover-again").await.unwrap();
    }
}

fn fixed(binding: &Value) -> [&Value; 2] {
    [&binding["spec"]["projectName"], &binding["spec"]["roleTemplateName"]]
}

/// Waits until the API servers answer every question as what was said demands, and looks again: what is granted too much may come
/// late.
async fn agree(installation: &Installation, said: &Said, when: &str) {
    answered(installation, said, when).await;
    tokio::time::sleep(LATE).await;
    answered(installation, said, when).await;
}

async fn answered(installation: &Installation, said: &Said, when: &str) {
    let mut questions = said.questions();
    let started = Instant::now();
    let outcome = eventually(when, soon(), async || {
        let answers = stream::iter(&questions).map(|question| is_answered(installation, question));
        let answers: Vec<bool> = answers.buffered(AT_ONCE).take_while(|so| std::future::ready(*so)).collect().await;
        let agreed = answers.len();
        let all = questions.len();
        // What was answered otherwise is asked first the next time.
        questions.rotate_left(agreed % all);
        Ok((agreed == all).then_some(()))
    })
    .await;
    let (question, log) = (questions.first(), installation.drover_log());
    assert!(outcome.is_ok(), "{when}: answered otherwise: {question:?}\n{said:#?}\n{log}");
    println!("{when}: {} answers after {:?}", questions.len(), started.elapsed());
}

async fn is_answered(installation: &Installation, question: &Question) -> bool {
    let Question { cluster, who, namespace, what, expected } = question;
    allows(installation.cluster(cluster).unwrap(), who, what, namespace).await.unwrap() == *expected
}

/// What stands in the clusters that grants something: kind, namespace, name, and content.
async fn grants(installation: &Installation) -> BTreeMap<&'static str, Vec<Value>> {
    let mut all = BTreeMap::new();
    for name in CLUSTERS {
        let found = belongings(installation, name).await.into_iter();
        let grants = found.filter(|it| it[0].as_str().is_some_and(|kind| kind.contains("Role")));
        let mut grants: Vec<Value> = grants.map(|it| json!([it[0], it[1], it[2], it[5]])).collect();
        grants.sort_by_key(Value::to_string);
        all.insert(name, grants);
    }
    all
}

/// Users who hold rights, each of whom asks to write roles.
const HOLDERS: usize = 20;
const ASKED_BY_EACH: usize = 16;

struct Holder {
    rights: Resolved,
    client: Client,
}

/// What `narrowed` leaves whole is covered. The API server lets nobody write a role with rights that he does not hold, so it has to
/// agree; with wildcards, which Drover takes as they are written, Drover may only be the stricter one.
async fn r3_what_counts_as_covered_is_what_the_api_server_lets_its_holder_hand_on() {
    let Some(installation) = prepared("escalation", &[]).await else { return };
    let plane = &installation.management;
    let mut dice = dice("what is covered");
    let writers =
        json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["create"]}]);
    bind(plane, "writers", &writers, &json!({"kind": "Group", "name": "writers"})).await;
    let mut holders = Vec::new();
    for number in 0..HOLDERS {
        let rights = any_rights(&mut dice, number % 2 == 1);
        let name = format!("holder-{number}");
        bind(plane, &name, &json!(rights.rules), &json!({"kind": "User", "name": name})).await;
        let client = plane.client_for(&name, &["writers"]).await.unwrap();
        holders.push(Holder { rights, client });
    }
    let all_hold = async || {
        let verdicts = stream::iter(&holders).then(|holder| may_write(holder, &holder.rights.rules));
        Ok(verdicts.all(std::future::ready).await.then_some(()))
    };
    eventually("everybody holds what he was given", soon(), all_hold).await.unwrap();

    let (mut covered, mut others) = (0, 0);
    for (number, holder) in holders.iter().enumerate() {
        let has_wildcards = number % 2 == 1;
        for _ in 0..ASKED_BY_EACH {
            let wanted = some_of(&mut dice, &holder.rights, has_wildcards);
            let is_covered = narrowed(&wanted.rules, &holder.rights.rules) == wanted.rules;
            let verdict = may_write(holder, &wanted.rules).await;
            let agrees = verdict == is_covered || (has_wildcards && verdict);
            assert!(
                agrees,
                "covered: {is_covered}, allowed: {verdict}\n{:#?}\nof\n{:#?}",
                wanted.rules, holder.rights.rules
            );
            *(if is_covered { &mut covered } else { &mut others }) += 1;
        }
    }
    println!("{covered} covered, {others} not");
    assert!(covered > 30 && others > 30, "{covered} covered, {others} not");
}

async fn bind(plane: &ControlPlane, name: &str, rules: &Value, subject: &Value) {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    apply_to(plane, &role).await.unwrap();
    let reference = json!({"apiGroup": group, "kind": "ClusterRole", "name": name});
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": reference, "subjects": [subject],
    });
    apply_to(plane, &binding).await.unwrap();
}

async fn may_write(holder: &Holder, rules: &[PolicyRule]) -> bool {
    let mut role = ClusterRole { rules: Some(rules.to_vec()), ..ClusterRole::default() };
    role.metadata.name = Some("asked".to_owned());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    Api::<ClusterRole>::all(holder.client.clone()).create(&dry, &role).await.is_ok()
}

fn any_rule(dice: &mut StdRng, has_wildcards: bool) -> Value {
    let mut some = |plain: &[&'static str], wild: &[&'static str]| {
        let all: Vec<_> = plain.iter().chain(wild.iter().filter(|_| has_wildcards)).copied().collect();
        let mut found: Vec<_> = all.iter().copied().filter(|_| dice.random_bool(0.4)).collect();
        found.push(all[dice.random_range(0..all.len())]);
        found
    };
    let verbs = some(&["get", "list", "delete"], &[]);
    let (groups, resources) =
        (some(&["", "apps"], &["*"]), some(&["pods", "deployments", "pods/log"], &["*", "*/log"]));
    let (secrets, paths) = (some(&["one", "two"], &[]), some(&["/custom", "/custom/a"], &["/custom/*"]));
    match dice.random_range(0..6) {
        // Secrets only by name, as whoever has all of a kind has each by name as well.
        0 => json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": verbs}),
        1 => json!({"nonResourceURLs": paths, "verbs": ["get"]}),
        2 if has_wildcards => {
            json!({"apiGroups": groups, "resources": resources, "resourceNames": secrets, "verbs": verbs})
        }
        _ => json!({"apiGroups": groups, "resources": resources, "verbs": verbs}),
    }
}

fn template(name: &str, rules: &[Value], inherits: &[&str]) -> RoleTemplate {
    let spec = json!({"context": "Cluster", "rules": rules, "inherits": inherits});
    let object =
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// What a template allows that inherits from two others.
fn any_rights(dice: &mut StdRng, has_wildcards: bool) -> Resolved {
    let mut rules =
        |most: usize| (0..dice.random_range(0..=most)).map(|_| any_rule(dice, has_wildcards)).collect::<Vec<_>>();
    let all = [
        template("top", &rules(2), &["left", "right"]),
        template("left", &rules(2), &["right"]),
        template("right", &rules(2), &["top"]),
    ];
    resolve(&all[0], |name| all.iter().find(|each| each.name_any() == name))
}

/// Rights of which the holder has most, and now and then some that he has not.
fn some_of(dice: &mut StdRng, held: &Resolved, has_wildcards: bool) -> Resolved {
    let mut rules: Vec<Value> = Vec::new();
    for rule in held.rules.iter().filter(|_| dice.random_bool(0.7)).collect::<Vec<_>>() {
        let mut rule = json!(rule);
        for field in ["apiGroups", "resources", "resourceNames", "nonResourceURLs", "verbs"] {
            if let Some(texts) = rule.get_mut(field).and_then(Value::as_array_mut).filter(|texts| texts.len() > 1) {
                texts.remove(dice.random_range(0..texts.len()));
            }
        }
        rules.push(rule);
    }
    if dice.random_bool(0.5) {
        rules.push(any_rule(dice, has_wildcards));
    }
    resolve(&template("wanted", &rules, &[]), |_| None)
}
