//! Bounds on texts that travel.

/// The most bytes of a failure's name.
const MAX_ERROR_BYTES: usize = 256;

/// The most bytes of a failure's cause: what a status or report may carry of it.
const MAX_CAUSE_BYTES: usize = 1024;

/// Cuts a failure's name to what may travel.
pub(crate) fn cut_error(error: String) -> String {
    cut(error, MAX_ERROR_BYTES)
}

/// Cuts a failure's cause to what may travel.
pub(crate) fn cut_cause(cause: String) -> String {
    cut(cause, MAX_CAUSE_BYTES)
}

/// Cuts at a character's border.
fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

/// The last bytes of a text, from a character's border on.
pub(crate) fn tail(text: &str, max_bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(max_bytes))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("あい".into(), 4), "あ");
        assert_eq!(cut("ab".into(), 4), "ab");
        assert_eq!(tail("あい", 4), "い");
        assert_eq!(tail("ab", 4), "ab");
    }
}
