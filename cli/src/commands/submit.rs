//! `warifu submit`: creates a map run from a job file.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use clap::Args;
use warifu_common::wire::codec::{self, MAX_TEXT_BYTES, Override};
use warifu_common::wire::v1::{CreateMapRunRequest, MapRun};

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::commands::watch::watch_to_end;
use crate::exit::Exit;
use crate::output::{Output, pretty};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::{describe, text};

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The job file, YAML or JSON; `-`: stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// A value in place of the file's, such as itemReader.key=x.csv; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
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
    let run = client.map_runs().create_map_run(request).await?.into_inner();
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
    let text = read_job_file(&args.file)?;
    let changes = args.set.iter().map(|set| Override::from_str(set)).collect::<Result<Vec<_>, _>>()?;
    let mut request = codec::parse_job_file(&text, &changes)
        .with_context(|| format!("{} cannot be used", name_of(&args.file)))?;
    if let Some(id) = &args.id {
        request.map_run_id.clone_from(id);
    }
    request.validate_only |= args.dry_run;
    request.require_handler |= args.require_handler;
    Ok(request)
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") {
        "the job file on stdin".to_owned()
    } else {
        format!("the job file {}", path.display())
    }
}

fn read_job_file(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    // One byte more than the codec takes: it then says that the text is too long.
    let limit = MAX_TEXT_BYTES as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin()
            .take(limit)
            .read_to_string(&mut text)
            .context("cannot read the job file from stdin")?;
        return Ok(text);
    }
    let unreadable = |error: std::io::Error| {
        Problem::new(format!("cannot read {}", name_of(path)))
            .advise("`warifu get ID --spec` writes one of a run that exists")
            .caused_by(error)
    };
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    read.map_err(unreadable)?;
    Ok(text)
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

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = request(&parsed(&["-f", "no/such/job.yaml"])).expect_err("there is no such file");
        assert!(error.to_string().contains("no/such/job.yaml"), "{error}");
    }
}
