//! An error with its causes, as one line: the one place that prints chains.

use std::error::Error;
use std::fmt;

/// Most causes that are printed; a longer chain is a loop or a mistake.
const MAX_CAUSES: usize = 16;

/// Prints an error and its causes: `cannot open the store: disk I/O error`. Causes that the text before already ends with
/// are left out.
#[derive(Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = self.0.to_string();
        f.write_str(&printed)?;
        let mut cause = self.0.source();
        for _ in 0..MAX_CAUSES {
            let Some(error) = cause else { break };
            let text = error.to_string();
            if !printed.ends_with(&text) {
                write!(f, ": {text}")?;
                printed = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_follow_once_each() {
        let inner = Layer { text: "disk full", source: None };
        let middle = Layer { text: "cannot write: disk full", source: Some(Box::new(inner)) };
        let outer = Layer { text: "commit failed", source: Some(Box::new(middle)) };
        assert_eq!(Chain(&outer).to_string(), "commit failed: cannot write: disk full");
    }
}
