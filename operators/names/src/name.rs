//! Names that records can have, and who may have them.

use std::{fmt, str::FromStr};

/// The longest name: RFC 1035 has 253 letters without the dot at the end, of which the name of an ownership record takes five more.
const MOST_LETTERS: usize = 248;
/// The longest label, and the longest first one, for the same reason.
const MOST_OF_LABEL: usize = 63;
const MOST_OF_FIRST: usize = 58;
/// What names of ownership records begin with.
const RESERVED: [&str; 3] = ["a-", "aaaa-", "cname-"];

/// A name in lower case, with at least two labels and without the dot at the end. Its first label may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fqdn(String);

/// Why a text is no name that records can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has letters beyond ASCII.
    #[error("has letters beyond ASCII; write it as DNS has it, in labels that begin with xn--")]
    Unicode,
    /// It has capital letters.
    #[error("has capital letters; write it in lower case")]
    UpperCase,
    /// It, or a label of it, is too long.
    #[error("is too long: a name has at most 248 letters, its first label 58, and each further one 63")]
    TooLong,
    /// It is none.
    #[error("is no name: it needs at least two labels of letters, digits and '-', separated by dots")]
    Syntax,
}

impl Fqdn {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this name, or below it.
    #[must_use]
    pub fn is_within(&self, suffix: &Self) -> bool {
        let above = self.0.strip_suffix(suffix.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }

    fn first_label(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Fqdn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Fqdn {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !text.is_ascii() {
            return Err(NameError::Unicode);
        }
        if text.bytes().any(|letter| letter.is_ascii_uppercase()) {
            return Err(NameError::UpperCase);
        }
        let labels: Vec<_> = text.split('.').collect();
        let is_long = |(at, label): (usize, &&str)| label.len() > if at == 0 { MOST_OF_FIRST } else { MOST_OF_LABEL };
        if text.len() > MOST_LETTERS || labels.iter().enumerate().any(is_long) {
            return Err(NameError::TooLong);
        }
        let is_good = |(at, label): (usize, &&str)| is_label(label) || (at == 0 && *label == "*");
        if labels.len() < 2 || !labels.iter().enumerate().all(is_good) {
            return Err(NameError::Syntax);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Letters, digits and dashes, no dash at an end. An underscore may come first, as in `_acme-challenge`.
fn is_label(label: &str) -> bool {
    let bare = label.strip_prefix('_').unwrap_or(label);
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
    !bare.is_empty() && bare.bytes().all(is_letter) && !bare.starts_with('-') && !bare.ends_with('-')
}

/// Why a namespace may not have a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameRefused {
    /// The provider has no such domain.
    #[error("is in none of the domains of the provider")]
    NoDomain,
    /// None of the suffixes that are granted to the namespace fits.
    #[error("is below no suffix that the provider grants to this namespace")]
    NotGranted,
    /// It is a domain itself.
    #[error("is a domain of the provider itself, which must be granted by its name")]
    Apex,
    /// It answers for all names below another one.
    #[error("is a wildcard, which must be granted by its name")]
    Wildcard,
    /// Certificates, mail policies and the like are proved by such names.
    #[error("has a label that begins with '_', so it must be granted by its name")]
    Underscore,
    /// It is kept for records that say who wrote what.
    #[error("begins with a-, aaaa- or cname-, as the names of ownership records do; choose another one")]
    Reserved,
}

/// What a provider grants to one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The domains of the provider.
    pub domains: Vec<Fqdn>,
    /// What is granted: every name below one of these but for those that are too special, and each by its name.
    pub suffixes: Vec<Fqdn>,
}

impl Grants {
    /// The domain that `name` is in, if the namespace may have it. Of several domains the longest counts.
    pub fn domain_of(&self, name: &Fqdn) -> Result<&Fqdn, NameRefused> {
        let fitting = self.domains.iter().filter(|domain| name.is_within(domain));
        let domain = fitting.max_by_key(|domain| domain.as_str().len()).ok_or(NameRefused::NoDomain)?;
        if RESERVED.iter().any(|reserved| name.first_label().starts_with(reserved)) {
            return Err(NameRefused::Reserved);
        }
        if self.suffixes.contains(name) {
            return Ok(domain);
        }
        if !self.suffixes.iter().any(|suffix| name.is_within(suffix)) {
            return Err(NameRefused::NotGranted);
        }
        if name == domain {
            return Err(NameRefused::Apex);
        }
        if name.first_label() == "*" {
            return Err(NameRefused::Wildcard);
        }
        if name.as_str().split('.').any(|label| label.starts_with('_')) {
            return Err(NameRefused::Underscore);
        }
        Ok(domain)
    }
}
