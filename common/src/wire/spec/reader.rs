//! `itemReader`.

use warifu_dataset::HeaderLocation;
use warifu_model::spec::{Delimiter, ItemReader};

use super::check;
use crate::wire::v1;
use crate::wire::violation::{Violations, quoted};

const FIELD: &str = "spec.item_reader";
const CONFIG: &str = "spec.item_reader.reader_config";

/// How AWS names the reading of one object; its partition may differ.
const GET_OBJECT: &str = ":states:::s3:getObject";
/// How AWS names a listing.
const LIST_OBJECTS: &str = ":states:::s3:listObjectsV2";

/// What the job says about its source, or nothing if something is wrong with it. Its paths are resolved.
pub(super) fn read(reader: Option<&v1::ItemReader>, violations: &mut Violations) -> Option<ItemReader> {
    let Some(reader) = reader else {
        violations.add(FIELD, "is required: name bucket, key and readerConfig");
        return None;
    };
    refuse_unsupported(reader, violations);
    check_place(reader, violations);
    let range = byte_range(&reader.range, violations);
    let Some(config) = &reader.reader_config else {
        violations.add(CONFIG, "is required: at least `inputType: CSV`");
        return None;
    };
    check_input_type(config, violations);
    Some(ItemReader {
        bucket: reader.bucket.clone(),
        key: reader.key.clone(),
        version_id: given(&reader.version_id),
        expected_bucket_owner: given(&reader.expected_bucket_owner),
        header_location: header_location(config, violations),
        delimiter: delimiter(config, violations),
        lenient_quotes: config.lenient_quotes,
        max_items: (config.max_items > 0).then_some(config.max_items),
        range,
    })
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn refuse_unsupported(reader: &v1::ItemReader, violations: &mut Violations) {
    let table = [
        (&reader.prefix, "prefix", "reading many objects under a prefix"),
        (&reader.handler, "handler", "a handler that produces the items"),
    ];
    for (value, name, what) in table {
        violations.refuse_unsupported(!value.is_empty(), &format!("{FIELD}.{name}"), what);
    }
}

fn check_place(reader: &v1::ItemReader, violations: &mut Violations) {
    let elsewhere = !reader.handler.is_empty();
    if !elsewhere {
        check::bucket(&reader.bucket, "spec.item_reader.bucket", violations);
    }
    let other_key = !reader.prefix.is_empty();
    violations.require(!reader.key.is_empty() || other_key || elsewhere, "spec.item_reader.key", || {
        "is required: the key of the object that holds the items".to_owned()
    });
    check::key(&reader.key, "spec.item_reader.key", violations);
    check_resource(reader, violations);
    let owner = &reader.expected_bucket_owner;
    let account = owner.is_empty() || (owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit()));
    violations.require(account, "spec.item_reader.expected_bucket_owner", || {
        format!("is {}; an account has 12 digits", quoted(owner))
    });
}

fn check_resource(reader: &v1::ItemReader, violations: &mut Violations) {
    let (resource, field) = (&reader.resource, "spec.item_reader.resource");
    if resource.is_empty() || (resource.starts_with("arn:aws") && resource.ends_with(GET_OBJECT)) {
        return;
    }
    if resource.starts_with("arn:aws") && resource.ends_with(LIST_OBJECTS) {
        return violations.add(field, "listing objects is not supported yet");
    }
    violations.add(field, format!("is {}; leave it out, or write arn:aws{GET_OBJECT}", quoted(resource)));
}

fn check_input_type(config: &v1::ReaderConfig, violations: &mut Violations) {
    use v1::input_type::Type;
    let field = "spec.item_reader.reader_config.input_type";
    match check::known(config.input_type, field, violations) {
        Type::Unspecified if Type::try_from(config.input_type).is_ok() => {
            violations.add(field, "is required: write CSV");
        }
        Type::Unspecified | Type::Csv => {}
        other @ (Type::Jsonl | Type::Json | Type::Manifest | Type::Parquet) => {
            violations.add(field, format!("{} is not supported yet; CSV is", other.as_str_name()));
        }
    }
    check_encoding(config, violations);
    violations.refuse_unsupported(
        config.transformation != 0,
        &format!("{CONFIG}.transformation"),
        "a transformation",
    );
    violations.refuse_unsupported(
        config.manifest_type != 0,
        &format!("{CONFIG}.manifest_type"),
        "a manifest",
    );
    violations.refuse_unsupported(
        !config.items_pointer.is_empty(),
        &format!("{CONFIG}.items_pointer"),
        "a pointer to the items",
    );
}

fn check_encoding(config: &v1::ReaderConfig, violations: &mut Violations) {
    use v1::csv_encoding::Type;
    let field = "spec.item_reader.reader_config.csv_encoding";
    match check::known(config.csv_encoding, field, violations) {
        Type::Unspecified | Type::Utf8 => {}
        Type::ShiftJis => {
            violations.add(field, "SHIFT_JIS is not supported yet; convert the object to UTF-8")
        }
    }
}

fn header_location(config: &v1::ReaderConfig, violations: &mut Violations) -> HeaderLocation {
    use v1::csv_header_location::Type;
    let field = "spec.item_reader.reader_config.csv_header_location";
    let headers = &config.csv_headers;
    match check::known(config.csv_header_location, field, violations) {
        Type::Given => {
            check_given_headers(headers, violations);
            HeaderLocation::Given(headers.clone())
        }
        Type::Unspecified | Type::FirstRow => {
            violations.require(headers.is_empty(), "spec.item_reader.reader_config.csv_headers", || {
                "is only read with `csvHeaderLocation: GIVEN`; set that, or remove the headers".to_owned()
            });
            HeaderLocation::FirstRow
        }
    }
}

fn check_given_headers(headers: &[String], violations: &mut Violations) {
    let field = "spec.item_reader.reader_config.csv_headers";
    violations
        .require(!headers.is_empty(), field, || "is required with `csvHeaderLocation: GIVEN`".to_owned());
    let mut seen = std::collections::BTreeSet::new();
    for (i, header) in headers.iter().enumerate() {
        violations.require(seen.insert(header), &format!("{field}[{i}]"), || {
            format!("{} stands twice; CSV headers cannot contain duplicates", quoted(header))
        });
    }
}

fn delimiter(config: &v1::ReaderConfig, violations: &mut Violations) -> Delimiter {
    use v1::csv_delimiter::Type;
    match check::known(config.csv_delimiter, "spec.item_reader.reader_config.csv_delimiter", violations) {
        Type::Unspecified | Type::Comma => Delimiter::Comma,
        Type::Pipe => Delimiter::Pipe,
        Type::Semicolon => Delimiter::Semicolon,
        Type::Space => Delimiter::Space,
        Type::Tab => Delimiter::Tab,
    }
}

fn byte_range(text: &str, violations: &mut Violations) -> Option<(u64, Option<u64>)> {
    if text.is_empty() {
        return None;
    }
    let range = parse_byte_range(text);
    violations.require(range.is_some(), "spec.item_reader.range", || {
        format!("is {}; write bytes=FIRST-LAST, both included, or bytes=FIRST-", quoted(text))
    });
    range
}

fn parse_byte_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first = parse_offset(first)?;
    if last.is_empty() {
        return Some((first, None));
    }
    parse_offset(last).filter(|last| first <= *last).map(|last| (first, Some(last)))
}

fn parse_offset(digits: &str) -> Option<u64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}
