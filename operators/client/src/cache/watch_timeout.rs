use std::time::Duration;

/// For how long the server is asked to keep a watch open. Whole seconds, from 1 to 294; 290 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchTimeout(u32);

/// kube refuses 295 s and more.
const LONGEST: u32 = 294;
/// How much earlier than asked for a watch may end, and how much longer it may be silent, at most.
const SLACK: Duration = Duration::from_secs(5);

impl Default for WatchTimeout {
    fn default() -> Self {
        Self(290)
    }
}

impl WatchTimeout {
    /// The bounds, in words.
    pub const BOUNDS: &'static str = "whole seconds, from 1s to 294s";

    /// None if `time` is out of bounds.
    #[must_use]
    pub fn new(time: Duration) -> Option<Self> {
        let seconds = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
        seconds.filter(|seconds| (1..=LONGEST).contains(seconds)).map(Self)
    }

    pub(super) fn seconds(self) -> u32 {
        self.0
    }

    /// A watch that ends earlier was not ended by its time limit.
    pub(super) fn full(self) -> Duration {
        self.asked().saturating_sub(self.slack())
    }

    /// A watch that is silent for longer than the server allows lost its server.
    pub(super) fn silence(self) -> Duration {
        self.asked() + self.slack()
    }

    fn asked(self) -> Duration {
        Duration::from_secs(self.0.into())
    }

    fn slack(self) -> Duration {
        SLACK.min(self.asked() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_whole_seconds_that_kube_accepts() {
        for (time, seconds) in [
            (Duration::ZERO, None),
            (Duration::from_millis(1500), None),
            (Duration::from_secs(1), Some(1)),
            (Duration::from_secs(294), Some(294)),
            (Duration::from_secs(295), None),
            (Duration::MAX, None),
        ] {
            assert_eq!(WatchTimeout::new(time).map(WatchTimeout::seconds), seconds, "{time:?}");
        }
    }

    #[test]
    fn the_slack_shrinks_with_the_timeout() {
        let of = |timeout: WatchTimeout| (timeout.full().as_secs(), timeout.silence().as_secs());
        assert_eq!(of(WatchTimeout::default()), (285, 295));
        assert_eq!(of(WatchTimeout(4)), (2, 6));
    }
}
