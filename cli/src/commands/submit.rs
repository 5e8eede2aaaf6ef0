//! `warifu submit`: creates a map run from a job file, or from a Step Functions Distributed Map state.

use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::Context as _;
use clap::Args;
use warifu_common::wire::codec::{self, MAX_TEXT_BYTES, Override};
use warifu_common::wire::v1::{CreateMapRunRequest, MapRun};

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::commands::convert::{converted, read_input};
use crate::commands::watch::watch_to_end;
use crate::exit::Exit;
use crate::output::{Output, pretty};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::text_file::TextFile;
use crate::{asl, describe, text};

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The job file, YAML or JSON, or a state machine with a Distributed Map state; `-`: stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// A value in place of the file's, such as itemReader.key=x.csv; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The Map state, if the file is a state machine with several that are distributed
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// The state's input, as JSON, if the file is a state machine: values that the state takes from there become the job's
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The run's ID; absent: generated. The same ID with the same job gives the run that exists
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Draw the progress until the run ends; the exit status is then the run's
    #[arg(long)]
    watch: bool,
    /// Print the ID only
    #[arg(short, long)]
    quiet: bool,
    /// Check everything and show the first events as the handler will get them; create nothing
    #[arg(long, conflicts_with_all = ["watch", "print_request"])]
    dry_run: bool,
    /// Print the request as `grpcurl -d @` takes it; create nothing
    #[arg(long, conflicts_with = "watch")]
    print_request: bool,
    /// Refuse if no live worker offers the handler
    #[arg(long)]
    require_handler: bool,
}

/// Submits a job file.
pub(crate) async fn submit(args: SubmitArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let request = request(&args)?;
    if args.print_request {
        output.text(&pretty(&codec::to_json(&request)))?;
        return Ok(Exit::Succeeded);
    }
    let client = Client::connect(global).await?;
    let run = client.create_map_run(request).await?;
    warn(&run);
    if args.dry_run {
        output.message(&run, || preview(&run))?;
        return Ok(Exit::Succeeded);
    }
    if args.quiet {
        output.text(&format!("{}\n", text::id_of(&run.name)))?;
    }
    if args.watch {
        let progress = if args.quiet { Progress::silent() } else { Progress::on_stderr() };
        return watch_to_end(&client, &run.name, progress, output).await;
    }
    if !args.quiet {
        output.message(&run, || created(&run))?;
    }
    Ok(Exit::Succeeded)
}

fn request(args: &SubmitArgs) -> anyhow::Result<CreateMapRunRequest> {
    let file = TextFile::new("the job file", &args.file);
    let unreadable =
        |problem: Problem| problem.advise("`warifu get ID --spec` writes one of a run that exists");
    let text = file.read(MAX_TEXT_BYTES).map_err(unreadable)?;
    let text = match asl::is_asl(&text) {
        true => job_of_state(&file.name(), &text, args)?,
        false if args.input.is_some() => return Err(input_of_a_job(&file.name())),
        false => text,
    };
    let changes = args.set.iter().map(|set| Override::from_str(set)).collect::<Result<Vec<_>, _>>()?;
    let mut request =
        codec::parse_job_file(&text, &changes).with_context(|| format!("{} cannot be used", file.name()))?;
    if let Some(id) = &args.id {
        request.map_run_id.clone_from(id);
    }
    request.validate_only |= args.dry_run;
    request.require_handler |= args.require_handler;
    Ok(request)
}

/// The job file of a Distributed Map state; a job that would do other work than the state is not submitted.
fn job_of_state(file: &str, text: &str, args: &SubmitArgs) -> anyhow::Result<String> {
    let input = args.input.as_deref().map(read_input).transpose()?;
    let conversion = converted(file, text, args.state.as_deref(), input.as_ref())?;
    let changed = conversion.losses.iter().filter(|loss| loss.changes_the_work).count();
    if changed > 0 {
        let lost = text::counted(changed as u64, "field");
        return Err(Problem::new(format!(
            "{file} does not say all of the job: {lost} could not be carried over"
        ))
        .advise("write a job file with `warifu convert`, complete it, and submit that")
        .into());
    }
    Ok(codec::to_json(&conversion.spec).to_string())
}

fn input_of_a_job(file: &str) -> anyhow::Error {
    Problem::new(format!("{file} is a job, and --input is the input of a state"))
        .advise("write what its templates take from there under `input` of the job file")
        .into()
}

fn warn(run: &MapRun) {
    for warning in &run.warnings {
        eprintln!("warning: {}: {}", warning.reason, warning.message);
    }
}

fn created(run: &MapRun) -> String {
    let id = text::id_of(&run.name);
    format!("{} is {}\n  warifu watch {id}\n", run.name, run.state().as_str_name())
}

fn preview(run: &MapRun) -> String {
    let source = describe::source(run);
    let mut text = format!("the job is fine, nothing was created\nsource     {source}\n");
    for (number, event) in run.preview_events.iter().enumerate() {
        text.push_str(&format!("event {number}    {event}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    const JOB: &str = "itemReader: {bucket: input, key: a.csv, readerConfig: {inputType: CSV}}\n\
                       itemProcessor: {handler: echo}\n";

    fn parsed(arguments: &[&str]) -> SubmitArgs {
        let words = ["warifu", "submit"].iter().chain(arguments);
        match Cli::try_parse_from(words).expect("the arguments are fine").command {
            Command::Submit(args) => args,
            other => panic!("not submit: {other:?}"),
        }
    }

    #[test]
    fn flags_change_what_the_file_says() {
        let directory = tempfile::tempdir().expect("there is room for a file");
        let file = directory.path().join("job.yaml");
        std::fs::write(&file, JOB).expect("there is room for a file");
        let path = file.to_str().expect("the path is UTF-8");
        let args = parsed(&["-f", path, "--id", "a", "--set", "itemReader.key=b.csv", "--require-handler"]);
        let request = request(&args).expect("the job is fine");
        assert_eq!(request.map_run_id, "a");
        assert!(request.require_handler && !request.validate_only);
        let spec = request.map_run.and_then(|run| run.spec).expect("the job has a spec");
        assert_eq!(spec.item_reader.map(|reader| reader.key), Some("b.csv".to_owned()));
    }

    fn request_of(file: &str, arguments: &[&str]) -> anyhow::Result<CreateMapRunRequest> {
        let directory = tempfile::tempdir().expect("there is room for a file");
        let path = directory.path().join("sm.asl.json");
        std::fs::write(&path, file).expect("there is room for a file");
        let path = path.to_str().expect("the path is UTF-8");
        request(&parsed(&[&["-f", path], arguments].concat()))
    }

    const STATE: &str = r#"{"Type": "Map", "Label": "users", "MaxConcurrency": 5,
        "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
            "Parameters": {"Bucket": "input", "Key": "a.csv"}},
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "T",
            "States": {"T": {"Type": "Task", "Resource": "arn:aws:lambda:r:1:function:stats", "End": true}}}"#;

    #[test]
    fn a_distributed_map_state_is_a_job_file_too() {
        let request =
            request_of(&format!("{STATE}}}"), &["--set", "maxConcurrency=7"]).expect("all is carried over");
        let spec = request.map_run.and_then(|run| run.spec).expect("the job has a spec");
        assert_eq!((spec.max_concurrency, spec.labels["label"].as_str()), (7, "users"));
        assert_eq!(spec.item_processor.map(|processor| processor.handler), Some("stats".to_owned()));
    }

    #[test]
    fn a_state_that_would_become_another_job_is_not_submitted() {
        let by_path = format!(r#"{STATE}, "ToleratedFailureCountPath": "$.tolerated"}}"#);
        let error = request_of(&by_path, &[]).expect_err("the limit is not known");
        assert!(error.to_string().contains("1 field could not be carried over"), "{error}");
        request_of(&format!(r#"{STATE}, "ResultPath": null}}"#), &[]).expect("the work is the same");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = request(&parsed(&["-f", "no/such/job.yaml"])).expect_err("there is no such file");
        assert!(error.to_string().contains("no/such/job.yaml"), "{error}");
    }
}
