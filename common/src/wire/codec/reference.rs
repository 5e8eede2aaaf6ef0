//! docs/api.md, made of the proto files: names as JSON has them, and the files' own comments.

use std::fmt::Write as _;
use std::path::Path;

use prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::FileDescriptorProto;

use super::DESCRIPTORS;

const PACKAGE: &str = "warifu.v1";

const HEAD: &str = "# API reference

Every service, message and enum that clients use, from `proto/warifu/v1/`. Names are those of JSON ([cli.md](cli.md#json-over-http)) and of job files; in the
proto files and in gRPC's clients they have underscores. Field numbers and the workers' stream are in the proto files alone.
A field without a note that it is output only is the caller's; absent fields have the default that is named.
";

/// The proto file that only workers speak.
const OF_WORKERS: &str = "worker_service.proto";

/// `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_document_is_what_the_proto_files_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let wanted = reference(&DESCRIPTORS);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/api.md is out of date: UPDATE_EXPECT=1 writes it anew");
}

fn reference(pool: &DescriptorPool) -> String {
    let mut text = HEAD.to_owned();
    let is_shown = |file: &prost_reflect::FileDescriptor| {
        file.package_name() == PACKAGE && !file.name().ends_with(OF_WORKERS)
    };
    for service in pool.services().filter(|service| is_shown(&service.parent_file())) {
        let file = service.parent_file();
        let file = file.file_descriptor_proto();
        _ = writeln!(text, "\n## {}\n\n{}", service.name(), comment(file, service.path()));
        for method in service.methods() {
            let stream = if method.is_server_streaming() { "a stream of " } else { "" };
            let (input, output) = (link(&method.input()), link(&method.output()));
            let what = comment(file, method.path());
            _ = writeln!(text, "\n### {}\n\n{input} → {stream}{output}\n\n{what}", method.name());
        }
    }
    text.push_str("\n## Messages\n");
    for message in pool.all_messages() {
        if is_shown(&message.parent_file()) && !message.is_map_entry() {
            write_message(&mut text, &message);
        }
    }
    text.push_str("\n## Enums\n");
    for kind in pool.all_enums().filter(|kind| is_shown(&kind.parent_file())) {
        write_enum(&mut text, &kind);
    }
    text
}

fn write_message(text: &mut String, message: &MessageDescriptor) {
    let file = message.parent_file_descriptor_proto();
    _ = writeln!(text, "\n### {}\n\n{}", local(message.full_name()), comment(file, message.path()));
    if message.fields().len() > 0 {
        text.push_str("\n| field | | |\n| --- | --- | --- |\n");
    }
    for field in message.fields() {
        let what = comment(file, field.path()).replace('|', "\\|");
        let choice = field.containing_oneof().filter(|choice| !choice.is_synthetic());
        let choice = choice.map_or_else(String::new, |choice| format!("One of `{}`. ", choice.name()));
        _ = writeln!(text, "| `{}` | {} | {choice}{what} |", field.json_name(), type_of(&field));
    }
}

fn write_enum(text: &mut String, kind: &EnumDescriptor) {
    let file = kind.parent_file_descriptor_proto();
    let what = comment(file, kind.path());
    _ = writeln!(text, "\n### {}\n\n{what}\n\n| value | |\n| --- | --- |", local(kind.full_name()));
    for value in kind.values() {
        let what = comment(file, value.path()).replace('|', "\\|");
        _ = writeln!(text, "| `{}` | {what} |", value.name());
    }
}

/// What is written before a thing, in one line.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let locations = file.source_code_info.as_ref().map_or(&[][..], |info| &info.location);
    let found = locations.iter().find(|location| location.path == path);
    let words = found.and_then(|location| location.leading_comments.as_deref()).unwrap_or_default();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn type_of(field: &FieldDescriptor) -> String {
    if let Kind::Message(entry) = field.kind()
        && entry.is_map_entry()
    {
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        return format!("{} by {}", single(&value), single(&key));
    }
    match field.cardinality() {
        Cardinality::Repeated => format!("list of {}", single(field)),
        Cardinality::Optional | Cardinality::Required => single(field),
    }
}

fn single(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) => link(&message),
        Kind::Enum(kind) => linked(kind.full_name()),
        other => format!("{other:?}"),
    }
}

fn link(message: &MessageDescriptor) -> String {
    linked(message.full_name())
}

/// Our own have a heading here.
fn linked(full_name: &str) -> String {
    let name = local(full_name);
    if name == full_name {
        return format!("`{name}`");
    }
    let anchor: String = name.chars().filter(|c| *c != '.').collect::<String>().to_lowercase();
    format!("[{name}](#{anchor})")
}

fn local(full_name: &str) -> &str {
    full_name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(full_name)
}
