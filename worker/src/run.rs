//! A map run as this worker knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warifu_common::dataset::{CutRules, Limits, RecordFormat};
use warifu_common::model::WorkerId;
use warifu_common::model::protocol::RunContext;
use warifu_common::model::spec::Transformation;
use warifu_common::model::template::RunTemplates;
use warifu_common::object_store::{ObjectLocation, PinnedObject};

use crate::handler::RunFacts;

/// A run's context, and what follows from it once for all its shards.
#[derive(Debug)]
pub(crate) struct OpenRun {
    /// As the coordinator sent it.
    pub(crate) context: Arc<RunContext>,
    /// The pinned source.
    pub(crate) object: PinnedObject,
    /// How batches are cut; absent until the header is known.
    pub(crate) rules: Option<Arc<CutRules>>,
    /// What all handler calls of the run have in common.
    pub(crate) facts: Arc<RunFacts>,
    /// Bytes of outputs that the coordinator still wants to see in reports of this worker.
    inline_bytes_left: AtomicU64,
}

impl OpenRun {
    /// The run as `worker` handles it.
    pub(crate) fn new(context: Arc<RunContext>, worker: WorkerId) -> Self {
        let source = &context.source;
        let object = PinnedObject {
            location: ObjectLocation::new(&source.bucket, &source.key),
            version_id: source.version_id.clone(),
            etag: source.etag.clone(),
            size: source.size_bytes,
        };
        let templates = RunTemplates::new(&context.spec, &context.template_facts())
            .expect("templates are checked when a specification is read");
        let rules = context
            .header
            .clone()
            .map(|header| Arc::new(templates.cut_rules(&context.spec, header, context.max_record_bytes)));
        let facts = RunFacts {
            map_run: context.map_run.clone(),
            worker,
            source: context.item_source.clone(),
            templates,
            batched: context.spec.item_batcher.configured,
            wants_outputs: context.results.is_some() || context.inline_output_bytes > 0,
            reads_items: false,
            trace_parent: context.spec.trace_parent,
        };
        let inline_bytes_left = AtomicU64::new(context.inline_output_bytes);
        Self { context, object, rules, facts: Arc::new(facts), inline_bytes_left }
    }

    /// `object` in words for errors: where a source was rewritten, users know the source.
    pub(crate) fn place_of(&self, object: &PinnedObject) -> String {
        let (place, source) = (object.location.to_string(), &self.facts.source);
        if object.location.key.starts_with(&self.context.staging.1) {
            return format!("{source}, rewritten as {place}");
        }
        place
    }

    /// What an entry of its result files is.
    pub(crate) fn transformation(&self) -> Transformation {
        self.context
            .spec
            .result_writer
            .as_ref()
            .map_or_else(Transformation::default, |writer| writer.transformation)
    }

    /// Bytes of outputs that may still go into reports.
    pub(crate) fn inline_bytes_left(&self) -> u64 {
        self.inline_bytes_left.load(Ordering::Relaxed)
    }

    /// Counts outputs that go into a report. Slots that race take a little more than was wanted.
    pub(crate) fn take_inline_bytes(&self, bytes: u64) {
        let left = |left: u64| Some(left.saturating_sub(bytes));
        // It cannot fail: the closure always gives a value.
        let _ = self.inline_bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// How the source's records are written.
    pub(crate) fn format(&self) -> RecordFormat {
        self.context.spec.item_reader.record_format()
    }

    /// Bounds on what its header may take.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_record_bytes: self.context.max_record_bytes,
            max_header_bytes: self.context.max_header_bytes,
            max_columns: usize::try_from(self.context.max_columns).unwrap_or(usize::MAX),
        }
    }
}
