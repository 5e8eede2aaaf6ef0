//! Where a call is in its caller's trace.

use tonic::metadata::MetadataMap;
use tracing::Span;
use warifu_common::telemetry::traces::{TRACE_PARENT_HEADER, place_of};
use warifu_common::traced_span;
use warifu_model::TraceParent;

/// A call, and its span.
pub(super) struct TracedCall {
    /// The call's span; none if it is not recorded.
    pub(super) span: Span,
    /// What the run becomes part of: the span, or the caller's trace where this process records nothing.
    pub(super) place: Option<TraceParent>,
}

impl TracedCall {
    /// A call of `CreateMapRun` with its metadata.
    pub(super) fn of_create(metadata: &MetadataMap) -> Self {
        let caller = caller(metadata);
        let span = traced_span!(caller.as_ref(); "create_map_run",
            otel.name = "warifu.v1.MapRunService/CreateMapRun",
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = "warifu.v1.MapRunService/CreateMapRun",
            map_run_id = tracing::field::Empty,
        );
        let place = place_of(&span).or(caller);
        Self { span, place }
    }
}

/// The caller's place. What cannot be read is passed over.
fn caller(metadata: &MetadataMap) -> Option<TraceParent> {
    metadata.get(TRACE_PARENT_HEADER)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_trace_is_kept_where_nothing_is_recorded_and_no_trace_is_passed_over() {
        let mut metadata = MetadataMap::new();
        assert_eq!(TracedCall::of_create(&metadata).place, None);
        metadata.insert(TRACE_PARENT_HEADER, "no trace".parse().unwrap());
        assert_eq!(TracedCall::of_create(&metadata).place, None);
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        metadata.insert(TRACE_PARENT_HEADER, text.parse().unwrap());
        assert_eq!(TracedCall::of_create(&metadata).place.unwrap().to_string(), text);
    }
}
