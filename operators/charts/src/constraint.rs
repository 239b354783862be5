//! Which versions do, in the language of Helm: that of Masterminds/semver 3.5. Pure.

use std::{fmt, str::FromStr};

use semver::{BuildMetadata, Prerelease};

use crate::version::{Version, VersionError, number, suffix};

/// Most bytes of a constraint.
const BYTES: usize = 512;
/// Most alternatives, with `||` between them.
const ALTERNATIVES: usize = 32;

/// A constraint such as `^1.2`, `~1.2.3`, `1.2.x`, `>= 1.2, < 2 || 3.x`, `1.2 - 1.4` or `*`. Nothing is the same as `*`.
///
/// Prereleases match only an alternative that names one, such as `>=1.2-0`, unless they are included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    alternatives: Vec<Vec<Comparator>>,
    includes_prereleases: bool,
    text: String,
}

/// The text is no constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version constraint is like 1.2.3, ^1.2, ~1.2.3, 1.2.x or `>=1.2 <2 || 3.x`, of at most 512 bytes")]
pub struct ConstraintError;

impl From<VersionError> for ConstraintError {
    fn from(_: VersionError) -> Self {
        Self
    }
}

impl Constraint {
    /// The same, and prereleases match as other versions do.
    #[must_use]
    pub fn including_prereleases(self) -> Self {
        Self { includes_prereleases: true, ..self }
    }

    /// Whether `version` does.
    #[must_use]
    pub fn matches(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|all| {
            let may_be_prerelease = self.includes_prereleases || all.iter().any(Comparator::names_prerelease);
            (may_be_prerelease || !version.is_prerelease()) && all.iter().all(|each| each.matches(version.number()))
        })
    }

    /// The newest of `versions` that does. As with Helm, the version that is spelled like the constraint comes first.
    pub fn newest<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
        self.newest_of(versions, |version| version)
    }

    /// The one of `all` with the newest version that does.
    pub fn newest_of<'a, T>(
        &self,
        all: impl IntoIterator<Item = &'a T>,
        version: impl Fn(&T) -> &Version,
    ) -> Option<&'a T> {
        let does = |item: &&T| self.is_spelled_as(version(item)) || self.matches(version(item));
        let rank = |item: &T| (self.is_spelled_as(version(item)), version(item).clone());
        all.into_iter().filter(does).max_by_key(|item| rank(item))
    }

    fn is_spelled_as(&self, version: &Version) -> bool {
        self.text == version.as_str()
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let spelled = if text.trim().is_empty() { "*" } else { text };
        if spelled.len() > BYTES || spelled.split("||").count() > ALTERNATIVES {
            return Err(ConstraintError);
        }
        let alternatives = spelled.split("||").map(alternative).collect::<Result<_, _>>()?;
        Ok(Self { alternatives, includes_prereleases: false, text: text.to_owned() })
    }
}

/// Comparators with blanks or a comma between them.
fn alternative(text: &str) -> Result<Vec<Comparator>, ConstraintError> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let (operator, after) = operator(rest);
        let (version, after) = partial(after.trim_start())?;
        rest = if let Some(end) = upper_bound(after).filter(|_| operator == Operator::TildeOrEqual) {
            let (last, after) = partial(end)?;
            found.push(Comparator::new(Operator::GreaterOrEqual, version)?);
            found.push(Comparator::new(Operator::LessOrEqual, last)?);
            after
        } else {
            found.push(Comparator::new(operator, version)?);
            after
        };
        let next = rest.trim_start();
        if next.is_empty() {
            return Ok(found);
        }
        if next.len() == rest.len() && !next.starts_with(',') {
            return Err(ConstraintError);
        }
        rest = next.strip_prefix(',').unwrap_or(next).trim_start();
    }
}

/// What is after a hyphen with blanks around it.
fn upper_bound(text: &str) -> Option<&str> {
    let after = text.trim_start().strip_prefix('-')?;
    let has_blanks = text.starts_with(char::is_whitespace) && after.starts_with(char::is_whitespace);
    has_blanks.then(|| after.trim_start())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    TildeOrEqual,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// The longer ones first.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::TildeOrEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

fn operator(text: &str) -> (Operator, &str) {
    let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)));
    found.unwrap_or((Operator::TildeOrEqual, text))
}

/// The version at the beginning of `text`, in which numbers may be missing or `x`, and what is after it.
fn partial(text: &str) -> Result<(&str, &str), ConstraintError> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '*' | '-' | '+');
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(version, _)| !version.is_empty()).ok_or(ConstraintError)
}

/// From which number on a version is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Major,
    Minor,
    Patch,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    version: semver::Version,
    open: Open,
}

impl Comparator {
    fn new(operator: Operator, text: &str) -> Result<Self, ConstraintError> {
        let (rest, build) = suffix(text.strip_prefix('v').unwrap_or(text), '+')?;
        let (core, pre) = suffix(rest, '-')?;
        BuildMetadata::new(build).map_err(|_| ConstraintError)?;
        let pre = Prerelease::new(pre).map_err(|_| ConstraintError)?;
        let numbers: Vec<_> = core.split('.').map(component).collect::<Result<_, _>>()?;
        let (major, minor, patch, open) = match *numbers.as_slice() {
            [None] | [None, _] | [None, _, _] => (0, 0, 0, Open::Major),
            [Some(major)] | [Some(major), None] | [Some(major), None, _] => (major, 0, 0, Open::Minor),
            [Some(major), Some(minor)] | [Some(major), Some(minor), None] => (major, minor, 0, Open::Patch),
            [Some(major), Some(minor), Some(patch)] => (major, minor, patch, Open::Nothing),
            _ => return Err(ConstraintError),
        };
        let version = semver::Version { major, minor, patch, pre, build: BuildMetadata::EMPTY };
        Ok(Self { operator, version, open })
    }

    fn names_prerelease(&self) -> bool {
        !self.version.pre.is_empty()
    }

    fn matches(&self, version: &semver::Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::TildeOrEqual if self.open == Open::Nothing => order.is_eq(),
            Operator::TildeOrEqual | Operator::Tilde => order.is_ge() && self.is_in_tilde(version),
            Operator::Caret => order.is_ge() && self.is_in_caret(version),
            Operator::NotEqual => !self.is_equal(version),
            Operator::Less => order.is_lt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::LessOrEqual => self.is_not_below(version),
            Operator::Greater => self.is_below(version),
        }
    }

    fn has_major_of(&self, version: &semver::Version) -> bool {
        version.major == self.version.major
    }

    fn has_minor_of(&self, version: &semver::Version) -> bool {
        version.minor == self.version.minor
    }

    fn is_in_tilde(&self, version: &semver::Version) -> bool {
        let numbers = (self.version.major, self.version.minor, self.version.patch);
        let is_all = numbers == (0, 0, 0) && matches!(self.open, Open::Major | Open::Nothing);
        is_all || self.has_major_of(version) && (self.open == Open::Minor || self.has_minor_of(version))
    }

    /// Up to the first number that is not zero, nothing may change.
    fn is_in_caret(&self, version: &semver::Version) -> bool {
        let is_same_patch = version.patch == self.version.patch;
        match (self.version.major, self.version.minor, self.open) {
            (1.., _, _) | (_, _, Open::Minor) => self.has_major_of(version),
            (0, 1.., _) | (0, _, Open::Patch) => self.has_major_of(version) && self.has_minor_of(version),
            (0, 0, Open::Major | Open::Nothing) => {
                self.has_major_of(version) && self.has_minor_of(version) && is_same_patch
            }
        }
    }

    fn is_equal(&self, version: &semver::Version) -> bool {
        match self.open {
            Open::Minor => self.has_major_of(version),
            Open::Patch => self.has_major_of(version) && self.has_minor_of(version) && version.pre == self.version.pre,
            Open::Major | Open::Nothing => version.cmp_precedence(&self.version).is_eq(),
        }
    }

    /// Whether `version` is not above all that this one stands for: `<=1.2` has 1.2.9 in it.
    fn is_not_below(&self, version: &semver::Version) -> bool {
        match self.open {
            Open::Nothing => version.cmp_precedence(&self.version).is_le(),
            Open::Minor => version.major <= self.version.major,
            Open::Major | Open::Patch => (version.major, version.minor) <= (self.version.major, self.version.minor),
        }
    }

    /// Whether `version` is above all that this one stands for: `>1.2` begins with 1.3.
    fn is_below(&self, version: &semver::Version) -> bool {
        match self.open {
            Open::Minor => version.major > self.version.major,
            Open::Patch => (version.major, version.minor) > (self.version.major, self.version.minor),
            Open::Major | Open::Nothing => version.cmp_precedence(&self.version).is_gt(),
        }
    }
}

/// A number, or none for `x`.
fn component(text: &str) -> Result<Option<u64>, ConstraintError> {
    match text {
        "x" | "X" | "*" => Ok(None),
        "" => Err(ConstraintError),
        digits => Ok(Some(number(digits)?)),
    }
}

#[cfg(test)]
mod tests;
