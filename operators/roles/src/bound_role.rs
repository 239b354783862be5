//! The names of roles and bindings in a cluster.

/// The beginning of the names of all `ClusterRoles` and bindings that Drover writes.
const PREFIX: &str = "drover:";

/// A `ClusterRole` in a cluster, which bindings of a template bind. Templates have names without colons, so that no two of these
/// share the name of a role or of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BoundRole {
    /// What the template of this name allows, in the namespaces of a Project or in whole clusters.
    Own(String),
    /// What members of a Project may do in the whole cluster by the template of this name.
    ClusterWide(String),
    /// A `ClusterRole` that exists there, and which the template binds as it is.
    External {
        /// Name of the template.
        template: String,
        /// Name of the `ClusterRole`.
        role: String,
    },
}

impl BoundRole {
    /// The role of a template that has this name in clusters.
    #[must_use]
    pub fn of(template: &str, role: &str) -> Self {
        let [own, wide] = [Self::Own(template.to_owned()), Self::ClusterWide(template.to_owned())];
        let ours = [own, wide].into_iter().find(|ours| ours.role_name() == role);
        ours.unwrap_or_else(|| Self::External { template: template.to_owned(), role: role.to_owned() })
    }

    /// The name of the template.
    #[must_use]
    pub fn template(&self) -> &str {
        match self {
            Self::Own(template) | Self::ClusterWide(template) | Self::External { template, .. } => template,
        }
    }

    /// The name of the `ClusterRole`.
    #[must_use]
    pub fn role_name(&self) -> String {
        match self {
            Self::Own(template) => format!("{PREFIX}{template}"),
            Self::ClusterWide(template) => format!("{PREFIX}{template}:cluster"),
            Self::External { role, .. } => role.clone(),
        }
    }

    /// The name of the binding number `number`, counted from 0; there are several where one cannot hold all subjects.
    #[must_use]
    pub fn binding_name(&self, number: usize) -> String {
        let further = |separator: &str| match number {
            0 => String::new(),
            number => format!("{separator}{}", number.saturating_add(1)),
        };
        match self {
            Self::Own(_) | Self::ClusterWide(_) => format!("{}{}", self.role_name(), further(":")),
            Self::External { template, role } => format!("{PREFIX}{template}:external{}:{role}", further(".")),
        }
    }

    /// The template of a role or of a binding with this name, if it is a name that Drover gives.
    #[must_use]
    pub fn template_of(name: &str) -> Option<&str> {
        let rest = name.strip_prefix(PREFIX)?;
        Some(rest.split_once(':').map_or(rest, |(template, _)| template))
    }

    /// Whether a `ClusterRole` of this name is one that Drover writes, which no template may name as one that exists.
    pub(crate) fn is_ours(role: &str) -> bool {
        role.starts_with(PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{prelude::*, sample::select};

    use super::*;

    fn external(template: &str, role: &str) -> BoundRole {
        BoundRole::External { template: template.to_owned(), role: role.to_owned() }
    }

    #[test]
    fn names_tell_what_they_are() {
        let own = BoundRole::Own("deployer".to_owned());
        let names = |role: &BoundRole| [role.role_name(), role.binding_name(0), role.binding_name(1)];
        assert_eq!(names(&own), ["drover:deployer", "drover:deployer", "drover:deployer:2"]);
        let cluster_wide = ["drover:deployer:cluster", "drover:deployer:cluster", "drover:deployer:cluster:2"];
        assert_eq!(names(&BoundRole::ClusterWide("deployer".to_owned())), cluster_wide);
        let view = ["view", "drover:deployer:external:view", "drover:deployer:external.2:view"];
        assert_eq!(names(&external("deployer", "view")), view);
    }

    fn any_role() -> impl Strategy<Value = BoundRole> {
        let template = select(&["a", "cluster", "external", "2"]).prop_map(str::to_owned);
        let role = select(&["a", "2", "view", "cluster", "cluster:2", "external:a", "drover:a", ":", "2:a"]);
        prop_oneof![
            template.clone().prop_map(BoundRole::Own),
            template.clone().prop_map(BoundRole::ClusterWide),
            (template, role).prop_map(|(template, role)| BoundRole::External { template, role: role.to_owned() }),
        ]
    }

    proptest! {
        #[test]
        fn b5_no_two_roles_share_the_name_of_a_binding(roles in proptest::collection::vec((any_role(), 0..4_usize), 2..20)) {
            let mut names: BTreeMap<String, (BoundRole, usize)> = BTreeMap::new();
            for (role, number) in roles {
                let name = role.binding_name(number);
                prop_assert_eq!(BoundRole::template_of(&name), Some(role.template()), "{}", name);
                if !BoundRole::is_ours(&role.role_name()) || !matches!(role, BoundRole::External { .. }) {
                    prop_assert_eq!(&BoundRole::of(role.template(), &role.role_name()), &role);
                }
                let former = names.insert(role.binding_name(number), (role.clone(), number));
                prop_assert!(former.is_none_or(|former| former == (role, number)));
            }
        }
    }
}
