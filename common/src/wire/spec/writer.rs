//! `resultWriter`.

use warifu_model::spec::{Compression, ResultWriter};

use super::check;
use crate::wire::v1;
use crate::wire::violation::Violations;

const CONFIG: &str = "spec.result_writer.writer_config";

/// Where the job wants its results, if anywhere.
pub(super) fn read(writer: Option<&v1::ResultWriter>, violations: &mut Violations) -> Option<ResultWriter> {
    let writer = writer?;
    check::bucket(&writer.bucket, "spec.result_writer.bucket", violations);
    check::key(&writer.prefix, "spec.result_writer.prefix", violations);
    let config = writer.writer_config.unwrap_or_default();
    check_form(&config, violations);
    Some(ResultWriter {
        bucket: writer.bucket.clone(),
        prefix: with_slash(&writer.prefix),
        compression: compression(&config, violations),
    })
}

fn with_slash(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

fn check_form(config: &v1::WriterConfig, violations: &mut Violations) {
    use v1::{output_type, writer_transformation};
    let field = format!("{CONFIG}.transformation");
    match check::known(config.transformation, &field, violations) {
        writer_transformation::Type::Unspecified | writer_transformation::Type::Items => {}
        other @ (writer_transformation::Type::None
        | writer_transformation::Type::Compact
        | writer_transformation::Type::Flatten) => {
            violations.add(field, format!("{} is not supported yet; ITEMS is", other.as_str_name()));
        }
    }
    let field = format!("{CONFIG}.output_type");
    match check::known(config.output_type, &field, violations) {
        output_type::Type::Unspecified | output_type::Type::Jsonl => {}
        output_type::Type::Json => violations.add(field, "JSON is not supported yet; JSONL is"),
    }
}

fn compression(config: &v1::WriterConfig, violations: &mut Violations) -> Compression {
    use v1::compression::Type;
    let field = format!("{CONFIG}.compression");
    match check::known(config.compression, &field, violations) {
        Type::Unspecified | Type::None => Compression::None,
        Type::Gzip => Compression::Gzip,
        Type::Zstd => {
            violations.add(field, "ZSTD is not supported yet; NONE and GZIP are");
            Compression::None
        }
    }
}
