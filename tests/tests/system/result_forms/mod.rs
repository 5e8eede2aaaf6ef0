//! Result files in every form: each transformation, output type and compression, with items that fail alone, items that are sent
//! again, a batch that fails as a whole, a stop in the middle, and a redrive. What must be there is worked out from the data alone.

mod expected;
pub(crate) mod files;

use std::path::Path;
use std::time::Duration;

use expected::{Expected, Round};
use files::ResultFiles;

use crate::harness::{Dev, DevSettings, eventually, text};

/// Puts out `[ITEM,"x"]` for each item. `again` fails alone in the first attempt. Until FIXED exists: `told` and `other` fail alone,
/// `exit` fails its whole batch; `hang` hangs, after the run's id is noted in HANGS.
const WORKER: &str = r#"
[handlers.story]
type = "exec"
command = ["sh", "-c", '''
items=$(cat)
told=none other=none again=Soon
if [ ! -e "FIXED" ]; then
  told=told other=other again=MuchLater
  case "$items" in
  *'"fail":"hang"'*) touch "HANGS/$WARIFU_MAP_RUN_ID"; exec sleep 3600 ;;
  *'"fail":"exit"'*) exit 3 ;;
  esac
fi
if [ "$WARIFU_ATTEMPT" = 1 ]; then first=again; else first=none; fi
printf '%s\n' "$items" | sed -e 's/.*"fail":"'$told'".*/{"warifu:error":{"errorType":"Told","errorMessage":"m"}}/' \
  -e 's/.*"fail":"'$other'".*/{"warifu:error":{"errorType":"Other","errorMessage":"n"}}/' \
  -e 's/.*"fail":"'$first'".*/{"warifu:error":{"errorType":"'$again'","retryable":true}}/' \
  -e '/^{"warifu:error/!s/.*/[&,"x"]/'
''']
"#;

/// Of an item that fails for a while: before the redrive its second attempt never comes, in the redrive soon.
const RETRY: &str = "[{errorEquals: [MuchLater], intervalSeconds: 3600, maxAttempts: 1}, {errorEquals: [Soon], maxAttempts: 1}]";

/// One form of result files, and whether the job has an `itemBatcher`.
#[derive(Debug, Clone, Copy)]
struct Form {
    transformation: &'static str,
    output_type: &'static str,
    compression: &'static str,
    batched: bool,
}

impl Form {
    fn all() -> Vec<Self> {
        let mut forms = Vec::new();
        for transformation in ["ITEMS", "NONE", "COMPACT", "FLATTEN"] {
            for output_type in ["JSONL", "JSON"] {
                for compression in ["NONE", "GZIP", "ZSTD"] {
                    forms.push(Self { transformation, output_type, compression, batched: true });
                }
            }
            forms.push(Self { transformation, output_type: "JSON", compression: "NONE", batched: false });
        }
        forms
    }

    fn id(&self) -> String {
        let batched = if self.batched { "batches" } else { "items" };
        format!("{}-{}-{}-{batched}", self.transformation, self.output_type, self.compression).to_lowercase()
    }

    fn job(&self) -> String {
        let batcher =
            if self.batched { "itemBatcher: {maxItemsPerBatch: 5, batchInput: {k: v}}\n" } else { "" };
        format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
             {batcher}\
             itemProcessor: {{handler: story, retry: {RETRY}}}\n\
             maxConcurrency: 1\n\
             toleratedFailureCount: 100\n\
             resultWriter: {{bucket: output, prefix: r/, writerConfig: {{transformation: {}, outputType: {}, compression: {}}}}}\n",
            self.transformation, self.output_type, self.compression
        )
    }

    /// What the names of its files end with.
    fn extension(&self) -> String {
        let compression = match self.compression {
            "GZIP" => ".gz",
            "ZSTD" => ".zst",
            _ => "",
        };
        format!(".{}{compression}", self.output_type.to_lowercase())
    }

    fn expected(&self, round: Round) -> Expected {
        Expected::new(self.transformation, self.batched, round)
    }
}

#[test]
fn every_form_says_exactly_what_became_of_every_item() {
    let marks = tempfile::tempdir().unwrap();
    let (fixed, hangs) = (marks.path().join("fixed"), marks.path().join("hangs"));
    std::fs::create_dir(&hangs).unwrap();
    let config = WORKER.replace("FIXED", text(&fixed)).replace("HANGS", text(&hangs));
    let dev = Dev::start(&DevSettings { slots: 16, worker_config: &config, ..DevSettings::default() });
    dev.s3().put("input", "in.csv", expected::csv());
    let forms = Form::all();
    for form in &forms {
        dev.submit(&form.id(), &form.job());
    }
    for form in &forms {
        stop_when_it_hangs(&dev, form, &hangs);
        let found = ResultFiles::read(&dev.download(&form.id()), &form.extension());
        form.expected(Round::Stopped).compare(&found, &form.id());
    }
    std::fs::write(&fixed, "").unwrap();
    for form in &forms {
        dev.run(["redrive", &form.id(), "--watch"]).expect(0);
        let found = ResultFiles::read(&dev.download(&form.id()), &form.extension());
        form.expected(Round::Redriven).compare(&found, &form.id());
        sort(&dev, form);
    }
    a_changed_file_is_refused(&dev, &forms[0]);
    dev.stop();
}

fn stop_when_it_hangs(dev: &Dev, form: &Form, hangs: &Path) {
    let id = form.id();
    eventually(&format!("{id} hangs"), Duration::from_secs(120), || hangs.join(&id).exists().then_some(()));
    dev.run(["stop", &id]).expect(0);
    let stopped = dev.wait(&id, 1);
    assert_eq!(stopped["state"], "ABORTED", "{id}");
}

/// `--sorted`, for the forms that say which items their entries are of.
fn sort(dev: &Dev, form: &Form) {
    let (id, directory) = (form.id(), tempfile::tempdir().unwrap());
    let sorted = dev.run(["results", &id, "--download", text(directory.path()), "--sorted"]);
    if ["COMPACT", "FLATTEN"].contains(&form.transformation) {
        sorted.expect(2).says(&[form.transformation]);
        return;
    }
    sorted.expect(0);
    let lines = std::fs::read_to_string(directory.path().join("sorted.jsonl")).unwrap();
    let place = |line: &str| -> u64 {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry["index"].as_u64().unwrap_or_else(|| entry["Name"].as_str().unwrap().parse().unwrap())
    };
    let places: Vec<u64> = lines.lines().map(place).collect();
    assert!(places.is_sorted(), "{id}: {places:?}");
    let expected = form.expected(Round::Redriven).succeeded_count();
    assert_eq!(places.len(), expected, "{id}");
}

fn a_changed_file_is_refused(dev: &Dev, form: &Form) {
    let id = form.id();
    let keys = dev.s3().list("output", &format!("r/{id}/SUCCEEDED_"));
    dev.s3().put("output", &keys[0], "{}\n");
    let directory = tempfile::tempdir().unwrap();
    dev.run(["results", &id, "--download", text(directory.path())])
        .expect(2)
        .says(&["has 3 bytes, but the manifest says"]);
}
