//! All templates of one run, ready to be filled.

use warifu_dataset::{
    CutRules, Header, ItemHole, ItemShape, JsonPath, MEASURED_DIGITS, SHAPES_SINCE, SOURCES_SINCE, Shape,
};

use super::{
    BatchHole, ItemSource, PayloadHole, Template, TemplateFacts, TemplateHole, TemplateProblem,
    asks_for_source, takes_by_path,
};
use crate::spec::{ItemBatcher, MapRunSpec};

/// The version of batch cutting that knows no templates.
const WITHOUT_TEMPLATES: u32 = 1;

/// The templates of a run. Made once: filling one reads nothing again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTemplates {
    /// `itemSelector`
    pub item: Option<ItemShape>,
    /// `itemBatcher.batchInput`
    pub batch_input: Option<Shape<BatchHole>>,
    /// `itemProcessor.payload`
    pub payload: Option<Shape<PayloadHole>>,
    /// `itemProcessor.outputPath`
    pub output_path: Option<JsonPath>,
    batch_id_bytes: u64,
    sourced: bool,
}

/// What is wrong with one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTemplateProblem {
    /// The field of the specification, as the proto files spell it, and the place within it.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl RunTemplates {
    /// The templates of `spec`; everything that is wrong with them at once.
    pub fn new(spec: &MapRunSpec, facts: &TemplateFacts) -> Result<Self, Vec<RunTemplateProblem>> {
        let mut reader = Reader { spec, facts, problems: Vec::new() };
        let processor = &spec.item_processor;
        let templates = Self {
            item: reader.shape("spec.item_selector", spec.item_selector.as_ref()),
            batch_input: reader
                .shape("spec.item_batcher.batch_input", spec.item_batcher.batch_input.as_ref()),
            payload: reader.shape("spec.item_processor.payload", processor.payload.as_ref()),
            output_path: reader.path("spec.item_processor.output_path", processor.output_path.as_deref()),
            batch_id_bytes: facts.map_run.as_str().len() as u64 + BATCH_ID_MORE,
            sourced: facts.source == ItemSource::OfItem,
        };
        if reader.problems.is_empty() { Ok(templates) } else { Err(reader.problems) }
    }

    /// How batches of `spec` are cut, whose templates these are.
    pub fn cut_rules(&self, spec: &MapRunSpec, header: Header, max_record_bytes: u64) -> CutRules {
        CutRules {
            max_items: spec.item_batcher.max_items_per_batch,
            max_input_bytes: spec.item_batcher.max_input_bytes_per_batch,
            envelope_bytes: self.envelope_bytes(),
            header,
            format: spec.item_reader.record_format(),
            sourced: self.sourced,
            max_record_bytes,
            shape: self.item.clone(),
        }
    }

    /// Bytes of the compact event `{"BatchInput":…,"Items":[]}` without its items, as batches are measured: numbers that
    /// only a batch knows as the largest that they can be.
    pub fn envelope_bytes(&self) -> u64 {
        let batch_input = self.batch_input.as_ref().map_or(0, |shape| {
            let holes = shape.holes().map(|hole| match hole {
                BatchHole::Id => self.batch_id_bytes,
                BatchHole::Number | BatchHole::Size => MEASURED_DIGITS,
            });
            r#""BatchInput":,"#.len() as u64 + shape.constant_bytes() + holes.sum::<u64>()
        });
        batch_input + r#"{"Items":[]}"#.len() as u64
    }
}

/// `"RUN/NUMBER"` without the run's ID.
const BATCH_ID_MORE: u64 = 2 + 1 + MEASURED_DIGITS;

struct Reader<'a> {
    spec: &'a MapRunSpec,
    facts: &'a TemplateFacts,
    problems: Vec<RunTemplateProblem>,
}

impl Reader<'_> {
    fn shape<H: TemplateHole + Clone>(
        &mut self,
        field: &str,
        template: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Option<Shape<H>> {
        let parsed = Template::parse(template?);
        let shape = parsed.and_then(|template| template.shape(&self.spec.input, self.facts));
        let note = |TemplateProblem { place, problem }| RunTemplateProblem {
            field: format!("{field}.{place}"),
            problem,
        };
        shape.map_err(|problems| self.problems.extend(problems.into_iter().map(note))).ok()
    }

    fn path(&mut self, field: &str, text: Option<&str>) -> Option<JsonPath> {
        let note = |problem: warifu_dataset::JsonPathProblem| RunTemplateProblem {
            field: field.to_owned(),
            problem: problem.to_string(),
        };
        JsonPath::parse(text?).map_err(|problem| self.problems.push(note(problem))).ok()
    }
}

impl MapRunSpec {
    /// The version of batch cutting that the run needs: workers that know no templates, no sizes that are chosen, or no items
    /// that say which of many objects they come from or that a handler gives, have no part in a run that has some.
    pub fn cut_version(&self) -> u32 {
        let ItemBatcher { batch_input, .. } = &self.item_batcher;
        let templates = self.item_selector.is_some()
            || batch_input.as_ref().is_some_and(takes_by_path)
            || self.item_processor.payload.is_some()
            || self.item_processor.output_path.is_some();
        match self.item_selector.as_ref() {
            _ if self.item_reader.handler.is_some() => SOURCES_SINCE,
            Some(selector) if self.item_reader.objects.are_read() && asks_for_source(selector) => {
                SOURCES_SINCE
            }
            _ if templates || self.item_batcher.auto_size.is_some() => SHAPES_SINCE,
            _ => WITHOUT_TEMPLATES,
        }
    }
}

/// The bytes of an `itemSelector`'s JSON that are the same for every item.
pub fn constant_item_bytes(shape: &ItemShape) -> u64 {
    let indexes = shape.holes().filter(|hole| matches!(hole, ItemHole::Index)).count() as u64;
    shape.constant_bytes() + indexes * MEASURED_DIGITS
}
