//! What a program's standard output says about each item.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use warifu_common::model::CallFailure;

use super::ExecOutput;
use crate::classify::invalid_output;
use crate::handler::event_format::item_failure;
use crate::handler::{FailedItem, HandlerAnswer, Outputs};

/// How a line begins that fails its item. Programs write it by hand: spaces do not count.
const ERROR_KEY: &[u8] = br#""warifu:error""#;

/// Reads the output of a program that ended well, for `item_count` items.
pub(super) fn read_answer(output: ExecOutput, stdout: &[u8], item_count: usize) -> HandlerAnswer {
    let lines = match output {
        ExecOutput::Items => json_lines(stdout),
        ExecOutput::Text => text_lines(stdout),
        ExecOutput::Discard => Vec::new(),
    };
    if lines.is_empty() {
        return HandlerAnswer::Succeeded;
    }
    if lines.len() != item_count {
        let lines = lines.len();
        return invalid(format!(
            "the program put out {lines} lines for {item_count} items; put out exactly one for each, or none"
        ));
    }
    let mut outputs = Outputs::new();
    let mut failures = Vec::new();
    for (position, line) in lines.into_iter().enumerate() {
        match read_line(output, line) {
            Ok(Line::Output(json)) => outputs.push(&json),
            Ok(Line::Failure(failure)) => {
                outputs.push(b"");
                failures.push(FailedItem { position, failure });
            }
            Err(reason) => return invalid(format!("line {} of the program's output {reason}", position + 1)),
        }
    }
    HandlerAnswer::Answered { outputs: Some(outputs), failures }
}

fn invalid(cause: String) -> HandlerAnswer {
    HandlerAnswer::Failed(invalid_output(cause))
}

/// Lines that hold something; JSON has no use for blank ones.
fn json_lines(stdout: &[u8]) -> Vec<&[u8]> {
    stdout.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect()
}

/// All lines, blank ones too; what follows the last line feed is one only if it holds something.
fn text_lines(stdout: &[u8]) -> Vec<&[u8]> {
    let lines = stdout.strip_suffix(b"\n").unwrap_or(stdout);
    if stdout.is_empty() {
        return Vec::new();
    }
    lines.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

enum Line {
    Output(Vec<u8>),
    Failure(CallFailure),
}

fn read_line(output: ExecOutput, line: &[u8]) -> Result<Line, String> {
    if is_error_line(line) {
        return read_error(line).map(Line::Failure);
    }
    match output {
        ExecOutput::Items => match serde_json::from_slice::<IgnoredAny>(line) {
            Ok(IgnoredAny) => Ok(Line::Output(line.to_vec())),
            Err(error) => {
                Err(format!("is not JSON: {error}; with output = \"text\" lines are taken as they are"))
            }
        },
        ExecOutput::Text | ExecOutput::Discard => {
            let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
            Ok(Line::Output(Value::from(text).to_string().into_bytes()))
        }
    }
}

fn is_error_line(line: &[u8]) -> bool {
    let inside = line.trim_ascii().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| inside.starts_with(ERROR_KEY))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorLine {
    #[serde(rename = "warifu:error")]
    error: ItemError,
}

/// As in `batchItemFailures`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ItemError {
    #[serde(default)]
    error_type: Option<String>,
    #[serde(default)]
    error_message: String,
    #[serde(default)]
    retryable: bool,
}

fn read_error(line: &[u8]) -> Result<CallFailure, String> {
    let ErrorLine { error } = serde_json::from_slice(line).map_err(|error| {
        format!("is no {{\"warifu:error\": {{\"errorType\", \"errorMessage\", \"retryable\"}}}}: {error}")
    })?;
    Ok(item_failure(error.error_type, error.error_message, error.retryable))
}

#[cfg(test)]
mod tests {
    use warifu_common::model::error_name;

    use super::*;

    /// Outputs and failures in short: `=` an output, `!` a failure, `?` a malformed answer.
    fn shown(output: ExecOutput, stdout: &str, items: usize) -> String {
        match read_answer(output, stdout.as_bytes(), items) {
            HandlerAnswer::Succeeded => "all".to_owned(),
            HandlerAnswer::Failed(failure) => {
                assert_eq!(failure.error, error_name::INVALID_HANDLER_OUTPUT);
                "?".to_owned()
            }
            HandlerAnswer::RunFailed(fault) => panic!("{fault:?}"),
            HandlerAnswer::Answered { outputs, failures } => {
                let outputs = outputs.unwrap();
                let show = |position: usize| match failures.iter().find(|failed| failed.position == position)
                {
                    Some(FailedItem { failure, .. }) => {
                        format!(
                            "!{}:{}{}",
                            failure.error,
                            failure.cause,
                            if failure.retryable { "+" } else { "" }
                        )
                    }
                    None => format!("={}", String::from_utf8_lossy(outputs.get(position).unwrap())),
                };
                (0..items).map(show).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn one_json_line_per_item_or_none_at_all() {
        let table = [
            ("", 2, "all"),
            ("\n  \n", 2, "all"),
            ("1\n{\"a\":2}\n", 2, "=1 ={\"a\":2}"),
            ("1\r\n2", 2, "=1 =2"),
            ("1\n\n2\n", 2, "=1 =2"),
            ("1\n", 2, "?"),
            ("1\n2\n3\n", 2, "?"),
            ("1\nx\n", 2, "?"),
            ("1 2\n3\n", 2, "?"),
        ];
        for (stdout, items, expected) in table {
            assert_eq!(shown(ExecOutput::Items, stdout, items), expected, "{stdout:?}");
        }
    }

    #[test]
    fn an_error_line_fails_its_item_alone() {
        let table = [
            (r#"{"warifu:error":{"errorType":"Bad","errorMessage":"m"}}"#, "!Bad:m"),
            (r#" { "warifu:error" : {"errorType":"Bad","retryable":true} }"#, "!Bad:+"),
            (r#"{"warifu:error":{}}"#, "!States.TaskFailed:"),
            (r#"{"warifu:error":"text"}"#, "?"),
            (r#"{"warifu:error":{},"more":1}"#, "?"),
            (r#"{"a":{"warifu:error":{}}}"#, r#"={"a":{"warifu:error":{}}}"#),
        ];
        for (stdout, expected) in table {
            assert_eq!(shown(ExecOutput::Items, stdout, 1), expected, "{stdout}");
        }
        assert_eq!(shown(ExecOutput::Text, "a\n{\"warifu:error\":{\"errorType\":\"E\"}}\n", 2), "=\"a\" !E:");
    }

    #[test]
    fn text_lines_are_taken_as_they_are() {
        let table = [
            ("", 2, "all"),
            ("a\nb\n", 2, "=\"a\" =\"b\""),
            ("a\r\n\n", 2, "=\"a\" =\"\""),
            ("\"\n", 1, "=\"\\\"\""),
            ("a\nb\nc", 2, "?"),
        ];
        for (stdout, items, expected) in table {
            assert_eq!(shown(ExecOutput::Text, stdout, items), expected, "{stdout:?}");
        }
    }
}
