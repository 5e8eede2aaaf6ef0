//! `CreateMapRun`: everything that can be known to be wrong is refused before a run exists.

use prost::Message as _;
use ulid::Ulid;
use warifu_common::object_store::{ObjectError, ObjectLocation};
use warifu_common::wire::{FieldViolation, InvalidRequest, v1};
use warifu_model::protocol::offers;
use warifu_model::spec::{ItemReader, MapRunSpec};
use warifu_model::{
    BatchCounts, FailureCounts, HandlerName, ItemCounts, MapRunId, MapRunState, MapRunView, NotAllowed,
    SourceObjects, TraceParent, WallTime, Warning, WorkerState,
};
use warifu_scheduler::{CreateMapRun, Event, compensation_warning, handler_warning};

use super::{ApiError, Context};

/// Longest `request_id`.
const MAX_REQUEST_ID: usize = 64;

/// A request whose fields are right.
struct Checked {
    id: MapRunId,
    spec: MapRunSpec,
    /// The specification as submitted; equal ones are equal bytes.
    submitted: Vec<u8>,
    validate_only: bool,
    require_handler: bool,
}

/// Creates a run, or says what would come of it.
pub(super) async fn create(
    context: &Context,
    request: v1::CreateMapRunRequest,
    trace_parent: Option<TraceParent>,
) -> Result<v1::MapRun, ApiError> {
    let checked = check(&request)?;
    check_places(context, &checked.spec)?;
    if !checked.validate_only
        && let Some(existing) = existing(context, &checked).await?
    {
        return Ok(existing);
    }
    check_destination(context, &checked.spec).await?;
    if checked.validate_only {
        return validate(context, checked).await;
    }
    let source = match &checked.spec.items {
        Some(items) => context.store_items(&checked.id, items).await?,
        None => context.pin_source(&checked.spec).await?,
    };
    let stored = checked.spec.items.is_some().then(|| ObjectLocation::new(&source.bucket, &source.key));
    let create = CreateMapRun {
        id: checked.id,
        uid: Ulid::new().0,
        spec: MapRunSpec { trace_parent, ..checked.spec },
        submitted: checked.submitted,
        source,
        shard_bytes: context.shard_bytes,
        require_handler: checked.require_handler,
    };
    let created =
        context.change(move |request| Event::CreateRequested { request, create: Box::new(create) }).await;
    if let (Err(error), Some(stored)) = (&created, stored) {
        context.forget_items(error, &stored).await;
    }
    created
}

/// Checks all fields, and names every one that is wrong.
fn check(request: &v1::CreateMapRunRequest) -> Result<Checked, ApiError> {
    let mut violations: Vec<FieldViolation> = Vec::new();
    let id = requested_id(request).map_err(|invalid| violations.extend(invalid.violations));
    let submitted = request.map_run.as_ref().and_then(|map_run| map_run.spec.as_ref());
    let spec = match submitted {
        Some(spec) => {
            MapRunSpec::try_from(spec).map_err(|invalid| violations.extend(invalid.violations)).ok()
        }
        None => {
            violations.push(FieldViolation::new("map_run.spec", "is required"));
            None
        }
    };
    match (id, spec, submitted) {
        (Ok(id), Some(spec), Some(submitted)) => Ok(Checked {
            id,
            spec,
            submitted: submitted.encode_to_vec(),
            validate_only: request.validate_only,
            require_handler: request.require_handler,
        }),
        _ => Err(InvalidRequest { violations }.into()),
    }
}

/// Checks that the cluster lets jobs read and write where the specification says, and that failures have a place.
pub(super) fn check_places(context: &Context, spec: &MapRunSpec) -> Result<(), ApiError> {
    let mut violations = Vec::new();
    let allowed = &context.limits.allowed;
    let mut require = |field: &str, checked: Result<(), NotAllowed>| {
        violations.extend(checked.err().map(|error| FieldViolation::new(field, error.to_string())));
    };
    let reader = &spec.item_reader;
    let stages = spec.items.is_some() || reader.needs_staging();
    if spec.items.is_none() && reader.handler.is_none() {
        match reader.objects {
            SourceObjects::Listed | SourceObjects::Flattened => {
                require("spec.item_reader.prefix", allowed.check_prefix(&reader.bucket, &reader.key));
            }
            SourceObjects::One | SourceObjects::Inventory | SourceObjects::Named => {
                require("spec.item_reader.key", allowed.check_object(&reader.bucket, &reader.key));
            }
        }
    }
    if let Some(writer) = &spec.result_writer {
        require("spec.result_writer.prefix", allowed.check_prefix(&writer.bucket, &writer.prefix));
    } else if context.limits.system_location.0.is_empty() {
        let text = "is required: this cluster has no [s3] system_bucket, where failures would go without it";
        violations.push(FieldViolation::new("spec.result_writer", text));
    }
    if stages && context.limits.system_location.0.is_empty() {
        let field = if spec.items.is_some() { "spec.items" } else { "spec.item_reader" };
        let text = "must first be written as one object that can be cut; this cluster has no [s3] system_bucket for it";
        violations.push(FieldViolation::new(field, text));
    }
    if violations.is_empty() { Ok(()) } else { Err(InvalidRequest { violations }.into()) }
}

/// The id that the caller gave, or one that is made of `request_id`, or a new one.
fn requested_id(request: &v1::CreateMapRunRequest) -> Result<MapRunId, InvalidRequest> {
    let text = match (request.map_run_id.as_str(), request.request_id.as_str()) {
        ("", "") => generated_id(Ulid::new()),
        ("", request_id) => {
            let printable = request_id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if request_id.len() > MAX_REQUEST_ID || !printable {
                return Err(InvalidRequest::one(
                    "request_id",
                    "must be at most 64 printable ASCII characters",
                ));
            }
            generated_id(Ulid(digest(request_id)))
        }
        (id, _) => id.to_owned(),
    };
    MapRunId::new(&text).map_err(|error| InvalidRequest::one("map_run_id", error.to_string()))
}

fn generated_id(ulid: Ulid) -> String {
    format!("run-{}", ulid.to_string().to_ascii_lowercase())
}

/// FNV-1a of 128 bits: the same request gets the same id, in any process and version.
fn digest(text: &str) -> u128 {
    let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(prime)
    })
}

/// The run of a repeated request: it is there although its source may be gone by now.
async fn existing(context: &Context, checked: &Checked) -> Result<Option<v1::MapRun>, ApiError> {
    match context.store.spec(&checked.id).await? {
        None => Ok(None),
        Some(record) if record.submitted == checked.submitted => {
            context.map_run(checked.id.clone()).await.map(Some)
        }
        Some(_) => Err(ApiError::MapRunExists(checked.id.clone())),
    }
}

/// Checks that the bucket of the results is there. Whether it can be written to shows only when it is.
async fn check_destination(context: &Context, spec: &MapRunSpec) -> Result<(), ApiError> {
    let Some(writer) = &spec.result_writer else { return Ok(()) };
    let location = ObjectLocation::new(&writer.bucket, &writer.prefix);
    if location.is_local() {
        return Ok(());
    }
    match context.objects.list(&writer.bucket, &writer.prefix, 1).await {
        // Many may write where they may not list.
        Ok(_) | Err(ObjectError::AccessDenied { .. }) => Ok(()),
        Err(error) => Err(ApiError::Destination(error)),
    }
}

/// What would come of the request: the run as it would begin, its first events, and what its submitter should know.
async fn validate(context: &Context, checked: Checked) -> Result<v1::MapRun, ApiError> {
    let compensation = checked.spec.compensation.as_ref().map(|compensation| compensation.handler.clone());
    let handlers = checked.spec.handlers().cloned();
    let wanted = handlers.map(|handler| (handler, handler_warning as fn(&str) -> Warning));
    let wanted: Vec<_> =
        wanted.chain(compensation.map(|handler| (handler, compensation_warning as _))).collect();
    let missing = move |scheduler: &warifu_scheduler::Scheduler| {
        let workers = scheduler.workers();
        let alive = || workers.iter().filter(|worker| worker.state != WorkerState::Suspect);
        let is_missing =
            |(handler, _): &(HandlerName, _)| !alive().any(|worker| offers(&worker.handlers, handler));
        wanted.into_iter().filter(is_missing).collect::<Vec<_>>()
    };
    let missing = context.driver.query(missing).await?;
    if let Some((handler, _)) = missing.first().filter(|_| checked.require_handler) {
        return Err(ApiError::HandlerNotAvailable(handler.clone()));
    }
    let (source_bytes, preview_events) = context.first_events_of(&checked.id, &checked.spec).await?;
    let warning_of = |(handler, warning): (HandlerName, fn(&str) -> Warning)| warning(handler.as_str());
    let mut warnings: Vec<Warning> = missing.into_iter().map(warning_of).collect();
    if preview_events.is_empty() {
        warnings
            .push(Warning { reason: "NO_PREVIEW".into(), message: no_preview(&checked.spec.item_reader) });
    }
    let view = view_of(checked, source_bytes, warnings, context.clock.now().wall);
    Ok(v1::MapRun { preview_events, ..v1::MapRun::from(&view) })
}

/// Why there are no events to show.
fn no_preview(reader: &ItemReader) -> String {
    match &reader.handler {
        Some(handler) => {
            format!(
                "the handler {handler} gives the items, and is not called before the run begins: there are no events to show yet"
            )
        }
        None if reader.needs_staging() => {
            "the source is rewritten before it is read, so there are no events to show yet".into()
        }
        None => "no item begins in the first bytes of the data, so there are no events to show".into(),
    }
}

fn view_of(checked: Checked, source_bytes: u64, warnings: Vec<Warning>, create_time: WallTime) -> MapRunView {
    MapRunView {
        id: checked.id,
        uid: 0,
        spec: checked.spec.into(),
        state: MapRunState::Queued,
        create_time,
        start_time: None,
        stop_time: None,
        item_counts: ItemCounts::default(),
        batch_counts: BatchCounts::default(),
        total_known: false,
        fraction: 0.0,
        items_per_second: 0.0,
        limited_by: None,
        error: None,
        failure_counts: FailureCounts::default(),
        error_groups: Vec::new(),
        warnings,
        compensation: None,
        redrive_count: 0,
        result_location: None,
        outputs: Vec::new(),
        outputs_truncated: false,
        source_bytes,
        adapted_limit: None,
        batch_size: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_generated_and_a_repeated_request_gets_the_same() {
        let request = |request_id: &str| v1::CreateMapRunRequest {
            request_id: request_id.into(),
            ..v1::CreateMapRunRequest::default()
        };
        let id = |text: &str| requested_id(&request(text)).unwrap();
        assert!(id("").as_str().starts_with("run-"));
        assert_ne!(id(""), id(""));
        assert_eq!(id("k"), id("k"));
        assert_ne!(id("k"), id("l"));
        assert!(requested_id(&request("ü")).is_err());
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let request =
            v1::CreateMapRunRequest { map_run_id: "1".into(), ..v1::CreateMapRunRequest::default() };
        let Err(ApiError::Invalid(invalid)) = check(&request) else { panic!("it is invalid") };
        let fields: Vec<_> = invalid.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["map_run_id", "map_run.spec"]);
    }
}
