//! How fast requests may come to one cluster: as fast as it answers well, and never faster than its owner allows. Pure.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

/// Requests a second, before more is known of the cluster …
pub(crate) const RATE: u32 = 100;
/// … and how many at once after a time of rest.
pub(crate) const BURST: u32 = 200;
/// Requests a second that a cluster gets however badly it answers: withdrawals must come through.
const LEAST: u32 = 10;
/// An API server that is not busy begins to answer earlier than that. Its own goal (SLO) is a second.
const PROMPT: Duration = Duration::from_millis(100);
/// Later than that it is busy, or something asks it for long.
const LATE: Duration = Duration::from_secs(1);
/// Refusals of one moment tell one thing.
const BETWEEN_CUTS: Duration = Duration::from_secs(1);

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// From its turn on until the answer began.
    pub(crate) took: Duration,
    /// With which status.
    pub(crate) status: StatusCode,
}

impl Answer {
    /// Whether the server says that it has too much to do.
    fn is_refusal(self) -> bool {
        matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )
    }
}

/// When the next request may be sent: a bucket of [`BURST`] that fills by a rate that follows the answers.
#[derive(Debug)]
pub(crate) struct Budget {
    /// When the bucket was, or will be, empty.
    empty_at: Instant,
    /// Requests a second.
    rate: u32,
    /// As many as its owner allows.
    most: u32,
    /// When it was lowered last.
    cut_at: Option<Instant>,
}

impl Budget {
    pub(crate) fn full(now: Instant) -> Self {
        let budget = Self { empty_at: now, rate: RATE, most: RATE, cut_at: None };
        Self { empty_at: now.checked_sub(budget.each() * BURST).unwrap_or(now), ..budget }
    }

    /// Never more than so many requests a second from now on.
    pub(crate) fn allow_at_most(&mut self, most: u16) {
        self.most = u32::from(most).max(LEAST);
        self.rate = self.rate.min(self.most);
    }

    fn each(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// From when on the next request may be sent.
    pub(crate) fn free_at(&self, now: Instant) -> Instant {
        (self.empty_at + self.each()).max(now)
    }

    /// Takes the place of one request.
    pub(crate) fn take(&mut self, now: Instant) {
        let at_most_full = now.checked_sub(self.each() * BURST).unwrap_or(now);
        self.empty_at = self.empty_at.max(at_most_full) + self.each();
    }

    /// Learns from an answer. Where requests wait for the budget alone and the server answers promptly, it may have more; one that
    /// refuses gets half as many, and one that is late what it had at first: some are slow on any day, as their admission webhooks are.
    pub(crate) fn learn(&mut self, answer: Answer, is_waited_for: bool, now: Instant) {
        if answer.is_refusal() {
            self.cut(LEAST, now);
        } else if answer.took >= LATE {
            self.cut(RATE.min(self.rate), now);
        } else if is_waited_for && answer.took <= PROMPT {
            self.rate = (self.rate + 1).min(self.most);
        }
    }

    fn cut(&mut self, least: u32, now: Instant) {
        if self.cut_at.is_none_or(|at| now >= at + BETWEEN_CUTS) {
            self.rate = (self.rate / 2).max(least);
            self.cut_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 500;
    const WELL: Answer = Answer { took: Duration::from_millis(5), status: StatusCode::OK };

    fn of_rate(rate: u32) -> Budget {
        Budget { rate, most: MOST, ..Budget::full(Instant::now()) }
    }

    fn after(mut budget: Budget, answer: Answer, times: u32) -> u32 {
        let now = Instant::now();
        (0..times).for_each(|second| budget.learn(answer, true, now + Duration::from_secs(second.into())));
        budget.rate
    }

    #[test]
    fn a_cluster_that_answers_well_gets_more_where_requests_wait() {
        assert_eq!(after(of_rate(RATE), WELL, 50), 150);
        assert_eq!(after(of_rate(RATE), WELL, 5_000), MOST);
        let mut nobody_waits = of_rate(RATE);
        nobody_waits.learn(WELL, false, Instant::now());
        assert_eq!(nobody_waits.rate, RATE);
        let slower = Answer { took: Duration::from_millis(300), ..WELL };
        assert_eq!(after(of_rate(RATE), slower, 50), RATE, "neither more nor less");
    }

    #[test]
    fn one_that_refuses_gets_less_down_to_the_least_and_comes_back() {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT] {
            let refused = Answer { status, ..WELL };
            assert_eq!(after(of_rate(400), refused, 1), 200);
            assert_eq!(after(of_rate(400), refused, 100), LEAST);
        }
        assert_eq!(after(of_rate(LEAST), WELL, 100), LEAST + 100);
    }

    #[test]
    fn it_never_exceeds_what_the_owner_of_the_cluster_allows() {
        let mut budget = of_rate(400);
        budget.allow_at_most(50);
        assert_eq!(budget.rate, 50, "at once");
        assert_eq!(after(budget, WELL, 100), 50);
        let mut budget = of_rate(400);
        budget.allow_at_most(0);
        assert_eq!(budget.rate, LEAST);
    }

    #[test]
    fn refusals_of_one_second_count_once() {
        let (mut budget, now) = (of_rate(400), Instant::now());
        let refused = Answer { status: StatusCode::TOO_MANY_REQUESTS, ..WELL };
        (0..30).for_each(|_| budget.learn(refused, true, now));
        assert_eq!(budget.rate, 200);
    }

    #[test]
    fn one_that_is_late_loses_only_what_it_had_gained() {
        let late = Answer { took: Duration::from_secs(2), ..WELL };
        assert_eq!(after(of_rate(400), late, 100), RATE);
        assert_eq!(after(of_rate(RATE), late, 100), RATE);
        assert_eq!(after(of_rate(LEAST), late, 100), LEAST, "it is no reason to send more");
    }
}
