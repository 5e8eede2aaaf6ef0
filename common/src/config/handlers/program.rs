//! What handlers that start a program have in common.

use std::collections::BTreeMap;

use crate::config::parts::Secret;
use crate::config::section::Section;

/// Reads `command`, a program and its arguments; `example` shows a list. Empty if it is wrong or absent.
pub(super) fn read_command(section: &mut Section<'_>, example: &str) -> Vec<String> {
    let given = section.texts("command");
    let command = given.clone().unwrap_or_default();
    if given.is_some() && command.first().is_none_or(String::is_empty) {
        section.problem("command", "names no program");
    }
    if given.is_none() {
        section.problem("command", format!("is required: program and arguments as a list, {example}"));
    }
    command
}

/// Reads `env`. `whose` says whose variables those are that cannot be set, if `is_reserved` says so.
pub(super) fn read_env(
    section: &mut Section<'_>,
    is_reserved: impl Fn(&str) -> bool,
    whose: &str,
) -> BTreeMap<String, Secret> {
    let env = section.text_map("env");
    for name in env.keys().filter(|name| is_reserved(name) || name.contains('=') || name.is_empty()) {
        section.problem("env", format!("{name:?} cannot be set: {whose}"));
    }
    env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
}
