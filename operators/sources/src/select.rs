//! Which version of a chart an app gets. Pure.

use drover_charts::{Constraint, IndexRow, UpgradePolicy, Version};

use crate::{SourceCause, SourceError};

/// What is wanted of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the chart.
    pub chart: String,
    /// A version, or a constraint on it; empty for any.
    pub version: String,
    /// Which newer versions may be taken without a person.
    pub policy: UpgradePolicy,
    /// Whether prereleases count as other versions do.
    pub allow_prerelease: bool,
    /// The version that was chosen before, if one was.
    pub current: Option<String>,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked<'a> {
    /// The version; none where the one that was chosen before stays though the repository does not have it any more.
    pub row: Option<&'a IndexRow>,
    /// The newest version that is newer than the chosen one, and that constraint or policy do not take.
    pub available: Option<&'a Version>,
}

impl Wanted {
    /// Chooses out of all versions of the chart. A version that was chosen before and that the constraint allows stays, unless the policy
    /// takes a newer one.
    pub fn pick<'a>(&self, rows: &'a [IndexRow]) -> Result<Picked<'a>, SourceError> {
        let constraint = self.constraint()?;
        let current = self.kept(&constraint);
        if rows.is_empty() && current.is_none() {
            return Err(self.missing("no such chart"));
        }
        let of = |row: &IndexRow| row.version.clone();
        let allowed = rows
            .iter()
            .filter(|row| self.allow_prerelease || !row.version.is_prerelease() || constraint.matches(&row.version));
        let row = match &current {
            None => {
                let newest = constraint.newest_of(rows, |row| &row.version);
                Some(newest.ok_or_else(|| self.missing("no version that spec.chart allows"))?)
            }
            Some(current) => {
                let newer = self.policy.newest_of(current, &constraint, rows, |row| &row.version);
                newer.or_else(|| rows.iter().find(|row| row.version.as_str() == current.as_str()))
            }
        };
        let chosen = row.map(of).or(current);
        let available =
            allowed.map(|row| &row.version).filter(|version| chosen.as_ref().is_none_or(|chosen| *version > chosen));
        Ok(Picked { row, available: available.max() })
    }

    /// Whether what was chosen before is still what is wanted, whatever newer versions there are.
    #[must_use]
    pub fn keeps_current(&self) -> bool {
        self.constraint().is_ok_and(|constraint| self.kept(&constraint).is_some())
    }

    fn kept(&self, constraint: &Constraint) -> Option<Version> {
        let current: Version = self.current.as_ref()?.parse().ok()?;
        (current.as_str() == self.version || constraint.matches(&current)).then_some(current)
    }

    fn constraint(&self) -> Result<Constraint, SourceError> {
        let read = self.version.parse::<Constraint>();
        let constraint = read.map_err(|error| {
            SourceError::new(
                SourceCause::VersionNotFound,
                format!("spec.chart.repository.version is no version: {error}"),
            )
        })?;
        Ok(if self.allow_prerelease { constraint.including_prereleases() } else { constraint })
    }

    fn missing(&self, what: &str) -> SourceError {
        let version = if self.version.is_empty() { "any version" } else { &self.version };
        let message = format!("it has {what}: chart {}, {version}; correct spec.chart, or publish it", self.chart);
        SourceError::new(SourceCause::VersionNotFound, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(versions: &[&str]) -> Vec<IndexRow> {
        let row = |version: &&str| IndexRow {
            version: version.parse().unwrap(),
            app_version: String::new(),
            digest: None,
            urls: vec!["x.tgz".to_owned()],
            is_deprecated: false,
            created: String::new(),
            description: String::new(),
        };
        versions.iter().map(row).collect()
    }

    /// What is chosen, and what is available beyond.
    fn pick(wanted: &Wanted, versions: &[&str]) -> Result<(Option<String>, Option<String>), &'static str> {
        let rows = rows(versions);
        let picked = wanted.pick(&rows).map_err(|error| error.cause.reason())?;
        let text = |version: &Version| version.as_str().to_owned();
        Ok((picked.row.map(|row| text(&row.version)), picked.available.map(text)))
    }

    fn wanted(version: &str, policy: UpgradePolicy, current: Option<&str>) -> Wanted {
        Wanted {
            chart: "web".to_owned(),
            version: version.to_owned(),
            policy,
            allow_prerelease: false,
            current: current.map(str::to_owned),
        }
    }

    const ALL: [&str; 6] = ["2.0.0", "1.3.0-rc.1", "1.2.4", "1.2.3", "1.1.0", "0.9.0"];

    #[test]
    fn a_range_chooses_once_and_then_only_within_the_policy() {
        use UpgradePolicy::{Any, Minor, None as Never, Patch};
        for (version, policy, current, chosen, available) in [
            ("^1.1", Never, None, Some("1.2.4"), Some("2.0.0")),
            ("^1.1", Never, Some("1.1.0"), Some("1.1.0"), Some("2.0.0")),
            ("^1.1", Patch, Some("1.1.0"), Some("1.1.0"), Some("2.0.0")),
            ("^1.1", Patch, Some("1.2.3"), Some("1.2.4"), Some("2.0.0")),
            ("^1.1", Minor, Some("1.1.0"), Some("1.2.4"), Some("2.0.0")),
            ("^1.1", Any, Some("1.1.0"), Some("1.2.4"), Some("2.0.0")),
            ("", Minor, Some("1.1.0"), Some("1.2.4"), Some("2.0.0")),
            ("", Any, Some("1.1.0"), Some("2.0.0"), None),
            // Another constraint is a person's word.
            ("^0.9", Never, Some("1.1.0"), Some("0.9.0"), Some("2.0.0")),
            ("1.2.3", Any, Some("1.2.4"), Some("1.2.3"), Some("2.0.0")),
            ("1.2.3", Never, None, Some("1.2.3"), Some("2.0.0")),
            ("2.0.0", Never, None, Some("2.0.0"), None),
            // It is not there any more, and stays.
            ("^1.1", Never, Some("1.1.5"), None, Some("2.0.0")),
            ("^1.1", Patch, Some("1.2.2"), Some("1.2.4"), Some("2.0.0")),
        ] {
            let found = pick(&wanted(version, policy, current), &ALL).unwrap();
            let expected = (chosen.map(str::to_owned), available.map(str::to_owned));
            assert_eq!(found, expected, "{version} {policy:?} {current:?}");
        }
    }

    #[test]
    fn prereleases_are_chosen_and_told_only_where_they_are_allowed() {
        let versions = ["1.3.0-rc.1", "1.2.4"];
        let mut any = wanted("^1.1", UpgradePolicy::Any, Some("1.2.4"));
        assert_eq!(pick(&any, &versions), Ok((Some("1.2.4".to_owned()), None)));
        any.allow_prerelease = true;
        assert_eq!(pick(&any, &versions), Ok((Some("1.3.0-rc.1".to_owned()), None)));
        any.policy = UpgradePolicy::None;
        assert_eq!(pick(&any, &versions), Ok((Some("1.2.4".to_owned()), Some("1.3.0-rc.1".to_owned()))));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let any = |version: &str| wanted(version, UpgradePolicy::Any, None);
        for (wanted, versions) in [(any("^3"), &ALL[..]), (any(""), &[]), (any("not a version"), &ALL)] {
            assert_eq!(pick(&wanted, versions), Err("VersionNotFound"));
        }
        assert!(wanted("^1", UpgradePolicy::None, Some("1.0.0")).keeps_current());
        assert!(!wanted("^2", UpgradePolicy::None, Some("1.0.0")).keeps_current());
    }
}
