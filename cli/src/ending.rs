//! What is said on stderr when a run that was followed has ended: what it came to, and the next command.

use warifu_common::wire::v1::{MapRun, map_run};

use crate::{describe, text};

/// Where the next command goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Next<'a> {
    /// To the coordinator that was asked.
    Server,
    /// To a coordinator that is started on this data directory first.
    DataDirectory(&'a str),
    /// Nowhere: what the run knew goes away with the process.
    Nothing,
}

/// Tells what a run came to.
pub(crate) fn tell(run: &MapRun, next: Next<'_>) {
    eprint!("{}", describe::summary(run));
    for line in next_steps(run, next) {
        eprintln!("next       {line}");
    }
}

/// The commands that help with what went wrong.
fn next_steps(run: &MapRun, next: Next<'_>) -> Vec<String> {
    let counts = run.item_counts.unwrap_or_default();
    let has_failures = counts.failed + counts.timed_out > 0;
    let is_incomplete = matches!(run.state(), map_run::State::Failed | map_run::State::Aborted);
    if !has_failures && !is_incomplete {
        return Vec::new();
    }
    let id = text::id_of(&run.name);
    let mut steps = Vec::new();
    match next {
        Next::Server => {}
        Next::DataDirectory(directory) => {
            steps.push(format!(
                "warifu dev --data-dir {}   # in another terminal",
                text::shell_word(directory)
            ));
        }
        Next::Nothing => return steps_without_state(run, has_failures),
    }
    if has_failures {
        steps.push(format!("warifu failures {id}   # -o csv gives the rejected records to fix"));
    }
    if run.failure_counts.is_some_and(|counts| counts.system > 0) {
        steps.push(format!("warifu logs {id}   # what handlers said last"));
    }
    steps.push(format!("warifu redrive {id}   # runs what did not succeed again, once the cause is gone"));
    steps
}

fn steps_without_state(run: &MapRun, has_failures: bool) -> Vec<String> {
    if has_failures && run.result_location.is_none() {
        return vec![
            "run again with --output DIR to keep every failed item, or --data-dir DIR to redrive".to_owned(),
        ];
    }
    vec!["run again with --data-dir DIR: what did not succeed can then be redriven".to_owned()]
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{Counts, FailureCounts};

    use super::*;

    fn run(state: map_run::State, failed: u64) -> MapRun {
        MapRun {
            name: "mapRuns/a".into(),
            state: state.into(),
            item_counts: Some(Counts { total: 9, failed, succeeded: 9 - failed, ..Counts::default() }),
            ..MapRun::default()
        }
    }

    #[test]
    fn a_run_without_failures_needs_no_next_step() {
        assert!(next_steps(&run(map_run::State::Succeeded, 0), Next::Server).is_empty());
    }

    #[test]
    fn failures_lead_to_listing_and_redriving_them() {
        let steps = next_steps(&run(map_run::State::Failed, 2), Next::Server);
        assert!(steps[0].starts_with("warifu failures a"), "{steps:?}");
        assert!(steps[1].starts_with("warifu redrive a"), "{steps:?}");
        let steps = next_steps(&run(map_run::State::Succeeded, 2), Next::DataDirectory("my dir"));
        assert!(steps[0].starts_with("warifu dev --data-dir 'my dir'"), "{steps:?}");
    }

    #[test]
    fn failures_around_the_items_lead_to_the_logs() {
        let failure_counts = Some(FailureCounts { business: 1, system: 1 });
        let steps = next_steps(&MapRun { failure_counts, ..run(map_run::State::Failed, 2) }, Next::Server);
        assert!(steps[1].starts_with("warifu logs a"), "{steps:?}");
    }

    #[test]
    fn a_stopped_run_can_be_redriven_though_nothing_failed() {
        let steps = next_steps(&run(map_run::State::Aborted, 0), Next::Server);
        assert_eq!(steps.len(), 1);
        assert!(steps[0].starts_with("warifu redrive a"), "{steps:?}");
    }
}
