//! What the process says with its exit status.

use std::io;
use std::process::ExitCode;

use warifu_common::status::CallError;
use warifu_common::wire::v1::{MapRun, map_run};

/// How a command ended. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The run succeeded; for commands that follow no run: the call did.
    Succeeded,
    /// The run that the command followed failed or was aborted.
    RunUnsuccessful,
    /// Usage, configuration, invalid spec, not found, already exists, wrong state, no permission.
    Refused,
    /// The coordinator cannot be reached.
    Unreachable,
    /// `--timeout` passed; the run goes on.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Succeeded => 0,
            Exit::RunUnsuccessful => 1,
            Exit::Refused => 2,
            Exit::Unreachable => 3,
            Exit::TimedOut => 4,
            Exit::Interrupted => 130,
        }
    }

    /// What a command that followed `run` to its end reports.
    pub(crate) fn of_run(run: &MapRun) -> Exit {
        match run.state() {
            map_run::State::Succeeded => Exit::Succeeded,
            map_run::State::Unspecified
            | map_run::State::Queued
            | map_run::State::Running
            | map_run::State::Stopping
            | map_run::State::Failed
            | map_run::State::Aborted => Exit::RunUnsuccessful,
        }
    }

    /// What an error means: the first cause in its chain that says so decides.
    pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
        error.chain().find_map(exit_of_cause).unwrap_or(Exit::Refused)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

fn exit_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(status) = cause.downcast_ref::<tonic::Status>() {
        return Some(if CallError::from(status).is_unreachable() {
            Exit::Unreachable
        } else {
            Exit::Refused
        });
    }
    if cause.is::<tonic::transport::Error>() {
        return Some(Exit::Unreachable);
    }
    // `warifu list | head`: whoever read has what it wanted.
    let is_broken_pipe =
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    is_broken_pipe.then_some(Exit::Succeeded)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use tonic::Code;

    use super::*;

    #[test]
    fn exit_statuses_are_those_of_the_contract() {
        let codes = [
            (Exit::Succeeded, 0),
            (Exit::RunUnsuccessful, 1),
            (Exit::Refused, 2),
            (Exit::Unreachable, 3),
            (Exit::TimedOut, 4),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn only_a_run_that_succeeded_is_a_success() {
        let ends = [
            (map_run::State::Succeeded, Exit::Succeeded),
            (map_run::State::Failed, Exit::RunUnsuccessful),
            (map_run::State::Aborted, Exit::RunUnsuccessful),
        ];
        for (state, exit) in ends {
            let run = MapRun { state: state.into(), ..MapRun::default() };
            assert_eq!(Exit::of_run(&run), exit, "{state:?}");
        }
    }

    #[test]
    fn a_status_decides_by_its_code_however_deep_it_lies() {
        let codes = [
            (Code::InvalidArgument, Exit::Refused),
            (Code::NotFound, Exit::Refused),
            (Code::AlreadyExists, Exit::Refused),
            (Code::FailedPrecondition, Exit::Refused),
            (Code::PermissionDenied, Exit::Refused),
            (Code::Unauthenticated, Exit::Refused),
            (Code::Unimplemented, Exit::Refused),
            // Without a reason no coordinator of ours answered, but something on the way to it.
            (Code::Internal, Exit::Unreachable),
            (Code::Unavailable, Exit::Unreachable),
            (Code::DeadlineExceeded, Exit::Unreachable),
        ];
        for (code, exit) in codes {
            let answer: Result<(), tonic::Status> = Err(tonic::Status::new(code, "no"));
            let error = answer.context("create the run").expect_err("the answer is an error");
            assert_eq!(Exit::of_error(&error), exit, "{code:?}");
        }
    }

    #[test]
    fn an_error_without_a_status_counts_as_usage() {
        assert_eq!(Exit::of_error(&anyhow::anyhow!("no such file")), Exit::Refused);
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(Exit::of_error(&pipe), Exit::Succeeded);
    }
}
