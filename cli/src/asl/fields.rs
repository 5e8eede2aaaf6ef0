//! Reading an object field by field, with the path of each, so that what nobody took can be named.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{Loss, path};

/// A job in the making, or a part of it.
pub(super) type Job = Map<String, Json>;

/// What could not be carried over so far, and what the state's input is.
pub(super) struct Losses<'a> {
    list: Vec<Loss>,
    /// The state's input, after `InputPath`.
    pub(super) input: Option<&'a Json>,
}

impl<'a> Losses<'a> {
    /// Nothing is lost yet.
    pub(super) fn new(input: Option<&'a Json>) -> Self {
        Self { list: Vec::new(), input }
    }

    /// Notes something that changes which items are read, what the handler gets, or which limits hold.
    pub(super) fn changes_the_work(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.list.push(Loss { path: path.into(), why: why.into(), changes_the_work: true });
    }

    /// Notes something beside the work itself.
    pub(super) fn beside(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.list.push(Loss { path: path.into(), why: why.into(), changes_the_work: false });
    }

    /// All of them.
    pub(super) fn into_list(self) -> Vec<Loss> {
        self.list
    }

    /// True if the input is known, but cannot become the job's: that is an object.
    pub(super) fn input_stays_behind(&self) -> bool {
        self.input.is_some_and(|input| !input.is_object())
    }

    /// The value that a reference path takes from the state's input; noted if that cannot be told.
    pub(super) fn resolve(&mut self, reference: &Json, at: &str) -> Option<Json> {
        let found = match (reference.as_str().and_then(path::Reference::parse), self.input) {
            (None, _) => Err(format!(
                "{reference} is no plain path into the state's input such as $.name; write the value into the job"
            )),
            (Some(_), None) => Err(format!(
                "{reference} depends on the state's input: give that with --input, or write the value into the job"
            )),
            (Some(path), Some(input)) => path
                .of(input)
                .cloned()
                .ok_or_else(|| format!("{reference} matches nothing in the input that --input gives")),
        };
        found.map_err(|why| self.changes_the_work(at, why)).ok()
    }
}

/// An object of the definition.
pub(super) struct Fields<'a> {
    path: String,
    object: Option<&'a Map<String, Json>>,
    taken: BTreeSet<&'a str>,
}

impl<'a> Fields<'a> {
    /// The object `value`, which stands at `path`. Anything else has no fields, and is noted.
    pub(super) fn of(value: &'a Json, path: String, losses: &mut Losses<'_>) -> Self {
        let object = value.as_object();
        if object.is_none() {
            losses.changes_the_work(path.clone(), "it is no object");
        }
        Self { path, object, taken: BTreeSet::new() }
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where its field `name` stands.
    pub(super) fn path_of(&self, name: &str) -> String {
        path::join(&self.path, name)
    }

    /// The value of a field, which then counts as dealt with. `null` is as good as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Json> {
        let (key, value) = self.object?.get_key_value(name)?;
        self.taken.insert(key);
        (!value.is_null()).then_some(value)
    }

    /// Deals with fields that say nothing about the work.
    pub(super) fn pass_over<const N: usize>(&mut self, names: [&str; N]) {
        for name in names {
            self.take(name);
        }
    }

    /// The object in a field.
    pub(super) fn object(&mut self, name: &str, losses: &mut Losses<'_>) -> Option<Fields<'a>> {
        let value = self.take(name)?;
        Some(Fields::of(value, self.path_of(name), losses))
    }

    /// Copies a field as it is.
    pub(super) fn copy(&mut self, name: &str, job: &mut Job, key: &str) {
        if let Some(value) = self.take(name) {
            job.insert(key.to_owned(), value.clone());
        }
    }

    /// Copies a field, or the value that its `…Path` takes from the state's input.
    pub(super) fn copy_or_resolve(&mut self, name: &str, job: &mut Job, key: &str, losses: &mut Losses<'_>) {
        self.copy(name, job, key);
        let by_path = format!("{name}Path");
        self.resolve_into(&by_path, job, key, losses);
    }

    /// The value that the reference path in field `name` takes from the state's input.
    pub(super) fn resolve_into(&mut self, name: &str, job: &mut Job, key: &str, losses: &mut Losses<'_>) {
        let Some(reference) = self.take(name) else { return };
        if let Some(value) = losses.resolve(reference, &self.path_of(name)) {
            job.insert(key.to_owned(), value);
        }
    }

    /// Notes fields that a job has nothing for, each with its reason.
    pub(super) fn lose<const N: usize>(&mut self, reasons: [(&str, &str); N], losses: &mut Losses<'_>) {
        for (name, why) in reasons {
            if self.object.is_some_and(|object| object.contains_key(name)) {
                self.take(name);
                losses.beside(self.path_of(name), why);
            }
        }
    }

    /// Notes every field that nobody took.
    pub(super) fn finish(self, losses: &mut Losses<'_>) {
        for name in self.object.into_iter().flat_map(Map::keys) {
            if !self.taken.contains(name.as_str()) {
                losses.changes_the_work(self.path_of(name), "this field is not known");
            }
        }
    }
}
