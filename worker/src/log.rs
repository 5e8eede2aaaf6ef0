//! Logs of a worker's own program.

use warifu_common::telemetry::{DEFAULT_FILTER, LogFormat, TelemetryError, set_up};

/// Sends log lines to standard error, as the program `warifu-worker` does: what this library says from INFO on, what others
/// warn of. `WARIFU_LOG`, else `RUST_LOG`, holds another filter. Once per process; fails if the filter cannot be read, or if
/// lines go elsewhere already. Programs with a `tracing` subscriber of their own do not call it.
pub fn log_to_stderr() -> Result<(), TelemetryError> {
    set_up(LogFormat::Text, DEFAULT_FILTER)
}
