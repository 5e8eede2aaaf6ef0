//! How many requests a store gets at once: fewer when it throttles, more again while it does not.
//!
//! A store that says SlowDown to one of many requests says it to all who send as many. The limit is halved then, once for
//! all requests that were under way, and grows by one per as many successes as it has (AIMD).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Requests at once to a store that does not throttle: more connections than that gain nothing.
const MAX_AT_ONCE: f64 = 256.0;

/// Requests at once to one that never stops throttling. The waits between attempts do the rest.
const MIN_AT_ONCE: f64 = 1.0;

/// The pace of all requests to one store.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    under_way: u32,
    /// Counts how often the limit was halved.
    halvings: u64,
}

/// A request that is under way. Dropping it lets the next one go.
#[derive(Debug)]
pub(super) struct Passage {
    pace: Arc<Pace>,
    /// [`State::halvings`] when it began.
    began_at: u64,
}

impl Pace {
    pub(super) fn new() -> Arc<Self> {
        let state = State { limit: MAX_AT_ONCE, under_way: 0, halvings: 0 };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Waits until one more request may be sent.
    pub(super) async fn enter(self: &Arc<Self>) -> Passage {
        loop {
            // A permit of `freed` is kept for one who asks for it later: no wake-up is lost between check and wait.
            if let Some(passage) = self.try_enter() {
                return passage;
            }
            self.freed.notified().await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Passage> {
        let mut state = self.state();
        if !state.has_room() {
            return None;
        }
        state.under_way += 1;
        if state.has_room() {
            self.freed.notify_one();
        }
        Some(Passage { pace: Arc::clone(self), began_at: state.halvings })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.under_way < self.limit as u32
    }
}

impl Passage {
    /// The store answered as it should.
    pub(super) fn succeeded(self) {
        let mut state = self.pace.state();
        state.limit = (state.limit + 1.0 / state.limit).min(MAX_AT_ONCE);
    }

    /// The store throttled this request. Returns the new limit if this is what lowered it.
    pub(super) fn throttled(self) -> Option<u32> {
        let mut state = self.pace.state();
        // Requests that began before the last halving say nothing about the limit that it set.
        if self.began_at != state.halvings {
            return None;
        }
        state.halvings += 1;
        // What was under way is what the store would not take, however far the limit was from it.
        state.limit = (f64::from(state.under_way).min(state.limit) / 2.0).max(MIN_AT_ONCE);
        Some(state.limit as u32)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        state.under_way -= 1;
        if state.has_room() {
            self.pace.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn enter(pace: &Arc<Pace>, count: usize) -> Vec<Passage> {
        (0..count).map_while(|_| pace.enter().now_or_never()).collect()
    }

    #[test]
    fn requests_at_once_are_bounded() {
        let pace = Pace::new();
        let mut passages = enter(&pace, 1_000);
        assert_eq!(passages.len(), 256);
        passages.pop();
        assert_eq!(enter(&pace, 10).len(), 1);
    }

    #[test]
    fn throttling_halves_the_limit_once_for_all_that_were_under_way() {
        let pace = Pace::new();
        let limits: Vec<_> = enter(&pace, 40).into_iter().map(Passage::throttled).collect();
        assert_eq!((limits[0], &limits[1..]), (Some(20), &[None; 39][..]));
        let passages = enter(&pace, 100);
        assert_eq!(passages.len(), 20);
        drop(passages);
        assert_eq!(enter(&pace, 1).remove(0).throttled(), Some(1), "one is always let through");
        assert_eq!(enter(&pace, 100).len(), 1);
    }

    #[test]
    fn successes_raise_the_limit_again_and_not_beyond_the_most() {
        let pace = Pace::new();
        enter(&pace, 4).remove(0).throttled();
        assert_eq!(enter(&pace, 100).len(), 2);
        for _ in 0..12 {
            enter(&pace, 1).remove(0).succeeded();
        }
        assert_eq!(enter(&pace, 100).len(), 5);
        for _ in 0..40_000 {
            enter(&pace, 1).remove(0).succeeded();
        }
        assert_eq!(enter(&pace, 1_000).len(), 256);
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_there_is_room_again() {
        let pace = Pace::new();
        enter(&pace, 2).remove(0).throttled();
        let held = pace.enter().await;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let pace = Arc::clone(&pace);
                tokio::spawn(async move { pace.enter().await.succeeded() })
            })
            .collect();
        drop(held);
        for task in waiting {
            task.await.unwrap();
        }
    }
}
