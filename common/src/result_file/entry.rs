//! Entries in AWS's shape: what Step Functions writes of each child execution of a Distributed Map.
//!
//! Keys are in alphabetical order, `Input` and `Output` are JSON as text, dates have milliseconds and `Z`: as AWS was seen to
//! write them. ARNs have AWS's spelling without region and account, which do not exist here.

use serde::Serialize;
use warifu_model::{MapRunId, WallTime};

use crate::wire::time::iso_text;

/// The longest input that an entry carries; without a longer one `InputDetails` says that it is not included. Twice that, which
/// a text within a text may take, still fits into one object many times.
pub const MAX_INPUT_BYTES: usize = 8 * 1024 * 1024;

const NOT_REDRIVABLE: &str = "Execution is SUCCEEDED and cannot be redriven";

/// `MapRunArn` of a run.
pub fn map_run_arn(map_run: &MapRunId) -> String {
    format!("arn:aws:states:::mapRun:{}", map_run.resource_name())
}

/// One execution: what a handler was given, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Execution<'a> {
    /// Its run.
    pub map_run: &'a MapRunId,
    /// Number of its batch; of a job without `itemBatcher` the index of its item.
    pub number: u64,
    /// The redrive of the run that decided it.
    pub redrive: u32,
    /// JSON; absent: it cannot be had.
    pub input: Option<&'a [u8]>,
    /// When the call began that decided it; absent: it never ended.
    pub start: Option<WallTime>,
    /// When it was decided.
    pub stop: WallTime,
    /// How it ended.
    pub end: ExecutionEnd<'a>,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy)]
pub enum ExecutionEnd<'a> {
    /// With this output, as JSON.
    Succeeded {
        /// Compact JSON.
        output: &'a [u8],
    },
    /// Because of this error.
    Failed {
        /// A failure name.
        error: &'a str,
        /// What happened.
        cause: &'a str,
    },
    /// Likewise, by its time limit.
    TimedOut {
        /// A failure name.
        error: &'a str,
        /// What happened.
        cause: &'a str,
    },
    /// With its run.
    Aborted,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    execution_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    input_details: Details,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    output_details: Details,
    redrive_count: u32,
    redrive_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    redrive_status_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_date: Option<String>,
    state_machine_arn: String,
    status: &'static str,
    stop_date: String,
}

/// An execution that never started.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PendingEntry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    input_details: Details,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    included: bool,
}

impl Execution<'_> {
    /// Appends the entry, with its line feed.
    pub fn write(&self, out: &mut Vec<u8>) {
        let aborted_cause;
        let (status, error, cause, output) = match self.end {
            ExecutionEnd::Succeeded { output } => ("SUCCEEDED", None, None, Some(output)),
            ExecutionEnd::Failed { error, cause } => ("FAILED", Some(error), Some(cause), None),
            ExecutionEnd::TimedOut { error, cause } => ("TIMED_OUT", Some(error), Some(cause), None),
            ExecutionEnd::Aborted => {
                aborted_cause = format!(
                    "The map run execution [{}] which was managing this resource was aborted",
                    map_run_arn(self.map_run)
                );
                ("ABORTED", None, Some(aborted_cause.as_str()), None)
            }
        };
        let output = output.map(String::from_utf8_lossy);
        let input = included(self.input);
        let (number, run) = (self.number, self.map_run.resource_name());
        let succeeded = output.is_some();
        let entry = Entry {
            cause,
            error,
            execution_arn: format!("arn:aws:states:::execution:{run}:{number}"),
            input_details: Details { included: input.is_some() },
            input: input.as_deref(),
            name: number.to_string(),
            output: output.as_deref(),
            output_details: Details { included: true },
            redrive_count: self.redrive,
            redrive_status: if succeeded { "NOT_REDRIVABLE" } else { "REDRIVABLE_BY_MAP_RUN" },
            redrive_status_reason: succeeded.then_some(NOT_REDRIVABLE),
            start_date: self.start.map(iso_text),
            state_machine_arn: format!("arn:aws:states:::stateMachine:{run}"),
            status,
            stop_date: iso_text(self.stop),
        };
        write_line(&entry, out);
    }
}

/// Appends the entry of an execution that never started, with its line feed.
pub fn pending_entry(input: &[u8], out: &mut Vec<u8>) {
    let input = included(Some(input));
    let details = Details { included: input.is_some() };
    write_line(&PendingEntry { input: input.as_deref(), input_details: details, status: "PENDING" }, out);
}

fn included(input: Option<&[u8]>) -> Option<std::borrow::Cow<'_, str>> {
    input.filter(|input| input.len() <= MAX_INPUT_BYTES).map(String::from_utf8_lossy)
}

fn write_line(entry: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, entry).expect("texts and numbers can be written as JSON");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution<'a>(map_run: &'a MapRunId, end: ExecutionEnd<'a>) -> Execution<'a> {
        Execution {
            map_run,
            number: 7,
            redrive: 0,
            input: Some(br#"{"index":1}"#),
            start: Some(WallTime(1_763_000_000_090)),
            stop: WallTime(1_763_000_001_000),
            end,
        }
    }

    fn text(execution: &Execution<'_>) -> String {
        let mut out = Vec::new();
        execution.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_success_has_the_keys_of_awss_own_in_their_order() {
        let run = MapRunId::new("run-1").unwrap();
        assert_eq!(
            text(&execution(&run, ExecutionEnd::Succeeded { output: br#"["a"]"# })),
            concat!(
                r#"{"ExecutionArn":"arn:aws:states:::execution:mapRuns/run-1:7","Input":"{\"index\":1}","InputDetails":{"Included":true},"#,
                r#""Name":"7","Output":"[\"a\"]","OutputDetails":{"Included":true},"RedriveCount":0,"RedriveStatus":"NOT_REDRIVABLE","#,
                r#""RedriveStatusReason":"Execution is SUCCEEDED and cannot be redriven","StartDate":"2025-11-13T02:13:20.090Z","#,
                r#""StateMachineArn":"arn:aws:states:::stateMachine:mapRuns/run-1","Status":"SUCCEEDED","StopDate":"2025-11-13T02:13:21.000Z"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_failure_has_error_and_cause_and_no_output_and_an_abort_no_error() {
        let run = MapRunId::new("run-1").unwrap();
        let failed = text(&execution(&run, ExecutionEnd::Failed { error: "Bad", cause: "why" }));
        assert!(failed.starts_with(r#"{"Cause":"why","Error":"Bad","ExecutionArn":"#), "{failed}");
        assert!(failed.contains(r#""Name":"7","OutputDetails":{"Included":true},"RedriveCount":0,"RedriveStatus":"REDRIVABLE_BY_MAP_RUN","StartDate""#), "{failed}");
        let aborted = text(&execution(&run, ExecutionEnd::Aborted));
        let cause = r#"{"Cause":"The map run execution [arn:aws:states:::mapRun:mapRuns/run-1] which was managing this resource was aborted","ExecutionArn""#;
        assert!(aborted.starts_with(cause), "{aborted}");
        assert!(aborted.contains(r#""Status":"ABORTED""#), "{aborted}");
    }

    #[test]
    fn an_input_that_is_too_long_is_left_out_and_the_entry_says_so() {
        let run = MapRunId::new("run-1").unwrap();
        let long = vec![b'1'; MAX_INPUT_BYTES + 1];
        let entry = Execution { input: Some(&long), start: None, ..execution(&run, ExecutionEnd::Aborted) };
        let entry = text(&entry);
        assert!(entry.contains(r#":7","InputDetails":{"Included":false},"Name""#), "{entry}");
        assert!(!entry.contains("StartDate"), "{entry}");
        let mut pending = Vec::new();
        pending_entry(br#"{"a":"1"}"#, &mut pending);
        assert_eq!(
            String::from_utf8(pending).unwrap(),
            "{\"Input\":\"{\\\"a\\\":\\\"1\\\"}\",\"InputDetails\":{\"Included\":true},\"Status\":\"PENDING\"}\n"
        );
    }
}
