//! What is offered, what becomes of copies, and that nothing shows what they hold.

use std::sync::Arc;

use drover_crds::{
    Cluster, Project,
    names::{ANNOTATION_APPLIED, LABEL_PROJECT},
};
use drover_grants::Scope;
use drover_runtime::{
    ApiError, ObjectKey, Title,
    cache::Change as Seen,
    owned::{Change, Owned},
    write::desired_hash,
};
use serde_json::{Value, json};

use crate::{
    Offer, Offers, SecretCopy, SourceSecret,
    decide::{Copies, Decided},
    source::concerned,
};

/// What no text may show, and as the API has it.
const CANARY: [&str; 2] = ["hunter2", "aHVudGVyMg=="];

fn project(secrets: &[&str]) -> Project {
    let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
        "metadata": {"name": "shop", "namespace": "team", "uid": "uid-of-shop"},
        "spec": {"clusters": {"all": {}}, "secrets": secrets},
    }))
    .unwrap()
}

fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
        "spec": {"connection": {"local": {}}},
    }))
    .unwrap()
}

/// A Secret beside the Project, as the API has it.
fn a_secret(of: &str, kind: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": {"password": value},
        "metadata": {
            "name": "registry", "namespace": "team", "uid": "uid-of-source",
            "labels": {LABEL_PROJECT: of, "team": "a"}, "annotations": {"note": CANARY[0]},
        },
    })
}

fn source(value: &str) -> SourceSecret {
    serde_json::from_value(a_secret("shop", "Opaque", value)).unwrap()
}

fn offers_of(found: Option<Value>) -> Offers {
    let found: Option<SourceSecret> = found.map(|found| serde_json::from_value(found).unwrap());
    Offers::of(&project(&["registry"]), |name| found.clone().filter(|_| name == "registry").map(Arc::new))
}

fn offers(value: &str) -> Offers {
    offers_of(Some(a_secret("shop", "Opaque", value)))
}

/// The copy of `value` that Drover wrote for the Project, in `team-web`.
fn copied(value: &str) -> Owned<SecretCopy> {
    let offer = Offer::of(&source(value), "registry", "shop").unwrap();
    let hash = desired_hash(&SecretCopy::of(&offer, "team-web"));
    let mut live = a_secret("shop", "Opaque", value);
    live["metadata"] = json!({"name": "registry", "namespace": "team-web", "annotations": {ANNOTATION_APPLIED: hash}});
    owned(&live)
}

fn owned(live: &Value) -> Owned<SecretCopy> {
    let live = Arc::new(serde_json::from_value(live.clone()).unwrap());
    Owned { live: Ok(live), drift_conflict: None, title: Title::Created }
}

/// The copy `found` with these fields instead.
fn with(found: &Owned<SecretCopy>, fields: &Value) -> Owned<SecretCopy> {
    let meta = serde_json::to_value(found.meta()).unwrap();
    let mut live = json!({"metadata": meta, "type": "Opaque"});
    for (name, value) in fields.as_object().unwrap() {
        live[name] = value.clone();
    }
    owned(&live)
}

fn decided(found: &[Owned<SecretCopy>], offers: &Offers, scope: Scope) -> Decided {
    let copies = Copies { owned: found.to_vec(), refused: false };
    copies.decide(offers, &cluster(), "team-web", scope)
}

/// What is decided, in words; `=` says that all is as it should be.
fn words(found: &[Owned<SecretCopy>], offers: &Offers, scope: Scope) -> String {
    let Decided { withdrawals, grants, is_ready, problems } = decided(found, offers, scope);
    let changes = withdrawals.iter().chain(&grants).map(|change| match change {
        Change::Apply { reverted, .. } if !reverted.is_empty() => "restore".to_owned(),
        change => format!("{change:?}").split(' ').next().unwrap().to_owned(),
    });
    let problems = problems.iter().map(|problem| problem.cause.reason().to_owned());
    let mut all: Vec<_> = changes.chain(problems).collect();
    all.extend(is_ready.then(|| "=".to_owned()));
    all.join(" ")
}

#[test]
fn a_secret_is_offered_to_the_project_that_its_label_names_and_each_refusal_has_a_cause() {
    let of_type = |kind: &str| Some(a_secret("shop", kind, "aGk="));
    let mut unlabelled_type = a_secret("shop", "Opaque", "aGk=");
    unlabelled_type["type"] = Value::Null;
    for (what, found, expected) in [
        ("opaque", of_type("Opaque"), "offered"),
        ("without a type", Some(unlabelled_type), "offered"),
        ("registry", of_type("kubernetes.io/dockerconfigjson"), "offered"),
        ("old registry", of_type("kubernetes.io/dockercfg"), "offered"),
        ("certificate", of_type("kubernetes.io/tls"), "offered"),
        ("password", of_type("kubernetes.io/basic-auth"), "offered"),
        ("key", of_type("kubernetes.io/ssh-auth"), "offered"),
        ("token", of_type("kubernetes.io/service-account-token"), "withheld SecretTypeNotAllowed"),
        ("bootstrap", of_type("bootstrap.kubernetes.io/token"), "withheld SecretTypeNotAllowed"),
        ("release", of_type("helm.sh/release.v1"), "withheld SecretTypeNotAllowed"),
        ("none", None, "SecretNotFound"),
        ("another's", Some(a_secret("store", "Opaque", "aGk=")), "SecretOfAnotherProject"),
        (
            "another's token",
            Some(a_secret("store", "kubernetes.io/service-account-token", "aGk=")),
            "SecretOfAnotherProject",
        ),
        ("just fits", Some(a_secret("shop", "Opaque", &"A".repeat(4 * ((256 << 10) - 8) / 3))), "offered"),
        (
            "too large",
            Some(a_secret("shop", "Opaque", &"A".repeat(4 * ((256 << 10) + 3) / 3))),
            "withheld SecretTooLarge",
        ),
    ] {
        let Offers { offered, withheld, problems } = offers_of(found);
        let told = problems.iter().map(|problem| problem.cause.reason());
        let offered = offered.iter().map(|_| "offered");
        let withheld = withheld.iter().map(|_| "withheld");
        assert_eq!(offered.chain(withheld).chain(told).collect::<Vec<_>>().join(" "), expected, "{what}");
    }
}

#[test]
fn messages_name_the_secret_and_the_remedy() {
    let told = |found| offers_of(found).problems[0].message.clone();
    assert_eq!(
        told(None),
        "namespace team has no Secret registry with the label drover.dev/project: shop; create it, or label the one that is there"
    );
    assert_eq!(
        told(Some(a_secret("store", "Opaque", "aGk="))),
        "the label drover.dev/project of Secret team/registry names another Project; correct it to shop, or remove the Secret from spec.secrets"
    );
    let unreadable = Offers::unreadable(&project(&["registry", "tls"]));
    assert_eq!((unreadable.problems.len(), unreadable.withheld.len()), (1, 2));
    assert_eq!(Offers::unreadable(&project(&[])), Offers::default());
}

#[test]
fn copies_follow_their_source_within_what_may_be_given() {
    let (here, gone, withheld) = (offers("b25l"), offers_of(None), Offers::unreadable(&project(&["registry"])));
    let (same, old) = (copied("b25l"), copied("dHdv"));
    let edited = with(&same, &json!({"data": {"password": "dGhyZWU="}}));
    let grown = with(&same, &json!({"data": {"password": "b25l", "more": "b25l"}}));
    let retyped = with(&same, &json!({"data": {"password": "b25l"}, "type": "kubernetes.io/tls"}));
    let foreign_type = with(&same, &json!({"data": {"password": "b25l"}, "type": "example.com/other"}));
    let fixed = with(&old, &json!({"data": {"password": "dHdv"}, "immutable": true}));
    let contested = Owned { drift_conflict: Some(applied(&same)), ..edited.clone() };
    let titled = |title| Owned { title, ..old.clone() };
    for (what, found, offers, in_all, in_no_more, in_nothing) in [
        ("absent", None, &here, "create", "", "="),
        ("the same", Some(&same), &here, "=", "=", "delete"),
        ("changed at the source", Some(&old), &here, "apply", "", "delete"),
        ("edited by a tenant", Some(&edited), &here, "restore", "", "delete"),
        ("with a key more", Some(&grown), &here, "restore", "", "delete"),
        ("contested", Some(&contested), &here, "DriftConflict", "", "delete"),
        ("of another type", Some(&retyped), &here, "delete", "", "delete"),
        ("of a type that Drover never writes", Some(&foreign_type), &here, "delete", "", "delete"),
        ("immutable and old", Some(&fixed), &here, "delete", "", "delete"),
        ("withdrawn", Some(&same), &gone, "delete", "delete", "delete"),
        ("withheld", Some(&same), &withheld, "=", "=", "delete"),
        ("adopted", Some(&titled(Title::Adopted)), &here, "apply", "", "release"),
        ("adopted and withdrawn", Some(&titled(Title::Adopted)), &gone, "release", "release", "release"),
        ("forged", Some(&titled(Title::Unfounded)), &here, "release", "release", "release"),
        ("another's", Some(&titled(Title::Another)), &here, "disclaim", "disclaim", "disclaim"),
    ] {
        let found: Vec<_> = found.into_iter().cloned().collect();
        let told = [Scope::All, Scope::NoMore, Scope::Nothing].map(|scope| words(&found, offers, scope));
        assert_eq!(told, [in_all, in_no_more, in_nothing], "{what}");
    }
}

fn applied(found: &Owned<SecretCopy>) -> String {
    found.meta().annotations.as_ref().unwrap()[ANNOTATION_APPLIED].clone()
}

#[test]
fn a_cluster_that_lets_nothing_be_read_gets_nothing_and_loses_nothing() {
    let copies = Copies { owned: Vec::new(), refused: true };
    let Decided { withdrawals, grants, is_ready, .. } =
        copies.decide(&offers("b25l"), &cluster(), "team-web", Scope::All);
    assert!(withdrawals.is_empty() && grants.is_empty() && !is_ready);
    assert_eq!(copies.not_permitted(&offers("b25l"), &cluster()).unwrap().cause.reason(), "CopiesNotPermitted");
    assert_eq!(copies.not_permitted(&offers_of(None), &cluster()), None);
}

#[test]
fn a_change_concerns_the_projects_that_the_label_names_before_and_after() {
    let of = |project: &str| -> Option<Arc<SourceSecret>> {
        Some(Arc::new(serde_json::from_value(a_secret(project, "Opaque", "aGk=")).unwrap()))
    };
    let key = ObjectKey::namespaced("team", "registry");
    let moved = Seen { old: of("shop"), new: of("store"), key };
    let named = ["shop", "store"].map(|name| ObjectKey::namespaced("team", name));
    assert_eq!(concerned(&moved), named);
}

#[test]
fn what_is_kept_and_told_never_holds_the_content() {
    let (secret, offers) = (source(CANARY[1]), offers(CANARY[1]));
    let (copy, old) = (copied(CANARY[1]), copied("dHdv"));
    let change = decided(&[old], &offers, Scope::All).grants;
    let Change::Apply { desired, .. } = &change[0] else { panic!("{change:?}") };
    let shown = [
        format!("{secret:?} {offers:?} {copy:?} {change:?} {desired:?}"),
        serde_json::to_string(desired).unwrap(),
        serde_json::to_string(&**copy.live.as_ref().unwrap()).unwrap(),
    ];
    for text in shown {
        assert!(CANARY.iter().all(|canary| !text.contains(canary)), "{text}");
    }
}

/// Whoever sees the copy's annotations cannot try whether the content is this or that: it takes the UID of the source.
#[test]
fn what_shows_in_a_copy_tells_contents_apart_only_with_the_source_at_hand() {
    let hash = |value: &str, uid: &str| {
        let mut secret = a_secret("shop", "Opaque", value);
        secret["metadata"]["uid"] = uid.into();
        let source: SourceSecret = serde_json::from_value(secret).unwrap();
        desired_hash(&SecretCopy::of(&Offer::of(&source, "registry", "shop").unwrap(), "team-web"))
    };
    assert_eq!(hash("b25l", "1"), hash("b25l", "1"), "a restart writes nothing");
    assert_ne!(hash("b25l", "1"), hash("dHdv", "1"));
    assert_ne!(hash("b25l", "1"), hash("b25l", "2"));
}

#[test]
fn a_secret_that_is_nonsense_is_read_without_an_error_that_quotes_it() {
    for data in [json!("hunter2"), json!(["hunter2"]), json!({"password": ["hunter2"]}), json!(null)] {
        let mut secret = a_secret("shop", "Opaque", "");
        secret["data"] = data;
        let read: SourceSecret = serde_json::from_value(secret.clone()).unwrap();
        assert_eq!(read.size, 0);
        assert!(serde_json::from_value::<SecretCopy>(secret).is_ok());
    }
}

#[test]
fn contents_differ_however_they_are_cut() {
    let digest = |data: Value| {
        let mut secret = a_secret("shop", "Opaque", "");
        secret["data"] = data;
        serde_json::from_value::<SourceSecret>(secret).unwrap().digest
    };
    assert_eq!(digest(json!({"a": "bc", "d": "e"})), digest(json!({"d": "e", "a": "bc"})));
    for other in [json!({"ab": "c", "d": "e"}), json!({"a": "bcde"}), json!({"a": "bc"}), json!({})] {
        assert!(digest(json!({"a": "bc", "d": "e"})) != digest(other));
    }
}

#[test]
fn an_error_quotes_no_answer() {
    let refused = kube::core::Status { code: 422, message: CANARY[0].to_owned(), ..kube::core::Status::default() };
    let error = ApiError::new("apply Secret team-web/registry", kube::Error::Api(Box::new(refused))).unquoted();
    assert!(!format!("{error} {error:?}").contains(CANARY[0]));
}
