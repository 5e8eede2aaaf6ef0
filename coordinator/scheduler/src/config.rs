//! What the scheduler is told at its start. Every bound has a default with its reason.

use std::time::Duration;

use warifu_model::AccessRules;

/// Settings of the core.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long after a worker's last message its session ends, by this process's clock.
    pub session_ttl: Duration,
    /// Assumed bound of the difference in clock rates, in percent.
    pub drift_percent: u32,
    /// Added to what the leader waits beyond a worker's own deadline.
    pub expiry_margin: Duration,
    /// After its last confirmed write a leader decides nothing from here on; `None`: leadership cannot be
    /// lost while the process lives (one process, lock on its data directory).
    pub step_down_after: Option<Duration>,
    /// Least time from one transaction to the next, but for a few after a pause: what happens meanwhile shares one.
    pub commit_interval: Duration,
    /// Records of one transaction (etcd refuses more than 128 operations).
    pub max_commit_records: usize,
    /// Bytes of one transaction (etcd refuses 1.5 MiB; large values are slow long before).
    pub max_commit_bytes: usize,
    /// Runs that are active at once; more are queued.
    pub max_active_map_runs: usize,
    /// Runs that may wait in the queue; more are refused.
    pub max_queued_map_runs: usize,
    /// Work that one lease should hold, in time.
    pub span_target: Duration,
    /// With so many workers every event that may allow a grant is acted upon at once.
    pub placed_at_once: usize,
    /// For each worker beyond that, so long passes from one look over all workers to the next; events meanwhile share
    /// it. A look takes about a microsecond for each.
    pub placement_pause: Duration,
    /// Batches of one lease at most.
    pub max_span_batches: u32,
    /// Losses of a begun batch after which it fails.
    pub max_losses: u32,
    /// Failures of a run that the store keeps.
    pub max_stored_failures: u64,
    /// Bytes of outputs that the store keeps of a run without a result writer.
    pub max_output_bytes: u64,
    /// So many items must be decided before an error rate is told, so that the first failed item is no alarm; at the end of
    /// a run fewer will do.
    pub min_alert_items: u64,
    /// Tries of a compensation at most.
    pub compensation_tries: u32,
    /// How long after it became due a try may still begin.
    pub compensation_window: Duration,
    /// Pause after the first failed try; each later one is twice as long as the one before.
    pub compensation_first_pause: Duration,
    /// Without a live worker that offers its handler, a compensation is given up after this long. Longer than a worker
    /// takes to come back after a restart, or after a change of leader.
    pub compensation_worker_wait: Duration,
    /// Time that a drained worker gets before what runs is cancelled.
    pub drain_timeout: Duration,
    /// Bucket and prefix (ending in `/`) for failures of runs without a result writer.
    pub system_location: (String, String),
    /// Limits of the data, pinned into each run's context.
    pub max_record_bytes: u64,
    /// Likewise.
    pub max_header_bytes: u64,
    /// Likewise.
    pub max_columns: u32,
    /// The most bytes that a staged object may take: what a small compressed object may become.
    pub max_staged_bytes: u64,
    /// What jobs may read and write.
    pub allowed: AccessRules,
    /// Rules left out on purpose, by tests that prove that the simulation notices.
    #[cfg(feature = "broken_rules")]
    pub broken: Option<crate::BrokenRule>,
}

impl Config {
    /// How long a worker may trust its session, by a perfect clock: it gives up before the coordinator acts, whatever their
    /// clocks do within the assumed bound.
    pub fn worker_ttl(&self) -> Duration {
        self.session_ttl.saturating_sub(self.expiry_margin) * 100 / (100 + self.drift_percent)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(20),
            drift_percent: 1,
            expiry_margin: Duration::from_millis(500),
            step_down_after: None,
            commit_interval: Duration::from_millis(5),
            max_commit_records: 100,
            max_commit_bytes: 512 * 1024,
            max_active_map_runs: 100,
            max_queued_map_runs: 1_000,
            span_target: Duration::from_secs(1),
            placed_at_once: 100,
            placement_pause: Duration::from_micros(10),
            max_span_batches: 4_096,
            max_losses: 5,
            max_stored_failures: 10_000,
            max_output_bytes: 256 * 1024,
            min_alert_items: 100,
            compensation_tries: 10,
            compensation_window: Duration::from_secs(3_600),
            compensation_first_pause: Duration::from_secs(2),
            compensation_worker_wait: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(100),
            system_location: (String::new(), "warifu/".to_owned()),
            max_record_bytes: 16 * 1024 * 1024,
            max_header_bytes: 256 * 1024,
            max_columns: 65_536,
            max_staged_bytes: 100 << 30,
            allowed: AccessRules::default(),
            #[cfg(feature = "broken_rules")]
            broken: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_gives_up_before_the_coordinator_acts_whatever_their_clocks_do() {
        for seconds in [5, 20, 3_600] {
            let config = Config { session_ttl: Duration::from_secs(seconds), ..Config::default() };
            // A worker counts from sending, one hundredth less; its clock is slow, the coordinator's fast.
            let worker = config.worker_ttl().mul_f64(0.99).div_f64(0.99);
            let coordinator = config.session_ttl.div_f64(1.01);
            assert!(worker < coordinator, "{seconds}");
        }
        assert_eq!(Config::default().worker_ttl(), Duration::from_nanos(19_306_930_693));
    }
}
