//! `resultWriter`.

use warifu_model::spec::{Compression, OutputType, ResultWriter, Transformation};

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
    Some(ResultWriter {
        bucket: writer.bucket.clone(),
        prefix: with_slash(&writer.prefix),
        compression: compression(&config, violations),
        transformation: transformation(&config, violations),
        output_type: output_type(&config, violations),
    })
}

fn with_slash(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

fn transformation(config: &v1::WriterConfig, violations: &mut Violations) -> Transformation {
    use v1::writer_transformation::Type;
    match check::known(config.transformation, &format!("{CONFIG}.transformation"), violations) {
        Type::Unspecified | Type::Items => Transformation::Items,
        Type::None => Transformation::None,
        Type::Compact => Transformation::Compact,
        Type::Flatten => Transformation::Flatten,
    }
}

fn output_type(config: &v1::WriterConfig, violations: &mut Violations) -> OutputType {
    use v1::output_type::Type;
    match check::known(config.output_type, &format!("{CONFIG}.output_type"), violations) {
        Type::Unspecified | Type::Jsonl => OutputType::Jsonl,
        Type::Json => OutputType::Json,
    }
}

fn compression(config: &v1::WriterConfig, violations: &mut Violations) -> Compression {
    use v1::compression::Type;
    match check::known(config.compression, &format!("{CONFIG}.compression"), violations) {
        Type::Unspecified | Type::None => Compression::None,
        Type::Gzip => Compression::Gzip,
        Type::Zstd => Compression::Zstd,
    }
}
