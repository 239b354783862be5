//! How the counts went over the scans that were compared with one another. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use drover_crds::{CheckChanges, CheckCounts, CheckState, CisScan, NodeCoverage, Verdict};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::text::{State, Text, VerdictMark, count};

/// Most scans of a chain, this one included.
const MOST_RUNS: usize = 20;
/// What the bars show, from below.
const SHOWN: [CheckState; 4] = [CheckState::Pass, CheckState::Warn, CheckState::Error, CheckState::Fail];
/// A bar, and what is between two, in units of the picture …
const WIDTH: i64 = 180;
const GAP: i64 = 60;
/// … in which the highest bar is so high …
const HEIGHT: i64 = 1_000;
/// … and a letter needs so much.
const LETTER: i64 = 130;

/// A scan that ended.
#[derive(Debug)]
struct Run {
    name: String,
    at: Time,
    verdict: Option<Verdict>,
    counts: CheckCounts,
    nodes: NodeCoverage,
    changes: Option<CheckChanges>,
}

impl Run {
    fn of(scan: &CisScan) -> Option<Self> {
        let status = scan.status.as_ref()?;
        Some(Self {
            name: scan.name_any(),
            at: status.completed_at.clone()?,
            verdict: status.verdict,
            counts: status.counts.unwrap_or_default(),
            nodes: status.nodes.clone().unwrap_or_default(),
            changes: status.changes,
        })
    }
}

/// A scan and those before it: each was compared with the next.
#[derive(Debug)]
pub(in crate::scan) struct Chain {
    /// The newest one first.
    runs: Vec<Run>,
    /// The name of the one before the last of them.
    before: Option<String>,
    seen: BTreeSet<String>,
    /// Why it ends where it does, if there should be more.
    gap: Option<String>,
}

impl Chain {
    /// Begins with this one.
    pub(in crate::scan) fn of(scan: &CisScan) -> Self {
        let (runs, before) = (Run::of(scan).into_iter().collect(), scan.spec.baseline_name.clone());
        Self { runs, before, seen: BTreeSet::from([scan.name_any()]), gap: None }
    }

    /// Which one comes next, if one does. Names that lead in a circle end it.
    pub(in crate::scan) fn wanted(&self) -> Option<String> {
        let has_room = self.seen.len() < MOST_RUNS;
        self.before.clone().filter(|name| has_room && !self.seen.contains(name))
    }

    /// Takes in the one that was wanted, if it is there.
    pub(in crate::scan) fn add(&mut self, found: Option<&CisScan>) {
        let Some(name) = self.before.take() else { return };
        let last = self.runs.last().map(|run| run.at.0);
        match found.map(|scan| (Run::of(scan), scan)) {
            None => self.gap = Some(format!("the CisScan {name} is not there any more")),
            Some((None, _)) => self.gap = Some(format!("the CisScan {name} has not ended")),
            Some((Some(run), _)) if last.is_some_and(|last| run.at.0 > last) => {
                self.gap = Some(format!("the CisScan {name} is a later one of the same name"));
            }
            Some((Some(run), scan)) => {
                self.runs.push(run);
                self.before.clone_from(&scan.spec.baseline_name);
            }
        }
        self.seen.insert(name);
    }
}

/// The whole section.
pub(super) fn section(out: &mut String, chain: &Chain) {
    out.push_str("<section aria-labelledby=\"trend\"><h2 id=\"trend\">Over time</h2>\n");
    if chain.runs.len() < 2 {
        out.push_str("<p>There is no scan before that this one was compared with.</p>\n");
    } else {
        let count = chain.runs.len();
        let _ = writeln!(
            out,
            "<p>The last {count} scans that were compared with one another, over all clusters of each: P passes, W is for a person to look at, E could not be looked at, F fails.</p>"
        );
        picture(out, chain);
        table(out, chain);
    }
    if let Some(gap) = &chain.gap {
        let _ = writeln!(out, "<p>It goes back no further: {}.</p>", Text(gap));
    }
    out.push_str("</section>\n");
}

fn picture(out: &mut String, chain: &Chain) {
    let sum = |run: &Run| SHOWN.iter().map(|state| count(&run.counts, *state).max(0)).fold(0, i64::saturating_add);
    let most = chain.runs.iter().map(sum).max().unwrap_or_default().max(1);
    let runs = i64::try_from(chain.runs.len()).unwrap_or_default();
    let width = GAP + runs * (WIDTH + GAP);
    let _ = writeln!(
        out,
        "<svg class=\"trend\" viewBox=\"0 0 {width} {}\" preserveAspectRatio=\"xMinYMid\" role=\"img\" aria-label=\"Checks by state in each scan, the oldest one first; the numbers are in the table below\">",
        HEIGHT + LETTER
    );
    for (run, number) in chain.runs.iter().rev().zip(1..) {
        let left = GAP + (number - 1) * (WIDTH + GAP);
        let (middle, mut top) = (left + WIDTH / 2, HEIGHT);
        for state in SHOWN {
            let of_state = count(&run.counts, state).max(0);
            // No number of checks in all clusters is so great that this has no room, but anybody may write one into a status.
            let height = i64::try_from(i128::from(of_state) * i128::from(HEIGHT) / i128::from(most)).unwrap_or(HEIGHT);
            top -= height;
            if height == 0 {
                continue;
            }
            let word = State(state).word();
            let _ = write!(
                out,
                "<rect class=\"{word}\" x=\"{left}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{height}\"><title>{}: {of_state} {word}</title></rect>",
                Text(&run.name)
            );
            if height >= LETTER {
                let (base, letter) = (top + height / 2 + 35, state.letter());
                let _ = write!(out, "<text class=\"inside\" x=\"{middle}\" y=\"{base}\">{letter}</text>");
            }
        }
        let _ = writeln!(out, "<text x=\"{middle}\" y=\"{}\">{number}</text>", HEIGHT + LETTER - 25);
    }
    out.push_str("</svg>\n");
}

fn table(out: &mut String, chain: &Chain) {
    out.push_str(
        "<div class=\"wide\" role=\"region\" aria-labelledby=\"trend\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">Bar</th><th scope=\"col\">Scan</th><th scope=\"col\">Ended</th><th scope=\"col\">Verdict</th>",
    );
    for state in SHOWN {
        let _ = write!(out, "<th scope=\"col\">{}</th>", State(state));
    }
    for name in ["All", "Nodes", "New failures", "Fixed"] {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (run, number) in chain.runs.iter().rev().zip(1..) {
        let (name, verdict) = (Text(&run.name), VerdictMark(run.verdict));
        let _ = write!(
            out,
            "<tr><td class=\"number\">{number}</td><th scope=\"row\">{name}</th><td>{}</td><td>{verdict}</td>",
            run.at.0
        );
        for state in SHOWN {
            let _ = write!(out, "<td class=\"number\">{}</td>", count(&run.counts, state));
        }
        let _ = write!(
            out,
            "<td class=\"number\">{}</td><td>{} of {}</td>",
            run.counts.total, run.nodes.scanned, run.nodes.total
        );
        match run.changes {
            Some(CheckChanges { new_failures, fixed }) => {
                let _ = write!(out, "<td class=\"number\">{new_failures}</td><td class=\"number\">{fixed}</td>");
            }
            None => out.push_str("<td>not compared</td><td>not compared</td>"),
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests;
