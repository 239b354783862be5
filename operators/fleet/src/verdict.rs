//! From single probes to a verdict that does not flap. Pure.

use std::time::Duration;

use drover_runtime::Failure;

/// How many probes in a row make a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) failures: u32,
    pub(crate) successes: u32,
}

/// The verdict on a cluster's connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Connecting,
    Connected,
    Disconnected(Failure),
}

/// One failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    /// One is enough: it cannot be a blip.
    pub(crate) certain: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Hysteresis {
    verdict: Verdict,
    failures: u32,
    successes: u32,
    /// Failed attempts since the cluster was lost, that one included.
    lost: u32,
    /// What the last attempts at a lost cluster met instead of the failure that is reported, and how often in a row.
    other: Option<(Failure, u32)>,
}

/// While a verdict is in the balance, the next probe comes sooner. After a cluster was lost, each pause is twice the one
/// before, up to the interval: who was away shortly is not waited for any longer than that.
pub(crate) const DOUBT_PAUSE: Duration = Duration::from_secs(2);

impl Default for Hysteresis {
    fn default() -> Self {
        Self { verdict: Verdict::Connecting, failures: 0, successes: 0, lost: 0, other: None }
    }
}

impl Hysteresis {
    pub(crate) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether attempts fail, and not often enough yet for a verdict.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.verdict == Verdict::Connected && self.failures > 0
    }

    pub(crate) fn succeeded(&mut self, thresholds: Thresholds) {
        self.failures = 0;
        self.other = None;
        self.successes = self.successes.saturating_add(1);
        // The first connection takes one success; only a cluster that was lost has to prove that it is back.
        if self.verdict == Verdict::Connecting || self.successes >= thresholds.successes {
            self.verdict = Verdict::Connected;
            self.lost = 0;
        }
    }

    pub(crate) fn failed(&mut self, fault: Fault, thresholds: Thresholds) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let known_bad = matches!(self.verdict, Verdict::Disconnected(_));
        if fault.certain || known_bad || self.failures >= thresholds.failures {
            self.lost = self.lost.saturating_add(1);
            self.disconnect(fault, thresholds);
        }
    }

    /// A cluster that is away for hours fails with another connection error once in a while; its status changes only with one
    /// that repeats.
    fn disconnect(&mut self, fault: Fault, thresholds: Thresholds) {
        if let Verdict::Disconnected(held) = &self.verdict
            && !fault.certain
            && *held != fault.failure
        {
            let seen = self.other.take().filter(|(other, _)| *other == fault.failure).map_or(1, |(_, seen)| seen + 1);
            if seen < thresholds.failures {
                self.other = Some((fault.failure, seen));
                return;
            }
        }
        self.other = None;
        self.verdict = Verdict::Disconnected(fault.failure);
    }

    /// A new connection works: the verdict on the old one is void.
    pub(crate) fn replaced(&mut self) {
        *self = Self { verdict: Verdict::Connected, ..Self::default() };
    }

    /// How long until the next probe.
    pub(crate) fn pause(&self, interval: Duration) -> Duration {
        let pause = match self.verdict {
            Verdict::Connecting => DOUBT_PAUSE,
            Verdict::Connected if self.is_in_doubt() => DOUBT_PAUSE,
            Verdict::Connected => interval,
            Verdict::Disconnected(_) if self.successes > 0 || self.other.is_some() => DOUBT_PAUSE,
            Verdict::Disconnected(_) => DOUBT_PAUSE.saturating_mul(2_u32.saturating_pow(self.lost.saturating_sub(1))),
        };
        pause.min(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::ConnectionCause::{self, *};

    const THRESHOLDS: Thresholds = Thresholds { failures: 3, successes: 2 };

    fn fault(certain: bool) -> Fault {
        let failure = Failure::new(ConnectionCause::Timeout, "");
        Fault { failure, certain }
    }

    /// `+` is a success, `-` a doubtful failure, `!` a certain one; the verdict after each as C(onnected), D, or ? .
    fn story(probes: &str) -> String {
        let mut hysteresis = Hysteresis::default();
        let step = |probe| {
            match probe {
                '+' => hysteresis.succeeded(THRESHOLDS),
                '-' => hysteresis.failed(fault(false), THRESHOLDS),
                _ => hysteresis.failed(fault(true), THRESHOLDS),
            }
            match hysteresis.verdict() {
                Verdict::Connecting => '?',
                Verdict::Connected => 'C',
                Verdict::Disconnected(_) => 'D',
            }
        };
        probes.chars().map(step).collect()
    }

    #[test]
    fn doubtful_failures_must_repeat_and_certain_ones_need_not() {
        for (probes, verdicts) in [
            ("+", "C"),
            ("---", "??D"),
            ("!", "D"),
            ("+--+--+", "CCCCCCC"),
            ("+---+-++", "CCCDDDDC"),
            ("+!++", "CDDC"),
            ("!+-++", "DDDDC"),
        ] {
            assert_eq!(story(probes), verdicts, "{probes}");
        }
    }

    #[test]
    fn what_is_told_of_a_lost_cluster_changes_only_with_what_stays() {
        let mut hysteresis = Hysteresis::default();
        let mut told = |cause: ConnectionCause, certain| {
            let failure = Failure::new(cause, "");
            hysteresis.failed(Fault { failure, certain }, THRESHOLDS);
            match hysteresis.verdict() {
                Verdict::Disconnected(failure) => failure.reason(),
                _ => "",
            }
        };
        let mut tell = |causes: &[ConnectionCause]| causes.iter().map(|cause| told(*cause, false)).collect::<Vec<_>>();
        assert_eq!(tell(&[Timeout; 3]), ["", "", "Timeout"]);
        assert_eq!(tell(&[DialFailed, Timeout, DialFailed, DnsFailed, DialFailed]), ["Timeout"; 5]);
        assert_eq!(
            tell(&[Timeout, DialFailed, DialFailed, DialFailed]),
            ["Timeout", "Timeout", "Timeout", "DialFailed"]
        );
        assert_eq!(told(Unauthorized, true), "Unauthorized");
    }

    #[test]
    fn what_is_in_the_balance_is_probed_sooner() {
        let interval = Duration::from_secs(30);
        let mut hysteresis = Hysteresis::default();
        hysteresis.succeeded(THRESHOLDS);
        assert_eq!(hysteresis.pause(interval), interval);
        hysteresis.failed(fault(false), THRESHOLDS);
        assert_eq!(hysteresis.pause(interval), DOUBT_PAUSE);
    }

    #[test]
    fn who_was_given_up_is_asked_less_and_less_often() {
        let mut hysteresis = Hysteresis::default();
        let mut failed = |certain| {
            hysteresis.failed(fault(certain), THRESHOLDS);
            hysteresis.pause(Duration::from_secs(30)).as_secs()
        };
        assert_eq!([(); 9].map(|()| failed(false)), [2, 2, 2, 4, 8, 16, 30, 30, 30]);
        hysteresis.succeeded(THRESHOLDS);
        assert_eq!(hysteresis.pause(Duration::from_secs(30)), DOUBT_PAUSE);
        hysteresis.succeeded(THRESHOLDS);
        let mut failed = |certain| {
            hysteresis.failed(fault(certain), THRESHOLDS);
            hysteresis.pause(Duration::from_secs(5)).as_secs()
        };
        assert_eq!([(); 4].map(|()| failed(true)), [2, 4, 5, 5], "each time anew");
        for _ in 0..100 {
            failed(false);
        }
        assert_eq!(failed(false), 5);
    }
}
