//! What AWS Step Functions answered, case by case: the recordings lie beside the repository, where they are.
//!
//! Every recording is either told here or listed with the reason why it cannot be. A Map state becomes a job by `warifu convert`,
//! with the input that the state had there; what handlers got and gave, batches, counts, errors and result files are compared
//! with the recording. `docs/conformance.md` is the list; `UPDATE_EXPECT=1` writes it anew.
//!
//! Start reading at [`told`]; `recording.rs` reads a recording, `job.rs` makes the job, `compare.rs` judges.

mod compare;
mod function;
mod inapplicable;
mod job;
mod lifecycle;
mod native;
mod recording;
mod refused;
mod result_files;
mod table;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use function::Function;
use recording::Case;

use crate::harness::{Dev, DevSettings, shared_directory, skipped};

/// `pass` gives back what it gets, in AWS's shape; `pair` an item's number, and an object with it; `function` is in the test.
const WORKER: &str = r#"
[handlers.pass]
type = "exec"
command = ["cat"]
event_format = "states"
[handlers.pair]
type = "exec"
command = ["sed", 's/.*/[&,{"copy":&}]/']
[handlers.function]
type = "http"
url = "URL"
protocol = "lambda"
"#;

/// What became of a case.
enum Verdict {
    /// It ran, and came out as there.
    Agrees(String),
    /// There the execution fails; here nothing is created.
    Refused(String),
    /// It is not about a map run.
    Inapplicable(String),
}

#[test]
fn every_recording_comes_out_as_aws_answered_or_is_listed_with_the_reason() {
    let Some(cases) = shared_directory("conformance/distributed-map") else {
        return skipped("conformance", "there is no ../shared/conformance");
    };
    let function = Function::start();
    let worker_config = WORKER.replace("URL", &function.url());
    let dev =
        Dev::start(&DevSettings { workers: 1, worker_config: &worker_config, ..DevSettings::default() });
    let files = case_files(&cases);
    let (mut verdicts, mut different) = (Vec::new(), Vec::new());
    for (number, path) in files.iter().enumerate() {
        let case = Case::read(&cases, path);
        let stage = Stage { dev: &dev, id: format!("case-{number}"), function: &function, cases: &cases };
        // All that differ are named, not only the first; what differs has been printed.
        match catch_unwind(AssertUnwindSafe(|| told(&stage, &case))) {
            Ok(verdict) => verdicts.push((case.name, verdict)),
            Err(_) => different.push(case.name),
        }
    }
    assert!(different.is_empty(), "{} cases differ: {different:#?}", different.len());
    dev.stop();
    table::expect(&verdicts, files.len());
}

/// Where a case is told.
struct Stage<'a> {
    dev: &'a Dev,
    /// The bucket of the case, and the run's id.
    id: String,
    /// The handler of lifecycles.
    function: &'a Function,
    /// The recordings.
    cases: &'a Path,
}

fn told(stage: &Stage<'_>, case: &Case) -> Verdict {
    if let Some(reason) = inapplicable::reason(case) {
        return Verdict::Inapplicable(reason.to_owned());
    }
    stage.dev.s3().create_bucket(&stage.id);
    for object in case.json["s3_objects"].as_array().into_iter().flatten() {
        let (key, body) = (object["key"].as_str().unwrap(), object["body"].as_str().unwrap());
        stage.dev.s3().put(&stage.id, key, body);
    }
    match case.short_name() {
        "cancel_pending" => Verdict::Agrees(lifecycle::cancel_pending(stage, case)),
        "tolerated_failure" => Verdict::Agrees(lifecycle::tolerated_failure(stage, case)),
        "redrive_standard" => Verdict::Agrees(lifecycle::redrive_standard(stage, case)),
        _ if case.is_native() => Verdict::Agrees(native::compare(stage, case)),
        _ => compare::case(stage, case),
    }
}

fn case_files(directory: &Path) -> Vec<PathBuf> {
    let native = directory.join("native");
    let entries = [directory, &native].map(|directory| std::fs::read_dir(directory).unwrap());
    let paths = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    files
}
