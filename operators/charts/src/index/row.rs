//! One version of a chart in an index.

use std::io::Read;

use saphyr_parser::{Event, ScalarStyle};

use super::{IndexError, IndexRow};
use crate::events::Events;

/// Most URLs of a version.
const URLS: usize = 8;
/// Most bytes of a URL.
const URL_BYTES: usize = 2_048;
/// Most characters of a text that is shown.
const SHOWN: usize = 256;
/// Most characters of a time.
const TIME: usize = 64;

/// The fields of a version that count, as far as they are there.
#[derive(Default)]
pub(super) struct Fields {
    name: Option<String>,
    version: Option<String>,
    app_version: Option<String>,
    digest: Option<String>,
    description: Option<String>,
    created: Option<String>,
    deprecated: Option<String>,
    urls: Option<Vec<String>>,
}

impl Fields {
    /// Reads the rest of a map whose beginning was read.
    pub(super) fn read(events: &mut Events<impl Read>) -> Result<Self, IndexError> {
        let mut fields = Self::default();
        while let Some(key) = events.key("a field of a version")? {
            if key == "urls" {
                let urls = urls(events)?;
                if fields.urls.replace(urls).is_some() {
                    return Err(events.twice(&key));
                }
            } else if let Some(field) = fields.field(&key) {
                let text = text(events)?;
                if field.replace(text).is_some() {
                    return Err(events.twice(&key));
                }
            } else {
                events.skip()?;
            }
        }
        Ok(fields)
    }

    fn field(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "name" => Some(&mut self.name),
            "version" => Some(&mut self.version),
            "appVersion" => Some(&mut self.app_version),
            "digest" => Some(&mut self.digest),
            "description" => Some(&mut self.description),
            "created" => Some(&mut self.created),
            "deprecated" => Some(&mut self.deprecated),
            _ => None,
        }
    }

    /// The version of the chart of this name, if it can be used.
    pub(super) fn into_row(self, chart: &str) -> Option<IndexRow> {
        let urls = self.urls.filter(|urls| {
            (1..=URLS).contains(&urls.len()) && urls.iter().all(|url| (1..=URL_BYTES).contains(&url.len()))
        })?;
        let digest = match self.digest.filter(|digest| !digest.is_empty()) {
            Some(digest) => Some(digest.parse().ok()?),
            None => None,
        };
        self.name.filter(|name| name == chart)?;
        Some(IndexRow {
            version: self.version?.parse().ok()?,
            app_version: cut(self.app_version, SHOWN),
            digest,
            urls,
            is_deprecated: self.deprecated.is_some_and(|text| text.eq_ignore_ascii_case("true")),
            created: cut(self.created, TIME),
            description: cut(self.description, SHOWN),
        })
    }
}

fn cut(text: Option<String>, most: usize) -> String {
    let text = text.unwrap_or_default();
    let spaced = text.chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    spaced.filter(|letter| !letter.is_control()).take(most).collect()
}

/// A scalar; anything else counts as an empty text.
fn text(events: &mut Events<impl Read>) -> Result<String, IndexError> {
    match events.next()? {
        Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => Ok(String::new()),
        Event::Scalar(text, ..) => Ok(text.into_owned()),
        first => events.skip_rest(&first).map(|()| String::new()),
    }
}

fn urls(events: &mut Events<impl Read>) -> Result<Vec<String>, IndexError> {
    let mut found = Vec::new();
    let first = events.next()?;
    if !matches!(first, Event::SequenceStart(..)) {
        return events.skip_rest(&first).map(|()| found);
    }
    loop {
        match events.next()? {
            Event::SequenceEnd => return Ok(found),
            // One more than allowed tells that there are too many.
            Event::Scalar(url, ..) if found.len() <= URLS => found.push(url.into_owned()),
            first => events.skip_rest(&first)?,
        }
    }
}

/// Whether a plain text stands for nothing.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
