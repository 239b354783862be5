//! The role templates that ship. The chart has them in a file that people write, and reads it as it is.

use std::{error::Error, fs, path::Path};

use drover_crds::{RoleTemplate, RoleTemplateSpec};
use serde::Deserialize;
use serde_json::Value;

/// Where the charts have them.
const FILE: &str = "drover/files/role-templates.yaml";
/// As they were when this binary was built.
const BUILT_IN: &str = include_str!("../../../charts/drover/files/role-templates.yaml");

/// The file. What else it holds are anchors.
#[derive(Deserialize)]
struct Shipped {
    templates: Vec<Template>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    name: String,
    spec: RoleTemplateSpec,
}

/// What the folder of the charts has.
pub(crate) fn shipped(charts: &Path) -> Result<Vec<RoleTemplate>, Box<dyn Error>> {
    let path = charts.join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    read(&text)
}

/// Those that ship with this version.
pub(crate) fn built_in() -> Vec<RoleTemplate> {
    // A test reads them.
    read(BUILT_IN).unwrap_or_default()
}

fn read(text: &str) -> Result<Vec<RoleTemplate>, Box<dyn Error>> {
    // Through a JSON value: in YAML itself a union would be a tag.
    let shipped: Shipped = serde_json::from_value(serde_yaml::from_str::<Value>(text)?)?;
    Ok(shipped.templates.into_iter().map(|Template { name, spec }| RoleTemplate::new(&name, spec)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use drover_crds::{RoleContext, Selection};
    use drover_roles::{Resolved, resolve};
    use k8s_openapi::api::rbac::v1::PolicyRule;
    use kube::ResourceExt;

    use super::*;
    use crate::{
        registry::Operators,
        rights::{MANAGEMENT_ROLES, PeopleRules, Rules},
    };

    /// Verbs that look only.
    const LOOKS: [&str; 3] = ["get", "list", "watch"];
    /// The others that a role that ships may have.
    const CHANGES: [&str; 6] = ["create", "create-namespaces", "delete", "deletecollection", "patch", "update"];

    fn templates() -> Vec<RoleTemplate> {
        shipped(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts")).unwrap()
    }

    /// What each allows with all that it inherits.
    fn resolved() -> Vec<Resolved> {
        let templates: BTreeMap<String, RoleTemplate> =
            templates().into_iter().map(|template| (template.name_any(), template)).collect();
        templates.values().map(|template| resolve(template, |name| templates.get(name))).collect()
    }

    fn of_projects() -> impl Iterator<Item = Resolved> {
        resolved().into_iter().filter(|role| role.context == RoleContext::Project)
    }

    fn named(name: &str) -> Resolved {
        resolved().into_iter().find(|role| role.name == name).unwrap()
    }

    fn all_rules(role: &Resolved) -> impl Iterator<Item = &PolicyRule> {
        role.rules.iter().chain(&role.cluster_rules)
    }

    fn resources(rule: &PolicyRule) -> impl Iterator<Item = &str> {
        rule.resources.iter().flatten().map(String::as_str)
    }

    fn looks_only(rule: &PolicyRule) -> bool {
        rule.verbs.iter().all(|verb| LOOKS.contains(&verb.as_str()))
    }

    fn may(role: &Resolved, verb: &str, resource: &str) -> bool {
        let about = |rule: &&PolicyRule| resources(rule).any(|each| each == resource);
        role.rules.iter().filter(about).any(|rule| rule.verbs.iter().any(|each| each == verb))
    }

    #[test]
    fn the_binary_knows_what_ships_with_it() {
        assert!(!built_in().is_empty());
        assert_eq!(built_in(), templates());
    }

    #[test]
    fn every_role_is_whole() {
        for role in resolved() {
            let name = &role.name;
            for names in [&role.missing, &role.misplaced, &role.refused] {
                assert_eq!(names, &BTreeSet::new(), "{name}");
            }
            let gives_nothing = role.rules.is_empty() && role.management_roles.is_empty();
            assert!(!role.is_cyclic && !gives_nothing, "{name}");
        }
        let names: Vec<_> = templates().iter().map(ResourceExt::name_any).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn every_namespace_may_give_roles_of_projects_and_none_those_of_clusters() {
        for template in templates() {
            let from_all = matches!(template.spec.bindable_from, Some(Selection::All(_)));
            let from_none = template.spec.bindable_from.is_none();
            match template.spec.context {
                RoleContext::Project => assert!(from_all, "{}", template.name_any()),
                RoleContext::Cluster => assert!(from_none, "{}", template.name_any()),
            }
        }
    }

    #[test]
    fn t08_roles_that_ship_name_their_verbs() {
        for template in templates() {
            let name = template.name_any();
            // As they are written: what is resolved leaves the verb `*` out.
            for rule in template.spec.rules.iter().chain(&template.spec.cluster_rules) {
                for verb in &rule.verbs {
                    let is_known = LOOKS.contains(&verb.as_str()) || CHANGES.contains(&verb.as_str());
                    assert!(is_known, "{name}: {verb}");
                }
                let mut texts = [&rule.api_groups, &rule.resources, &rule.non_resource_urls].into_iter().flatten();
                assert!(name == "cluster-owner" || !texts.any(|text| text.contains('*')), "{name}: {rule:?}");
            }
        }
    }

    #[test]
    fn t15_no_role_that_ships_impersonates_or_is_a_way_through() {
        let PeopleRules {
            view,
            edit,
            admin,
            platform,
            global_view,
            clusters_create,
            roles_manage,
            app_owner,
            app_member,
            app_viewer,
        } = PeopleRules::of(&Operators::all());
        let of_apps = [app_owner, app_member, app_viewer].concat();
        let of_people = [view, edit, admin, platform, global_view, clusters_create, roles_manage, of_apps].concat();
        let Rules { management, management_secrets, own_namespace, downstream, downstream_namespace } =
            Rules::of(&Operators::all());
        // Apps act by tokens of accounts in Drover's own namespace of a cluster, and nowhere else.
        let (tokens, in_namespace): (Vec<_>, Vec<_>) =
            downstream_namespace.into_iter().partition(|rule| resources(rule).eq(["serviceaccounts/token"]));
        assert!(tokens.len() == 1 && tokens.iter().all(|rule| rule.verbs == ["create"]), "{tokens:?}");
        let of_drover = [management, management_secrets, own_namespace, downstream, in_namespace].concat();
        let of_templates = resolved().iter().flat_map(all_rules).cloned().collect();
        for rule in [of_people, of_drover, of_templates].concat() {
            assert!(!rule.verbs.iter().any(|verb| verb.starts_with("impersonate")), "{rule:?}");
            assert!(!resources(&rule).any(|each| each.ends_with("/proxy") || each.ends_with("/token")), "{rule:?}");
        }
    }

    #[test]
    fn t17_no_role_of_a_project_changes_pod_security_or_another_guard() {
        const GUARDS: [&str; 7] = [
            "namespaces/status",
            "namespaces/finalize",
            "resourcequotas",
            "limitranges",
            "networkpolicies",
            "roles",
            "rolebindings",
        ];
        for role in of_projects() {
            let name = &role.name;
            assert_eq!(role.external, BTreeSet::new(), "{name}: what others may write is not known");
            assert!(role.cluster_rules.iter().all(looks_only), "{name} changes what is not the Project's");
            for rule in &role.rules {
                assert!(looks_only(rule) || !resources(rule).any(|each| GUARDS.contains(&each)), "{name}: {rule:?}");
            }
            for verb in ["create", "patch", "update"] {
                assert!(!may(&role, verb, "namespaces"), "{name} may {verb} the labels of a namespace");
            }
        }
    }

    #[test]
    fn secrets_are_for_those_who_are_given_them() {
        let readers = of_projects().filter(|role| may(role, "get", "secrets") || may(role, "list", "secrets"));
        let readers: Vec<_> = readers.map(|role| role.name).collect();
        assert_eq!(readers, ["project-member", "project-owner", "secrets-manage", "secrets-view"]);
    }

    #[test]
    fn owners_do_more_than_members_and_members_more_than_readers() {
        let [owner, member, reader] = ["project-owner", "project-member", "read-only"].map(named);
        for (verb, resource, expected) in [
            ("list", "pods", [true, true, true]),
            ("get", "pods/log", [true, true, true]),
            ("create", "deployments", [true, true, false]),
            ("create-namespaces", "projects", [true, true, false]),
            ("create", "pods/exec", [true, false, false]),
            ("create", "serviceaccounts", [true, false, false]),
            ("delete", "namespaces", [true, false, false]),
            ("list", "rolebindings", [true, false, false]),
            ("create", "endpoints", [false, false, false]),
        ] {
            let found = [&owner, &member, &reader].map(|role| may(role, verb, resource));
            assert_eq!(found, expected, "{verb} {resource}");
        }
    }

    #[test]
    fn owners_add_members_and_everybody_else_sees_them() {
        let allowed = BTreeSet::from(MANAGEMENT_ROLES);
        for role in resolved() {
            let beside: BTreeSet<&str> = role.management_roles.iter().map(String::as_str).collect();
            assert!(beside.is_subset(&allowed), "{}: {beside:?}", role.name);
            let expected: &[&str] = match role.name.as_str() {
                "project-owner" | "projectroletemplatebindings-manage" => &["drover-admin", "drover-view"],
                "project-member" | "read-only" | "projectroletemplatebindings-view" => &["drover-view"],
                _ => &[],
            };
            assert_eq!(beside, expected.iter().copied().collect(), "{}", role.name);
        }
    }

    #[test]
    fn the_page_about_roles_says_what_each_is_for() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/roles.md");
        let page = fs::read_to_string(page).unwrap();
        for template in templates() {
            assert!(page.contains(&format!("| `{}` |", template.name_any())), "{}", template.name_any());
        }
    }
}
