//! Names that become parts of paths. Pure.

use std::{fmt, str::FromStr};

/// Most letters of a name.
const MOST_LETTERS: usize = 64;

/// Why a text is no name of a benchmark or a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must begin with a small letter or a digit and go on with at most 63 small letters, digits, dots and hyphens"
)]
pub struct NameError;

/// A benchmark, as kube-bench names it: a folder in its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchmarkName(String);

/// A target of a benchmark, such as `master`: a file in that folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetName(String);

/// The text, if it can be a part of a path and leads nowhere else.
fn checked(text: &str) -> Result<String, NameError> {
    let is_legible =
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
    let begins = text.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    if is_legible && begins && text.len() <= MOST_LETTERS { Ok(text.to_owned()) } else { Err(NameError) }
}

impl FromStr for BenchmarkName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        checked(text).map(Self)
    }
}

impl FromStr for TargetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        checked(text).map(Self)
    }
}

impl BenchmarkName {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TargetName {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file with what kube-bench printed.
    pub(crate) fn printed(&self) -> String {
        format!("{self}.json")
    }

    /// The file that says how it ended.
    pub(crate) fn outcome(&self) -> String {
        format!("{self}.outcome")
    }
}

impl fmt::Display for BenchmarkName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_no_other_path() {
        for name in ["master", "cis-1.12", "eks-stig-kubernetes-v1r6", "cis-1.24-microk8s"] {
            assert_eq!(name.parse::<BenchmarkName>().unwrap().as_str(), name);
        }
        for refused in ["", "..", "-v", "../etc", "a/b", "a b", "Master", ".done", "a\n", &"a".repeat(65)] {
            assert_eq!(refused.parse::<TargetName>(), Err(NameError), "{refused}");
        }
    }
}
