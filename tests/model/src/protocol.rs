//! The protocol as something that can be explored.

use std::cmp::Ordering;

use crate::action::{Action, Possible};
use crate::checker::{Model, Step};
use crate::fingerprint::fingerprint;
use crate::limits::Limits;
use crate::mutation::Mutation;
use crate::state::{PACKETS, State, Store};
use crate::world::World;

/// The protocol within bounds, perhaps with a seeded bug.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// The bounds.
    pub limits: &'static Limits,
    /// The bug.
    pub broken: Option<Mutation>,
    /// Of so many states one is healed, to see that everything ends; 0: none.
    pub heal_one_of: u32,
}

impl Protocol {
    /// The protocol as it is to be.
    pub fn sound(limits: &'static Limits) -> Self {
        Self { limits, broken: None, heal_one_of: 512 }
    }

    /// The protocol with a seeded bug.
    pub fn broken(limits: &'static Limits, mutation: Mutation) -> Self {
        let heal_one_of = if mutation.stops_progress() { 16 } else { 0 };
        Self { limits, broken: Some(mutation), heal_one_of }
    }

    pub(crate) fn possible(&self, state: &State, free: bool, actions: &mut Vec<Action>) {
        Possible { state, limits: self.limits, broken: self.broken, free, actions }.list();
    }

    /// One step; with `free`, as many messages may be under way as a state has room for.
    pub(crate) fn perform(&self, state: &State, action: Action, free: bool) -> Step<State> {
        let mut world = World {
            state: *state,
            limits: self.limits,
            broken: self.broken,
            packets: if free { PACKETS } else { usize::from(self.limits.packets) },
            events: 0,
            violation: None,
            blocked: false,
        };
        world.perform(action);
        world.check_state();
        match world.violation {
            _ if world.blocked => Step::Blocked,
            Some(violation) => Step::Violation(violation),
            None => Step::Next { state: world.state, events: world.events },
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        let max_concurrency = self.limits.max_concurrency;
        State {
            store: Store { max_concurrency, ceiling: max_concurrency, ..Store::default() },
            ..State::default()
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, false, actions);
    }

    fn step(&self, state: &State, action: Action) -> Step<State> {
        self.perform(state, action, false)
    }

    /// Two processes that are no restarts of each other differ in name only: who knows less comes first. What a process
    /// knows names no process, so the same states are held equal whichever of the two ways they are named.
    fn fingerprint(&self, state: &State) -> u128 {
        let hellos = self.limits.hellos;
        if self.limits.restart || self.limits.processes < 2 || hellos[0] != hellos[1] {
            return fingerprint(state);
        }
        let [first, second] = [0, 1].map(|process| fingerprint(&state.processes[process]));
        match first.cmp(&second) {
            Ordering::Less => fingerprint(state),
            Ordering::Equal => fingerprint(state).min(fingerprint(&state.swapped())),
            Ordering::Greater => fingerprint(&state.swapped()),
        }
    }

    fn examine(&self, state: &State, fingerprint: u128) -> Result<(), String> {
        let chosen = self.heal_one_of > 0 && ((fingerprint >> 64) as u32).is_multiple_of(self.heal_one_of);
        if chosen { self.heal(state) } else { Ok(()) }
    }

    fn describe(&self, state: &State, action: Action) -> String {
        match action {
            Action::Deliver { packet } => {
                let packet = state.packets[packet];
                format!(
                    "Arrives {} process {} leader {} stream {}: {:?}",
                    if packet.message.is_upward() { "up," } else { "down," },
                    packet.process,
                    packet.leader,
                    packet.hello,
                    packet.message
                )
            }
            other => format!("{other:?}"),
        }
    }
}
