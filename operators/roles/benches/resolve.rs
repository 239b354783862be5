//! What it costs to gather what a role template allows, among many and over a long chain. Run by `make bench`.

#![expect(missing_docs, reason = "criterion makes the functions")]
#![expect(clippy::expect_used, reason = "a bench may panic")]

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use drover_crds::RoleTemplate;
use drover_roles::resolve;
use serde_json::{Value, json};

const TEMPLATES: usize = 500;
const DEPTH: usize = 100;
/// Of each template, two resources each.
const RULES: usize = 4;

/// Each inherits from the one before in its chain of [`DEPTH`] templates, and from the one before that.
fn templates() -> BTreeMap<String, RoleTemplate> {
    (0..TEMPLATES).map(|number| (name(number), template(number))).collect()
}

fn template(number: usize) -> RoleTemplate {
    let rule = |rule: usize| {
        let resources = [format!("kind-{number}-{rule}"), format!("common-{rule}")];
        json!({"apiGroups": ["", "apps"], "resources": resources, "verbs": ["get", "list", "watch"]})
    };
    let rules: Vec<Value> = (0..RULES).map(rule).collect();
    let parents: Vec<_> = (1..=2.min(number % DEPTH)).map(|before| name(number - before)).collect();
    let object = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name(number)},
        "spec": {"context": "Project", "rules": rules, "inherits": parents, "externalClusterRoles": ["view"]},
    });
    serde_json::from_value(object).expect("a role template")
}

fn name(number: usize) -> String {
    format!("role-{number:03}")
}

fn bench(criterion: &mut Criterion) {
    let all = templates();
    let find = |name: &str| all.get(name);
    let deepest = find(&name(DEPTH - 1)).expect("the end of a chain");
    assert_eq!(resolve(deepest, find).closure.len(), DEPTH - 1);
    criterion.bench_function("resolve, depth 100 of 500 templates", |bencher| {
        bencher.iter(|| resolve(black_box(deepest), find));
    });
    let resolved = resolve(deepest, find);
    criterion.bench_function("hash of that", |bencher| bencher.iter(|| black_box(&resolved).hash()));
    criterion.bench_function("resolve all 500 templates", |bencher| {
        bencher.iter(|| all.values().map(|template| resolve(template, find).rules.len()).sum::<usize>());
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
