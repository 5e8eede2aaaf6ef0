//! Specifications as the API shows them: defaults filled in.

use std::time::Duration;

use warifu_dataset::HeaderLocation;
use warifu_model::spec::{
    Compression, Delimiter, ItemBatcher, ItemProcessor, ItemReader, MapRunSpec, OutputType, ResultWriter,
    Transformation,
};
use warifu_model::{CsvEncoding, InputForm, JitterStrategy, Retrier, SourceObjects};

use crate::wire::codec::{object_from_json, value_from_json};
use crate::wire::time::wire_duration;
use crate::wire::v1;

/// An empty prefix alone does not say that objects are listed.
const LIST_OBJECTS: &str = "arn:aws:states:::s3:listObjectsV2";

impl From<&MapRunSpec> for v1::MapRunSpec {
    fn from(spec: &MapRunSpec) -> Self {
        v1::MapRunSpec {
            item_reader: spec.items.is_none().then(|| reader(&spec.item_reader)),
            item_batcher: spec.item_batcher.configured.then(|| batcher(&spec.item_batcher)),
            item_processor: Some(processor(&spec.item_processor)),
            max_concurrency: spec.max_concurrency.unwrap_or(0),
            tolerated_failure_percentage: spec.tolerance.percentage,
            tolerated_failure_count: spec.tolerance.count,
            timeout_seconds: spec.timeout.map_or(0, whole_seconds),
            result_writer: spec.result_writer.as_ref().map(writer),
            input: (!spec.input.is_empty()).then(|| object_from_json(&spec.input)),
            labels: spec.labels.clone(),
            items: spec.items.iter().flatten().map(value_from_json).collect(),
            item_selector: spec.item_selector.as_ref().map(object_from_json),
            adaptive_concurrency: spec.adaptive_concurrency.map(|adaptive| v1::AdaptiveConcurrency {
                target_duration: adaptive.target_duration.map(wire_duration),
            }),
            max_items_per_second: spec.max_items_per_second.unwrap_or(0.0),
            compensation: spec.compensation.as_ref().map(Into::into),
        }
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn reader(reader: &ItemReader) -> v1::ItemReader {
    let range = reader.range.map(|(first, last)| match last {
        Some(last) => format!("bytes={first}-{last}"),
        None => format!("bytes={first}-"),
    });
    if let Some(handler) = &reader.handler {
        let max_items = reader.max_items.unwrap_or(0);
        let config = (max_items > 0).then(|| v1::ReaderConfig { max_items, ..Default::default() });
        return v1::ItemReader { handler: handler.to_string(), reader_config: config, ..Default::default() };
    }
    let lists = matches!(reader.objects, SourceObjects::Listed | SourceObjects::Flattened);
    v1::ItemReader {
        bucket: reader.bucket.clone(),
        key: if lists { String::new() } else { reader.key.clone() },
        prefix: if lists { reader.key.clone() } else { String::new() },
        resource: if lists { LIST_OBJECTS.to_owned() } else { String::new() },
        version_id: reader.version_id.clone().unwrap_or_default(),
        expected_bucket_owner: reader.expected_bucket_owner.clone().unwrap_or_default(),
        reader_config: Some(reader_config(reader)),
        range: range.unwrap_or_default(),
        ..Default::default()
    }
}

fn reader_config(reader: &ItemReader) -> v1::ReaderConfig {
    use v1::{csv_delimiter, csv_encoding, csv_header_location, input_type};
    use v1::{manifest_type, reader_transformation};
    let (transformation, manifest_type) = match reader.objects {
        SourceObjects::One => Default::default(),
        SourceObjects::Listed => (reader_transformation::Type::None, Default::default()),
        SourceObjects::Flattened => (reader_transformation::Type::LoadAndFlatten, Default::default()),
        SourceObjects::Inventory => (Default::default(), manifest_type::Type::S3Inventory),
        SourceObjects::Named => (Default::default(), manifest_type::Type::AthenaData),
    };
    let (input_type, items_pointer) = match (reader.objects, &reader.form) {
        (SourceObjects::Listed, _) => (input_type::Type::Unspecified, String::new()),
        (SourceObjects::Inventory, _) => (input_type::Type::Manifest, String::new()),
        (_, InputForm::Csv) => (input_type::Type::Csv, String::new()),
        (_, InputForm::JsonLines) => (input_type::Type::Jsonl, String::new()),
        (_, InputForm::Json { items_pointer }) => (input_type::Type::Json, items_pointer.clone()),
    };
    let encoding = match reader.encoding {
        CsvEncoding::Utf8 => csv_encoding::Type::Utf8,
        CsvEncoding::ShiftJis => csv_encoding::Type::ShiftJis,
    };
    let (location, headers) = match &reader.header_location {
        HeaderLocation::FirstRow => (csv_header_location::Type::FirstRow, Vec::new()),
        HeaderLocation::Given(names) => (csv_header_location::Type::Given, names.clone()),
    };
    let delimiter = match reader.delimiter {
        Delimiter::Comma => csv_delimiter::Type::Comma,
        Delimiter::Pipe => csv_delimiter::Type::Pipe,
        Delimiter::Semicolon => csv_delimiter::Type::Semicolon,
        Delimiter::Space => csv_delimiter::Type::Space,
        Delimiter::Tab => csv_delimiter::Type::Tab,
    };
    v1::ReaderConfig {
        input_type: input_type.into(),
        csv_header_location: location.into(),
        csv_headers: headers,
        csv_delimiter: delimiter.into(),
        csv_encoding: encoding.into(),
        max_items: reader.max_items.unwrap_or(0),
        lenient_quotes: reader.lenient_quotes,
        transformation: transformation.into(),
        manifest_type: manifest_type.into(),
        items_pointer,
    }
}

fn batcher(batcher: &ItemBatcher) -> v1::ItemBatcher {
    v1::ItemBatcher {
        // One that is chosen is the run's, not the job's.
        max_items_per_batch: if batcher.auto_size.is_some() { 0 } else { batcher.max_items_per_batch },
        max_input_bytes_per_batch: batcher.max_input_bytes_per_batch,
        batch_input: batcher.batch_input.as_ref().map(object_from_json),
        auto_size: batcher
            .auto_size
            .map(|auto| v1::AutoSize { min_items: auto.min_items, max_items: auto.max_items }),
    }
}

fn processor(processor: &ItemProcessor) -> v1::ItemProcessor {
    v1::ItemProcessor {
        handler: processor.handler.to_string(),
        timeout_seconds: whole_seconds(processor.timeout),
        retry: processor.retry.iter().map(retrier).collect(),
        payload: processor.payload.as_ref().map(object_from_json),
        output_path: processor.output_path.clone().unwrap_or_default(),
    }
}

fn retrier(retrier: &Retrier) -> v1::Retrier {
    use v1::jitter_strategy::Type;
    let jitter = match retrier.jitter_strategy {
        JitterStrategy::None => Type::None,
        JitterStrategy::Full => Type::Full,
    };
    v1::Retrier {
        error_equals: retrier.error_equals.clone(),
        interval_seconds: whole_seconds(retrier.interval),
        max_attempts: Some(retrier.max_attempts),
        backoff_rate: Some(retrier.backoff_rate),
        max_delay_seconds: retrier.max_delay.map_or(0, whole_seconds),
        jitter_strategy: jitter.into(),
    }
}

fn writer(writer: &ResultWriter) -> v1::ResultWriter {
    use v1::{compression, output_type, writer_transformation};
    let compression = match writer.compression {
        Compression::None => compression::Type::None,
        Compression::Gzip => compression::Type::Gzip,
        Compression::Zstd => compression::Type::Zstd,
    };
    let transformation = match writer.transformation {
        Transformation::Items => writer_transformation::Type::Items,
        Transformation::None => writer_transformation::Type::None,
        Transformation::Compact => writer_transformation::Type::Compact,
        Transformation::Flatten => writer_transformation::Type::Flatten,
    };
    let output_type = match writer.output_type {
        OutputType::Jsonl => output_type::Type::Jsonl,
        OutputType::Json => output_type::Type::Json,
    };
    v1::ResultWriter {
        bucket: writer.bucket.clone(),
        prefix: writer.prefix.clone(),
        writer_config: Some(v1::WriterConfig {
            transformation: transformation.into(),
            output_type: output_type.into(),
            compression: compression.into(),
        }),
    }
}
