//! What stands for a run in metrics: a name that its submitter gave, never its ID.
//!
//! The values of a label stay with a metrics' store for as long as it keeps them, so there are [`MAX_NAMES`] of them in the life
//! of a process; runs of further names count as [`OTHER`].

use std::collections::BTreeSet;

use warifu_model::spec::MapRunSpec;

/// Names that are told apart: each is a handful of series.
pub(super) const MAX_NAMES: usize = 50;

/// Runs whose name came too late.
pub(super) const OTHER: &str = "other";

/// Runs that nobody named.
pub(super) const UNNAMED: &str = "unnamed";

/// Labels of a run that name it, the first that is there counts; `label` is what a Step Functions state's `Label` becomes.
const NAMING_LABELS: [&str; 2] = ["name", "label"];

/// The names that are told apart so far.
#[derive(Debug, Default)]
pub(super) struct RunNames(BTreeSet<String>);

impl RunNames {
    /// The value of the label `map_run` for runs of this specification.
    pub(super) fn of(&mut self, spec: &MapRunSpec) -> String {
        let name = NAMING_LABELS.iter().find_map(|label| spec.labels.get(*label));
        let name = name.map_or(UNNAMED, String::as_str);
        if name == UNNAMED || self.0.contains(name) {
            return name.to_owned();
        }
        if self.0.len() >= MAX_NAMES {
            return OTHER.to_owned();
        }
        self.0.insert(name.to_owned());
        name.to_owned()
    }
}
