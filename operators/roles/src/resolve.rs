//! What a template allows, inherited rights included.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{RoleContext, RoleRule, RoleTemplate};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::ResourceExt as _;
use ring::digest::{Context, SHA256};

use crate::{
    BoundRole,
    atoms::{atoms, list},
    rules::canonical,
};

/// What a template allows, with what it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Name of the template.
    pub name: String,
    /// Where it is given.
    pub context: RoleContext,
    /// What it allows in namespaces, or in whole clusters with context Cluster; in lower case, sorted, each once.
    pub rules: Vec<PolicyRule>,
    /// What members of a Project may do in the whole cluster; in lower case, sorted, each once.
    pub cluster_rules: Vec<PolicyRule>,
    /// `ClusterRoles` that exist in the clusters.
    pub external: BTreeSet<String>,
    /// `ClusterRoles` of the management cluster.
    pub management_roles: BTreeSet<String>,
    /// The templates whose rights it has, without itself.
    pub closure: BTreeSet<String>,
    /// Inherited templates that do not exist, or are being deleted. They count as empty.
    pub missing: BTreeSet<String>,
    /// Inherited templates of the other context. They count as empty.
    pub misplaced: BTreeSet<String>,
    /// External roles of names that only Drover writes, which would be rights of another template without its consent. They are
    /// left out.
    pub refused: BTreeSet<String>,
    /// Whether a template inherits from itself, over others or at once. That does no harm.
    pub is_cyclic: bool,
}

/// Gathers what `template` allows. Total: it ends on any graph, and the order of lists plays no part. A template that is being
/// deleted allows nothing.
#[must_use]
pub fn resolve<'a>(template: &'a RoleTemplate, find: impl Fn(&str) -> Option<&'a RoleTemplate>) -> Resolved {
    let mut reached = Reached::from(template, find);
    let own = template.name_any();
    let is_cyclic = reached.is_cyclic();
    let of_project = template.spec.context == RoleContext::Project;
    let specs = || reached.templates.values().map(|template| &template.spec);
    let texts = |of: fn(&'a RoleTemplate) -> &'a Vec<String>| -> BTreeSet<String> {
        reached.templates.values().flat_map(|template| of(template)).cloned().collect()
    };
    let none: &[RoleRule] = &[];
    let cluster_rules = specs().flat_map(|spec| if of_project { spec.cluster_rules.as_slice() } else { none });
    let (refused, external) =
        texts(|template| &template.spec.external_cluster_roles).into_iter().partition(|role| BoundRole::is_ours(role));
    Resolved {
        context: template.spec.context,
        rules: canonical(specs().flat_map(|spec| &spec.rules)),
        cluster_rules: canonical(cluster_rules),
        external,
        management_roles: texts(|template| &template.spec.management_roles),
        closure: reached.templates.keys().filter(|name| **name != own).map(|name| (*name).to_owned()).collect(),
        missing: std::mem::take(&mut reached.missing),
        misplaced: std::mem::take(&mut reached.misplaced),
        refused,
        is_cyclic,
        name: own,
    }
}

/// The templates that one inherits, itself included.
struct Reached<'a> {
    templates: BTreeMap<&'a str, &'a RoleTemplate>,
    missing: BTreeSet<String>,
    misplaced: BTreeSet<String>,
}

impl<'a> Reached<'a> {
    fn from(template: &'a RoleTemplate, find: impl Fn(&str) -> Option<&'a RoleTemplate>) -> Self {
        let mut reached = Self { templates: BTreeMap::new(), missing: BTreeSet::new(), misplaced: BTreeSet::new() };
        let mut next = vec![template];
        while let Some(current) = next.pop() {
            if current.metadata.deletion_timestamp.is_some() {
                reached.missing.extend(current.metadata.name.clone());
                continue;
            }
            if reached.templates.insert(name_of(current), current).is_some() {
                continue;
            }
            for name in &current.spec.inherits {
                match find(name) {
                    // The template itself may be newer than the one that is found.
                    _ if name == name_of(template) => {}
                    None => _ = reached.missing.insert(name.clone()),
                    Some(found) if found.spec.context != template.spec.context => {
                        reached.misplaced.insert(name.clone());
                    }
                    Some(found) => next.push(found),
                }
            }
        }
        reached
    }

    /// Whether something is left after all templates are taken away that inherit only from what was taken away before.
    fn is_cyclic(&self) -> bool {
        let parents = |template: &'a RoleTemplate| -> BTreeSet<&'a str> {
            let known = |name: &&str| self.templates.contains_key(name);
            template.spec.inherits.iter().map(String::as_str).filter(known).collect()
        };
        let mut open: BTreeMap<&str, usize> =
            self.templates.iter().map(|(name, template)| (*name, parents(template).len())).collect();
        let mut heirs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, template) in &self.templates {
            for parent in parents(template) {
                heirs.entry(parent).or_default().push(name);
            }
        }
        let mut done: Vec<&str> = open.iter().filter(|(_, parents)| **parents == 0).map(|(name, _)| *name).collect();
        while let Some(name) = done.pop() {
            open.remove(name);
            for heir in heirs.get(name).into_iter().flatten() {
                if let Some(parents) = open.get_mut(heir) {
                    *parents = parents.saturating_sub(1);
                    if *parents == 0 {
                        done.push(heir);
                    }
                }
            }
        }
        !open.is_empty()
    }
}

fn name_of(template: &RoleTemplate) -> &str {
    template.metadata.name.as_deref().unwrap_or_default()
}

impl Resolved {
    /// The roles that a binding of this template binds where it is effective: its own one if it has rules, and external ones.
    /// Those for [`BoundRole::ClusterWide`] come beside them.
    #[must_use]
    pub fn bound_roles(&self) -> BTreeSet<BoundRole> {
        let own = (!self.rules.is_empty()).then(|| BoundRole::Own(self.name.clone()));
        let external =
            self.external.iter().map(|role| BoundRole::External { template: self.name.clone(), role: role.clone() });
        own.into_iter().chain(external).collect()
    }

    /// Whether nothing that it names is missing or refused.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.misplaced.is_empty() && self.refused.is_empty()
    }

    /// Equal for equal rights, however they are written, and only for these: 26 letters and digits. Of rules that together name
    /// more than 100,000 single rights it is equal only if they are written alike.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut fields = Fields::new();
        fields.add(["context", &format!("{:?}", self.context)]);
        fields.add_rules("rules", &self.rules);
        fields.add_rules("clusterRules", &self.cluster_rules);
        self.external.iter().for_each(|role| fields.add(["external", role]));
        self.management_roles.iter().for_each(|role| fields.add(["management", role]));
        fields.finish()
    }
}

/// Tells texts apart also where their writers want them to look alike: 26 letters and digits.
#[must_use]
pub fn digest(text: &str) -> String {
    let mut fields = Fields::new();
    fields.add([text]);
    fields.finish()
}

/// A digest over fields with their lengths, so that no two lists of fields look alike.
struct Fields(Context);

impl Fields {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn add<const N: usize>(&mut self, fields: [&str; N]) {
        self.add_all(fields.into_iter());
    }

    fn add_all<'a>(&mut self, fields: impl ExactSizeIterator<Item = &'a str>) {
        self.0.update(&fields.len().to_be_bytes());
        for field in fields {
            self.0.update(&field.len().to_be_bytes());
            self.0.update(field.as_bytes());
        }
    }

    fn add_rules(&mut self, what: &str, rules: &[PolicyRule]) {
        if let Some(atoms) = atoms(rules) {
            self.add([what, "by atoms"]);
            return atoms.into_iter().for_each(|atom| self.add(atom.fields()));
        }
        self.add([what, "by rules"]);
        for rule in rules {
            let lists = [&rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls];
            for texts in lists {
                self.add_all(list(texts.as_ref()).iter().map(String::as_str));
            }
            self.add_all(rule.verbs.iter().map(String::as_str));
        }
    }

    /// The first 130 bits in base32.
    fn finish(self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let digest = self.0.finish();
        let bits = digest.as_ref().iter().flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1)));
        let bits: Vec<usize> = bits.take(130).collect();
        let letters = bits.chunks(5).map(|five| five.iter().fold(0, |number, bit| number * 2 + bit));
        letters.filter_map(|number| ALPHABET.get(number)).map(|letter| char::from(*letter)).collect()
    }
}

#[cfg(test)]
mod tests;
