//! Recordings that say nothing about a map run, and why.

use super::recording::Case;

/// Beginnings of names, and the reason.
const REASONS: [(&str, &str); 4] = [
    (
        "test_state.",
        "TestState answers for one state with a result that the caller makes up: no map run is started",
    ),
    (
        "sfn_api_variable_references.",
        "the recording holds descriptions of the state machine's definition only, nothing of its execution",
    ),
    (
        "base_evaluate_expressions.base_map--TOLERATED_FAILURE_COUNT",
        "the tolerated count is the value of a JSONata expression that binds a variable; a job states its limits",
    ),
    (
        "native/start_denied",
        "an IAM role that may not start children: a map run starts no executions, and there are no roles",
    ),
];

/// Why `case` cannot be told, if it cannot.
pub(super) fn reason(case: &Case) -> Option<&'static str> {
    let found = REASONS.iter().find(|(beginning, _)| case.name.starts_with(beginning));
    found.map(|(_, reason)| *reason)
}
