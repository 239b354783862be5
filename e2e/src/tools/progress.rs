use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Says what takes so long: a spinner on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    what: String,
    started: Instant,
    last_line: Cell<Instant>,
    spinner: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn start(what: &str, expected: Option<Duration>) -> Self {
        let what = match expected {
            Some(expected) => format!("{what} (about {} s on 2 cores when nothing is cached)", expected.as_secs()),
            None => what.to_owned(),
        };
        let spinner = std::io::stderr().is_terminal().then(|| spinner(&what));
        if spinner.is_none() {
            say(&what);
        }
        let now = Instant::now();
        Self { what, started: now, last_line: Cell::new(now), spinner }
    }

    /// To be called often while the work goes on.
    pub(super) fn tick(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.tick();
        } else if self.last_line.get().elapsed() >= PLAIN_INTERVAL {
            self.last_line.set(Instant::now());
            say(&format!("{}: {} s so far", self.what, self.started.elapsed().as_secs()));
        }
    }

    pub(super) fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn spinner(what: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {msg}: {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
    bar.tick();
    bar
}

/// Writes to the real standard error, past the capture of the test runner. A closed standard error is no reason to fail.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "drover-e2e: {line}");
}
