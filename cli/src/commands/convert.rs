//! `warifu convert`: a Step Functions Distributed Map state as a job file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use warifu_common::wire::codec;

use crate::asl::{self, AslError, Conversion, Loss};
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Problem;
use crate::text_file;

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A state machine or one Map state, Amazon States Language as JSON; `-`: stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The Map state, if the state machine has several that are distributed
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// The state's input, as JSON: values that it takes from there are written into the job; `-`: stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Prints the job file on stdout, and on stderr what the job lacks.
pub(crate) fn convert(args: ConvertArgs, output: &Output) -> anyhow::Result<Exit> {
    let definition = text_file::TextFile::new("the state machine", &args.file);
    let text = definition.read(asl::MAX_TEXT_BYTES)?;
    let input = args.input.as_deref().map(read_input).transpose()?;
    let conversion = converted(&definition.name(), &text, args.state.as_deref(), input.as_ref())?;
    output.message(&conversion.spec, || codec::to_yaml(&conversion.spec))?;
    Ok(Exit::Succeeded)
}

/// The state's input.
pub(crate) fn read_input(path: &Path) -> anyhow::Result<serde_json::Value> {
    let file = text_file::TextFile::new("the input", path);
    let text = file.read(asl::MAX_TEXT_BYTES)?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.name()))
}

/// Converts a definition, and names on stderr what could not be carried over.
pub(crate) fn converted(
    file: &str,
    text: &str,
    state: Option<&str>,
    input: Option<&serde_json::Value>,
) -> anyhow::Result<Conversion> {
    let conversion = asl::convert(text, state, input).map_err(|error| refused(file, error))?;
    eprint!("{}", warnings(&conversion.losses));
    Ok(conversion)
}

fn refused(file: &str, error: AslError) -> anyhow::Error {
    let problem = Problem::new(format!("{file} cannot be converted"));
    let problem = match &error {
        AslError::NotJson(_) => {
            problem.advise("write YAML as JSON first; it is Amazon States Language that is wanted")
        }
        AslError::NoState(_) | AslError::Jsonata(_) | AslError::Invalid(_) => problem,
    };
    problem.caused_by(error).into()
}

/// A line per loss.
fn warnings(losses: &[Loss]) -> String {
    losses.iter().map(|loss| format!("warning: not carried over: {loss}\n")).collect()
}
