//! The specification that the flags of `run` stand for.

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use warifu_common::object_store::ObjectLocation;
use warifu_common::wire::v1::{
    ItemBatcher, ItemProcessor, ItemReader, MapRunSpec, ReaderConfig, ResultWriter, WriterConfig,
    compression, csv_delimiter, csv_header_location, input_type,
};

use crate::problem::Problem;

/// Flags that become fields of the specification.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// Batches in progress at once; absent: as many as there are slots
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) max_concurrency: u32,
    /// Items of a batch
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) batch_size: u32,
    /// The run fails when more than this percentage of items failed
    #[arg(long, value_name = "PERCENT")]
    pub(super) tolerated_failure_percentage: Option<f64>,
    /// The run fails when more items than this failed; both absent: the first failed item ends the run
    #[arg(long, value_name = "N")]
    pub(super) tolerated_failure_count: Option<u64>,
    /// Where results go: a directory, or s3://bucket/prefix
    #[arg(long, value_name = "DIR|s3://…")]
    pub(super) output: Option<String>,
    /// How the files there are compressed
    #[arg(long, value_enum, value_name = "NAME", default_value_t, requires = "output")]
    pub(super) output_compression: CompressionArg,
    /// What stands between fields
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    pub(super) csv_delimiter: DelimiterArg,
    /// The header, if the file has none
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(super) csv_headers: Vec<String>,
    /// Items after this many are not read
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) max_items: u64,
    /// A quote that is still open at the end closes there; else it ends the run
    #[arg(long)]
    pub(super) lenient_quotes: bool,
}

/// How result files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum CompressionArg {
    #[default]
    #[value(alias = "NONE")]
    None,
    #[value(alias = "GZIP")]
    Gzip,
    #[value(alias = "ZSTD")]
    Zstd,
}

impl CompressionArg {
    fn to_wire(self) -> compression::Type {
        match self {
            CompressionArg::None => compression::Type::None,
            CompressionArg::Gzip => compression::Type::Gzip,
            CompressionArg::Zstd => compression::Type::Zstd,
        }
    }
}

/// What stands between fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum DelimiterArg {
    #[default]
    #[value(alias = ",", alias = "COMMA")]
    Comma,
    #[value(alias = "|", alias = "PIPE")]
    Pipe,
    #[value(alias = ";", alias = "SEMICOLON")]
    Semicolon,
    #[value(alias = " ", alias = "SPACE")]
    Space,
    #[value(alias = "\t", alias = "TAB")]
    Tab,
}

impl DelimiterArg {
    fn to_wire(self) -> csv_delimiter::Type {
        match self {
            DelimiterArg::Comma => csv_delimiter::Type::Comma,
            DelimiterArg::Pipe => csv_delimiter::Type::Pipe,
            DelimiterArg::Semicolon => csv_delimiter::Type::Semicolon,
            DelimiterArg::Space => csv_delimiter::Type::Space,
            DelimiterArg::Tab => csv_delimiter::Type::Tab,
        }
    }
}

impl JobArgs {
    /// The specification that runs `handler` over `source`.
    pub(super) fn to_spec(&self, source: &ObjectLocation, handler: &str) -> anyhow::Result<MapRunSpec> {
        Ok(MapRunSpec {
            item_reader: Some(ItemReader {
                bucket: source.bucket.clone(),
                key: source.key.clone(),
                reader_config: Some(self.to_reader_config(&source.key)),
                ..ItemReader::default()
            }),
            item_batcher: Some(ItemBatcher {
                max_items_per_batch: self.batch_size,
                ..ItemBatcher::default()
            }),
            item_processor: Some(ItemProcessor { handler: handler.to_owned(), ..ItemProcessor::default() }),
            max_concurrency: self.max_concurrency,
            tolerated_failure_percentage: self.tolerated_failure_percentage,
            tolerated_failure_count: self.tolerated_failure_count,
            result_writer: self.to_result_writer()?,
            ..MapRunSpec::default()
        })
    }

    fn to_result_writer(&self) -> anyhow::Result<Option<ResultWriter>> {
        let Some(output) = &self.output else { return Ok(None) };
        let (bucket, prefix) = to_place(output)?;
        let compression = self.output_compression.to_wire().into();
        let writer_config = Some(WriterConfig { compression, ..WriterConfig::default() });
        Ok(Some(ResultWriter { bucket, prefix, writer_config }))
    }

    fn to_reader_config(&self, key: &str) -> ReaderConfig {
        let header = if self.csv_headers.is_empty() {
            csv_header_location::Type::FirstRow
        } else {
            csv_header_location::Type::Given
        };
        ReaderConfig {
            input_type: input_type_of(key).into(),
            csv_header_location: header.into(),
            csv_headers: self.csv_headers.clone(),
            csv_delimiter: self.csv_delimiter.to_wire().into(),
            max_items: self.max_items,
            lenient_quotes: self.lenient_quotes,
            ..ReaderConfig::default()
        }
    }
}

/// The form that the end of a key names, whatever it is compressed with; CSV if it names none.
fn input_type_of(key: &str) -> input_type::Type {
    let key = key.to_ascii_lowercase();
    let plain = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|suffix| key.strip_suffix(suffix));
    match plain.unwrap_or(&key).rsplit_once('.') {
        Some((_, "jsonl" | "ndjson")) => input_type::Type::Jsonl,
        Some((_, "json")) => input_type::Type::Json,
        _ => input_type::Type::Csv,
    }
}

/// Bucket and prefix of `s3://bucket/prefix`, or of a directory, which is made.
fn to_place(output: &str) -> anyhow::Result<(String, String)> {
    if let Some(place) = output.strip_prefix("s3://") {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            let problem = Problem::new(format!("--output `{output}` names no bucket"));
            return Err(problem.advise("write s3://bucket/prefix").into());
        }
        return Ok((bucket.to_owned(), prefix.to_owned()));
    }
    let path = Path::new(output.strip_prefix("file://").unwrap_or(output));
    let made = std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
    let path = made.with_context(|| format!("cannot write results to {}", path.display()))?;
    let path = path.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))?;
    Ok((format!("file://{path}"), String::new()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        job: JobArgs,
    }

    #[test]
    fn the_key_says_what_the_source_holds() {
        use input_type::Type::{Csv, Json, Jsonl};
        for (key, form) in [
            ("a.csv", Csv),
            ("a.csv.gz", Csv),
            ("a", Csv),
            ("a.jsonl", Jsonl),
            ("A.NDJSON.ZST", Jsonl),
            ("a.json.gz", Json),
            ("json", Csv),
        ] {
            assert_eq!(input_type_of(key), form, "{key}");
        }
    }

    fn spec(flags: &[&str]) -> MapRunSpec {
        let words = std::iter::once("run").chain(flags.iter().copied());
        let source = ObjectLocation::new("input", "a.csv");
        Flags::try_parse_from(words).unwrap().job.to_spec(&source, "echo").unwrap()
    }

    #[test]
    fn without_flags_limits_stay_absent() {
        let spec = spec(&[]);
        assert_eq!(spec.tolerated_failure_count, None);
        assert_eq!(spec.tolerated_failure_percentage, None);
        assert_eq!(spec.max_concurrency, 0);
        assert_eq!(spec.result_writer, None);
        assert_eq!(spec.item_batcher.unwrap().max_items_per_batch, 25);
    }

    #[test]
    fn a_tolerated_count_of_0_is_not_an_absent_one() {
        assert_eq!(spec(&["--tolerated-failure-count", "0"]).tolerated_failure_count, Some(0));
    }

    #[test]
    fn headers_on_the_command_line_stand_for_the_file_s() {
        let spec = spec(&["--csv-headers", "id,名前", "--csv-delimiter", "|"]);
        let config = spec.item_reader.unwrap().reader_config.unwrap();
        assert_eq!(config.csv_header_location(), csv_header_location::Type::Given);
        assert_eq!(config.csv_headers, ["id", "名前"]);
        assert_eq!(config.csv_delimiter(), csv_delimiter::Type::Pipe);
    }

    #[test]
    fn results_go_to_a_directory_or_under_a_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("out");
        let writer = spec(&["--output", path.to_str().unwrap()]).result_writer.unwrap();
        assert_eq!((writer.bucket, writer.prefix), (format!("file://{}", path.display()), String::new()));
        assert!(path.is_dir());
        let writer = spec(&["--output", "s3://output/results/"]).result_writer.unwrap();
        assert_eq!((writer.bucket.as_str(), writer.prefix.as_str()), ("output", "results/"));
    }
}
