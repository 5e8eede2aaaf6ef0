//! The blocks of a document.

use crate::harness::repository;

/// A command as a document shows it.
#[derive(Debug)]
pub(super) struct ShownCommand {
    /// Counted from 1.
    pub(super) line: usize,
    /// All of its lines.
    pub(super) text: String,
}

fn read(document: &str) -> String {
    std::fs::read_to_string(repository().join(document)).unwrap()
}

/// What a document's `console` blocks tell the reader to type, in order.
pub(super) fn commands(document: &str) -> Vec<ShownCommand> {
    let mut commands: Vec<ShownCommand> = Vec::new();
    let (mut is_console, mut goes_on) = (false, false);
    for (line, text) in (1..).zip(read(document).lines()) {
        if let Some(kind) = text.trim_start().strip_prefix("```") {
            is_console = kind == "console";
            goes_on = false;
        } else if let Some(command) = text.strip_prefix("$ ").filter(|_| is_console) {
            commands.push(ShownCommand { line, text: command.to_owned() });
            goes_on = true;
        } else if goes_on && text.starts_with("    ") {
            let command = commands.last_mut().expect("a line goes on with a command");
            command.text.push('\n');
            command.text.push_str(text);
        } else {
            goes_on = false;
        }
    }
    commands
}

/// The first block of a kind.
pub(super) fn first_block(document: &str, kind: &str) -> String {
    let text = read(document);
    let rest = text.split_once(&format!("```{kind}\n")).expect("the document has such a block").1;
    rest.split("```").next().unwrap_or_default().to_owned()
}
