//! What a chart says of its values, with the charts in it.

use drover_charts::{Chart, Dependency};
use drover_values::{Import, SUBCHARTS, Subchart};

/// A chart has more subcharts than are read, each counted as often as it is named.
pub(crate) struct TooMany;

/// The chart as the crate of values takes it.
pub(crate) fn with_subcharts(chart: &Chart) -> Result<drover_values::Chart<'_>, TooMany> {
    let mut left = SUBCHARTS;
    read(chart, &mut left)
}

fn read<'a>(chart: &'a Chart, left: &mut usize) -> Result<drover_values::Chart<'a>, TooMany> {
    let mut subcharts = Vec::new();
    for subchart in chart.subcharts() {
        let name = &subchart.metadata().name;
        let mut named = chart.metadata().dependencies.iter().filter(|found| found.name == *name).peekable();
        // What nobody declares is used as it is.
        let undeclared = named.peek().is_none().then(|| Dependency { name: name.clone(), ..Dependency::default() });
        for dependency in named.cloned().chain(undeclared) {
            *left = left.checked_sub(1).ok_or(TooMany)?;
            subcharts.push(of(dependency, read(subchart, left)?));
        }
    }
    Ok(drover_values::Chart { values: chart.values(), schema: chart.values_schema(), subcharts })
}

fn of(dependency: Dependency, chart: drover_values::Chart<'_>) -> Subchart<'_> {
    let Dependency { name, alias, condition, tags, import_values, .. } = dependency;
    let imports = import_values.into_iter().map(|import| Import { child: import.child, parent: import.parent });
    let name = if alias.is_empty() { name } else { alias };
    Subchart { name, condition, tags, imports: imports.collect(), chart }
}
