//! What is told of manifests, with and without what may be secret.

use drover_releases::Record;

use super::*;
use crate::compare::{Contents, differences};

fn contents(manifest: &str) -> Contents {
    Contents::of(&Record { manifest: manifest.to_owned(), ..Record::default() }, "shop").unwrap()
}

fn told(before: &str, after: &str, shows: Shows) -> Differs {
    let [before, after] = [before, after].map(contents);
    tell(&differences(&before, &after), shows, false)
}

fn config(name: &str, data: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {data}\n")
}

fn deployment(env: &str, replicas: usize) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: {replicas}\n  template:\n    spec:\n      \
         containers:\n      - name: app\n        args: [one, two]\n        env: {env}\n"
    )
}

#[test]
fn objects_are_told_by_what_becomes_of_them_and_fields_by_what_they_hold() {
    let before = config("changes", r#"{a: one, b: "2"}"#) + &config("goes", "{}") + &config("stays", "{a: b}");
    let after = config("changes", r#"{a: two, c: "3"}"#) + &config("comes", "{d: e}") + &config("stays", "{a: b}");
    let found = told(&before, &after, Shows::Values);
    let expected = "~ ConfigMap changes\n    data.a: \"one\" -> \"two\"\n    data.b: \"2\" -> (none)\n    data.c: \"3\"\n\
        + ConfigMap comes\n    data.d: \"e\"\n- ConfigMap goes\n";
    assert_eq!(found.text, expected);
    assert_eq!((found.created, found.changed, found.removed, found.without_values), (1, 1, 1, false));
    assert_eq!(found.objects, ["ConfigMap changes", "ConfigMap comes", "ConfigMap goes"]);
    let paths = told(&before, &after, Shows::Paths);
    assert_eq!(
        paths.text,
        "~ ConfigMap changes\n    data.a\n    data.b\n    data.c\n+ ConfigMap comes\n- ConfigMap goes\n"
    );
    assert!(paths.without_values);
    assert_eq!(told(&before, &before, Shows::Values), Differs::default());
}

#[test]
fn items_of_lists_are_told_by_their_names_whatever_their_order() {
    let before = deployment("[{name: A, value: one}, {name: B, value: two}]", 1);
    let after = deployment("[{name: B, value: two}, {name: A, value: other}, {name: C, value: new}]", 2);
    let expected = "~ Deployment web\n    spec.replicas: 1 -> 2\n    spec.template.spec.containers.app.env.A.value: \"one\" -> \"other\"\n    \
        spec.template.spec.containers.app.env.C.name: \"C\"\n    spec.template.spec.containers.app.env.C.value: \"new\"\n";
    assert_eq!(told(&before, &after, Shows::Values).text, expected);
    let moved = deployment("[{name: B, value: two}, {name: A, value: one}]", 1);
    assert_eq!(told(&before, &moved, Shows::Values), Differs::default());
    let args = before.replace("[one, two]", "[one, three]");
    assert!(told(&before, &args, Shows::Values).text.contains("containers.app.args[1]: \"two\" -> \"three\"\n"));
    let fewer = before.replace("[one, two]", "[one]");
    assert!(told(&before, &fewer, Shows::Values).text.contains(r#"args: ["one","two"] -> ["one"]"#));
}

#[test]
fn what_a_secret_holds_is_never_told() {
    for field in ["data", "stringData"] {
        let secret = |text: &str, more: &str| {
            format!("---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\n{field}:\n  password: {text}\n{more}")
        };
        let [before, after] = [secret("aHVudGVyMQ==", ""), secret("aHVudGVyMg==", "  more: aHVudGVyMg==\n")];
        for shows in [Shows::Values, Shows::Paths] {
            let found = told(&before, &after, shows);
            assert_eq!(found.text, format!("~ Secret keys\n    {field}.more\n    {field}.password\n"));
            assert_eq!(told("", &after, shows).text, "+ Secret keys\n", "nor of a new one");
            assert_eq!(told(&before, "", shows).text, "- Secret keys\n");
        }
    }
}

#[test]
fn a_value_of_a_secret_is_told_nowhere_else_either() {
    let env = |secret: &str| format!("[{{name: PASSWORD, value: {secret}}}]");
    let before = config("c", "{token: hunter1, text: \"a\\nhunter1\\nb\"}") + &deployment(&env("hunter1"), 1);
    let after = config("c", "{token: hunter2, text: \"a\\nhunter2\\nb\"}")
        + &config("new", "{token: hunter2}")
        + &deployment(&env("hunter2"), 2);
    let found = told(&before, &after, Shows::Paths);
    let expected = "~ ConfigMap c\n    data.text\n    data.token\n+ ConfigMap new\n~ Deployment web\n    spec.replicas\n    \
        spec.template.spec.containers.app.env.PASSWORD.value\n";
    assert_eq!(found.text, expected);
    assert!(!format!("{found:?}").contains("hunter"));
    assert!(told(&before, &after, Shows::Values).text.contains("hunter2"), "the case can fail");
}

#[test]
fn texts_are_told_by_the_lines_that_differ() {
    let text = |middle: &str| config("c", &format!("{{conf: \"first\\n{middle}\\nlast\\n\"}}"));
    let found = told(&text("one\\nsame"), &text("two\\nsame"), Shows::Values);
    assert_eq!(found.text, "~ ConfigMap c\n    data.conf:\n      - one\n      + two\n");
    let many = (0..100).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\\n");
    let found = told(&text("one"), &text(&many), Shows::Values);
    assert!(found.text.contains("      + line 19\n      + ... and 80 more lines\n"), "{}", found.text);
    let found = told(&text("x\u{1b}[31m"), &text("x"), Shows::Values);
    assert!(!found.text.contains('\u{1b}'), "{:?}", found.text);
    assert!(told(&text("a"), &text("a").replace("last\\n", "last"), Shows::Values).text.contains("the end of a line"));
}

#[test]
fn what_is_told_is_bounded_and_what_is_left_out_is_counted() {
    let many =
        |word: &str| (0..2_000).map(|at| config(&format!("c{at:04}"), &format!("{{a: {word}}}"))).collect::<String>();
    let found = told(&many("one"), &many("two"), Shows::Values);
    assert!(found.text.len() <= MOST_BYTES + 100, "{}", found.text.len());
    let shown = found.text.matches("~ ConfigMap").count();
    assert!(found.text.ends_with(&format!("... and {} more objects, which are left out here\n", 2_000 - shown)));
    assert_eq!((found.changed, found.objects.len()), (2_000, 5));

    let wide = |word: &str| {
        let fields: Vec<_> = (0..500).map(|at| format!("f{at:03}: {}", word.repeat(500))).collect();
        config("wide", &format!("{{{}}}", fields.join(", ")))
    };
    let found = told(&wide("a"), &wide("b"), Shows::Values);
    let shown = found.text.matches("data.f").count();
    assert!(found.text.len() < MOST_BYTES && shown > 10, "{}", found.text.len());
    assert!(found.text.ends_with(&format!("    ... and {} more fields\n", 500 - shown)), "{}", found.text);
}

#[test]
fn what_stays_by_its_annotation_is_told_so_and_hooks_are_told_as_hooks() {
    let kept =
        config("kept", "{a: b}").replace("name: kept", "name: kept\n  annotations:\n    helm.sh/resource-policy: keep");
    let found = told(&kept, "", Shows::Values);
    assert!(found.text.starts_with("- ConfigMap kept (stays in the cluster") && found.removed == 0, "{}", found.text);

    let job = |image: &str| {
        let text = format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations:\n    helm.sh/hook: pre-upgrade\nspec:\n  image: {image}\n"
        );
        let rendered =
            drover_releases::Rendered::read(&format!("---\n# Source: c/templates/job.yaml\n{text}")).unwrap();
        let record = Record { hooks: rendered.hooks, ..Record::default() };
        Contents::of(&record, "shop").unwrap()
    };
    let [before, after, none] = [job("one"), job("two"), Contents::default()];
    let of = |before, after| tell(&differences(before, after), Shows::Values, false).text;
    assert_eq!(of(&before, &after), "~ hook Job migrate\n    spec.image: \"one\" -> \"two\"\n");
    assert!(of(&none, &after).starts_with("+ hook Job migrate\n"));
    assert_eq!(of(&before, &none), "", "what a hook left goes by its own policy");
}

#[test]
fn an_object_is_the_same_with_and_without_the_namespace_of_its_release() {
    let named = config("c", "{a: b}").replace("name: c", "name: c\n  namespace: shop");
    let found = told(&config("c", "{a: b}"), &named.replace("a: b", "a: c"), Shows::Values);
    assert_eq!((found.created, found.changed, found.removed), (0, 1, 0), "{}", found.text);
}
