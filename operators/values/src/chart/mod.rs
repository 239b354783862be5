//! The values that a chart is rendered with, as Helm puts them together: the chart's own, those of its subcharts, and over
//! them what the user says.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::{
    DEPTH, Duplicates, Problem,
    weight::Weight,
    yaml::{self, YamlError},
};

/// How many subcharts, at all levels together, are read.
pub const SUBCHARTS: usize = 512;

/// What one chart may copy while its values are put together: globals go to each subchart.
const COPIES: Weight = Weight { nodes: 1_000_000, bytes: 64 << 20, depth: 2 * DEPTH };

/// What a chart says of its values. Borrowed from its files.
#[derive(Clone, Debug, Default)]
pub struct Chart<'a> {
    /// The text of `values.yaml`.
    pub values: Option<&'a str>,
    /// The text of `values.schema.json`.
    pub schema: Option<&'a str>,
    /// What is vendored in `charts/`: once for each dependency that names it, or once if none does.
    pub subcharts: Vec<Subchart<'a>>,
}

/// A chart in another one.
#[derive(Clone, Debug, Default)]
pub struct Subchart<'a> {
    /// The alias that the dependency gives it, else its name: the key of its values.
    pub name: String,
    /// `condition` of the dependency: paths of booleans, separated by commas, of which the first one that is there decides.
    pub condition: String,
    /// `tags` of the dependency: with a false one and no true one, the subchart is left out.
    pub tags: Vec<String>,
    /// `import-values` of the dependency.
    pub imports: Vec<Import>,
    /// The chart.
    pub chart: Chart<'a>,
}

/// An entry of `import-values`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// The path in the values of the subchart. An entry that is a text `x` means `exports.x`.
    pub child: String,
    /// The path in the values of the parent; `.` is its top.
    pub parent: String,
}

impl Chart<'_> {
    /// Whether it or a chart in it has a schema.
    pub(crate) fn has_schema(&self) -> bool {
        self.schema.is_some() || self.subcharts.iter().any(|subchart| subchart.chart.has_schema())
    }
}

/// A chart with its values read.
#[derive(Clone)]
pub(crate) struct Tree<'a> {
    defaults: Map<String, Value>,
    pub(crate) schema: Option<&'a str>,
    pub(crate) subcharts: Vec<Branch<'a>>,
}

#[derive(Clone)]
pub(crate) struct Branch<'a> {
    pub(crate) from: &'a Subchart<'a>,
    pub(crate) tree: Tree<'a>,
}

impl<'a> Tree<'a> {
    /// Reads the chart's own values. The path of a chart is empty for the outermost one.
    pub(crate) fn read(chart: &'a Chart<'a>) -> Result<Self, Problem> {
        let mut left = SUBCHARTS;
        Self::read_at(chart, "", &mut left)
    }

    fn read_at(chart: &'a Chart<'a>, path: &str, left: &mut usize) -> Result<Self, Problem> {
        let values = yaml::values(chart.values.unwrap_or_default(), Duplicates::LastWins);
        let unreadable = |error: YamlError| Problem::Defaults { chart: path.to_owned(), error };
        let Value::Object(defaults) = values.map_err(unreadable)? else { return Err(unreadable(YamlError::NotAMap)) };
        let mut subcharts = Vec::new();
        for from in &chart.subcharts {
            *left = left.checked_sub(1).ok_or(Problem::TooLarge)?;
            let tree = Self::read_at(&from.chart, &below(path, &from.name), left)?;
            subcharts.push(Branch { from, tree });
        }
        Ok(Self { defaults, schema: chart.schema, subcharts })
    }

    /// What templates of the chart see as `.Values`, and the chart without the subcharts that `values` turn off.
    pub(crate) fn coalesce(&self, values: &Map<String, Value>) -> Result<(Self, Map<String, Value>), Problem> {
        let mut tree = self.clone();
        let all = Coalescing::run(&tree, values.clone(), Nulls::Remove)?;
        tree.leave_out(&all, "");
        tree.import()?;
        let all = Coalescing::run(&tree, values.clone(), Nulls::Remove)?;
        Ok((tree, all))
    }

    fn leave_out(&mut self, all: &Map<String, Value>, path: &str) {
        self.subcharts.retain(|branch| branch.is_enabled(all, path));
        for branch in &mut self.subcharts {
            branch.tree.leave_out(all, &below(path, &branch.from.name));
        }
    }

    /// Takes up what dependencies export, innermost first, below the chart's own values.
    fn import(&mut self) -> Result<(), Problem> {
        self.subcharts.iter_mut().try_for_each(|branch| branch.tree.import())?;
        // Also without imports: nulls of a subchart's own values then stay, as with Helm.
        if self.subcharts.is_empty() {
            return Ok(());
        }
        let mut own = Coalescing::run(self, Map::new(), Nulls::Keep)?;
        let mut imported = Map::new();
        for branch in &self.subcharts {
            for import in &branch.from.imports {
                let child = at(&own, &below(&branch.from.name, &import.child)).and_then(Value::as_object);
                let wanted = child.map(|child| nested(&import.parent, child.clone()));
                tables(&mut imported, wanted.unwrap_or_default(), Nulls::Keep);
            }
        }
        tables(&mut own, imported, Nulls::Keep);
        let own = Value::Object(own);
        Weight::default().spend(Weight::of(&own), COPIES).ok_or(Problem::TooLarge)?;
        self.defaults = if let Value::Object(own) = own { own } else { Map::new() };
        Ok(())
    }
}

impl Branch<'_> {
    fn is_enabled(&self, all: &Map<String, Value>, path: &str) -> bool {
        let mut conditions = self.from.condition.trim().split(',').filter(|condition| !condition.is_empty());
        let decided = conditions.find_map(|condition| at(all, &below(path, condition))?.as_bool());
        decided.unwrap_or_else(|| {
            let flags = self.from.tags.iter().filter_map(|tag| all.get("tags")?.get(tag)?.as_bool());
            let flags: Vec<bool> = flags.collect();
            flags.is_empty() || flags.contains(&true)
        })
    }
}

/// The path of a chart or value in another one.
pub(crate) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What is at a path.
fn at<'a>(values: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = values.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn nested(path: &str, table: Map<String, Value>) -> Map<String, Value> {
    // `.` has no names.
    let names = path.split('.').rev().filter(|name| !name.is_empty()).take(DEPTH);
    names.fold(table, |inner, name| Map::from_iter([(name.to_owned(), Value::Object(inner))]))
}

/// What a null over a value of the chart means.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Nulls {
    /// The key goes.
    Remove,
    /// The null stays, since values are put together again later.
    Keep,
}

/// Helm's `CoalesceValues` and `MergeValues`, rule by rule.
struct Coalescing {
    copied: Weight,
}

impl Coalescing {
    fn run(tree: &Tree<'_>, values: Map<String, Value>, nulls: Nulls) -> Result<Map<String, Value>, Problem> {
        let mut values = values;
        Self { copied: Weight::default() }.chart(tree, &mut values, "", nulls)?;
        Ok(values)
    }

    fn chart(
        &mut self,
        tree: &Tree<'_>,
        values: &mut Map<String, Value>,
        path: &str,
        nulls: Nulls,
    ) -> Result<(), Problem> {
        defaults(tree, values, nulls);
        for branch in &tree.subcharts {
            let path = below(path, &branch.from.name);
            let mut own = match values.remove(&branch.from.name) {
                None => Map::new(),
                Some(Value::Object(own)) => own,
                Some(_) => return Err(Problem::Subchart { path }),
            };
            self.globals(&mut own, values)?;
            self.chart(&branch.tree, &mut own, &path, nulls)?;
            values.insert(branch.from.name.clone(), Value::Object(own));
        }
        Ok(())
    }

    /// Globals of a parent win over those of its subcharts.
    fn globals(&mut self, own: &mut Map<String, Value>, parent: &Map<String, Value>) -> Result<(), Problem> {
        let empty = Map::new();
        let from = match parent.get("global") {
            None => &empty,
            Some(Value::Object(from)) => from,
            Some(_) => return Ok(()),
        };
        let Value::Object(into) = own.entry("global").or_insert_with(|| Value::Object(Map::new())) else {
            return Ok(());
        };
        for (key, value) in from {
            self.copied.spend(Weight::of(value), COPIES).ok_or(Problem::TooLarge)?;
            match (value, into.remove(key)) {
                (Value::Object(table), Some(Value::Object(former))) => {
                    let mut table = table.clone();
                    tables(&mut table, former, Nulls::Keep);
                    into.insert(key.clone(), Value::Object(table));
                }
                (Value::Object(_), Some(other)) | (_, Some(other @ Value::Object(_))) => {
                    into.insert(key.clone(), other);
                }
                (value, _) => drop(into.insert(key.clone(), value.clone())),
            }
        }
        Ok(())
    }
}

/// Puts `values` over the chart's own.
fn defaults(tree: &Tree<'_>, values: &mut Map<String, Value>, nulls: Nulls) {
    for (key, default) in &tree.defaults {
        let is_subchart = tree.subcharts.iter().any(|branch| branch.from.name == *key);
        match values.get_mut(key) {
            Some(Value::Null) if nulls == Nulls::Remove => drop(values.remove(key)),
            Some(Value::Object(table)) => {
                let Value::Object(mut default) = default.clone() else { continue };
                let nulls = if is_subchart { Nulls::Keep } else { nulls };
                if nulls == Nulls::Remove {
                    remove_nulls(&mut default);
                }
                tables(table, default, nulls);
            }
            Some(_) => {}
            None if nulls == Nulls::Remove && default.is_null() => {}
            None => {
                let mut default = default.clone();
                if let (Nulls::Remove, Value::Object(table)) = (nulls, &mut default) {
                    remove_nulls(table);
                }
                values.insert(key.clone(), default);
            }
        }
    }
}

fn tables(values: &mut Map<String, Value>, defaults: Map<String, Value>, nulls: Nulls) {
    for (key, default) in defaults {
        match (values.get_mut(&key), default) {
            (None, default) => drop(values.insert(key, default)),
            (Some(Value::Null), default) if nulls == Nulls::Remove && !default.is_null() => drop(values.remove(&key)),
            (Some(Value::Object(table)), Value::Object(default)) => tables(table, default, nulls),
            _ => {}
        }
    }
}

fn remove_nulls(table: &mut Map<String, Value>) {
    table.retain(|_, value| !value.is_null());
    table.values_mut().filter_map(Value::as_object_mut).for_each(remove_nulls);
}
