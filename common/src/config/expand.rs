//! `${VAR}` and `${file:/path}` in the strings of worker.toml.

use std::collections::BTreeMap;
use std::fs;

/// Largest secret file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A string with its references replaced. `$${` stands for `${`.
pub(super) fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            expanded.push_str(&rest[..start - 1]);
            expanded.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        expanded.push_str(&rest[..start]);
        let reference = &rest[start + 2..];
        let end = reference.find('}').ok_or("`${` is not closed; write `$${` if it is no reference")?;
        expanded.push_str(&resolve(&reference[..end], environment)?);
        rest = &reference[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn resolve(reference: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read_secret(path);
    }
    let name = !reference.is_empty() && reference.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !name {
        return Err(format!("`${{{reference}}}` is no reference; write ${{VARIABLE}} or ${{file:/path}}"));
    }
    let value = environment.get(reference).filter(|value| !value.is_empty());
    value.cloned().ok_or_else(|| format!("the variable {reference} is not set; set it before starting"))
}

/// A file's text without the line break that editors leave at its end.
fn read_secret(path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the file {path} cannot be read: {error}");
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(format!("the file {path} takes more than {MAX_FILE_BYTES} bytes"));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn references_are_replaced_and_what_is_missing_refuses() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hunter2\n").unwrap();
        let environment =
            [("USER_X".to_owned(), "me".to_owned()), ("EMPTY".to_owned(), String::new())].into();
        let path = file.path().display();
        let expanded = expand(&format!("a://${{USER_X}}:${{file:{path}}}@h/$5$${{x}}"), &environment);
        assert_eq!(expanded.unwrap(), "a://me:hunter2@h/$5${x}");
        for (text, reason) in [
            ("${NOT_SET}", "the variable NOT_SET is not set"),
            ("${EMPTY}", "the variable EMPTY is not set"),
            ("${file:/does/not/exist}", "the file /does/not/exist cannot be read"),
            ("${a b}", "is no reference"),
            ("${}", "is no reference"),
            ("${open", "is not closed"),
        ] {
            let error = expand(text, &environment).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
