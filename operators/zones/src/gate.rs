//! Keeps a server that does not answer from holding up what concerns other servers: after one silence it is asked by one at a time, and
//! while it is slow by few. The rules are pure; [`Gates`] adds the lock and the clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{Server, ZoneError};

/// How long a server that did not answer is left alone; then one tries it.
pub(crate) const REST: Duration = Duration::from_secs(5);
/// From when on one who asks is slow …
const SLOW: Duration = Duration::from_millis(500);
/// … and while so many are, nobody else begins.
const MOST_SLOW: usize = 2;

/// What one server did lately. Times are those of a clock that goes on evenly.
#[derive(Debug, Default)]
struct Gate {
    /// Who asks it now, and since when.
    running: BTreeMap<u64, Duration>,
    last: u64,
    /// How it was silent, and until when it is left alone.
    silent: Option<(ZoneError, Duration)>,
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

    /// None: it ended without a word on the server.
    fn leave(&mut self, ticket: u64, outcome: Option<Result<(), ZoneError>>, now: Duration) {
        self.running.remove(&ticket);
        match outcome {
            None => {}
            Some(Ok(())) => self.silent = None,
            Some(Err(error)) => self.silent = Some((error, now + REST)),
        }
    }
}

/// What servers did lately. Clones share it.
#[derive(Clone, Debug)]
pub struct Gates {
    of: Arc<Mutex<BTreeMap<Server, Gate>>>,
    started: Instant,
}

impl Default for Gates {
    fn default() -> Self {
        Self { of: Arc::default(), started: Instant::now() }
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
        act(gates.entry(server.clone()).or_default(), self.started.elapsed())
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
