//! `itemReader`.

use warifu_dataset::HeaderLocation;
use warifu_model::spec::{Delimiter, ItemReader};
use warifu_model::{CsvEncoding, InputForm, SourceObjects};

use super::{check, processor};
use crate::wire::v1;
use crate::wire::violation::{Violations, quoted};

const FIELD: &str = "spec.item_reader";

/// How AWS names the reading of one object; its partition may differ.
const GET_OBJECT: &str = ":states:::s3:getObject";
/// How AWS names a listing.
const LIST_OBJECTS: &str = ":states:::s3:listObjectsV2";
/// Longest pointer to the items.
const MAX_POINTER_BYTES: usize = 2000;

/// What the job says about its source, or nothing if something is wrong with it. Its paths are resolved.
pub(super) fn read(reader: Option<&v1::ItemReader>, violations: &mut Violations) -> Option<ItemReader> {
    let Some(reader) = reader else {
        violations.add(FIELD, "is required: name bucket, key and readerConfig, or give the items");
        return None;
    };
    if !reader.handler.is_empty() {
        return of_handler(reader, violations);
    }
    check_place(reader, violations);
    let range = byte_range(&reader.range, violations);
    let lists = lists_objects(reader);
    let absent = v1::ReaderConfig::default();
    let config = match &reader.reader_config {
        Some(config) => config,
        None if lists => &absent,
        None => {
            violations.add("spec.item_reader.reader_config", "is required: at least `inputType: CSV`");
            return None;
        }
    };
    let objects = source_objects(lists, config, violations);
    let read = ItemReader {
        handler: None,
        bucket: reader.bucket.clone(),
        key: if lists { reader.prefix.clone() } else { reader.key.clone() },
        version_id: given(&reader.version_id),
        expected_bucket_owner: given(&reader.expected_bucket_owner),
        objects,
        form: input_form(objects, config, violations),
        encoding: encoding(config, violations),
        header_location: header_location(config, violations),
        delimiter: delimiter(config, violations),
        lenient_quotes: config.lenient_quotes,
        max_items: (config.max_items > 0).then_some(config.max_items),
        range,
    };
    check_together(&read, violations);
    Some(read)
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether the source is what a listing finds.
fn lists_objects(reader: &v1::ItemReader) -> bool {
    !reader.prefix.is_empty() || is_resource(&reader.resource, LIST_OBJECTS)
}

fn is_resource(resource: &str, name: &str) -> bool {
    resource.starts_with("arn:aws") && resource.ends_with(name)
}

/// A handler gives the items: nothing else says where they are or how they are written.
fn of_handler(reader: &v1::ItemReader, violations: &mut Violations) -> Option<ItemReader> {
    let places = [
        ("bucket", &reader.bucket),
        ("key", &reader.key),
        ("prefix", &reader.prefix),
        ("version_id", &reader.version_id),
        ("expected_bucket_owner", &reader.expected_bucket_owner),
        ("resource", &reader.resource),
        ("range", &reader.range),
    ];
    for (name, value) in places {
        violations.require(value.is_empty(), &format!("{FIELD}.{name}"), || {
            "stands beside `handler`, which gives the items itself; write one of them".to_owned()
        });
    }
    let config = reader.reader_config.clone().unwrap_or_default();
    let max_items = config.max_items;
    let only_max_items = v1::ReaderConfig { max_items, ..Default::default() };
    // Items that a handler gives are JSON, which may be said.
    let said = v1::ReaderConfig { input_type: v1::input_type::Type::Json.into(), ..only_max_items.clone() };
    violations.require(config == only_max_items || config == said, "spec.item_reader.reader_config", || {
        "says how objects are read; with `handler` only `maxItems` is taken".to_owned()
    });
    let handler = processor::handler(&reader.handler, &format!("{FIELD}.handler"), violations)?;
    Some(ItemReader::of_handler(handler, (max_items > 0).then_some(max_items)))
}

fn check_place(reader: &v1::ItemReader, violations: &mut Violations) {
    check::bucket(&reader.bucket, "spec.item_reader.bucket", violations);
    let other_key = lists_objects(reader);
    violations.require(!reader.key.is_empty() || other_key, "spec.item_reader.key", || {
        "is required: the key of the object that holds the items".to_owned()
    });
    violations.require(reader.key.is_empty() || reader.prefix.is_empty(), "spec.item_reader.prefix", || {
        "stands beside `key`; write one of them".to_owned()
    });
    check::key(&reader.key, "spec.item_reader.key", violations);
    check::key(&reader.prefix, "spec.item_reader.prefix", violations);
    check_resource(reader, violations);
    let owner = &reader.expected_bucket_owner;
    let account = owner.is_empty() || (owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit()));
    violations.require(account, "spec.item_reader.expected_bucket_owner", || {
        format!("is {}; an account has 12 digits", quoted(owner))
    });
}

fn check_resource(reader: &v1::ItemReader, violations: &mut Violations) {
    let (resource, field) = (&reader.resource, "spec.item_reader.resource");
    let lists = is_resource(resource, LIST_OBJECTS);
    if !(resource.is_empty() || lists || is_resource(resource, GET_OBJECT)) {
        let text = format!(
            "is {}; leave it out, or write arn:aws{GET_OBJECT} or arn:aws{LIST_OBJECTS}",
            quoted(resource)
        );
        violations.add(field, text);
    } else if lists && !reader.key.is_empty() {
        violations.add(field, "lists objects, which takes `prefix` in place of `key`");
    } else if !resource.is_empty() && !lists && !reader.prefix.is_empty() {
        violations.add(field, "reads one object, which takes `key` in place of `prefix`");
    }
}

/// Which objects hold the items.
fn source_objects(lists: bool, config: &v1::ReaderConfig, violations: &mut Violations) -> SourceObjects {
    use v1::manifest_type::Type as Manifest;
    use v1::reader_transformation::Type as Transformation;
    let field = "spec.item_reader.reader_config.transformation";
    let transformation: Transformation = check::known(config.transformation, field, violations);
    violations
        .require(lists || config.transformation == 0, field, || "is only read with `prefix`".to_owned());
    let field = "spec.item_reader.reader_config.manifest_type";
    let manifest: Manifest = check::known(config.manifest_type, field, violations);
    violations.require(!lists || config.manifest_type == 0, field, || {
        "needs the `key` of a manifest in place of `prefix`".to_owned()
    });
    let is_manifest = config.input_type == i32::from(v1::input_type::Type::Manifest);
    match (lists, transformation, manifest) {
        (true, Transformation::LoadAndFlatten, _) => SourceObjects::Flattened,
        (true, Transformation::Unspecified | Transformation::None, _) => SourceObjects::Listed,
        (false, _, Manifest::S3Inventory) => SourceObjects::Inventory,
        (false, _, Manifest::AthenaData) => SourceObjects::Named,
        (false, _, Manifest::Unspecified) if is_manifest => SourceObjects::Inventory,
        (false, _, Manifest::Unspecified) => SourceObjects::One,
    }
}

/// What the objects hold.
fn input_form(objects: SourceObjects, config: &v1::ReaderConfig, violations: &mut Violations) -> InputForm {
    use v1::input_type::Type;
    let field = "spec.item_reader.reader_config.input_type";
    let input_type: Type = check::known(config.input_type, field, violations);
    let form = match input_type {
        Type::Csv => InputForm::Csv,
        Type::Jsonl => InputForm::JsonLines,
        Type::Json => InputForm::Json { items_pointer: config.items_pointer.clone() },
        Type::Parquet => {
            violations.add(field, "PARQUET is not supported yet; CSV, JSONL and JSON are");
            InputForm::Csv
        }
        Type::Manifest | Type::Unspecified => InputForm::Csv,
    };
    let is_set = config.input_type != 0;
    let problem = match objects {
        SourceObjects::One | SourceObjects::Flattened if !is_set => {
            Some("is required: write CSV, JSONL or JSON")
        }
        SourceObjects::Flattened | SourceObjects::Named if input_type == Type::Manifest => {
            Some("is MANIFEST; write the form of the data files: CSV, JSONL or JSON")
        }
        SourceObjects::Named if !is_set => {
            Some("is required with `manifestType: ATHENA_DATA`: the form of the data files")
        }
        SourceObjects::Listed if is_set => {
            Some("is not read with `prefix` unless `transformation: LOAD_AND_FLATTEN` is set")
        }
        SourceObjects::Inventory if !matches!(input_type, Type::Manifest | Type::Csv | Type::Unspecified) => {
            Some("is no form of an S3 Inventory; leave it out, or write MANIFEST")
        }
        _ => None,
    };
    if let Some(problem) = problem {
        violations.add(field, problem);
    }
    check_pointer(&config.items_pointer, input_type == Type::Json, violations);
    form
}

fn check_pointer(pointer: &str, is_json: bool, violations: &mut Violations) {
    if pointer.is_empty() {
        return;
    }
    let field = "spec.item_reader.reader_config.items_pointer";
    violations.require(is_json, field, || "is only read with `inputType: JSON`".to_owned());
    violations.require(pointer.starts_with('/'), field, || {
        format!("is {}; a JSON Pointer begins with `/`, as in /data/items", quoted(pointer))
    });
    violations.require(pointer.len() < MAX_POINTER_BYTES, field, || {
        format!("takes {} bytes; fewer than {MAX_POINTER_BYTES} are allowed", pointer.len())
    });
}

fn encoding(config: &v1::ReaderConfig, violations: &mut Violations) -> CsvEncoding {
    use v1::csv_encoding::Type;
    let field = "spec.item_reader.reader_config.csv_encoding";
    let encoding = match check::known(config.csv_encoding, field, violations) {
        Type::Unspecified | Type::Utf8 => CsvEncoding::Utf8,
        Type::ShiftJis => CsvEncoding::ShiftJis,
    };
    let is_csv = config.input_type == i32::from(v1::input_type::Type::Csv);
    violations.require(encoding.is_utf8() || is_csv, field, || {
        "SHIFT_JIS is only read with `inputType: CSV`; JSON is UTF-8".to_owned()
    });
    encoding
}

/// What fields ask for that go only one without the other.
fn check_together(reader: &ItemReader, violations: &mut Violations) {
    let one = reader.objects.is_one();
    violations.require(one || reader.version_id.is_none(), "spec.item_reader.version_id", || {
        "names a version of one object, and here are several".to_owned()
    });
    violations.require(reader.range.is_none() || !reader.needs_staging(), "spec.item_reader.range", || {
        "is only read with one CSV or JSONL object that is neither compressed nor in another encoding"
            .to_owned()
    });
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
