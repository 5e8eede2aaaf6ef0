//! A recording: which Map state ran with which input, and how it ended.

use std::path::Path;

use serde_json::Value;

/// A recording as it stands.
pub(super) struct Case {
    /// Its path without extension.
    pub(super) name: String,
    /// All of it.
    pub(super) json: Value,
}

/// One execution of a Map state.
pub(super) struct MapState {
    /// The state, as it was defined.
    pub(super) state: Value,
    /// The query language around it.
    pub(super) query_language: Value,
    /// Its input.
    pub(super) input: Value,
    /// How it ended.
    pub(super) ended: Ended,
}

/// How a Map state ended there.
pub(super) enum Ended {
    /// With this result.
    Output(Value),
    /// Failed.
    Failed { error: Value, cause: String, had_map_run: bool },
    /// The recording does not say.
    Unsaid,
}

impl Case {
    /// Reads the recording at `path`.
    pub(super) fn read(directory: &Path, path: &Path) -> Self {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        let name = name.strip_suffix(".json").expect("recordings are JSON").to_owned();
        Self { name, json: serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() }
    }

    pub(super) fn is_native(&self) -> bool {
        self.name.starts_with("native/")
    }

    pub(super) fn short_name(&self) -> &str {
        self.name.strip_prefix("native/").unwrap_or(&self.name)
    }

    /// What AWS answered.
    pub(super) fn answers(&self) -> &Value {
        &self.json["expected"]["aws_snapshot"]
    }

    /// The state named `name`, at the top of the definition.
    pub(super) fn state(&self, name: &str) -> &Value {
        &self.json["definition"]["States"][name]
    }

    /// A Map state at the top of the definition with the case's own input; how it ended is left to the caller.
    pub(super) fn map_state(&self, name: &str) -> MapState {
        MapState {
            state: self.state(name).clone(),
            query_language: self.json["definition"]["QueryLanguage"].clone(),
            input: self.json["input"].clone(),
            ended: Ended::Unsaid,
        }
    }

    /// Every execution of a Map state that the history tells of; without a history the one that is defined.
    pub(super) fn map_states(&self) -> Vec<MapState> {
        let histories = self.answers().as_object().unwrap().values();
        let events = histories.filter_map(|answer| answer["events"].as_array()).next();
        let Some(events) = events else {
            let states = self.json["definition"]["States"].as_object().unwrap();
            let name = states.iter().find(|(_, state)| state["Type"] == "Map").unwrap().0;
            return vec![self.map_state(name)];
        };
        let entered = events.iter().enumerate().filter(|(_, event)| event["type"] == "MapStateEntered");
        entered.map(|(at, event)| self.executed(event, &events[at + 1..])).collect()
    }

    fn executed(&self, entered: &Value, after: &[Value]) -> MapState {
        let details = &entered["stateEnteredEventDetails"];
        let name = details["name"].as_str().unwrap();
        let exited = after.iter().find(|event| {
            event["type"] == "MapStateExited" && event["stateExitedEventDetails"]["name"] == name
        });
        let derived = &self.json["executions"][0]["derived"];
        let mut executed = self.map_state(name);
        executed.input = parsed(&details["input"]);
        executed.ended = match exited {
            Some(event) => {
                let output = parsed(&event["stateExitedEventDetails"]["output"]);
                Ended::Output(result_in(&output, &executed.state))
            }
            None => Ended::Failed {
                error: derived["error"].clone(),
                cause: derived["cause"].as_str().unwrap().to_owned(),
                had_map_run: after.iter().any(|event| event["type"] == "MapRunStarted"),
            },
        };
        executed
    }
}

/// Objects in texts of JSON stand as objects in a recording, everything else as text.
pub(super) fn parsed(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        value => value.clone(),
    }
}

/// The state's result in its output, where `ResultPath` put it.
fn result_in(output: &Value, state: &Value) -> Value {
    match state["ResultPath"].as_str().and_then(|path| path.strip_prefix("$.")) {
        Some(field) => output[field].clone(),
        None => output.clone(),
    }
}
