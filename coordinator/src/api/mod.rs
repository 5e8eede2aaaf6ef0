//! The gRPC services, thin: parse a request, send an event or a query to the driver, await the answer, map the error.
//!
//! Nothing here holds state. What must be known before a run exists — that its source is there, that its results have a
//! place — is asked of object storage here, because the scheduler does no I/O.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use warifu_common::object_store::ObjectStore;
use warifu_common::wire::InvalidRequest;
use warifu_model::{MapRunId, WorkerId};
use warifu_scheduler::Config;

use crate::clock::Clock;
use crate::driver::DriverHandle;
use crate::state_store::StateStore;

mod batches;
mod create;
mod error;
mod failures;
mod fleet_service;
mod items;
mod list;
mod map_run_service;
mod page;
mod preview;
mod redrive;
mod scaler;
mod source;
mod trace;
mod watch;

use error::{stopping, wrong_reply};
pub(crate) use fleet_service::Fleet;
pub(crate) use map_run_service::MapRuns;
pub(crate) use redrive::RedriveRequests;
pub(crate) use scaler::Scaler;
pub(crate) use warifu_common::status::ApiError;

/// What every service works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) driver: DriverHandle,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// Limits that are pinned into runs.
    pub(crate) limits: Config,
    pub(crate) redrive_requests: Arc<RedriveRequests>,
    /// What tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Bytes of a shard.
    pub(crate) shard_bytes: u64,
    /// How others reach this process.
    pub(crate) advertise: String,
    /// Streams end when the process stops.
    pub(crate) shutdown: CancellationToken,
}

/// Takes `mapRuns/ID` or `ID` from the field `field`.
fn map_run_id(field: &str, name: &str) -> Result<MapRunId, ApiError> {
    MapRunId::parse_name(name).map_err(|error| InvalidRequest::one(field, error.to_string()).into())
}

/// Takes `workers/ID` or `ID` from the field `name`.
fn worker_id(name: &str) -> Result<WorkerId, ApiError> {
    let id = name.strip_prefix("workers/").unwrap_or(name);
    WorkerId::new(id).map_err(|error| InvalidRequest::one("name", error.to_string()).into())
}
