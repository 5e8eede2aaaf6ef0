//! Which inputs are taken, and what they are read as.

use warifu_model::spec::MapRunSpec;
use warifu_model::{CsvEncoding, InputForm, SourceObjects};

use crate::wire::codec::parse_job_file;
use crate::wire::v1;

fn job(reader: &str) -> v1::MapRunSpec {
    let text = format!("{reader}\nitemProcessor: {{handler: h}}\n");
    parse_job_file(&text, &[]).unwrap().map_run.unwrap().spec.unwrap()
}

/// A job with this reader.
fn reader(reader: &str) -> v1::MapRunSpec {
    job(&format!("itemReader: {{bucket: b, {reader}}}"))
}

fn config(rest: &str) -> v1::MapRunSpec {
    reader(&format!("key: k, readerConfig: {{{rest}}}"))
}

fn json(pointer: &str) -> InputForm {
    InputForm::Json { items_pointer: pointer.to_owned() }
}

#[test]
fn every_kind_of_source_is_taken_and_written_back() {
    let list = "resource: 'arn:aws:states:::s3:listObjectsV2'";
    let flatten = "prefix: p/, readerConfig: {transformation: LOAD_AND_FLATTEN, inputType: ";
    let table = [
        (config("inputType: JSONL"), SourceObjects::One, InputForm::JsonLines, false),
        (config("inputType: JSON"), SourceObjects::One, json(""), true),
        (config("inputType: JSON, itemsPointer: /a/b"), SourceObjects::One, json("/a/b"), true),
        (config("inputType: CSV, csvEncoding: SHIFT_JIS"), SourceObjects::One, InputForm::Csv, true),
        (reader("key: k.csv.gz, readerConfig: {inputType: CSV}"), SourceObjects::One, InputForm::Csv, true),
        (
            reader("key: k.zst, readerConfig: {inputType: JSONL}"),
            SourceObjects::One,
            InputForm::JsonLines,
            true,
        ),
        (reader("prefix: p/"), SourceObjects::Listed, InputForm::Csv, true),
        (
            reader(&format!("{list}, readerConfig: {{maxItems: 5}}")),
            SourceObjects::Listed,
            InputForm::Csv,
            true,
        ),
        (reader(&format!("{flatten}CSV}}")), SourceObjects::Flattened, InputForm::Csv, true),
        (reader(&format!("{flatten}JSONL}}")), SourceObjects::Flattened, InputForm::JsonLines, true),
        (config("inputType: MANIFEST"), SourceObjects::Inventory, InputForm::Csv, true),
        (config("manifestType: S3_INVENTORY"), SourceObjects::Inventory, InputForm::Csv, true),
        (
            config("manifestType: ATHENA_DATA, inputType: JSONL"),
            SourceObjects::Named,
            InputForm::JsonLines,
            true,
        ),
    ];
    for (wire, objects, form, is_staged) in table {
        let spec = MapRunSpec::try_from(&wire).unwrap();
        let read = &spec.item_reader;
        assert_eq!((read.objects, &read.form), (objects, &form), "{wire:?}");
        assert_eq!(read.needs_staging(), is_staged, "{wire:?}");
        assert_eq!(MapRunSpec::try_from(&v1::MapRunSpec::from(&spec)).unwrap(), spec, "{wire:?}");
    }
    let spec = MapRunSpec::try_from(&config("inputType: CSV, csvEncoding: SHIFT_JIS")).unwrap();
    assert_eq!(spec.item_reader.encoding, CsvEncoding::ShiftJis);
}

#[test]
fn a_handler_gives_the_items_in_place_of_objects() {
    for (config, max_items) in [("", None), (", readerConfig: {maxItems: 7, inputType: JSON}", Some(7))] {
        let spec = MapRunSpec::try_from(&job(&format!("itemReader: {{handler: pages{config}}}"))).unwrap();
        let read = &spec.item_reader;
        assert_eq!(read.handler.as_ref().map(ToString::to_string).as_deref(), Some("pages"));
        assert_eq!((read.max_items, read.needs_staging()), (max_items, true));
        assert_eq!(spec.handlers().map(ToString::to_string).collect::<Vec<_>>(), ["pages", "h"]);
        assert_eq!(MapRunSpec::try_from(&v1::MapRunSpec::from(&spec)).unwrap(), spec);
    }
}

#[test]
fn items_stand_in_place_of_a_reader() {
    let wire = job("items: [1, {a: [null, 1.5]}, text]");
    let spec = MapRunSpec::try_from(&wire).unwrap();
    let items: Vec<_> = spec.items.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(items, ["1", r#"{"a":[null,1.5]}"#, r#""text""#]);
    assert!(!spec.item_reader.needs_staging());
    assert_eq!(MapRunSpec::try_from(&v1::MapRunSpec::from(&spec)).unwrap(), spec);
}

#[test]
fn what_does_not_go_together_is_named() {
    let table = [
        (config("inputType: JSONL, itemsPointer: /a"), "items_pointer: is only read with `inputType: JSON`"),
        (config("inputType: JSON, itemsPointer: a"), "items_pointer: is `a`; a JSON Pointer begins with `/`"),
        (config("inputType: JSONL, csvEncoding: SHIFT_JIS"), "csv_encoding: SHIFT_JIS is only read with"),
        (config("inputType: CSV, transformation: NONE"), "transformation: is only read with `prefix`"),
        (config("manifestType: ATHENA_DATA"), "input_type: is required with `manifestType: ATHENA_DATA`"),
        (config("manifestType: S3_INVENTORY, inputType: JSON"), "input_type: is no form of an S3 Inventory"),
        (reader("prefix: p, key: k, readerConfig: {}"), "prefix: stands beside `key`"),
        (reader("prefix: p, readerConfig: {inputType: CSV}"), "input_type: is not read with `prefix` unless"),
        (reader("prefix: p, versionId: v"), "version_id: names a version of one object"),
        (reader("prefix: p, resource: 'arn:aws:states:::s3:getObject'"), "resource: reads one object"),
        (
            reader("key: k.gz, range: bytes=0-9, readerConfig: {inputType: CSV}"),
            "range: is only read with one CSV",
        ),
        (reader("handler: h"), "bucket: stands beside `handler`"),
        (
            job("itemReader: {handler: h, readerConfig: {csvDelimiter: TAB}}"),
            "reader_config: says how objects",
        ),
        (job("itemReader: {handler: 'rm -rf'}"), "handler: `rm -rf` is 1 to 128 of letters"),
        (job("items: [1]\nitemReader: {bucket: b}"), "spec.items: stand beside itemReader"),
    ];
    for (wire, told) in table {
        let error = MapRunSpec::try_from(&wire).unwrap_err();
        let found: Vec<_> = error.violations.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(told), "{found:?}\n{told}");
    }
}
