//! Runs, workers and the cluster as the API shows them.

use std::time::Duration;

use warifu_model::{
    ClusterView, CompensationState, CompensationStatus, ErrorGroup, ErrorSample, FailureCounts, FailureKind,
    ItemCounts, ItemFailure, LimitedBy, MapRunState, MapRunView, RunError, WorkerHandler, WorkerState,
    WorkerView,
};

use super::time::{timestamp, wire_duration};
use super::v1;

/// No estimate goes further than this: a year. Beyond it a number only pretends to know.
const LONGEST_ETA: Duration = Duration::from_secs(365 * 24 * 3600);

/// A worker's resource name.
pub fn worker_name(id: &str) -> String {
    format!("workers/{id}")
}

impl From<&MapRunView> for v1::MapRun {
    fn from(view: &MapRunView) -> Self {
        v1::MapRun {
            name: view.id.resource_name(),
            uid: format!("{:032x}", view.uid),
            spec: Some(view.spec.as_ref().into()),
            state: v1::map_run::State::from(view.state).into(),
            create_time: Some(timestamp(view.create_time)),
            start_time: view.start_time.map(timestamp),
            stop_time: view.stop_time.map(timestamp),
            item_counts: Some((&view.item_counts).into()),
            batch_counts: Some((&view.batch_counts).into()),
            total_known: view.total_known,
            progress: Some(progress(view)),
            error: view.error.as_ref().map(Into::into),
            error_groups: view.error_groups.iter().map(Into::into).collect(),
            warnings: view.warnings.iter().map(warning).collect(),
            compensation: view.compensation.as_ref().map(Into::into),
            redrive_count: view.redrive_count,
            result_location: view.result_location.as_ref().map(|location| v1::ResultLocation {
                bucket: location.bucket.clone(),
                manifest_key: location.manifest_key.clone(),
            }),
            outputs: view.outputs.clone(),
            outputs_truncated: view.outputs_truncated,
            source_size_bytes: view.source_bytes,
            preview_events: Vec::new(),
            failure_counts: Some(view.failure_counts.into()),
            adapted_limit: view.adapted_limit.map(Into::into),
            batch_size: view
                .batch_size
                .map(|size| v1::BatchSize { items: size.items, reason: size.to_string() }),
        }
    }
}

fn warning(warning: &warifu_model::Warning) -> v1::Warning {
    v1::Warning { reason: warning.reason.clone(), message: warning.message.clone() }
}

fn progress(view: &MapRunView) -> v1::Progress {
    let limited_by = view.limited_by.map_or(v1::limited_by::Type::Unspecified, Into::into);
    v1::Progress {
        fraction: view.fraction,
        items_per_second: view.items_per_second,
        eta: eta(view).map(wire_duration),
        limited_by: limited_by.into(),
    }
}

/// Time until every item is decided, at the rate of lately. While the total is not known, the share of decided work
/// stands in for it: what is decided and that share give the rest.
fn eta(view: &MapRunView) -> Option<Duration> {
    if view.state != MapRunState::Running || view.items_per_second <= 0.0 {
        return None;
    }
    let counts = &view.item_counts;
    let decided = counts.succeeded + counts.failed + counts.timed_out + counts.aborted;
    let remaining = if view.total_known {
        counts.total.saturating_sub(decided) as f64
    } else if view.fraction > 0.0 {
        decided as f64 * (1.0 - view.fraction).max(0.0) / view.fraction
    } else {
        return None;
    };
    Duration::try_from_secs_f64(remaining / view.items_per_second).ok().filter(|eta| *eta <= LONGEST_ETA)
}

impl From<MapRunState> for v1::map_run::State {
    fn from(state: MapRunState) -> Self {
        match state {
            MapRunState::Queued => Self::Queued,
            MapRunState::Running => Self::Running,
            MapRunState::Stopping => Self::Stopping,
            MapRunState::Succeeded => Self::Succeeded,
            MapRunState::Failed => Self::Failed,
            MapRunState::Aborted => Self::Aborted,
        }
    }
}

/// The state that a request or an answer names; `None` for one that this version does not know.
pub fn map_run_state(state: v1::map_run::State) -> Option<MapRunState> {
    use v1::map_run::State;
    match state {
        State::Unspecified => None,
        State::Queued => Some(MapRunState::Queued),
        State::Running => Some(MapRunState::Running),
        State::Stopping => Some(MapRunState::Stopping),
        State::Succeeded => Some(MapRunState::Succeeded),
        State::Failed => Some(MapRunState::Failed),
        State::Aborted => Some(MapRunState::Aborted),
    }
}

impl From<LimitedBy> for v1::limited_by::Type {
    fn from(limit: LimitedBy) -> Self {
        match limit {
            LimitedBy::Concurrency => Self::Concurrency,
            LimitedBy::Workers => Self::Workers,
            LimitedBy::Rate => Self::Rate,
            LimitedBy::Handler => Self::Handler,
            LimitedBy::Source => Self::Source,
            LimitedBy::RetryBackoff => Self::RetryBackoff,
            LimitedBy::Store => Self::Store,
        }
    }
}

impl From<FailureKind> for v1::failure_kind::Type {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Business => Self::Business,
            FailureKind::System => Self::System,
        }
    }
}

impl From<&ItemCounts> for v1::Counts {
    fn from(counts: &ItemCounts) -> Self {
        let ItemCounts {
            total,
            pending,
            running,
            succeeded,
            failed,
            timed_out,
            aborted,
            pending_redrive,
            results_written,
        } = *counts;
        Self {
            total,
            pending,
            running,
            succeeded,
            failed,
            timed_out,
            aborted,
            pending_redrive,
            results_written,
        }
    }
}

impl From<FailureCounts> for v1::FailureCounts {
    fn from(counts: FailureCounts) -> Self {
        let FailureCounts { business, system } = counts;
        Self { business, system }
    }
}

impl From<&RunError> for v1::RunError {
    fn from(error: &RunError) -> Self {
        Self { error: error.error.clone(), cause: error.cause.clone() }
    }
}

impl From<&CompensationStatus> for v1::CompensationStatus {
    fn from(status: &CompensationStatus) -> Self {
        use v1::compensation_status::State;
        let state = match status.state {
            CompensationState::Pending => State::Pending,
            CompensationState::Running => State::Running,
            CompensationState::Succeeded => State::Succeeded,
            CompensationState::Failed => State::Failed,
            CompensationState::NotRun => State::NotRun,
        };
        Self {
            state: state.into(),
            attempts: status.attempts,
            error: status.error.as_ref().map(Into::into),
            trigger: v1::compensation::Trigger::from(status.trigger).into(),
            worker: status.worker.as_ref().map(|worker| worker_name(worker.as_str())).unwrap_or_default(),
            start_time: status.start_time.map(timestamp),
            stop_time: status.stop_time.map(timestamp),
        }
    }
}

impl From<&ErrorGroup> for v1::ErrorGroup {
    fn from(group: &ErrorGroup) -> Self {
        Self {
            error: group.error.clone(),
            kind: v1::failure_kind::Type::from(group.kind).into(),
            count: group.count,
            first_time: Some(timestamp(group.first_time)),
            last_time: Some(timestamp(group.last_time)),
            samples: group.samples.iter().map(sample).collect(),
        }
    }
}

fn sample(sample: &ErrorSample) -> v1::ErrorSample {
    v1::ErrorSample {
        index: sample.index,
        byte_offset: sample.place.byte_offset,
        byte_length: sample.place.byte_length,
        line: sample.place.line,
        message: sample.message.clone(),
    }
}

/// A failed item in the BASIC view. Its source is that of `view`'s specification.
pub fn item_failure(failure: &ItemFailure, view: &MapRunView) -> v1::ItemFailure {
    let reader = &view.spec.item_reader;
    let source = v1::ItemSource {
        bucket: reader.bucket.clone(),
        key: reader.key.clone(),
        version_id: reader.version_id.clone().unwrap_or_default(),
        byte_offset: failure.place.byte_offset,
        byte_length: failure.place.byte_length,
        line: failure.place.line,
    };
    v1::ItemFailure {
        index: failure.index,
        batch_number: failure.batch_number,
        source: Some(source),
        kind: v1::failure_kind::Type::from(failure.failure.kind).into(),
        error: failure.failure.error.clone(),
        cause: failure.failure.cause.clone(),
        attempts: failure.attempts,
        worker: worker_name(failure.worker.as_str()),
        fail_time: Some(timestamp(failure.fail_time)),
        timed_out: failure.timed_out,
        item: String::new(),
        record: Vec::new(),
    }
}

impl From<&WorkerView> for v1::Worker {
    fn from(view: &WorkerView) -> Self {
        Self {
            name: worker_name(view.id.as_str()),
            incarnation: format!("{:032x}", view.incarnation.0),
            state: v1::worker::State::from(view.state).into(),
            slots: view.slots,
            held_slots: view.held_slots,
            lease_count: view.lease_count,
            running_batch_count: view.running_batches,
            handlers: view.handlers.iter().map(Into::into).collect(),
            version: view.version.clone(),
            connect_time: Some(timestamp(view.connect_time)),
            last_heard_time: Some(timestamp(view.last_heard_time)),
        }
    }
}

impl From<WorkerState> for v1::worker::State {
    fn from(state: WorkerState) -> Self {
        match state {
            WorkerState::Active => Self::Active,
            WorkerState::Draining => Self::Draining,
            WorkerState::Suspect => Self::Suspect,
        }
    }
}

impl From<&WorkerHandler> for v1::WorkerHandler {
    fn from(handler: &WorkerHandler) -> Self {
        Self {
            name: handler.name.to_string(),
            unavailable_reason: handler.unavailable.clone().unwrap_or_default(),
        }
    }
}

impl From<&ClusterView> for v1::Cluster {
    /// Leader, members and store are what the answering process knows: it adds them.
    fn from(view: &ClusterView) -> Self {
        Self {
            leader: None,
            term: view.term.0,
            members: Vec::new(),
            store: None,
            worker_count: view.worker_count,
            slot_count: view.slot_count,
            held_slot_count: view.held_slot_count,
            active_map_run_count: view.active_map_run_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use warifu_model::spec::MapRunSpec;
    use warifu_model::{CallFailure, MapRunId, SourcePlace, WallTime, Warning, WorkerId};

    use super::*;
    use crate::wire::codec::{parse_job_file, to_json};

    fn view() -> MapRunView {
        let job = "
itemReader: {bucket: input, key: users.csv, readerConfig: {inputType: CSV}}
itemProcessor: {handler: echo}
";
        let request = parse_job_file(job, &[]).unwrap();
        let spec = MapRunSpec::try_from(&request.map_run.unwrap().spec.unwrap()).unwrap();
        MapRunView {
            id: MapRunId::new("run-1").unwrap(),
            uid: 255,
            spec: Arc::new(spec),
            state: MapRunState::Running,
            create_time: WallTime(0),
            start_time: Some(WallTime(1500)),
            stop_time: None,
            item_counts: ItemCounts { total: 100, pending: 60, succeeded: 40, ..Default::default() },
            batch_counts: ItemCounts::default(),
            total_known: true,
            fraction: 0.4,
            items_per_second: 20.0,
            limited_by: Some(LimitedBy::Workers),
            error: None,
            failure_counts: FailureCounts { business: 2, system: 1 },
            error_groups: Vec::new(),
            compensation: None,
            warnings: vec![Warning { reason: "HANDLER_NOT_AVAILABLE".into(), message: "start one".into() }],
            redrive_count: 0,
            result_location: None,
            outputs: vec!["{}".into()],
            outputs_truncated: true,
            source_bytes: 9,
            adapted_limit: None,
            batch_size: None,
        }
    }

    #[test]
    fn a_running_map_run_is_shown_with_its_estimate() {
        let json = to_json(&v1::MapRun::from(&view()));
        assert_eq!(json["name"], "mapRuns/run-1");
        assert_eq!(json["uid"], "000000000000000000000000000000ff");
        assert_eq!(json["startTime"], "1970-01-01T00:00:01.500Z");
        assert_eq!(json["progress"]["eta"], "3s");
        assert_eq!(json["progress"]["limitedBy"], "WORKERS");
        assert_eq!(json["spec"]["itemProcessor"]["timeoutSeconds"], 900);
        assert_eq!(json["itemCounts"]["pending"], 60);
        assert_eq!(json["failureCounts"], serde_json::json!({"business": 2, "system": 1}));
        assert_eq!(json["warnings"][0]["reason"], "HANDLER_NOT_AVAILABLE");
    }

    #[test]
    fn a_compensation_is_shown_with_its_last_try() {
        let status = CompensationStatus {
            state: CompensationState::Pending,
            trigger: warifu_model::CompensationTrigger::ToleranceExceeded,
            attempts: 2,
            error: Some(RunError { error: "Http.503".into(), cause: "busy".into() }),
            worker: Some(WorkerId::new("w1").unwrap()),
            due_time: WallTime(0),
            start_time: Some(WallTime(500)),
            stop_time: None,
        };
        let json = to_json(&v1::MapRun::from(&MapRunView { compensation: Some(status), ..view() }));
        let expected = serde_json::json!({
            "state": "PENDING", "attempts": 2, "error": {"error": "Http.503", "cause": "busy"},
            "trigger": "TOLERANCE_EXCEEDED", "worker": "workers/w1", "startTime": "1970-01-01T00:00:00.500Z",
        });
        assert_eq!(json["compensation"], expected);
    }

    #[test]
    fn there_is_no_estimate_where_none_can_be_made() {
        let eta_of = |change: fn(&mut MapRunView)| {
            let mut view = view();
            change(&mut view);
            eta(&view)
        };
        assert_eq!(eta_of(|view| view.total_known = false), Some(Duration::from_secs(3)));
        assert_eq!(eta_of(|view| view.items_per_second = 0.0), None);
        assert_eq!(eta_of(|view| view.items_per_second = f64::NAN), None);
        assert_eq!(eta_of(|view| view.items_per_second = 1e-12), None);
        assert_eq!(eta_of(|view| view.state = MapRunState::Stopping), None);
        assert_eq!(
            eta_of(|view| {
                view.total_known = false;
                view.fraction = 0.0;
            }),
            None
        );
    }

    #[test]
    fn a_failed_item_names_its_place_and_worker() {
        let failure = ItemFailure {
            index: 7,
            batch_number: 1,
            place: SourcePlace { byte_offset: 10, byte_length: 5, line: 3 },
            failure: CallFailure::business("Sql.23505", "duplicate"),
            timed_out: false,
            attempts: 2,
            worker: WorkerId::new("w1").unwrap(),
            fail_time: WallTime(0),
        };
        let json = to_json(&item_failure(&failure, &view()));
        assert_eq!(json["source"]["key"], "users.csv");
        assert_eq!(json["kind"], "BUSINESS");
        assert_eq!(json["worker"], "workers/w1");
    }
}
