//! Times that coordinator and worker must agree on.
//!
//! Only durations travel, never instants. The worker's view of a session always ends before the coordinator's does: that is
//! what makes an expired lease safe to give away; the coordinator tells each worker how long it may trust its session.

use std::time::Duration;

/// How often a worker is heard: several heartbeats may be lost before a session ends.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a session lives after the last message that was answered, unless `[leases] ttl_seconds` says otherwise. Longer
/// than a fail-over takes, so that no running work is lost by one.
pub const SESSION_TTL: Duration = Duration::from_secs(20);

/// A worker that has not heard `Welcome` so long after its Hello hangs up and tries the next coordinator.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
