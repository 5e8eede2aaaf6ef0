//! Waiting for conditions, never for time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at a condition that nothing announces.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something, and returns it; panics after `deadline`.
pub(crate) fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up_at = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up_at, "waited {deadline:?} in vain: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Says why a story was not told here; cargo has no word for it.
pub(crate) fn skipped(story: &str, reason: &str) {
    eprintln!("skipped: {story}: {reason}");
}

/// Held by a test that computes for a minute or more on all processors: two at once would each miss the times that they wait for.
pub(crate) fn computing_for_long() -> MutexGuard<'static, ()> {
    static COMPUTING: Mutex<()> = Mutex::new(());
    COMPUTING.lock().unwrap_or_else(PoisonError::into_inner)
}
