//! How keys are read: one section at a time, every problem noted, nothing left over.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::expand::expand;
use super::parts::parse_duration;
use super::source::Source;
use super::{ConfigError, ConfigProblem};
use crate::suggest;

/// A configuration being read.
pub(super) struct Reader {
    source: Source,
    problems: RefCell<Vec<ConfigProblem>>,
    /// Keys that were asked for, by section.
    asked: RefCell<BTreeMap<String, Vec<&'static str>>>,
    /// Whether strings may hold `${VAR}`.
    expands: bool,
}

impl Reader {
    pub(super) fn new(source: Source, expands: bool) -> Self {
        Self { source, problems: RefCell::default(), asked: RefCell::default(), expands }
    }

    /// Notes that `key` is wrong.
    pub(super) fn problem(&self, key: &str, description: impl Into<String>) {
        let problem = ConfigProblem { key: key.to_owned(), description: description.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// The section of that name, empty if the file has none.
    pub(super) fn section(&self, name: &'static str) -> Section<'_> {
        let table = match self.source.table.get(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table.clone(),
            Some(other) => {
                self.problem(name, format!("is a section, [{name}], not {}", describe(other)));
                Table::new()
            }
        };
        Section { reader: self, path: name.to_owned(), table, overridable: true }
    }

    /// A variable of the environment that stands for no key.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.source.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `config`, if nothing was wrong. `sections` are all that the file may have; variables for sections of `others`
    /// are another process's.
    pub(super) fn finish<T>(
        self,
        config: T,
        sections: &[&'static str],
        others: &[&str],
    ) -> Result<T, ConfigError> {
        for name in self.source.table.keys().filter(|name| !sections.contains(&name.as_str())) {
            let advice = suggest::advice(name, sections.iter().copied());
            self.problem(name, format!("is no section of this file; {advice}"));
        }
        self.check_variables(sections, others);
        self.check_flags();
        let problems = self.problems.into_inner();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { file: self.source.file, problems }) }
    }

    fn check_variables(&self, sections: &[&'static str], others: &[&str]) {
        for (variable, key) in self.source.variables() {
            let Some((section, name)) = key.split_once('.') else { continue };
            if !sections.contains(&section) {
                if !others.contains(&section) {
                    let advice = suggest::advice(section, sections.iter().copied());
                    self.problem(variable, format!("there is no section `{section}`; {advice}"));
                }
            } else if !self.was_asked(section, name) {
                let asked = self.asked.borrow();
                let known = asked.get(section).map_or(&[][..], Vec::as_slice);
                let advice = suggest::advice(name, known.iter().copied());
                self.problem(variable, format!("there is no key `{key}` to set so; {advice}"));
            }
        }
    }

    fn check_flags(&self) {
        for setting in &self.source.flags {
            let known =
                setting.key.split_once('.').is_some_and(|(section, name)| self.was_asked(section, name));
            if !known {
                self.problem(&setting.flag, format!("there is no key `{}`", setting.key));
            }
        }
    }

    fn was_asked(&self, section: &str, name: &str) -> bool {
        self.asked.borrow().get(section).is_some_and(|keys| keys.contains(&name))
    }
}

/// A table of the file, and what overrides its keys. Keys are taken out as they are asked for.
pub(super) struct Section<'a> {
    reader: &'a Reader,
    path: String,
    table: Table,
    /// Only top-level sections can be overridden.
    overridable: bool,
}

/// A value and who set it.
struct Found {
    value: Value,
    /// For messages: the key, the variable or the flag.
    origin: String,
    /// It was typed as text, whatever it should be.
    typed: bool,
}

impl<'a> Section<'a> {
    /// A table below this one, for `key`; `None` if it is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.note(key);
        let path = self.key(key);
        match self.table.remove(key)? {
            Value::Table(table) => Some(Section { reader: self.reader, path, table, overridable: false }),
            other => {
                // A text in place of a table of secrets may be one itself.
                self.reader.problem(&path, format!("wants a table, not a {}", other.type_str()));
                None
            }
        }
    }

    /// All tables below this one, by name.
    pub(super) fn tables(&mut self) -> Vec<(String, Section<'a>)> {
        let table = std::mem::take(&mut self.table);
        let mut tables = Vec::new();
        for (name, value) in table {
            let path = self.key(&name);
            match value {
                Value::Table(table) => {
                    tables.push((name, Section { reader: self.reader, path, table, overridable: false }));
                }
                other => self.reader.problem(&path, format!("wants a table, not {}", describe(&other))),
            }
        }
        tables
    }

    /// The whole path of `key`.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Notes that `key` is wrong.
    pub(super) fn problem(&self, key: &str, description: impl Into<String>) {
        self.reader.problem(&self.key(key), description);
    }

    /// True if the file has the section.
    pub(super) fn is_present(&self) -> bool {
        self.reader.source.table.contains_key(&self.path)
    }

    /// True if the key is set, to whatever.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text; `None` if absent or wrong.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let found = self.take(key)?;
        match found.value {
            Value::String(text) => self.expanded(text, &found.origin),
            other => self.wrong(&found.origin, "a string", &other),
        }
    }

    /// A text that is not empty; an empty one counts as absent.
    pub(super) fn filled_text(&mut self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// A text that must be there and not be empty.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<String> {
        let present = self.table.contains_key(key);
        let text = self.filled_text(key);
        if text.is_none() && !present {
            self.problem(key, "is required");
        }
        text
    }

    /// A path.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.filled_text(key).map(PathBuf::from)
    }

    /// What a text stands for.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let origin = self.origin(key);
        let text = self.filled_text(key)?;
        parse(&text).map_err(|reason| self.reader.problem(&origin, format!("{text:?}: {reason}"))).ok()
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            chosen.ok_or_else(|| {
                let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("write one of {}", words.join(", "))
            })
        })
    }

    /// A whole number within bounds.
    pub(super) fn integer(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let found = self.take(key)?;
        let number = match &found.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) if found.typed => text.parse().ok(),
            other => return self.wrong(&found.origin, "a whole number", other),
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.reader.problem(&found.origin, format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// A number from 0 to 1.
    pub(super) fn ratio(&mut self, key: &'static str) -> Option<f64> {
        let found = self.take(key)?;
        let number = match &found.value {
            Value::Float(number) => Some(*number),
            Value::Integer(number @ (0 | 1)) => Some(*number as f64),
            Value::Integer(_) => None,
            Value::String(text) if found.typed => text.parse().ok(),
            other => return self.wrong(&found.origin, "a number from 0 to 1", other),
        };
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            self.reader.problem(&found.origin, "must be a number from 0 to 1");
        }
        number
    }

    /// True or false.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let found = self.take(key)?;
        match &found.value {
            Value::Boolean(value) => Some(*value),
            Value::String(text) if found.typed && text == "true" => Some(true),
            Value::String(text) if found.typed && text == "false" => Some(false),
            other => self.wrong(&found.origin, "true or false", other),
        }
    }

    /// A duration such as `"100s"`.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.parsed(key, parse_duration)
    }

    /// A list of texts; from a variable or flag, separated by commas.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let found = self.take(key)?;
        let values = match found.value {
            Value::Array(values) => values,
            Value::String(text) if found.typed => {
                text.split(',').map(|part| Value::String(part.trim().to_owned())).collect()
            }
            other => return self.wrong(&found.origin, "a list of strings", &other),
        };
        let texts = values.into_iter().map(|value| match value {
            Value::String(text) => self.expanded(text, &found.origin),
            other => self.wrong(&found.origin, "a list of strings", &other),
        });
        texts.collect()
    }

    /// A table of texts.
    pub(super) fn text_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let Some(section) = self.table(key) else { return BTreeMap::new() };
        let mut texts = BTreeMap::new();
        for (name, value) in section.table {
            let path = format!("{}.{name}", section.path);
            let text = match value {
                Value::String(text) => self.expanded(text, &path),
                other => self.wrong(&path, "a string", &other),
            };
            texts.extend(text.map(|text| (name, text)));
        }
        texts
    }

    /// Any value, as it stands in the file.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value> {
        let found = self.take(key)?;
        match found.value {
            Value::String(text) => self.expanded(text, &found.origin).map(Value::String),
            other => Some(other),
        }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.reader.asked.borrow();
        let known = asked.get(&self.path).map_or(&[][..], Vec::as_slice);
        for key in self.table.keys() {
            let advice = suggest::advice(key, known.iter().copied());
            self.problem(key, format!("is not known; {advice}"));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Found> {
        self.note(key);
        let path = self.key(key);
        let from_file = self.table.remove(key);
        if self.overridable
            && let Some((origin, text)) = self.reader.source.overriding(&path)
        {
            return Some(Found { value: Value::String(text), origin, typed: true });
        }
        from_file.map(|value| Found { value, origin: path, typed: false })
    }

    fn origin(&self, key: &str) -> String {
        let path = self.key(key);
        let overriding = self.overridable.then(|| self.reader.source.overriding(&path)).flatten();
        overriding.map_or(path, |(origin, _)| origin)
    }

    fn note(&self, key: &'static str) {
        let mut asked = self.reader.asked.borrow_mut();
        let keys = asked.entry(self.path.clone()).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }

    fn expanded(&self, text: String, origin: &str) -> Option<String> {
        if !self.reader.expands {
            return Some(text);
        }
        let expanded = expand(&text, &self.reader.source.environment);
        expanded.map_err(|reason| self.reader.problem(origin, reason)).ok()
    }

    fn wrong<T>(&self, origin: &str, wanted: &str, found: &Value) -> Option<T> {
        self.reader.problem(origin, format!("wants {wanted}, not {}", describe(found)));
        None
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {text:?}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(value) => format!("the boolean {value}"),
        Value::Datetime(time) => format!("the time {time}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}
