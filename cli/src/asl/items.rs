//! Items that the state takes from its input: `Items`, or what `ItemsPath` names.

use serde_json::Value as Json;

use super::fields::{Fields, Job, Losses};

/// Puts the items into the job, if the state has no item reader.
pub(super) fn read(
    state: &mut Fields<'_>,
    has_reader: bool,
    is_jsonata: bool,
    job: &mut Job,
    losses: &mut Losses<'_>,
) {
    let literal = state.take("Items");
    let reference = state.take("ItemsPath");
    if has_reader {
        for (name, value) in [("Items", literal), ("ItemsPath", reference)] {
            if value.is_some() {
                losses.beside(
                    state.path_of(name),
                    "AWS passes over it where there is an ItemReader, and so does the job",
                );
            }
        }
        return;
    }
    let whole_input = Json::from("$");
    let (name, items) = match (literal, reference) {
        (Some(items), _) => ("Items", Some(items.clone())),
        (None, Some(reference)) => ("ItemsPath", losses.resolve(reference, &state.path_of("ItemsPath"))),
        (None, None) if is_jsonata || losses.input.is_some() => {
            ("Items", losses.resolve(&whole_input, state.path()))
        }
        (None, None) => {
            return losses.changes_the_work(
                state.path(),
                "its items are its input: give that with --input, or name an object with itemReader",
            );
        }
    };
    match items {
        Some(Json::Array(items)) => _ = job.insert("items".to_owned(), Json::Array(items)),
        Some(_) => {
            losses.changes_the_work(state.path_of(name), "the items are no array, and a job's items are one")
        }
        None => {}
    }
}
