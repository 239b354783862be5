//! What a revision holds, what it is called, and what it makes of a cluster.

use std::collections::BTreeMap;

use drover_crds::{MultiClusterApp, RevisionPin};
use serde_json::{Value, json};

use crate::{
    ChartVersion, Content, Difference, PinError, Stored, Variant, Variants, child_name, difference, number, pinned,
};

fn app(spec: &Value) -> MultiClusterApp {
    let mut template = json!({
        "namespace": "team-a-web", "projectName": "shop", "roleTemplateName": "deployer",
        "chart": { "repository": { "name": "stable", "chart": "web", "version": "^1" } },
        "values": { "image": { "tag": "1", "pull": "Always" }, "hosts": ["a", "b"] }, "answers": { "a.b": "1" },
    });
    for (field, value) in spec["template"].as_object().into_iter().flatten() {
        template[field] = value.clone();
    }
    let overrides = spec.get("overrides").cloned().unwrap_or_else(|| json!([]));
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": { "name": "web", "namespace": "team-a" },
        "spec": { "clusters": { "all": {} }, "template": template, "overrides": overrides },
    }))
    .unwrap()
}

fn charts() -> BTreeMap<String, ChartVersion> {
    let chart = |version: &str| ChartVersion {
        version: Some(version.to_owned()),
        digest: format!("sha256:{version}"),
        inputs: format!("bound-{version}"),
    };
    BTreeMap::from([("^1".to_owned(), chart("1.4.2")), ("2.0.0".to_owned(), chart("2.0.0"))])
}

fn sources(tag: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("Secret web".to_owned(), tag.to_owned())])
}

fn content(spec: &Value) -> Content {
    Content::of(&app(spec).spec, charts(), sources("x")).unwrap()
}

#[test]
fn the_name_covers_what_is_released_and_nothing_else() {
    let plain = content(&json!({}));
    let name = plain.name("web").unwrap();
    assert!(name.starts_with("web-") && name.len() == "web-".len() + 32, "{name}");
    for same in [
        json!({ "template": { "roleTemplateName": "other" } }),
        json!({ "template": { "suspend": true, "historyLimit": 3, "deletionPolicy": "Orphan" } }),
        json!({ "template": { "drift": { "mode": "Correct" }, "remediation": { "retries": 1 } } }),
    ] {
        assert_eq!(content(&same).name("web").unwrap(), name, "{same}");
    }
    for other in [
        json!({ "template": { "values": {} } }),
        json!({ "template": { "answers": { "a.b": "2" } } }),
        json!({ "template": { "crds": "Skip" } }),
        json!({ "template": { "wait": { "timeout": "1m" } } }),
        json!({ "overrides": [{ "clusters": { "all": {} } }] }),
    ] {
        assert_ne!(content(&other).name("web").unwrap(), name, "{other}");
    }
    let other = Content::of(&app(&json!({})).spec, charts(), sources("y")).unwrap();
    assert_ne!(other.name("web").unwrap(), name, "other bytes of a Secret");
    let mut charts = charts();
    charts.get_mut("^1").unwrap().digest = "sha256:other".to_owned();
    let other = Content::of(&app(&json!({})).spec, charts, sources("x")).unwrap();
    assert_ne!(other.name("web").unwrap(), name, "other bytes of the chart");
}

#[test]
fn a_revision_is_pure_data_and_reads_back() {
    let content = content(&json!({ "overrides": [{ "clusters": { "names": ["eu-1"] }, "values": { "a": null } }] }));
    let data = serde_json::to_value(&content).unwrap();
    let read: Content = serde_json::from_str(&data.to_string()).unwrap();
    assert_eq!(read, content);
    assert_eq!(read.name("web").unwrap(), content.name("web").unwrap());
    assert!(data["template"].get("roleTemplateName").is_none(), "no pin brings rights back");
}

#[test]
fn an_older_revision_comes_with_the_rights_of_the_present() {
    let old = content(&json!({ "template": { "values": { "a": 1 } } }));
    let present = app(&json!({ "template": { "roleTemplateName": "other", "suspend": true, "values": { "a": 2 } } }));
    let template = old.template(&present.spec.template).unwrap();
    assert_eq!((template.role_template_name.as_str(), template.suspend), ("other", true));
    assert_eq!(template.values["a"], json!(1));
}

#[test]
fn overrides_go_over_one_another_in_their_order() {
    let spec = json!({ "overrides": [
        { "clusters": { "selector": { "matchLabels": { "region": "eu" } } }, "version": "2.0.0", "namespace": "team-a-eu",
          "values": { "image": { "tag": "2" }, "hosts": ["eu"] }, "answers": { "c": "eu" } },
        { "clusters": { "names": ["eu-1"] }, "values": { "image": { "tag": "3" }, "gone": null }, "answers": { "a.b": "9" },
          "releaseName": "web-1", "projectName": "other" },
        { "clusters": { "names": ["nowhere"] }, "values": { "never": true } },
    ] });
    let (content, app) = (content(&spec), app(&spec));
    let variants = Variants::new("web", &content, &app.spec.template).unwrap();
    let eu = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    let (first, second, none) =
        (variants.of("eu-1", &eu), variants.of("eu-2", &eu), variants.of("us-1", &BTreeMap::new()));
    assert_eq!(none, Variant::default());

    let settings = variants.settings(first);
    assert_eq!(
        Value::Object(settings.values.clone()),
        json!({ "image": { "tag": "3", "pull": "Always" }, "hosts": ["eu"], "gone": null })
    );
    assert_eq!(
        settings.answers,
        BTreeMap::from([("a.b".to_owned(), "9".to_owned()), ("c".to_owned(), "eu".to_owned())])
    );
    assert_eq!((settings.namespace.as_str(), settings.project_name.as_deref()), ("team-a-eu", Some("other")));
    assert_eq!(settings.release_name.as_deref(), Some("web-1"));
    let version = |variant| variants.settings(variant).chart.repository.unwrap().version;
    assert_eq!(
        (version(first), version(second), version(none)),
        (Some("2.0.0".into()), Some("2.0.0".into()), Some("1.4.2".into()))
    );
    assert_eq!(variants.settings(none).release_name.as_deref(), Some("web"), "the release is named as the parent");
    assert_eq!(variants.settings(second).values["image"]["tag"], json!("2"));
    assert_ne!(variants.inputs(first), variants.inputs(none), "other bytes of a chart");
    assert_eq!(variants.inputs(first), variants.inputs(second));
    assert_eq!(variants.unused([first, second, none]), [2]);

    let name = |cluster: &str, variant| child_name("web", cluster, &variants.settings(variant));
    assert_ne!(name("eu-1", first), name("eu-2", first));
    assert_ne!(name("eu-1", first), name("eu-1", second), "another release is another app");
    assert_eq!(name("us-1", none), name("us-1", none));
}

#[test]
fn a_fiftieth_override_counts_as_the_first() {
    let one = |number: usize| json!({ "clusters": { "names": [format!("c{number}")] }, "values": { "n": number } });
    let spec = json!({ "overrides": (0..50).map(one).collect::<Vec<_>>() });
    let (content, app) = (content(&spec), app(&spec));
    let variants = Variants::new("web", &content, &app.spec.template).unwrap();
    for number in [0, 31, 32, 49] {
        let variant = variants.of(&format!("c{number}"), &BTreeMap::new());
        assert_eq!(variants.settings(variant).values["n"], json!(number));
        assert_eq!(variants.unused([variant]).len(), 49);
    }
}

#[test]
fn names_of_apps_fit_whatever_the_name_of_the_parent() {
    let settings = app(&json!({})).spec.template;
    for parent in ["a".to_owned(), "a".repeat(63), format!("{}-{}", "a".repeat(49), "b".repeat(13))] {
        let name = child_name(&parent, "eu-1", &settings);
        assert!(name.len() <= 63 && !name.contains("--"), "{name}");
    }
    // No two lists of texts look alike.
    let mut other = settings.clone();
    other.namespace = format!("{}-1", settings.namespace);
    assert_ne!(child_name("web", "eu-1", &settings), child_name("web", "eu", &other));
}

#[test]
fn what_changed_is_named_without_what_it_was() {
    let old = content(&json!({ "template": { "values": { "password": "s3cr3t", "list": [1, 2], "same": 1 } } }));
    let new = content(&json!({
        "template": { "values": { "password": "geheim", "list": [1, 3], "same": 1, "a b": {} } },
        "overrides": [{ "clusters": { "all": {} } }],
    }));
    let found = difference(&old, &new).unwrap();
    assert_eq!(found.more, 0);
    assert_eq!(
        found.fields,
        ["overrides", "template.values[\"a b\"]", "template.values.list[1]", "template.values.password"]
    );
    assert_eq!(difference(&old, &old).unwrap(), Difference::default());
    let many: serde_json::Map<_, _> = (0..500).map(|number| (format!("k{number}"), json!(number))).collect();
    let found = difference(&old, &content(&json!({ "template": { "values": many } }))).unwrap();
    assert_eq!((found.fields.len(), found.more), (50, 453), "500 that are new, and three that are gone");
    let other = Content::of(&app(&json!({})).spec, charts(), sources("y")).unwrap();
    assert_eq!(difference(&content(&json!({})), &other).unwrap().fields, ["sources[\"Secret web\"]"]);
}

#[test]
fn a_pin_names_what_is_kept_and_a_way_back_makes_no_number() {
    let stored = |number, name: &str| Stored { number, name: name.to_owned() };
    let kept = [stored(3, "web-c"), stored(7, "web-g")];
    assert_eq!(pinned(RevisionPin { revision: 3 }, &kept), Ok(&kept[0]));
    assert_eq!(pinned(RevisionPin { revision: 4 }, &kept), Err(PinError(4)));
    assert!(PinError(4).to_string().contains("revision 4, which is not kept"));
    assert_eq!((number("web-c", &kept), number("web-x", &kept), number("web-x", &[])), (3, 8, 1));
}
