//! `warifu results`: the files that a run's manifest names, listed or downloaded.

mod entries;
mod manifest;
mod sorted;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use warifu_common::object_store::{ObjectLocation, ObjectStore, ObjectStores};
use warifu_common::wire::v1::{MapRun, writer_transformation};

use crate::all_in_one::object_stores;
use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::commands::get;
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Problem;
use crate::table::Table;
use crate::text;
use manifest::Manifest;

/// The largest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of one read while downloading.
const DOWNLOAD_STEP: u64 = 16 * 1024 * 1024;
/// What `--sorted` writes.
const SORTED_FILE: &str = "sorted.jsonl";

/// Arguments of `results`.
#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Download the manifest and its files into this directory
    #[arg(long, value_name = "DIR")]
    download: Option<PathBuf>,
    /// Also write all entries in the order of the items, into sorted.jsonl; for ITEMS and NONE
    #[arg(long, requires = "download")]
    sorted: bool,
}

/// Lists or downloads results.
pub(crate) async fn results(args: ResultsArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let run = get::fetch(&client, &args.name).await?;
    let location = manifest_location(&run)?;
    if args.sorted {
        require_order(&run)?;
    }
    let objects = object_stores(None)?;
    let manifest = read_manifest(&objects, &location).await?;
    if let Some(directory) = &args.download {
        download(&objects, &manifest, directory).await?;
        if args.sorted {
            let files: Vec<PathBuf> = manifest.files().map(|file| directory.join(file.file_name())).collect();
            sorted::write(&files, &directory.join(SORTED_FILE))?;
        }
        eprintln!(
            "{} and manifest.json are in {}",
            text::counted(manifest.files().count() as u64, "file"),
            directory.display()
        );
    }
    output.value(|| manifest.as_json(&location), || table(&manifest, &location))?;
    Ok(Exit::Succeeded)
}

fn manifest_location(run: &MapRun) -> anyhow::Result<ObjectLocation> {
    if let Some(location) = &run.result_location {
        return Ok(ObjectLocation::new(&location.bucket, &location.manifest_key));
    }
    let has_writer = run.spec.as_ref().is_some_and(|spec| spec.result_writer.is_some());
    let id = text::id_of(&run.name);
    let problem = if has_writer {
        Problem::new(format!("{} has no manifest yet: it is {}", run.name, run.state().as_str_name()))
            .advise(format!("`warifu wait {id}` waits for its end"))
    } else {
        Problem::new(format!("{} has no result writer", run.name))
            .advise(format!("`warifu get {id} -o json` shows the outputs that are kept with the run"))
    };
    Err(problem.into())
}

/// Refuses to sort what says nothing of its items.
fn require_order(run: &MapRun) -> anyhow::Result<()> {
    use writer_transformation::Type;
    let writer = run.spec.as_ref().and_then(|spec| spec.result_writer.as_ref());
    let config = writer.and_then(|writer| writer.writer_config).unwrap_or_default();
    match config.transformation() {
        Type::Unspecified | Type::Items | Type::None => Ok(()),
        form @ (Type::Compact | Type::Flatten) => {
            let form = form.as_str_name();
            Err(Problem::new(format!("--sorted: results of the form {form} do not say which items they belong to"))
                .advise("leave --sorted out; a job with `transformation: ITEMS` or NONE has results that can be sorted")
                .into())
        }
    }
}

async fn read_manifest(objects: &ObjectStores, location: &ObjectLocation) -> anyhow::Result<Manifest> {
    let bytes = objects.get(location, MAX_MANIFEST_BYTES).await.map_err(|error| {
        Problem::new(format!("cannot read the manifest {location}"))
            .advise("results are read from object storage directly: set AWS_ENDPOINT_URL and AWS credentials")
            .caused_by(error)
    })?;
    Manifest::parse(bytes).with_context(|| format!("{location} is no manifest"))
}

async fn download(objects: &ObjectStores, manifest: &Manifest, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for file in manifest.files() {
        let location = ObjectLocation::new(manifest.bucket(), &file.key);
        download_file(objects, &location, &directory.join(file.file_name()), file.size).await?;
    }
    let path = directory.join("manifest.json");
    std::fs::write(&path, manifest.bytes()).with_context(|| format!("cannot write {}", path.display()))
}

async fn download_file(
    objects: &ObjectStores,
    location: &ObjectLocation,
    path: &Path,
    expected_bytes: u64,
) -> anyhow::Result<()> {
    let object = objects.pin(location, None, None).await?;
    if object.size != expected_bytes {
        let what = format!("{location} has {} bytes, but the manifest says {expected_bytes}", object.size);
        return Err(Problem::new(what)
            .advise("it was changed after the run; what it holds cannot be trusted")
            .into());
    }
    let unwritable = || format!("cannot write {}", path.display());
    let mut file = std::fs::File::create(path).with_context(unwritable)?;
    let mut position = 0;
    while position < object.size {
        let end = object.size.min(position + DOWNLOAD_STEP);
        let bytes = objects.read(&object, position..end).await?;
        file.write_all(&bytes).with_context(unwritable)?;
        position = end;
    }
    Ok(())
}

fn table(manifest: &Manifest, location: &ObjectLocation) -> String {
    let mut table = Table::new(["STATUS", "SIZE", "FILE"]);
    for file in manifest.files() {
        let place = ObjectLocation::new(manifest.bucket(), &file.key).to_string();
        table.row([file.status.clone(), text::size(file.size), place]);
    }
    format!("{}manifest  {location}\n", table.render())
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{MapRunSpec, ResultWriter, WriterConfig};

    use super::*;

    #[test]
    fn outputs_alone_cannot_be_sorted() {
        use writer_transformation::Type;
        let run = |form: Type| MapRun {
            spec: Some(MapRunSpec {
                result_writer: Some(ResultWriter {
                    writer_config: Some(WriterConfig {
                        transformation: form.into(),
                        ..WriterConfig::default()
                    }),
                    ..ResultWriter::default()
                }),
                ..MapRunSpec::default()
            }),
            ..MapRun::default()
        };
        assert!(require_order(&MapRun::default()).is_ok());
        for form in [Type::Unspecified, Type::Items, Type::None] {
            assert!(require_order(&run(form)).is_ok());
        }
        for form in [Type::Compact, Type::Flatten] {
            let error = require_order(&run(form)).unwrap_err().to_string();
            assert!(error.contains(form.as_str_name()), "{error}");
        }
    }
}
