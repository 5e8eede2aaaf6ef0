//! Progress: from a state, without further faults and without bounds, everything must come to its end.
//!
//! A safety search is blind for a protocol that does nothing. So some of the states that it meets are healed: older
//! leaders step down, each process speaks to the newest leader, messages arrive, writes are written. Whatever is left
//! to do must then be done: every batch decided, or the run stopped and nothing in progress.

use crate::action::Action;
use crate::checker::{Model, Step};
use crate::protocol::Protocol;
use crate::state::{Connection, Leader, Life, State};

/// A world that is not done after so many steps is stuck.
const STEPS: usize = 600;
/// Of those, so many last ones are told.
const SHOWN: usize = 8;

impl Protocol {
    /// Lets a state come to its end; an error if it does not.
    pub(crate) fn heal(&self, state: &State) -> Result<(), String> {
        let mut state = *state;
        let (mut actions, mut last) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            if self.is_done(&state) {
                return Ok(());
            }
            actions.clear();
            self.possible(&state, true, &mut actions);
            let newest = self.newest(&state);
            actions.retain(|action| self.heals(&state, newest, *action));
            actions.sort_by_key(|action| (urgency(*action), turn(*action, step)));
            let next = actions.iter().find_map(|action| match self.perform(&state, *action, true) {
                Step::Blocked => None,
                Step::Violation(violation) => Some(Err(violation)),
                Step::Next { state: next, .. } => Some(Ok((next, self.describe(&state, *action)))),
            });
            let Some(next) = next else {
                return Err("stuck: nothing can happen, and not everything is done".to_owned());
            };
            let (next, name) = next?;
            if step + SHOWN >= STEPS {
                last.push(name);
            }
            state = next;
        }
        Err(format!("stuck: much happens, and not everything gets done: {}", last.join("; ")))
    }

    fn is_done(&self, state: &State) -> bool {
        let batches = 0..usize::from(self.limits.batches);
        let processes = &state.processes[..usize::from(self.limits.processes)];
        let nobody = processes.iter().all(|process| process.life == Life::Gone);
        let newest = self.newest(state).unwrap_or(0);
        let decided =
            |batch: usize| state.store.records[batch].decided || self.limits.is_to_come(batch, newest);
        nobody || state.store.stopping || batches.into_iter().all(decided)
    }

    fn newest(&self, state: &State) -> Option<usize> {
        (0..usize::from(self.limits.leaders)).rfind(|leader| state.leaders[*leader] != Leader::Unborn)
    }

    /// True for what a world without faults does.
    fn heals(&self, state: &State, newest: Option<usize>, action: Action) -> bool {
        let lead = |leader: usize| Some(leader) == newest;
        match action {
            Action::Elect { .. } => newest.is_none_or(|newest| state.lead(newest).is_none()),
            Action::StepDown { leader } => !lead(leader),
            Action::Connect { process, leader } => {
                let process = &state.processes[process];
                let elsewhere =
                    usize::from(process.leader) != leader || process.connection != Connection::Live;
                let waits =
                    process.connection == Connection::Greeting && usize::from(process.leader) == leader;
                lead(leader) && elsewhere && (!waits || nothing_under_way(state))
                    || (lead(leader) && (process.mute || process.deaf))
            }
            Action::Lapse { process } => {
                let process = &state.processes[process];
                newest.is_some_and(|newest| usize::from(process.valid_by) != newest + 1)
            }
            Action::Expire { process, .. } => state.processes[process].life == Life::Gone,
            Action::Grant { length, slots, .. } => length == 1 && slots <= 1,
            Action::GiveSlots { process, .. } => {
                let process = &state.processes[process];
                process.held == 0 && process.next_to_begin().is_some()
            }
            Action::ReportAgain { .. }
            | Action::StoreTakes { .. }
            | Action::StoreAnswers { .. }
            | Action::WaitIsOver { .. }
            | Action::WindowEnds { .. }
            | Action::Revoke { .. }
            | Action::Begin { .. }
            | Action::Finish { .. }
            | Action::Report { .. }
            | Action::Shrink { .. }
            | Action::Deliver { .. }
            | Action::Start { .. } => true,
            Action::ReadEarly { .. }
            | Action::StreamEnds { .. }
            | Action::UserStops { .. }
            | Action::UserUpdates { .. }
            | Action::AnswerLost { .. }
            | Action::LateWrite
            | Action::Crash { .. }
            | Action::Goodbye { .. }
            | Action::FallMute { .. }
            | Action::FallDeaf { .. } => false,
        }
    }
}

fn nothing_under_way(state: &State) -> bool {
    state.packets.is_empty()
}

/// What goes first: what is under way, then what is to be done, then what asks for more.
fn urgency(action: Action) -> u8 {
    match action {
        Action::Deliver { .. } | Action::StoreTakes { .. } | Action::StoreAnswers { .. } => 0,
        Action::StepDown { .. } | Action::Elect { .. } | Action::WaitIsOver { .. } | Action::Start { .. } => {
            1
        }
        Action::Connect { .. } => 2,
        Action::Finish { .. } | Action::Begin { .. } | Action::Report { .. } | Action::Shrink { .. } => 3,
        Action::ReportAgain { .. } => 4,
        Action::Grant { .. } | Action::GiveSlots { .. } => 4,
        Action::Expire { .. } => 5,
        Action::WindowEnds { .. } | Action::Lapse { .. } => 6,
        _ => 7,
    }
}

/// Of what is equally urgent, everything has its turn.
fn turn(action: Action, step: usize) -> usize {
    let place = match action {
        Action::Revoke { batch, .. } => batch,
        Action::Grant { process, .. } | Action::GiveSlots { process, .. } => process,
        _ => 0,
    };
    (place + step) % 3
}
