use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hook::HookEvent;

/// As Helm 4.3.1 prints it: `crds/` first, then objects in the order of kinds, then hooks.
const PRINTED: &str = r#"---
# Source: shop/crds/c.yaml
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: a.b.c}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: b.b.c}

---
# Source: shop/charts/db/crds/d.yaml
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: d.b.c}

---
# Source: shop/templates/only-a-comment.yaml
# nothing here

---
# Source: shop/templates/a.yaml
apiVersion: v1
kind: Secret
metadata:
  name: s

---
# Source: shop/charts/db/templates/crds/a.yaml
# lead
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
data:
  mode: "0644"
  text: |
    --- not a separator
---
# Source: shop/templates/job.yaml
apiVersion: batch/v1
kind: Job
metadata:
  name: h
  annotations: {"helm.sh/hook": "pre-install,post-upgrade", "helm.sh/hook-weight": "-5"}


---
# Source: shop/templates/drover-notes.yaml
kind: DroverNotes
apiVersion: v1
metadata:
  name: drover-notes
  annotations: {helm.sh/hook: post-install}
notes: "SGVsbG8KLS0tIHgK"
"#;

fn names(objects: &[Object]) -> Vec<String> {
    objects.iter().map(|object| object.identity().to_string()).collect()
}

#[test]
fn what_helm_prints_is_taken_apart() {
    let rendered = Rendered::read(PRINTED).unwrap();
    assert_eq!(names(&rendered.objects), ["Secret s", "ConfigMap a"]);
    let crds = ["a.b.c", "b.b.c", "d.b.c"].map(|name| format!("CustomResourceDefinition {name}"));
    assert_eq!(names(&rendered.crds), crds);
    assert_eq!(rendered.notes.as_deref(), Some("Hello\n--- x\n"));
    let [hook] = rendered.hooks.as_slice() else { panic!("{:?}", rendered.hooks) };
    assert_eq!((hook.name.as_str(), hook.kind.as_str(), hook.path.as_str()), ("h", "Job", "shop/templates/job.yaml"));
    assert_eq!((hook.events.as_slice(), hook.weight), (&[HookEvent::PreInstall, HookEvent::PostUpgrade][..], -5));
    assert!(hook.manifest.starts_with("apiVersion: batch/v1\n") && hook.manifest.ends_with("\"-5\"}\n\n"));
}

#[test]
fn the_manifest_is_the_text_of_helm_without_hooks_definitions_and_notes() {
    let rendered = Rendered::read(PRINTED).unwrap();
    let start = PRINTED.find("---\n# Source: shop/templates/only").unwrap();
    let end = PRINTED.find("---\n# Source: shop/templates/job").unwrap();
    assert_eq!(rendered.manifest, PRINTED[start..end].to_owned() + "\n");
    assert_eq!(names(&objects(&rendered.manifest).unwrap()), names(&rendered.objects));
}

#[test]
fn notes_come_from_the_added_template_only() {
    let forged = PRINTED.replace("shop/templates/drover-notes.yaml", "shop/charts/db/templates/drover-notes.yaml");
    let rendered = Rendered::read(&forged).unwrap();
    assert_eq!(
        (rendered.notes, rendered.hooks.len()),
        (None, 2),
        "a hook of an unknown kind, which the filter refuses"
    );
}

#[test]
fn lists_are_taken_apart_and_what_has_no_kind_has_that_of_its_list() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMapList, items: [{metadata: {name: a}}]}\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
    assert_eq!(names(&objects(text).unwrap()), ["ConfigMap a", "Pod b"]);
    let hidden = "apiVersion: v1\nkind: List\nitems:\n- {metadata: {name: a}}\n";
    assert_eq!(objects(hidden).unwrap_err().reason, ManifestFault::NoObject);
    let shopping = "apiVersion: acme.example/v1\nkind: ShoppingList\nmetadata: {name: a}\nspec: {items: []}\n";
    assert_eq!(names(&objects(shopping).unwrap()), ["ShoppingList a"]);
}

#[test]
fn a_list_is_a_hook_by_its_own_annotations_and_so_are_its_items() {
    let list = "apiVersion: v1\nkind: List\nmetadata: {annotations: {helm.sh/hook: pre-install}}\nitems:\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: a}}";
    let rendered = Rendered::read(&format!("---\n# Source: c/templates/x.yaml\n{list}\n")).unwrap();
    assert!(rendered.objects.is_empty() && rendered.manifest.is_empty());
    let [hook] = rendered.hooks.as_slice() else { panic!("{:?}", rendered.hooks) };
    assert_eq!((hook.kind.as_str(), hook.manifest.as_str()), ("List", list));
    assert_eq!(names(&hook.objects().unwrap()), ["Pod a"]);
    assert_eq!(hook.reread().unwrap(), *hook);
}

#[test]
fn a_record_reads_as_what_was_rendered() {
    let rendered = Rendered { crds: Vec::new(), ..Rendered::read(PRINTED).unwrap() };
    let mut record = Record { manifest: rendered.manifest.clone(), hooks: rendered.hooks.clone(), ..Record::default() };
    record.info.notes = rendered.notes.clone().unwrap();
    assert_eq!(Rendered::from_record(&record).unwrap(), rendered);
    record.hooks[0].events = vec![HookEvent::PostDelete];
    assert_eq!(Rendered::from_record(&record).unwrap().hooks, rendered.hooks, "what is forged is read again");
}

#[test]
fn an_object_that_the_api_server_is_to_name_says_so() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n";
    assert_eq!(names(&objects(text).unwrap()), ["Pod a-*"]);
}

#[test]
fn an_error_names_the_template_and_nothing_of_its_text() {
    let text = "---\n# Source: shop/templates/x.yaml\nsecret: s3cr3t: x\n";
    let error = Rendered::read(text).unwrap_err();
    assert_eq!(error.to_string(), "shop/templates/x.yaml: line 1 is not valid YAML");
    let error = objects("kind: Pod\nmetadata: s3cr3t").unwrap_err();
    assert_eq!(error.to_string(), "the manifest: it has no apiVersion or kind, or its metadata is malformed");
}

#[test]
fn objects_and_their_size_are_bounded() {
    let one = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
    assert_eq!(objects(&one.repeat(MAX_OBJECTS)).unwrap().len(), MAX_OBJECTS);
    assert_eq!(objects(&one.repeat(MAX_OBJECTS + 1)).unwrap_err().reason, ManifestFault::TooMany);
    let anchor = "---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n";
    let bomb = format!("{anchor}x: &x {}\ny: [{}]\n", "z".repeat(100_000), vec!["*x"; 1_000].join(","));
    assert_eq!(objects(&bomb).unwrap_err().reason, YamlError::TooLarge.into());
}

proptest! {
    #[test]
    fn no_text_is_a_defect(parts in prop::collection::vec(prop::sample::select(vec![
        "---", "\n", "# Source: a/crds/b.yaml\n", "# Source: a/templates/drover-notes.yaml\n", "# Source: charts/charts\n", "apiVersion: v1\n",
        "kind: List\n", "kind: DroverNotes\n", "metadata: {name: a}\n", "items: [{}]\n", "notes: x\n", " ", "é", "metadata: {annotations: {helm.sh/hook: test}}\n",
    ]), 0..40)) {
        let text = parts.concat();
        let _ = objects(&text);
        if let Ok(rendered) = Rendered::read(&text) {
            prop_assert!(rendered.manifest.len() <= text.len() + 1);
        }
    }

    #[test]
    fn no_bytes_are_a_defect(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Rendered::read(&text), objects(&text));
    }

    #[test]
    fn the_manifest_reads_as_the_objects_that_were_rendered(names in prop::collection::vec("[a-z]{1,8}", 0..8)) {
        let pod = |name: &String| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let document = |name| format!("---\n# Source: c/templates/x.yaml\n{}\n", pod(name));
        let text = names.iter().map(document).collect::<Vec<_>>().concat();
        let rendered = Rendered::read(&text).unwrap();
        prop_assert_eq!(rendered.manifest.trim_end(), text.trim_end());
        prop_assert_eq!(objects(&text).unwrap(), rendered.objects);
    }
}
