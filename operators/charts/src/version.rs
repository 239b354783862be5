//! Versions of charts, and which of them an upgrade may choose. Pure.

use std::{cmp::Ordering, fmt, str::FromStr};

use semver::{BuildMetadata, Prerelease};

use crate::constraint::Constraint;

/// Most bytes of a version, as Helm has it.
pub(crate) const VERSION_BYTES: usize = 256;

/// A version as Helm reads it: a leading `v`, leading zeros, and a missing minor or patch number are fine. It keeps its text;
/// it is compared by precedence, and by build metadata where that is equal, so that the newest of some does not depend on
/// their order.
#[derive(Clone, Debug)]
pub struct Version {
    number: semver::Version,
    text: String,
}

/// The text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is like 1.2.3 or 1.2.3-rc.1, of at most 256 bytes")]
pub struct VersionError;

impl Version {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its numbers.
    pub(crate) fn number(&self) -> &semver::Version {
        &self.number
    }

    /// Whether it comes before a release, such as `1.2.3-rc.1`.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        !self.number.pre.is_empty()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > VERSION_BYTES {
            return Err(VersionError);
        }
        let (rest, build) = suffix(text.strip_prefix('v').unwrap_or(text), '+')?;
        let (core, pre) = suffix(rest, '-')?;
        let mut numbers = core.split('.').map(number);
        let mut next = || numbers.next().unwrap_or(Ok(0));
        let (major, minor, patch) = (next()?, next()?, next()?);
        if numbers.next().is_some() {
            return Err(VersionError);
        }
        let pre = Prerelease::new(pre).map_err(|_| VersionError)?;
        let build = BuildMetadata::new(build).map_err(|_| VersionError)?;
        Ok(Self { number: semver::Version { major, minor, patch, pre, build }, text: text.to_owned() })
    }
}

/// What is before and after the first `mark`: after a mark there is something.
pub(crate) fn suffix(text: &str, mark: char) -> Result<(&str, &str), VersionError> {
    match text.split_once(mark) {
        Some((_, "")) => Err(VersionError),
        Some(parts) => Ok(parts),
        None => Ok((text, "")),
    }
}

/// Digits alone: Rust's own parser takes a sign as well.
pub(crate) fn number(digits: &str) -> Result<u64, VersionError> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().map_err(|_| VersionError) } else { Err(VersionError) }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Which newer versions an upgrade may choose without a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpgradePolicy {
    /// None.
    #[default]
    None,
    /// Those with the same major and minor number.
    Patch,
    /// Those with the same major number.
    Minor,
    /// All.
    Any,
}

impl UpgradePolicy {
    /// The newest of `versions` that `constraint` and this policy allow after `current`; none if it is `current` or older.
    pub fn newest<'a>(
        self,
        current: &Version,
        constraint: &Constraint,
        versions: impl IntoIterator<Item = &'a Version>,
    ) -> Option<&'a Version> {
        self.newest_of(current, constraint, versions, |version| version)
    }

    /// The one of `all` with the newest version that `constraint` and this policy allow after `current`.
    pub fn newest_of<'a, T>(
        self,
        current: &Version,
        constraint: &Constraint,
        all: impl IntoIterator<Item = &'a T>,
        version: impl Fn(&T) -> &Version,
    ) -> Option<&'a T> {
        let allowed = all.into_iter().filter(|item| self.allows(current, version(item)));
        constraint.newest_of(allowed, &version)
    }

    /// Whether `next` is newer than `current` and near enough to it.
    #[must_use]
    pub fn allows(self, current: &Version, next: &Version) -> bool {
        let (from, to) = (&current.number, &next.number);
        let is_near = match self {
            Self::None => false,
            Self::Patch => (from.major, from.minor) == (to.major, to.minor),
            Self::Minor => from.major == to.major,
            Self::Any => true,
        };
        is_near && to.cmp_precedence(from).is_gt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_as_helm_reads_them() {
        for (text, read) in [
            ("1.2.3", "1.2.3"),
            ("v1.2.3", "1.2.3"),
            ("1", "1.0.0"),
            ("1.2", "1.2.0"),
            ("01.02.003", "1.2.3"),
            ("1.2-rc.1", "1.2.0-rc.1"),
            ("1.2.3-rc.1+build.01", "1.2.3-rc.1+build.01"),
            ("1.2.3+up0.1.0-rc1", "1.2.3+up0.1.0-rc1"),
            ("18446744073709551615.0.0", "18446744073709551615.0.0"),
        ] {
            let parsed = version(text);
            assert_eq!((parsed.number.to_string(), parsed.as_str()), (read.to_owned(), text));
        }
        let long = format!("1.2.3+{}", "a".repeat(256));
        for bad in [
            "",
            "v",
            "vv1",
            "1.",
            ".1",
            "1.2.3.4",
            "+1.2",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3 ",
            "1.x",
            "18446744073709551616",
            &long,
        ] {
            assert_eq!(bad.parse::<Version>(), Err(VersionError), "{bad}");
        }
    }

    #[test]
    fn versions_are_in_the_order_of_semver() {
        let ascending = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0+a",
            "v1.0.1",
            "1.2",
            "1.10.0",
            "2",
        ];
        assert!(ascending.windows(2).all(|pair| version(pair[0]) < version(pair[1])));
    }

    #[test]
    fn a_policy_says_how_far_an_upgrade_may_go() {
        let all = ["1.2.3", "1.2.4", "1.2.4+other", "1.2.9-rc.1", "1.3.0", "2.0.0", "2.1.0-rc.1", "1.2.1"].map(version);
        let newest = |policy: UpgradePolicy, constraint: &str| {
            let constraint = constraint.parse().unwrap();
            policy.newest(&all[0], &constraint, &all).map(Version::as_str)
        };
        assert_eq!(newest(UpgradePolicy::None, "*"), None);
        assert_eq!(newest(UpgradePolicy::Patch, "*"), Some("1.2.4+other"));
        assert_eq!(newest(UpgradePolicy::Patch, ">=0-0"), Some("1.2.9-rc.1"));
        assert_eq!(newest(UpgradePolicy::Minor, "*"), Some("1.3.0"));
        assert_eq!(newest(UpgradePolicy::Any, "*"), Some("2.0.0"));
        assert_eq!(newest(UpgradePolicy::Any, "^1"), Some("1.3.0"));
        assert_eq!(newest(UpgradePolicy::Any, "<=1.2.3"), None, "nothing newer");
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = text.parse::<Version>();
        }

        #[test]
        fn what_is_read_is_read_again(text in "v?[0-9]{1,3}(\\.[0-9]{1,3}){0,2}(-[a-z0-9.-]{1,5})?(\\+[a-z0-9.]{1,5})?") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string().parse::<Version>(), Ok(version));
            }
        }
    }
}
