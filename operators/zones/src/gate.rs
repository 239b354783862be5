//! Keeps a server that does not answer from holding up what concerns other servers: after one silence it is asked by one at a time, and
//! while it is slow by few. The rules are pure; [`Gates`] adds the lock and the clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{Server, ZoneError};

/// How long a server that did not answer is left alone; then one tries it.
pub(crate) const REST: Duration = Duration::from_secs(5);
/// From when on one who asks is slow …
const SLOW: Duration = Duration::from_millis(500);
/// … and while so many are, nobody else begins.
const MOST_SLOW: usize = 2;
/// So many connections to servers are open at a time, and as many to servers that only zones name. BIND takes 150 by default.
const MOST_CONNECTIONS: usize = 64;
/// From so many servers on, those that nobody asks are forgotten.
const MOST_KNOWN: usize = 1_000;

/// What one server did lately. Times are those of a clock that goes on evenly.
#[derive(Debug, Default)]
struct Gate {
    /// Who asks it now, and since when.
    running: BTreeMap<u64, Duration>,
    last: u64,
    /// How it was silent, and until when it is left alone.
    silent: Option<(ZoneError, Duration)>,
    /// When it answered last.
    answered: Option<Duration>,
}

/// Whether one may ask.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Open(u64),
    /// It was silent: one tries it.
    Trial(u64, ZoneError),
    Silent(ZoneError),
    Busy,
}

impl Gate {
    /// While `most_slow` are slow, nobody else begins.
    fn enter(&mut self, most_slow: usize, now: Duration) -> Entry {
        let is_slow = |since: &&Duration| now.saturating_sub(**since) >= SLOW;
        let silence = match &mut self.silent {
            Some((error, until)) if now < *until => return Entry::Silent(error.clone()),
            Some((error, until)) => {
                *until = now + REST;
                Some(error.clone())
            }
            None if self.running.values().filter(is_slow).count() >= most_slow => return Entry::Busy,
            None => None,
        };
        self.last += 1;
        self.running.insert(self.last, now);
        silence.map_or(Entry::Open(self.last), |error| Entry::Trial(self.last, error))
    }

    /// None: it ended without a word on the server. One silence says nothing of a server that answers others meanwhile.
    fn leave(&mut self, ticket: u64, outcome: Option<Result<(), ZoneError>>, now: Duration) {
        let since = self.running.remove(&ticket);
        match outcome {
            None => {}
            Some(Ok(())) => {
                self.silent = None;
                self.answered = Some(now);
            }
            Some(Err(_)) if self.answered.zip(since).is_some_and(|(answered, since)| answered > since) => {}
            Some(Err(error)) => self.silent = Some((error, now + REST)),
        }
    }

    /// The server answered one who goes on asking.
    fn goes_on(&mut self, ticket: u64, now: Duration) {
        self.answered = Some(now);
        if let Some(since) = self.running.get_mut(&ticket) {
            *since = now;
        }
    }

    /// Whether it may be forgotten.
    fn is_idle(&self, now: Duration) -> bool {
        self.running.is_empty() && self.silent.as_ref().is_none_or(|(_, until)| now >= *until)
    }
}

/// What servers did lately. Clones share it.
#[derive(Clone, Debug)]
pub struct Gates {
    of: Arc<Mutex<BTreeMap<Server, Gate>>>,
    started: Instant,
    /// Connections to servers that specs name.
    pub(crate) named: Connections,
    /// Connections to servers that zones name: whoever may write a zone decides which.
    pub(crate) found: Connections,
}

impl Default for Gates {
    fn default() -> Self {
        let of_each = Connections::new(MOST_CONNECTIONS);
        Self {
            of: Arc::default(),
            started: Instant::now(),
            named: of_each.clone(),
            found: Connections::new(MOST_CONNECTIONS),
        }
    }
}

/// A bound for connections, and for how many names are resolved at a time.
#[derive(Clone, Debug)]
pub(crate) struct Connections(pub(crate) Arc<Semaphore>);

impl Connections {
    fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }
}

/// Whether a server may be asked.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may.
    Open(Ticket),
    /// It was silent, and this one tries whether it is still.
    Trial(Ticket, ZoneError),
    /// It was silent, and is left alone for now.
    Silent(ZoneError),
    /// It is slow, and enough ask it.
    Busy,
}

/// One who asks a server. Dropping it ends that without a word on the server.
#[derive(Debug)]
pub(crate) struct Ticket {
    gates: Gates,
    server: Server,
    number: u64,
    outcome: Option<Result<(), ZoneError>>,
}

impl Ticket {
    /// Ends it by what came of it: any answer is one, also a refusal.
    pub(crate) fn end<T>(mut self, outcome: &Result<T, ZoneError>) {
        self.outcome = Some(match outcome {
            Err(error) if error.is_silence() => Err(error.clone()),
            _ => Ok(()),
        });
    }
}

impl Ticket {
    /// It was answered, and goes on: how long all of it takes says nothing of the server.
    pub(crate) fn goes_on(&self) {
        self.gates.with(&self.server, |gate, now| gate.goes_on(self.number, now));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (number, outcome) = (self.number, self.outcome.take());
        self.gates.with(&self.server, |gate, now| gate.leave(number, outcome, now));
    }
}

impl Gates {
    /// Asks whether a server may be asked by one whom nobody waits for.
    pub(crate) fn enter(&self, server: &Server) -> Admission {
        self.admit(server, usize::MAX)
    }

    /// Asks whether a server may be asked by one whom others wait for.
    pub(crate) fn enter_as_one_of_few(&self, server: &Server) -> Admission {
        self.admit(server, MOST_SLOW)
    }

    fn admit(&self, server: &Server, most_slow: usize) -> Admission {
        let ticket = |number| Ticket { gates: self.clone(), server: server.clone(), number, outcome: None };
        match self.with(server, |gate, now| gate.enter(most_slow, now)) {
            Entry::Open(number) => Admission::Open(ticket(number)),
            Entry::Trial(number, error) => Admission::Trial(ticket(number), error),
            Entry::Silent(error) => Admission::Silent(error),
            Entry::Busy => Admission::Busy,
        }
    }

    fn with<T>(&self, server: &Server, act: impl FnOnce(&mut Gate, Duration) -> T) -> T {
        let mut gates = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        if gates.len() >= MOST_KNOWN {
            gates.retain(|_, gate| !gate.is_idle(now));
        }
        act(gates.entry(server.clone()).or_default(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn silence() -> ZoneError {
        ZoneError::Unreachable { server: "ns1:53".to_owned() }
    }

    #[test]
    fn after_a_silence_one_at_a_time_tries() {
        let mut gate = Gate::default();
        assert_eq!(gate.enter(MOST_SLOW, at(0)), Entry::Open(1));
        gate.leave(1, Some(Err(silence())), at(3_000));
        assert_eq!(gate.enter(MOST_SLOW, at(7_999)), Entry::Silent(silence()));
        assert_eq!(gate.enter(MOST_SLOW, at(8_000)), Entry::Trial(2, silence()));
        assert_eq!(gate.enter(MOST_SLOW, at(8_001)), Entry::Silent(silence()), "another one does not try beside it");
        gate.leave(2, Some(Err(silence())), at(11_000));
        assert_eq!(gate.enter(MOST_SLOW, at(15_999)), Entry::Silent(silence()));
        assert_eq!(gate.enter(MOST_SLOW, at(16_000)), Entry::Trial(3, silence()));
        gate.leave(3, Some(Ok(())), at(16_100));
        assert_eq!(gate.enter(MOST_SLOW, at(16_100)), Entry::Open(4));
    }

    #[test]
    fn a_silence_beside_answers_to_others_is_no_silence_of_the_server() {
        let mut gate = Gate::default();
        assert_eq!(gate.enter(MOST_SLOW, at(0)), Entry::Open(1));
        assert_eq!(gate.enter(MOST_SLOW, at(0)), Entry::Open(2));
        gate.leave(2, Some(Ok(())), at(100));
        gate.leave(1, Some(Err(silence())), at(3_000));
        assert_eq!(gate.enter(MOST_SLOW, at(3_000)), Entry::Open(3));
        gate.leave(3, Some(Err(silence())), at(6_000));
        assert_eq!(gate.enter(MOST_SLOW, at(6_000)), Entry::Silent(silence()), "nobody got an answer since");
    }

    #[test]
    fn one_who_is_answered_again_and_again_is_not_slow() {
        let mut gate = Gate::default();
        for ticket in 1..=2 {
            assert_eq!(gate.enter(MOST_SLOW, at(0)), Entry::Open(ticket));
        }
        gate.goes_on(1, at(400));
        assert_eq!(gate.enter(MOST_SLOW, at(600)), Entry::Open(3));
        assert_eq!(gate.enter(MOST_SLOW, at(900)), Entry::Busy);
    }

    #[test]
    fn servers_that_nobody_asks_are_forgotten() {
        let gates = Gates::default();
        for number in 0..2 * MOST_KNOWN {
            drop(gates.enter(&format!("ns{number}.example.com").parse().unwrap()));
        }
        assert!(gates.of.lock().unwrap().len() <= MOST_KNOWN);
    }

    #[test]
    fn few_wait_for_a_slow_server_and_many_ask_a_fast_one() {
        let mut gate = Gate::default();
        for ticket in 1..=20 {
            assert_eq!(gate.enter(MOST_SLOW, at(499)), Entry::Open(ticket));
        }
        assert_eq!(gate.enter(MOST_SLOW, at(999)), Entry::Busy);
        for ticket in 1..=19 {
            gate.leave(ticket, None, at(1_000));
        }
        assert_eq!(gate.enter(MOST_SLOW, at(1_000)), Entry::Open(21), "one slow one lets others begin");
    }

    #[test]
    fn one_who_gives_up_leaves_no_trace() {
        let gates = Gates::default();
        let server: Server = "ns1.example.com".parse().unwrap();
        for _ in 0..3 {
            let Admission::Open(ticket) = gates.enter(&server) else { panic!("it is open") };
            drop(ticket);
        }
        let refused = Err::<(), _>(ZoneError::Refused { server: "ns1:53".to_owned(), name: "a.b".to_owned() });
        for (outcome, is_open) in [(refused, true), (Err(silence()), false)] {
            let Admission::Open(ticket) = gates.enter(&server) else { panic!("it is open") };
            ticket.end(&outcome);
            assert_eq!(matches!(gates.enter(&server), Admission::Open(_)), is_open, "a refusal is an answer");
        }
        assert!(matches!(gates.enter(&"ns2.example.com".parse().unwrap()), Admission::Open(_)), "of another server");
        assert!(gates.of.lock().unwrap().values().all(|gate| gate.running.is_empty()));
    }
}
