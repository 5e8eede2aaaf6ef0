//! Starts of processes: freely while they go well, one at a time and further and further apart once one has failed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info};
use warifu_common::model::CallFailure;

/// Between a start that failed and the next one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: what was repaired is found within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Doublings after which the longest pause is reached anyway.
const MOST_DOUBLINGS: u32 = 8;

/// Whether the function's processes start.
pub(super) struct Starts {
    handler: String,
    health: Mutex<Health>,
    /// Held by whoever tries while starts fail.
    trial: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Health {
    /// Since one went well.
    failures_in_a_row: u32,
    last: Option<(CallFailure, Instant)>,
    /// Counts starts that ended.
    ended: u64,
}

/// What a start that waited for another one finds.
enum Turn {
    /// Starts go well.
    Free,
    /// This one may try, at that time.
    Try(Instant),
    /// The other one failed just now: trying again at once would tell nothing new.
    Share(CallFailure),
}

impl Starts {
    pub(super) fn new(handler: &str) -> Self {
        Self { handler: handler.to_owned(), health: Mutex::default(), trial: tokio::sync::Mutex::new(()) }
    }

    /// Runs `start` when it is its turn.
    ///
    /// While starts fail, one is tried at a time; all that waited for it share its failure.
    pub(super) async fn run<T>(
        &self,
        start: impl Future<Output = Result<T, CallFailure>>,
    ) -> Result<T, CallFailure> {
        let (began, failing) = {
            let health = self.health();
            (health.ended, health.last.is_some())
        };
        if !failing {
            return self.note(began, start.await);
        }
        let trial = self.trial.lock().await;
        match self.turn(began) {
            Turn::Free => {
                drop(trial);
                self.note(began, start.await)
            }
            Turn::Try(at) => {
                sleep_until(at).await;
                let result = self.note(began, start.await);
                drop(trial);
                result
            }
            Turn::Share(failure) => Err(failure),
        }
    }

    fn turn(&self, began: u64) -> Turn {
        let health = self.health();
        match &health.last {
            Some((failure, _)) if health.ended > began => Turn::Share(failure.clone()),
            Some((_, at)) => Turn::Try(*at + pause(health.failures_in_a_row)),
            None => Turn::Free,
        }
    }

    /// Notes how a start ended; so many had ended when it `began`.
    fn note<T>(&self, began: u64, result: Result<T, CallFailure>) -> Result<T, CallFailure> {
        let mut health = self.health();
        match &result {
            Ok(_) => {
                if health.last.is_some() {
                    info!(handler = self.handler, "the function starts again");
                }
                health.failures_in_a_row = 0;
                health.last = None;
            }
            Err(failure) => {
                // Starts that ran at the same time fail for one reason, and count as one.
                if health.last.is_none() || health.ended == began {
                    health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
                    self.tell(failure, health.failures_in_a_row);
                }
                health.last = Some((failure.clone(), Instant::now()));
            }
        }
        health.ended += 1;
        result
    }

    /// Once clearly; a function that keeps failing must not fill the log.
    fn tell(&self, CallFailure { error, cause, .. }: &CallFailure, failures: u32) {
        if failures == 1 {
            error!(handler = self.handler, error, cause, "the function does not start, its batches fail");
        } else {
            debug!(handler = self.handler, error, cause, failures, "the function does not start");
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
    LONGEST_PAUSE.min(FIRST_PAUSE * (1 << doublings))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn failure() -> CallFailure {
        CallFailure::system("E", "")
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let millis = [1, 2, 3, 8, 9, 1000].map(|failures| pause(failures).as_millis());
        assert_eq!(millis, [200, 400, 800, 25_600, 30_000, 30_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn starts_that_fail_are_tried_one_at_a_time_and_shared() {
        let starts = Starts::new("f");
        let tries = AtomicU32::new(0);
        let fail = || async {
            tries.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Err::<(), _>(failure())
        };
        let began = Instant::now();
        let (one, other) = tokio::join!(starts.run(fail()), starts.run(fail()));
        assert!(one.is_err() && other.is_err());
        let eight = futures::future::join_all((0..8).map(|_| starts.run(fail()))).await;
        assert!(eight.iter().all(Result::is_err));
        assert_eq!(tries.load(Ordering::Relaxed), 3, "eight waited for one try");
        assert_eq!(began.elapsed(), FIRST_PAUSE);
        assert!(starts.run(async { Ok(()) }).await.is_ok());
        assert_eq!(began.elapsed(), FIRST_PAUSE + pause(2));
        assert!(starts.run(fail()).await.is_err());
        assert_eq!(tries.load(Ordering::Relaxed), 4, "it did not wait: starts went well again");
    }
}
