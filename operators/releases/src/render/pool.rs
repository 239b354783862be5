//! Turns among tenants for what only a few can do at once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot::{Sender, channel};

/// Slots that tenants take turns for: who asks often waits for himself, and for no longer than one turn of each other.
#[derive(Debug)]
pub struct Pool(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Tenants with what waits for them; the one whose turn it is comes first.
    waiting: VecDeque<(Arc<str>, VecDeque<Sender<Slot>>)>,
}

/// Room for one of them, such as a render. It is given on when it is dropped.
#[derive(Debug)]
pub struct Slot(Option<Arc<Pool>>);

impl Pool {
    /// With so many slots, and at least one.
    #[must_use]
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: slots.max(1), waiting: VecDeque::new() })))
    }

    /// Waits for the turn of a tenant.
    pub async fn slot(self: &Arc<Self>, tenant: &str) -> Slot {
        loop {
            let turn = {
                let mut state = self.lock();
                if state.free > 0 {
                    state.free -= 1;
                    return Slot(Some(Arc::clone(self)));
                }
                let (sender, receiver) = channel();
                state.enqueue(tenant, sender);
                receiver
            };
            // A sender is dropped only with the pool, which is held here.
            if let Ok(slot) = turn.await {
                return slot;
            }
        }
    }

    fn give_on(self: &Arc<Self>) {
        let mut state = self.lock();
        while let Some(waiting) = state.next() {
            match waiting.send(Slot(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // Nobody waits for it any more.
                Err(mut slot) => slot.0 = None,
            }
        }
        state.free += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enqueue(&mut self, tenant: &str, sender: Sender<Slot>) {
        match self.waiting.iter_mut().find(|(name, _)| **name == *tenant) {
            Some((_, queue)) => queue.push_back(sender),
            None => self.waiting.push_back((tenant.into(), VecDeque::from([sender]))),
        }
    }

    /// The first of the tenant whose turn it is, who comes last from now on.
    fn next(&mut self) -> Option<Sender<Slot>> {
        let (tenant, mut queue) = self.waiting.pop_front()?;
        let first = queue.pop_front();
        if !queue.is_empty() {
            self.waiting.push_back((tenant, queue));
        }
        first
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.give_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc, task::yield_now, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_tenant_with_many_renders_does_not_hold_up_one_with_few() {
        let pool = Pool::new(1);
        let first = pool.slot("busy").await;
        let (told, mut order) = mpsc::unbounded_channel();
        for tenant in ["busy"; 20].into_iter().chain(["quiet"]) {
            let (pool, told) = (Arc::clone(&pool), told.clone());
            tokio::spawn(async move {
                let slot = pool.slot(tenant).await;
                told.send(tenant).unwrap();
                drop(slot);
            });
            yield_now().await;
        }
        drop((told, first));
        let mut all = Vec::new();
        while let Some(tenant) = order.recv().await {
            all.push(tenant);
        }
        assert_eq!(all.len(), 21);
        assert!(all.iter().take(2).any(|tenant| *tenant == "quiet"), "{all:?}");
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_no_slot_along() {
        let pool = Pool::new(1);
        let held = pool.slot("a").await;
        let soon = std::time::Duration::from_millis(20);
        for _ in 0..3 {
            assert!(timeout(soon, pool.slot("b")).await.is_err(), "there is one slot");
        }
        let mut given = Box::pin(pool.slot("b"));
        assert!(timeout(soon, &mut given).await.is_err());
        drop(held);
        drop(given);
        assert!(timeout(soon, pool.slot("c")).await.is_ok(), "who had it and did not look gives it on");
    }
}
