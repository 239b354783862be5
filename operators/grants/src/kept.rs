//! What stays although no binding that can be read gives it: what cannot be decoded is unknown, not empty, so nobody loses a right by
//! it. Nobody gains one either. Pure.
//!
//! | what is unknown | who keeps a role by it | who loses it all the same |
//! |---|---|---|
//! | the template of the role, or one that it inherits | whom a binding in force names | everybody else |
//! | under which policies a binding or its template was written | whom it names, of the roles that it gives | everybody else |
//! | what a binding says | everybody who has it | whom another binding names that is over, and whoever may not have the role at all |

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{RoleContext, RoleSubject, SubjectKind};
use drover_roles::BoundRole;
use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};

use crate::{
    Templates,
    in_force::{Denied, admitted, to_be_given},
};

/// What stays of what there is.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By template in doubt, whom bindings in force give it to.
    named: BTreeMap<String, Vec<Subject>>,
    /// By template, the roles that it gives, where they are known: it may give less than it did.
    given: BTreeMap<String, BTreeSet<String>>,
    /// By template, whom bindings give it to no more.
    over: BTreeMap<String, Vec<Subject>>,
    /// By template, the roles that an undecodable binding may give; none where they are unknown.
    possible: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Kept {
    /// Notes a binding that is not in force, and the roles that it would give.
    pub(crate) fn note(
        &mut self,
        template: &str,
        why: &Denied,
        subjects: Vec<Subject>,
        roles: Option<BTreeSet<BoundRole>>,
    ) {
        if let Some(roles) = roles {
            self.given.insert(template.to_owned(), roles.iter().map(BoundRole::role_name).collect());
        }
        let all = if why.keeps() { &mut self.named } else { &mut self.over };
        all.entry(template.to_owned()).or_default().extend(subjects);
    }

    /// Notes that a binding in a namespace with these labels cannot be decoded: it may give whatever is there.
    pub(crate) fn doubt<'a>(
        &mut self,
        there: impl Iterator<Item = &'a RoleBinding>,
        templates: &Templates,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) {
        for template in there.filter_map(template_of) {
            let roles = match to_be_given(template, RoleContext::Project, templates, namespace, labels) {
                Ok(resolved) => Some(resolved.bound_roles().iter().map(BoundRole::role_name).collect()),
                Err(Denied::Undecodable(_)) => None,
                Err(_) => continue,
            };
            self.possible.insert(template.to_owned(), roles);
        }
    }

    /// Whom of those who have a role they leave it. `held` are the namespaces that the Project holds at the cluster.
    pub(crate) fn of(&self, live: &RoleBinding, held: &BTreeSet<&str>) -> Vec<Subject> {
        let Some(template) = template_of(live) else { return Vec::new() };
        let is_in = |all: &BTreeMap<String, Vec<Subject>>, subject: &Subject| {
            all.get(template).is_some_and(|subjects| subjects.contains(subject))
        };
        let may_be_given = self
            .possible
            .get(template)
            .is_some_and(|roles| roles.as_ref().is_none_or(|roles| roles.contains(&live.role_ref.name)));
        let is_given = self.given.get(template).is_none_or(|roles| roles.contains(&live.role_ref.name));
        let stays = |subject: &&Subject| {
            let is_possible = may_be_given && !is_in(&self.over, subject) && may_have_any(subject, held);
            (is_given && is_in(&self.named, subject)) || is_possible
        };
        live.subjects.iter().flatten().filter(stays).cloned().collect()
    }
}

fn template_of(live: &RoleBinding) -> Option<&str> {
    BoundRole::template_of(live.metadata.name.as_deref()?)
}

/// Whether the Project may give something to a subject as a cluster spells it.
fn may_have_any(subject: &Subject, held: &BTreeSet<&str>) -> bool {
    let kind = [SubjectKind::User, SubjectKind::Group, SubjectKind::ServiceAccount]
        .into_iter()
        .find(|kind| kind.as_str() == subject.kind);
    let named = |kind| RoleSubject { kind, name: subject.name.clone(), namespace: subject.namespace.clone() };
    kind.is_some_and(|kind| admitted(&named(kind), None, held).is_ok())
}
