//! Sources that are rewritten before they are cut.

use warifu_model::MapRunId;
use warifu_model::protocol::{RunFault, StagedSource, WorkerMessage};

use super::identity::{map_run, required};
use super::{InvalidMessage, open_run};
use crate::wire::v1;

pub(super) fn staged(map_run: &MapRunId, staged: &Result<StagedSource, RunFault>) -> v1::Staged {
    use v1::staged::Outcome;
    let outcome = match staged {
        Ok(staged) => Outcome::Staged(v1::StagedSource {
            source: Some(open_run::source(&staged.source)),
            head: Some((&staged.probe).into()),
        }),
        Err(fault) => Outcome::Fault(fault.into()),
    };
    v1::Staged { map_run_id: map_run.to_string(), outcome: Some(outcome) }
}

pub(super) fn read_staged(staged: v1::Staged) -> Result<WorkerMessage, InvalidMessage> {
    use v1::staged::Outcome;
    let outcome = match required(staged.outcome, "outcome")? {
        Outcome::Staged(staged) => Ok(StagedSource {
            source: open_run::read_source(required(staged.source, "source")?),
            probe: required(staged.head, "head")?.try_into()?,
        }),
        Outcome::Fault(fault) => Err(fault.into()),
    };
    Ok(WorkerMessage::Staged { map_run: map_run(&staged.map_run_id)?, staged: outcome })
}
