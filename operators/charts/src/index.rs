//! The index of an HTTP repository, read as a stream of YAML events: what is not asked for is never kept.
//!
//! An index of 64 MiB would take a gigabyte as objects. Here, memory holds the names of the charts, what was asked for, and one
//! piece of text at a time. Anchors and aliases are refused; no index needs them, and they multiply.

mod row;
mod skipping;

use std::{collections::BTreeSet, io::Read};

use saphyr_parser::Event;

use drover_fetch::Digest;

use crate::{
    events::{Bounded, Events},
    limits::MIB,
    version::Version,
};
use row::Fields;
use skipping::Skipping;

/// The bounds on an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// Most bytes. Default 64 MiB.
    pub bytes: usize,
    /// Most charts. Default 20,000.
    pub charts: usize,
    /// Most versions of one chart. Default 20,000.
    pub versions: usize,
    /// Most lists and maps in one another. Default 64.
    pub depth: usize,
    /// Most characters between two events of YAML, such as the length of a text. Default 1 MiB.
    pub text: usize,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { bytes: 64 * MIB, charts: 20_000, versions: 20_000, depth: 64, text: MIB }
    }
}

/// Why an index cannot be used. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Nothing in it is that of an index.
    #[error("what the URL answers is no index of charts; check the URL, to which Drover adds `index.yaml`")]
    NoIndex,
    /// It is no YAML, or broken.
    #[error("the index is broken in line {line}; build it with `helm repo index`")]
    Broken {
        /// Where.
        line: usize,
    },
    /// Something in it is of another kind than in an index.
    #[error("the index has something else than {expected} in line {line}; build it with `helm repo index`")]
    Unexpected {
        /// What belongs there.
        expected: &'static str,
        /// Where.
        line: usize,
    },
    /// It has one name twice.
    #[error("the index has {name} twice, again in line {line}; build it with `helm repo index`")]
    Twice {
        /// The name, cut.
        name: String,
        /// Where it comes again.
        line: usize,
    },
    /// It has an anchor or an alias.
    #[error("the index uses an anchor or an alias in line {line}; write it without them")]
    Alias {
        /// Where.
        line: usize,
    },
    /// It has a character that no text has, or is not UTF-8.
    #[error("the index is not text in UTF-8 from line {line} on; build it with `helm repo index`")]
    NotText {
        /// Where.
        line: usize,
    },
    /// It is too large.
    #[error("the index has more than {0} bytes; remove old versions from it, or raise the limit")]
    TooLarge(usize),
    /// It has too much of something.
    #[error("the index has more than {limit} {what}; remove some")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// It could not be read to its end.
    #[error("the index could not be read to its end; it is tried again")]
    Interrupted,
}

/// One version of a chart, as the index has it. A version that cannot be used is left out, as Helm does: without a number,
/// a URL, or with a digest that is no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// Its number.
    pub version: Version,
    /// Version of what it installs; at most 256 characters, empty if it is not there.
    pub app_version: String,
    /// SHA-256 of the packed chart, if the index knows it.
    pub digest: Option<Digest>,
    /// Where the packed chart is; at most eight, each of at most 2,048 bytes, relative to the repository or not.
    pub urls: Vec<String>,
    /// Whether nobody should begin to use it.
    pub is_deprecated: bool,
    /// When it was made, as the index spells it; at most 64 characters.
    pub created: String,
    /// One sentence; at most 256 characters.
    pub description: String,
}

/// A chart in an index, for people who look for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartSummary {
    /// Its name.
    pub name: String,
    /// How many versions of it can be used.
    pub versions: usize,
    /// The newest release, or the newest prerelease where there is no release.
    pub newest: IndexRow,
}

/// How much there is in an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexCounts {
    /// Charts.
    pub charts: usize,
    /// Versions of all charts, those that cannot be used included.
    pub versions: usize,
}

/// All versions of one chart, the newest first; nothing if the index does not have it. What is broken about other charts may
/// go unnoticed. Blocks.
pub fn versions(chart: &str, index: impl Read, limits: &IndexLimits) -> Result<Vec<IndexRow>, IndexError> {
    let mut found = Vec::new();
    let wants = |name: &str| name == chart;
    let (index, _) = Skipping::new(Bounded::new(index, limits.bytes), wants);
    walk(index, limits, wants, |_, row| found.push(row))?;
    found.sort_by(|a: &IndexRow, b| b.version.cmp(&a.version));
    Ok(found)
}

/// All charts by name. Blocks.
pub fn charts(index: impl Read, limits: &IndexLimits) -> Result<Vec<ChartSummary>, IndexError> {
    let mut found: Vec<ChartSummary> = Vec::new();
    let rank = |row: &IndexRow| (!row.version.is_prerelease(), row.version.clone());
    let keep = |name: &str, row: IndexRow| match found.last_mut().filter(|last| last.name == name) {
        Some(chart) => {
            chart.versions += 1;
            if rank(&row) > rank(&chart.newest) {
                chart.newest = row;
            }
        }
        None => found.push(ChartSummary { name: name.to_owned(), versions: 1, newest: row }),
    };
    walk(Bounded::new(index, limits.bytes), limits, |_| true, keep)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// How much there is. What is broken about single charts may go unnoticed. Blocks.
pub fn counts(index: impl Read, limits: &IndexLimits) -> Result<IndexCounts, IndexError> {
    let (index, dropped) = Skipping::new(Bounded::new(index, limits.bytes), |_: &str| false);
    let counts = walk(index, limits, |_| false, |_, _| ())?;
    Ok(IndexCounts { versions: counts.versions + dropped.get(), ..counts })
}

/// Reads the whole index, and hands over the usable versions of the charts that `wants` names.
fn walk(
    index: impl Read,
    limits: &IndexLimits,
    wants: impl FnMut(&str) -> bool,
    keep: impl FnMut(&str, IndexRow),
) -> Result<IndexCounts, IndexError> {
    let events = Events::new(index, limits);
    let mut walk = Walk { events, limits, wants, keep, names: BTreeSet::new(), versions: 0 };
    walk.document()?;
    Ok(IndexCounts { charts: walk.names.len(), versions: walk.versions })
}

struct Walk<'a, R: Read, W, K> {
    events: Events<R>,
    limits: &'a IndexLimits,
    wants: W,
    keep: K,
    names: BTreeSet<String>,
    versions: usize,
}

impl<R: Read, W: FnMut(&str) -> bool, K: FnMut(&str, IndexRow)> Walk<'_, R, W, K> {
    fn document(&mut self) -> Result<(), IndexError> {
        let mut keys = BTreeSet::new();
        if !self.events.enter_document()? {
            return Err(IndexError::NoIndex);
        }
        while let Some(key) = self.events.key("a key")? {
            match key.as_str() {
                "entries" | "apiVersion" if !keys.insert(key.clone()) => return Err(self.events.twice(&key)),
                "entries" => self.entries()?,
                _ => self.events.skip()?,
            }
        }
        self.events.leave_document()?;
        // A page of another kind may well be a map.
        if keys.is_empty() { Err(IndexError::NoIndex) } else { Ok(()) }
    }

    fn entries(&mut self) -> Result<(), IndexError> {
        let expected = "charts by name";
        match self.events.next()? {
            Event::MappingStart(..) => {}
            Event::Scalar(text, ..) if row::is_null(&text) => return Ok(()),
            _ => return Err(self.events.unexpected(expected)),
        }
        while let Some(name) = self.events.key(expected)? {
            let limit = self.limits.charts;
            if self.names.len() == limit {
                return Err(IndexError::TooMany { what: "charts", limit });
            }
            if !self.names.insert(name.clone()) {
                return Err(self.events.twice(&name));
            }
            self.chart(&name)?;
        }
        Ok(())
    }

    fn chart(&mut self, name: &str) -> Result<(), IndexError> {
        let (expected, limit) = ("a list of versions", self.limits.versions);
        match self.events.next()? {
            Event::SequenceStart(..) => {}
            Event::Scalar(text, ..) if row::is_null(&text) => return Ok(()),
            _ => return Err(self.events.unexpected(expected)),
        }
        let is_wanted = (self.wants)(name);
        for number in 0.. {
            match self.events.next()? {
                Event::SequenceEnd => break,
                _ if number == limit => return Err(IndexError::TooMany { what: "versions of one chart", limit }),
                Event::MappingStart(..) if is_wanted => {
                    let fields = Fields::read(&mut self.events)?;
                    if let Some(row) = fields.into_row(name) {
                        (self.keep)(name, row);
                    }
                }
                first => self.events.skip_rest(&first)?,
            }
            self.versions += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
