//! What `helm template` prints: objects in the order of their installation, hooks, definitions of kinds, and notes.

use std::ops::Range;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::{
    hook::{EVENTS, Hook},
    object::Object,
    record::Record,
    yaml::{self, Budget, YamlError},
};

/// Objects that one release may have, hooks included.
pub const MAX_OBJECTS: usize = 5_000;
/// Bytes that the objects of one release may take while they are read, aliases written out.
const MAX_BYTES: usize = 64 << 20;
/// The file that Drover adds to the templates of a chart's copy, so that its notes are in what Helm prints.
pub(crate) const NOTES_TEMPLATE_NAME: &str = "templates/drover-notes.yaml";
/// The text of that file. It is for charts that have a `templates/NOTES.txt`. A hook, so that Helm looks for no such kind.
pub(crate) const NOTES_TEMPLATE: &str = r#"kind: DroverNotes
apiVersion: v1
metadata:
  name: drover-notes
  annotations: {helm.sh/hook: post-install}
notes: {{ include (print $.Template.BasePath "/NOTES.txt") . | b64enc | quote }}
"#;
const NOTES_KIND: &str = "DroverNotes";
const SOURCE: &str = "# Source: ";

/// Why what a chart renders cannot be used. It repeats nothing of the text but the name of the template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.as_deref().unwrap_or("the manifest"))]
pub struct ManifestError {
    /// The template, such as `chart/templates/service.yaml`.
    pub file: Option<String>,
    /// What is wrong.
    pub reason: ManifestFault,
}

/// What is wrong with what a chart renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// It cannot be read.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It lacks what every object has.
    #[error("it has no apiVersion or kind, or its metadata is malformed")]
    NoObject,
    /// More than [`MAX_OBJECTS`].
    #[error("there are more objects than one release may have (5000)")]
    TooMany,
}

/// What a chart renders to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The text that Helm keeps in its record, without hooks and `crds/`.
    pub manifest: String,
    /// The objects of that text in the order of their installation, lists taken apart.
    pub objects: Vec<Object>,
    /// The hooks in the order in which Helm records them.
    pub hooks: Vec<Hook>,
    /// What lies in `crds/` of the chart and its subcharts.
    pub crds: Vec<Object>,
    /// What the chart tells a person, where the template for it was added.
    pub notes: Option<String>,
}

impl Rendered {
    /// Reads what is applied from a record, and believes nothing of its hooks but their texts: tenants can write records. What lies in
    /// `crds/` is in no record.
    pub fn from_record(record: &Record) -> Result<Self, ManifestError> {
        let hooks = record.hooks.iter().map(Hook::reread).collect::<Result<_, _>>()?;
        let notes = Some(record.info.notes.clone()).filter(|notes| !notes.is_empty());
        let (manifest, objects) = (record.manifest.clone(), objects(&record.manifest)?);
        Ok(Self { manifest, objects, hooks, crds: Vec::new(), notes })
    }

    /// Reads what `helm template --include-crds` prints.
    pub fn read(output: &str) -> Result<Self, ManifestError> {
        let mut rendered = Self::default();
        let mut reader = Reader::new();
        for document in documents(output) {
            rendered.add(&document, &mut reader)?;
        }
        // Helm prints the last document without the empty line that its record has.
        if !rendered.manifest.is_empty() {
            rendered.manifest.push('\n');
        }
        Ok(rendered)
    }

    fn add(&mut self, document: &Document<'_>, reader: &mut Reader) -> Result<(), ManifestError> {
        let value = reader.value(document)?;
        if value.get("kind").and_then(Value::as_str) == Some(NOTES_KIND) && document.is_notes() {
            self.notes = value.get("notes").and_then(Value::as_str).and_then(notes);
            return Ok(());
        }
        // Helm asks a list, and not its items, whether it is a hook.
        let annotations = value.pointer("/metadata/annotations");
        let is_hook = annotations.is_some_and(|annotations| annotations.get(EVENTS).is_some());
        let whole = is_hook.then(|| value.clone());
        let objects = reader.objects(document, value)?;
        if document.is_definition() {
            self.crds.extend(objects);
        } else if let Some(whole) = whole {
            let content = document.content.strip_suffix('\n').unwrap_or(document.content);
            let hook = |whole| Hook::of(&whole, document.source.unwrap_or_default(), content);
            self.hooks.extend(Object::new(whole).and_then(hook));
        } else {
            self.manifest.push_str(document.whole);
            self.objects.extend(objects);
        }
        Ok(())
    }
}

/// The first document of a manifest as one object, a list as it is.
pub(crate) fn first(manifest: &str) -> Result<Option<Object>, ManifestError> {
    let document = documents(manifest).next();
    let value = document.map(|document| Reader::new().value(&document)).transpose()?;
    Ok(value.and_then(Object::new))
}

/// The objects of a manifest as records have it, lists taken apart.
pub fn objects(manifest: &str) -> Result<Vec<Object>, ManifestError> {
    let mut reader = Reader::new();
    let mut found = Vec::new();
    for document in documents(manifest) {
        let value = reader.value(&document)?;
        found.extend(reader.objects(&document, value)?);
    }
    Ok(found)
}

/// One document of a text, with the comment in which Helm names the template.
struct Document<'a> {
    source: Option<&'a str>,
    /// With the separator before it.
    whole: &'a str,
    /// Without separator and comment.
    content: &'a str,
}

impl Document<'_> {
    fn is_notes(&self) -> bool {
        self.source.and_then(|source| source.split_once('/')).is_some_and(|(_, file)| file == NOTES_TEMPLATE_NAME)
    }

    /// Whether it lies in `crds/` of a chart or subchart.
    fn is_definition(&self) -> bool {
        let mut folders = self.source.unwrap_or_default().split('/').skip(1);
        loop {
            match folders.next() {
                // The name of a subchart follows.
                Some("charts") => folders.next(),
                folder => return folder == Some("crds"),
            };
        }
    }
}

/// Takes a text apart where Helm does: at lines that begin with `---`. A document without a comment of its own has the template of
/// the one before it. Blank ones are left out.
fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let starts = text.match_indices("---").map(|(at, _)| at).filter(|at| is_line_start(text, *at));
    let mut starts: Vec<usize> = starts.collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]).collect::<Vec<_>>();
    let mut source = None;
    starts.into_iter().zip(ends).filter_map(move |(start, end)| document(text.get(Range { start, end })?, &mut source))
}

fn is_line_start(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n')
}

fn document<'a>(whole: &'a str, source: &mut Option<&'a str>) -> Option<Document<'a>> {
    let body = whole.strip_prefix("---").unwrap_or(whole).trim_start();
    if body.is_empty() {
        return None;
    }
    let content = match body.strip_prefix(SOURCE) {
        Some(rest) => {
            let (first, content) = rest.split_once('\n').unwrap_or((rest, ""));
            *source = Some(first.trim_end());
            content
        }
        None => body,
    };
    Some(Document { source: *source, whole, content })
}

/// Reads documents within one budget.
struct Reader {
    budget: Budget,
    objects: usize,
}

impl Reader {
    fn new() -> Self {
        Self { budget: Budget::new(MAX_BYTES), objects: 0 }
    }

    fn value(&mut self, document: &Document<'_>) -> Result<Value, ManifestError> {
        yaml::read(document.content, &mut self.budget).map_err(|error| fault(document, error.into()))
    }

    /// The objects of a document. One of comments only has none.
    fn objects(&mut self, document: &Document<'_>, value: Value) -> Result<Vec<Object>, ManifestError> {
        let mut found = Vec::new();
        if !value.is_null() {
            flatten(value, &mut found).map_err(|reason| fault(document, reason))?;
        }
        self.objects = self.objects.saturating_add(found.len());
        if self.objects > MAX_OBJECTS { Err(fault(document, ManifestFault::TooMany)) } else { Ok(found) }
    }
}

fn fault(document: &Document<'_>, reason: ManifestFault) -> ManifestError {
    ManifestError { file: document.source.map(ToOwned::to_owned), reason }
}

/// Takes lists apart. What has no kind has that of its list, as with `kubectl`.
fn flatten(value: Value, found: &mut Vec<Object>) -> Result<(), ManifestFault> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (text("kind"), text("apiVersion"));
    let Some(item_kind) = kind.strip_suffix("List").filter(|_| value.get("items").is_some_and(Value::is_array)) else {
        found.push(Object::new(value).ok_or(ManifestFault::NoObject)?);
        return Ok(());
    };
    let Value::Object(mut list) = value else { return Ok(()) };
    let Some(Value::Array(items)) = list.remove("items") else { return Ok(()) };
    for mut item in items {
        if let Some(fields) = item.as_object_mut().filter(|_| !item_kind.is_empty()) {
            fields.entry("kind").or_insert_with(|| item_kind.into());
            fields.entry("apiVersion").or_insert_with(|| version.clone().into());
        }
        flatten(item, found)?;
    }
    Ok(())
}

fn notes(packed: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(packed).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
