use proptest::prelude::*;

use super::*;

fn matches(constraint: &str, version: &str) -> bool {
    constraint.parse::<Constraint>().unwrap().matches(&version.parse().unwrap())
}

/// Constraints, versions that do, and versions that do not, as Masterminds/semver 3.5 judges them.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("", &["0.0.0", "1", "4.5.6"], &["1.2.3-alpha.1"]),
    ("*", &["0.0.0", "1", "4.5.6"], &["1.2.3-alpha.1"]),
    ("*-0", &["1.2.3-alpha.1", "2.0.0"], &[]),
    ("x", &["1.2.3"], &["1.2.3-rc.1"]),
    ("1.2.3", &["1.2.3", "v1.2.3", "1.2.3+build"], &["1.2.4", "1.2.3-rc.1", "2.2.3"]),
    ("v1.2.3", &["1.2.3"], &["1.2.4"]),
    ("=1.2.3", &["1.2.3"], &["1.2.2"]),
    ("=1.2", &["1.2.0", "1.2.9"], &["1.3.0", "2.2.0"]),
    ("1", &["1.0.0", "1.9.9"], &["2.0.0", "0.9.0", "1.3.5-beta"]),
    ("1.2.x", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9"]),
    ("1.x", &["1.0.0", "1.9.9"], &["2.0.0"]),
    ("1.x.3", &["1.0.0", "1.9.9"], &["2.0.0"]),
    ("2.*", &["2.1.1"], &["1.0.0", "3.4.5"]),
    ("1.2.3-rc.1", &["1.2.3-rc.1"], &["1.2.3", "1.2.3-rc.2"]),
    ("!=1.2.3", &["1.2.4", "1.2.2"], &["1.2.3", "1.2.3+build", "5.1.0-alpha.1"]),
    ("!=1.2", &["1.3.0", "2.2.0"], &["1.2.0", "1.2.9"]),
    ("!=1.2.x", &["1.3.0"], &["1.2.3"]),
    ("!=1.x", &["2.1.0"], &["1.2.0"]),
    ("!=1.2-alpha", &["1.2.0", "1.2.0-beta"], &["1.2.0-alpha", "1.2.7-alpha"]),
    (">1", &["2.0.0"], &["1.0.0", "1.9.9"]),
    (">1.1", &["1.2.0", "4.1.0"], &["1.1.0", "1.1.9"]),
    (">1.1.0", &["1.1.1", "1.2.0"], &["1.1.0"]),
    (">0", &["1.0.0"], &["0.0.0", "0.9.0", "0.0.1-alpha"]),
    (">1.2.3-alpha.1", &["1.2.3-alpha.2", "1.3.3-alpha.2", "1.2.3"], &["1.2.3-alpha.1", "1.2.3-alpha"]),
    ("<1.1", &["1.0.9", "0.1.0"], &["1.1.0", "1.1.1"]),
    ("<1.x", &["0.9.0"], &["1.1.1", "2.1.1"]),
    ("<0-z", &["0.0.0-alpha"], &["0.0.0"]),
    (">=1.1", &["1.1.0", "4.1.0"], &["1.0.9", "4.1.0-beta"]),
    ("=>1.1", &["1.1.0"], &["1.0.9"]),
    (">=0-0", &["0.0.0-alpha", "3.4.5-beta.1", "1.0.0"], &[]),
    ("<=1.1", &["1.1.0", "1.1.9", "0.1.0"], &["1.2.0", "2.0.0"]),
    ("=<1", &["1.9.9"], &["2.0.0"]),
    ("<=1.1.1", &["1.1.1"], &["1.1.2"]),
    ("~1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]),
    ("~>1.2.3", &["1.2.9"], &["1.3.0"]),
    ("~1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
    ("~1", &["1.0.0", "1.9.0"], &["2.0.0"]),
    ("~*", &["2.1.1"], &["2.1.1-rc.1"]),
    ("~0.0.0", &["1.2.3"], &[]),
    ("~1.2.3-beta.2", &["1.2.3-beta.4", "1.2.4-beta.2", "1.2.3"], &["1.2.3-beta.1", "1.3.4-beta.2"]),
    ("^1.2.3", &["1.2.3", "1.8.9"], &["1.2.2", "2.0.0", "1.8.9-rc.1"]),
    ("^1.2", &["1.2.0", "1.8.9"], &["1.1.9", "2.0.0"]),
    ("^1", &["1.0.0", "1.8.9"], &["2.0.0"]),
    ("^1.x", &["1.8.9"], &["2.0.0"]),
    ("^0.2.3", &["0.2.3", "0.2.5"], &["0.2.2", "0.3.0"]),
    ("^0.2", &["0.2.5"], &["0.3.0"]),
    ("^0.0.3", &["0.0.3"], &["0.0.4", "0.1.3"]),
    ("^0.0", &["0.0.9"], &["0.1.0", "1.0.4"]),
    ("^0", &["0.9.9"], &["1.0.0"]),
    ("^1.2.0-alpha.2", &["1.2.0-alpha.3", "1.2.1-alpha.1"], &["1.2.0-alpha.1", "2.0.0-alpha.3"]),
    (">=1.1 <2", &["1.1.0", "1.9.9"], &["1.0.9", "2.0.0"]),
    (">= 1.1 ,< 2", &["1.1.0"], &["2.0.0"]),
    (">= 1.2, < 2 || 3.x", &["1.2.0", "3.9.0"], &["2.0.0", "4.0.0", "1.1.0"]),
    (">=1.1, <2, !=1.2.3 || > 3", &["1.2.2", "4.1.2"], &["1.2.3", "3.0.0", "3.1.2"]),
    ("1.1 - 2", &["1.1.0", "2.9.9"], &["1.0.9", "3.0.0"]),
    ("1.5.0 - 4.5, !=2.0.0", &["3.7.0", "4.5.9"], &["2.0.0", "4.6.0"]),
    ("1.0.0 - 2.0.0 <=1.5.0", &["1.5.0"], &["1.5.1"]),
    ("1.1-3", &["1.1.9"], &["4.3.2"]),
    // A prerelease in one comparator opens its alternative, and no other.
    (">= 1.0.0 <= 2.0.0-beta || > 3", &["1.0.1-beta", "1.0.1", "4.0.0"], &["4.0.1-beta", "2.0.0"]),
];

#[test]
fn versions_match_as_with_helm() {
    for (constraint, good, bad) in TABLE {
        assert!(good.iter().all(|version| matches(constraint, version)), "{constraint} matches {good:?}");
        assert!(!bad.iter().any(|version| matches(constraint, version)), "{constraint} matches none of {bad:?}");
    }
}

#[test]
fn what_is_no_constraint_is_refused() {
    let long = ">= 1.0.0 || ".repeat(100);
    let many = vec!["1"; 33].join("||");
    for bad in [
        "foo",
        "1.2.3.4",
        ">",
        ">=1<2",
        "1,",
        ",1",
        "1 ||",
        "|| 1",
        ">>1",
        "1.2.3-",
        "1..2",
        "=v",
        "1 - ",
        ">1 - 2",
        "1.2.3foo!",
        "99999999999999999999",
        &long,
        &many,
    ] {
        assert_eq!(bad.parse::<Constraint>(), Err(ConstraintError), "{bad}");
    }
}

#[test]
fn prereleases_match_once_they_are_included() {
    for (constraint, version, expected) in [
        ("^1.1", "1.1.1-alpha", true),
        ("*", "1.2.3-alpha", true),
        ("<1.1", "0.1.0-alpha", true),
        ("= 2.0", "2.0.1-beta", true),
        ("^1.1", "1.1.0-alpha", false),
        ("1.2.3", "1.2.3-alpha", false),
    ] {
        let constraint = constraint.parse::<Constraint>().unwrap();
        let version = version.parse().unwrap();
        assert!(!constraint.matches(&version), "{constraint} {version}");
        assert_eq!(constraint.including_prereleases().matches(&version), expected, "{version}");
    }
}

#[test]
fn the_newest_is_found_in_any_order() {
    let versions: Vec<Version> = ["1.9.0", "1.10.0", "2.0.0-rc.1", "1.10.0+b", "1.10.0+a", "0.9"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let newest = |constraint: &str, versions: &[Version]| {
        constraint.parse::<Constraint>().unwrap().newest(versions).map(ToString::to_string)
    };
    let reversed: Vec<_> = versions.iter().rev().cloned().collect();
    for (constraint, expected) in [
        ("*", Some("1.10.0+b")),
        ("1.10.0", Some("1.10.0")),
        ("1.10.0+a", Some("1.10.0+a")),
        (">=1-0", Some("2.0.0-rc.1")),
        ("2.0.0-rc.1", Some("2.0.0-rc.1")),
        ("0.9", Some("0.9")),
        ("^3", None),
    ] {
        assert_eq!(newest(constraint, &versions).as_deref(), expected, "{constraint}");
        assert_eq!(newest(constraint, &reversed).as_deref(), expected, "{constraint}");
    }
}

proptest! {
    #[test]
    fn any_text_can_be_read_as_a_constraint(text in "\\PC*") {
        let _ = text.parse::<Constraint>();
    }

    #[test]
    fn what_looks_like_one_can_be_used(text in "[~^<>=! ]{0,3}[v0-9x*.|, -]{0,20}", version in "[0-9]\\.[0-9]\\.[0-9](-[a-z]{1,2})?") {
        if let Ok(constraint) = text.parse::<Constraint>() {
            let _ = constraint.matches(&version.parse().unwrap());
        }
    }
}
