//! `docs/conformance.md`: what became of every recording.

use std::fmt::Write as _;

use super::Verdict;
use crate::harness::repository;

const HEAD: &str = "# Conformance with AWS

Recorded answers of AWS Step Functions about Distributed Maps, case by case, compared with what a map run does. Written by the test
`every_recording_comes_out_as_aws_answered_or_is_listed_with_the_reason` (`UPDATE_EXPECT=1` writes it anew), which fails where a case
comes out otherwise. Names are those of the recordings: of LocalStack's AWS-validated tests, and `native/…` of captures in AWS
itself, both under the Apache License 2.0.

Each Map state becomes a job by `warifu convert` with the input that it had there. Three things are rewritten before: plain JSONata
expressions (`{% $states.input.x %}`) as JSONPath, variables as the value that the state machine assigns, and inline maps as
distributed ones. The handler does what the child's states did. Times, ARNs, names of buckets and runs differ, so they are compared by form.
Without `itemBatcher` a handler gets bare items one by one, but 25 of them are a batch; counts of executions are compared with one in each.
";

/// Makes sure that every one of `files` has a verdict, and that the document says so.
pub(super) fn expect(verdicts: &[(String, Verdict)], files: usize) {
    let count = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, verdict)| wanted(verdict)).count();
    let agreeing = count(|verdict| matches!(verdict, Verdict::Agrees(_)));
    let refused = count(|verdict| matches!(verdict, Verdict::Refused(_)));
    let inapplicable = count(|verdict| matches!(verdict, Verdict::Inapplicable(_)));
    assert_eq!(agreeing + refused + inapplicable, files, "every case has a verdict");
    eprintln!("{agreeing} agree, {refused} are refused, {inapplicable} cannot apply");
    let mut document = HEAD.to_owned();
    let of = |wanted: fn(&Verdict) -> Option<&String>| {
        verdicts.iter().filter_map(move |(name, verdict)| Some((name, wanted(verdict)?)))
    };
    let sections: [(&str, &str, usize, Vec<_>); 3] = [
        (
            "As AWS",
            "compared",
            agreeing,
            of(|verdict| if let Verdict::Agrees(text) = verdict { Some(text) } else { None }).collect(),
        ),
        (
            "Refused before there is a run",
            "AWS, and the field that our message names",
            refused,
            of(|verdict| if let Verdict::Refused(text) = verdict { Some(text) } else { None }).collect(),
        ),
        (
            "Not about a map run",
            "reason",
            inapplicable,
            of(|verdict| if let Verdict::Inapplicable(text) = verdict { Some(text) } else { None }).collect(),
        ),
    ];
    for (title, column, count, rows) in sections {
        write!(document, "\n## {title}: {count} of {files}\n\n| case | {column} |\n| --- | --- |\n").unwrap();
        for (name, text) in rows {
            writeln!(document, "| `{name}` | {text} |").unwrap();
        }
    }
    let path = repository().join("docs/conformance.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(document, written, "docs/conformance.md is out of date: UPDATE_EXPECT=1 writes it anew");
}
