//! Breadth-first search over every state that a model can reach.
//!
//! States of one depth are kept whole, all older ones by their fingerprint alone, so memory grows by some 25 bytes
//! for each state and 8 bytes for its place in a trace. What is found first is found by a shortest path.

use std::hash::Hash;

use crate::fingerprint::FingerprintSet;

/// What can be explored.
pub trait Model {
    /// Everything that is true at a moment.
    type State: Copy + Hash;
    /// One thing that can happen.
    type Action: Copy;

    /// Where everything begins.
    fn initial(&self) -> Self::State;

    /// What may happen next, always in the same order.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// What it leads to.
    fn step(&self, state: &Self::State, action: Self::Action) -> Step<Self::State>;

    /// By what a state is remembered; the same for states that differ in names only.
    fn fingerprint(&self, state: &Self::State) -> u128;

    /// What must be true of a state apart from the step that led to it: called for each new one.
    fn examine(&self, state: &Self::State, fingerprint: u128) -> Result<(), String>;

    /// An action in words, for a trace.
    fn describe(&self, state: &Self::State, action: Self::Action) -> String;
}

/// What an action leads to.
#[derive(Debug)]
pub enum Step<State> {
    /// It cannot happen now: a bound of the configuration is reached.
    Blocked,
    /// A new state; `events` is a set of notable things that happened, for proof that they do happen.
    Next {
        /// The state.
        state: State,
        /// Bits, by the model's own numbering.
        events: u64,
    },
    /// A property does not hold.
    Violation(String),
}

/// Where to give up.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Tell each depth on standard error.
    pub progress: bool,
    /// States at most.
    pub states: usize,
    /// Steps from the beginning at most.
    pub depth: usize,
}

/// What a search found.
#[derive(Debug)]
pub struct Findings {
    /// The first property that does not hold, with the shortest way to it.
    pub violation: Option<Trace>,
    /// Different states.
    pub states: usize,
    /// Steps taken, also to states that were known.
    pub transitions: u64,
    /// Steps from the beginning to the last new state.
    pub depth: usize,
    /// True if nothing was left to explore.
    pub exhausted: bool,
    /// Everything notable that ever happened.
    pub events: u64,
}

/// How a violation comes about.
#[derive(Debug)]
pub struct Trace {
    /// What does not hold.
    pub violation: String,
    /// What happened, one line each.
    pub actions: Vec<String>,
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, action) in self.actions.iter().enumerate() {
            writeln!(f, "{:>3} {action}", number + 1)?;
        }
        write!(f, "    violated: {}", self.violation)
    }
}

/// A state's place in the search: the place of its parent one depth above, and which of the parent's actions led here.
type Origin = (u32, u16);

/// Explores until a property is violated, nothing is left, or a bound is reached.
pub fn explore<M: Model>(model: &M, bounds: Bounds) -> Findings {
    let initial = model.initial();
    let mut search = Search {
        model,
        seen: FingerprintSet::default(),
        origins: Vec::new(),
        findings: Findings {
            violation: None,
            states: 1,
            transitions: 0,
            depth: 0,
            exhausted: false,
            events: 0,
        },
    };
    search.seen.insert(model.fingerprint(&initial));
    let mut layer = vec![initial];
    while search.findings.depth < bounds.depth && search.findings.states < bounds.states {
        layer = search.next_layer(&layer, bounds.states);
        if search.findings.violation.is_some() {
            break;
        }
        if layer.is_empty() {
            search.findings.exhausted = true;
            break;
        }
        search.findings.depth += 1;
        if bounds.progress {
            eprintln!(
                "depth {}: {} new, {} in all",
                search.findings.depth,
                layer.len(),
                search.findings.states
            );
        }
    }
    search.findings
}

struct Search<'a, M: Model> {
    model: &'a M,
    seen: FingerprintSet,
    origins: Vec<Vec<Origin>>,
    findings: Findings,
}

impl<M: Model> Search<'_, M> {
    fn next_layer(&mut self, layer: &[M::State], max_states: usize) -> Vec<M::State> {
        let mut next = Vec::new();
        let mut origins = Vec::new();
        let mut actions = Vec::new();
        for (place, state) in layer.iter().enumerate() {
            actions.clear();
            self.model.actions(state, &mut actions);
            for (ordinal, action) in actions.iter().enumerate() {
                let origin = (place as u32, ordinal as u16);
                if let Err(violation) = self.take(state, *action, origin, &mut next, &mut origins) {
                    self.findings.violation = Some(self.trace(origin, violation));
                    return next;
                }
            }
            if self.findings.states >= max_states {
                break;
            }
        }
        self.origins.push(origins);
        next
    }

    fn take(
        &mut self,
        state: &M::State,
        action: M::Action,
        origin: Origin,
        next: &mut Vec<M::State>,
        origins: &mut Vec<Origin>,
    ) -> Result<(), String> {
        let (state, events) = match self.model.step(state, action) {
            Step::Blocked => return Ok(()),
            Step::Violation(violation) => return Err(violation),
            Step::Next { state, events } => (state, events),
        };
        self.findings.transitions += 1;
        self.findings.events |= events;
        let fingerprint = self.model.fingerprint(&state);
        if self.seen.insert(fingerprint) {
            self.findings.states += 1;
            next.push(state);
            origins.push(origin);
            return self.model.examine(&state, fingerprint);
        }
        Ok(())
    }

    /// Walks back to the beginning, then forward again, naming each action.
    fn trace(&self, last: Origin, violation: String) -> Trace {
        let mut ordinals = vec![last.1];
        let mut place = last.0;
        for origins in self.origins.iter().rev() {
            let (parent, ordinal) = origins[place as usize];
            ordinals.push(ordinal);
            place = parent;
        }
        let mut state = self.model.initial();
        let mut names = Vec::new();
        for ordinal in ordinals.into_iter().rev() {
            let mut actions = Vec::new();
            self.model.actions(&state, &mut actions);
            let action = actions[ordinal as usize];
            names.push(self.model.describe(&state, action));
            if let Step::Next { state: next, .. } = self.model.step(&state, action) {
                state = next;
            }
        }
        Trace { violation, actions: names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::fingerprint;

    /// Two jugs of three and five litres; "four litres" is the violation.
    struct Jugs {
        goal: u8,
    }

    impl Model for Jugs {
        type State = (u8, u8);
        type Action = &'static str;

        fn initial(&self) -> (u8, u8) {
            (0, 0)
        }

        fn actions(&self, _: &(u8, u8), actions: &mut Vec<&'static str>) {
            actions.extend(["fill 3", "fill 5", "empty 3", "empty 5", "3 to 5", "5 to 3"]);
        }

        fn step(&self, &(three, five): &(u8, u8), action: &'static str) -> Step<(u8, u8)> {
            let state = match action {
                "fill 3" => (3, five),
                "fill 5" => (three, 5),
                "empty 3" => (0, five),
                "empty 5" => (three, 0),
                "3 to 5" => (three - three.min(5 - five), five + three.min(5 - five)),
                _ => (three + five.min(3 - three), five - five.min(3 - three)),
            };
            if state.1 == self.goal {
                Step::Violation("goal".to_owned())
            } else {
                Step::Next { state, events: 1 }
            }
        }

        fn fingerprint(&self, state: &(u8, u8)) -> u128 {
            fingerprint(state)
        }

        fn examine(&self, _: &(u8, u8), _: u128) -> Result<(), String> {
            Ok(())
        }

        fn describe(&self, _: &(u8, u8), action: &'static str) -> String {
            action.to_owned()
        }
    }

    const BOUNDS: Bounds = Bounds { progress: false, states: 1_000, depth: 100 };

    #[test]
    fn the_shortest_way_to_a_violation_is_told() {
        let trace = explore(&Jugs { goal: 4 }, BOUNDS).violation.unwrap();
        assert_eq!(trace.actions, ["fill 5", "5 to 3", "empty 3", "5 to 3", "fill 5", "5 to 3"]);
    }

    #[test]
    fn what_holds_is_explored_in_full() {
        let findings = explore(&Jugs { goal: 9 }, BOUNDS);
        assert!(findings.violation.is_none() && findings.exhausted);
        assert_eq!(findings.states, 16);
    }
}
