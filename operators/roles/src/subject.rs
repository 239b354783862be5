//! Whom a role is given to, as a cluster spells it.

use std::fmt;

use drover_crds::{IdentityMapping, RoleSubject, SubjectKind};
use k8s_openapi::api::rbac::v1::Subject;

/// Most subjects of one binding in a cluster; the API server's policies can look at that many.
pub const MAX_SUBJECTS: usize = 1000;

/// The group that stands above every rule of a cluster.
const MASTERS: &str = "system:masters";
/// What Kubernetes' own users and groups begin with.
const SYSTEM: &str = "system:";
/// The user that a `ServiceAccount` is.
const ACCOUNT: &str = "system:serviceaccount:";
/// The groups of `ServiceAccounts`.
const ACCOUNTS: &str = "system:serviceaccounts";
/// The group of everybody, `ServiceAccounts` included.
const AUTHENTICATED: &str = "system:authenticated";

/// Why nothing is given to a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// It is `system:masters`, however it is spelled.
    Masters,
    /// It is a `ServiceAccount` under the name of a user, which would get past the rules for accounts.
    AccountAsUser,
    /// The prefix of the cluster makes one of Kubernetes' own users or groups of it, which other rules are for.
    SystemByPrefix,
    /// It is a `ServiceAccount` without a namespace, or a user or a group with one.
    Malformed,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Masters => "system:masters stands above every rule of a cluster",
            Self::AccountAsUser => "a ServiceAccount is named by its kind, name and namespace",
            Self::SystemByPrefix => "the prefix in spec.identity of the Cluster makes a name system:… of it",
            Self::Malformed => "a ServiceAccount has a namespace, a user or a group has none",
        })
    }
}

/// The subject of a binding in a cluster. Names of users and groups get the prefix that `identity` of the Cluster says, but for
/// Kubernetes' own ones, which begin with `system:` everywhere.
pub fn subject(subject: &RoleSubject, identity: Option<&IdentityMapping>) -> Result<Subject, Refused> {
    let name = spelled(subject, identity);
    if is_masters(&name) || is_masters(&subject.name) {
        return Err(Refused::Masters);
    }
    let is_account = subject.kind == SubjectKind::ServiceAccount;
    if is_account != subject.namespace.is_some() {
        return Err(Refused::Malformed);
    }
    if subject.kind == SubjectKind::User && name.to_lowercase().starts_with(ACCOUNT) {
        return Err(Refused::AccountAsUser);
    }
    if name.starts_with(SYSTEM) && !subject.name.starts_with(SYSTEM) {
        return Err(Refused::SystemByPrefix);
    }
    Ok(Subject {
        // Accounts are of the core group.
        api_group: (!is_account).then(|| "rbac.authorization.k8s.io".to_owned()),
        kind: subject.kind.as_str().to_owned(),
        name,
        namespace: subject.namespace.clone(),
    })
}

fn spelled(subject: &RoleSubject, identity: Option<&IdentityMapping>) -> String {
    let prefix = match subject.kind {
        _ if subject.name.starts_with(SYSTEM) => None,
        SubjectKind::User => identity.and_then(|identity| identity.username_prefix.as_deref()),
        SubjectKind::Group => identity.and_then(|identity| identity.groups_prefix.as_deref()),
        SubjectKind::ServiceAccount => None,
    };
    format!("{}{}", prefix.unwrap_or_default(), subject.name)
}

fn is_masters(name: &str) -> bool {
    name.trim().to_lowercase() == MASTERS
}

/// Which `ServiceAccounts` of a cluster a subject means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounts<'a> {
    /// None.
    None,
    /// One or all of this namespace.
    Of(&'a str),
    /// Those of every namespace.
    All,
}

/// Which `ServiceAccounts` a subject means, be it by the name of one of Kubernetes' groups.
#[must_use]
pub fn accounts_of(subject: &RoleSubject) -> Accounts<'_> {
    if let (SubjectKind::ServiceAccount, Some(namespace)) = (subject.kind, &subject.namespace) {
        return Accounts::Of(namespace);
    }
    let name = subject.name.as_str();
    if name == AUTHENTICATED || name == ACCOUNTS {
        return Accounts::All;
    }
    let of_group = name.strip_prefix(ACCOUNTS).and_then(|rest| rest.strip_prefix(':'));
    let of_user = name.strip_prefix(ACCOUNT).map(|rest| rest.split_once(':').map_or(rest, |(namespace, _)| namespace));
    of_group.or(of_user).map_or(Accounts::None, Accounts::Of)
}

/// The subjects of one role, sorted and each once, spread over as few bindings as can hold them.
#[must_use]
pub fn in_bindings_of(subjects: impl IntoIterator<Item = Subject>, most: usize) -> Vec<Vec<Subject>> {
    let mut subjects: Vec<Subject> = subjects.into_iter().collect();
    subjects.sort_by(|one, other| key(one).cmp(&key(other)));
    subjects.dedup();
    subjects.chunks(most.max(1)).map(<[Subject]>::to_vec).collect()
}

fn key(subject: &Subject) -> (&str, Option<&str>, &str) {
    (&subject.kind, subject.namespace.as_deref(), &subject.name)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn of(kind: SubjectKind, name: &str, namespace: Option<&str>) -> RoleSubject {
        RoleSubject { kind, name: name.to_owned(), namespace: namespace.map(str::to_owned) }
    }

    fn prefixes(user: &str, groups: &str) -> IdentityMapping {
        IdentityMapping { username_prefix: Some(user.to_owned()), groups_prefix: Some(groups.to_owned()) }
    }

    #[test]
    fn t25_no_prefix_makes_a_subject_of_kubernetes_own_out_of_another() {
        let all = prefixes("system:", "system:");
        for (kind, name) in [
            (SubjectKind::Group, "authenticated"),
            (SubjectKind::Group, "serviceaccounts:team-b"),
            (SubjectKind::User, "anonymous"),
        ] {
            assert_eq!(subject(&of(kind, name, None), Some(&all)), Err(Refused::SystemByPrefix), "{name}");
            assert!(subject(&of(kind, name, None), None).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_cluster_says_how_users_and_groups_are_spelled_there() {
        let identity = prefixes("oidc:", "oidc-");
        let spelled = |subject_: &RoleSubject| {
            let subject = subject(subject_, Some(&identity)).unwrap();
            (subject.kind, subject.name, subject.namespace, subject.api_group.is_some())
        };
        let expect = |kind: &str, name: &str, namespace: Option<&str>, has_group| {
            (kind.to_owned(), name.to_owned(), namespace.map(str::to_owned), has_group)
        };
        assert_eq!(spelled(&of(SubjectKind::User, "ada", None)), expect("User", "oidc:ada", None, true));
        assert_eq!(spelled(&of(SubjectKind::Group, "ops", None)), expect("Group", "oidc-ops", None, true));
        let account = of(SubjectKind::ServiceAccount, "ci", Some("shop"));
        assert_eq!(spelled(&account), expect("ServiceAccount", "ci", Some("shop"), false));
        let everybody = of(SubjectKind::Group, "system:authenticated", None);
        assert_eq!(spelled(&everybody), expect("Group", "system:authenticated", None, true));
        assert_eq!(subject(&of(SubjectKind::User, "ada", None), None).unwrap().name, "ada");
    }

    #[test]
    fn t20_an_account_cannot_be_given_a_role_as_a_user() {
        let account = of(SubjectKind::User, "system:serviceaccount:kube-system:root", None);
        assert_eq!(subject(&account, None), Err(Refused::AccountAsUser));
        assert_eq!(accounts_of(&account), Accounts::Of("kube-system"));
        let by_prefix = subject(&of(SubjectKind::User, "a:b", None), Some(&prefixes("system:serviceaccount:", "")));
        assert_eq!(by_prefix, Err(Refused::AccountAsUser));
        assert_eq!(subject(&of(SubjectKind::ServiceAccount, "ci", None), None), Err(Refused::Malformed));
        let groups = [
            ("system:serviceaccounts", Accounts::All),
            ("system:authenticated", Accounts::All),
            ("system:serviceaccounts:shop", Accounts::Of("shop")),
            ("system:serviceaccountsx", Accounts::None),
            ("ops", Accounts::None),
        ];
        for (name, accounts) in groups {
            assert_eq!(accounts_of(&of(SubjectKind::Group, name, None)), accounts, "{name}");
        }
    }

    #[test]
    fn subjects_are_sorted_and_spread_over_bindings() {
        let user = |number: usize| subject(&of(SubjectKind::User, &format!("u{number:04}"), None), None).unwrap();
        let many: Vec<_> = (0..=MAX_SUBJECTS).rev().chain(0..3).map(user).collect();
        let bindings = in_bindings_of(many, MAX_SUBJECTS);
        assert_eq!(bindings.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_SUBJECTS, 1]);
        assert_eq!((bindings[0][0].name.as_str(), bindings[1][0].name.as_str()), ("u0000", "u1000"));
        assert!(in_bindings_of([], MAX_SUBJECTS).is_empty());
    }

    fn spelling(text: &'static str) -> impl Strategy<Value = String> {
        proptest::collection::vec(any::<bool>(), text.len()).prop_map(move |upper| {
            let cased =
                text.chars().zip(upper).map(|(letter, up)| if up { letter.to_ascii_uppercase() } else { letter });
            cased.collect()
        })
    }

    proptest! {
        #[test]
        fn t25_nothing_is_ever_given_to_masters(
            kind in select(&[SubjectKind::User, SubjectKind::Group, SubjectKind::ServiceAccount]),
            name in spelling("system:masters"),
            cut in 0..=MASTERS.len(),
            namespace in any::<bool>(),
        ) {
            let namespace = namespace.then_some("shop");
            prop_assert_eq!(subject(&of(kind, &name, namespace), None), Err(Refused::Masters));
            let (prefix, rest) = name.split_at(cut);
            let identity = prefixes(prefix, prefix);
            if let Ok(spelled) = subject(&of(kind, rest, namespace), Some(&identity)) {
                prop_assert!(!is_masters(&spelled.name), "{} from {prefix} and {rest}", spelled.name);
            }
        }
    }
}
