//! How long to wait before a program is started again that ends before it has answered anything.

use std::time::Duration;

use tokio::time::Instant;

/// Wait after the first start in vain; doubled by each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait: a program that was mended is noticed soon.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Counts starts in vain.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    in_vain: u32,
    counted_at: Option<Instant>,
}

impl Backoff {
    /// A process that was started at `started_at` ended without an answer. Processes that were started together count
    /// once: they failed for one reason.
    pub(super) fn started_in_vain(&mut self, started_at: Instant, now: Instant) {
        if self.counted_at.is_none_or(|counted_at| started_at >= counted_at) {
            self.in_vain = self.in_vain.saturating_add(1);
            self.counted_at = Some(now);
        }
    }

    /// A process answered: the program works.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// When the next process may be started; `None`: at once.
    pub(super) fn next_start_at(&self) -> Option<Instant> {
        let doublings = self.in_vain.checked_sub(1)?;
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        Some(self.counted_at? + FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_end_with_an_answer() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_start_at(), None);
        let mut waits = Vec::new();
        for _ in 0..40 {
            backoff.started_in_vain(now, now);
            let next = backoff.next_start_at().unwrap();
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits[..8], [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(waits[39], 10_000);
        backoff.answered();
        assert_eq!(backoff.next_start_at(), None);
    }

    #[test]
    fn processes_that_were_started_together_count_once() {
        let started = Instant::now();
        let mut backoff = Backoff::default();
        for failed in 1..=8 {
            backoff.started_in_vain(started, started + Duration::from_millis(failed));
        }
        assert_eq!(backoff.next_start_at(), Some(started + Duration::from_millis(201)));
    }
}
