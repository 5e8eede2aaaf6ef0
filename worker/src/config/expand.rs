//! `${VAR}` and `${file:PATH}` in texts, and variables that stand over keys.

use toml::{Table, Value};

/// Keys can be set as `WARIFU_SECTION__KEY`.
const OVERRIDE_PREFIX: &str = "WARIFU_";

/// Sections whose keys the environment may set.
const SECTIONS: [&str; 5] = ["coordinator", "worker", "s3", "tls", "telemetry"];

/// Puts the variables that name a key over the file.
pub(super) fn apply_overrides(table: &mut Table, variables: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in variables {
        let key = name.strip_prefix(OVERRIDE_PREFIX).and_then(|rest| rest.split_once("__"));
        let Some((section, key)) = key.map(|(section, key)| (section.to_lowercase(), key.to_lowercase()))
        else {
            continue;
        };
        if !SECTIONS.contains(&section.as_str()) {
            continue;
        }
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key, as_value(value));
        }
    }
}

/// Numbers, booleans and lists are written as in the file; all else is a text.
fn as_value(text: String) -> Value {
    let parsed: Option<Value> =
        format!("x = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("x"));
    match parsed {
        Some(value @ (Value::Integer(_) | Value::Boolean(_) | Value::Array(_))) => value,
        _ => Value::String(text),
    }
}

/// Opens every `${…}` in the table's texts; returns those that cannot be opened, with their keys.
pub(super) fn expand_table(table: &mut Table, variable: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in table.iter_mut() {
        expand_value(key, value, variable, &mut problems);
    }
    problems
}

fn expand_value(
    path: &str,
    value: &mut Value,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) {
    match value {
        Value::String(text) => match expand(text, variable) {
            Ok(expanded) => *text = expanded,
            Err(problem) => problems.push(format!("{path}: {problem}")),
        },
        Value::Table(table) => {
            table
                .iter_mut()
                .for_each(|(key, value)| expand_value(&format!("{path}.{key}"), value, variable, problems));
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| expand_value(path, value, variable, problems))
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("a ${ is not closed")?;
        expanded.push_str(before);
        expanded.push_str(&open(name, variable)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn open(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    match name.strip_prefix("file:") {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => variable(name).ok_or_else(|| format!("the variable {name} is not set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_files_are_put_in_their_places() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let variable = |name: &str| (name == "A").then(|| "a".to_owned());
        let text = format!("x${{A}}y${{file:{}}}", file.path().display());
        assert_eq!(expand(&text, &variable).unwrap(), "xaysecret");
        assert_eq!(expand("$A {A}", &variable).unwrap(), "$A {A}");
        assert!(expand("${B}", &variable).is_err());
        assert!(expand("${A", &variable).is_err());
    }
}
