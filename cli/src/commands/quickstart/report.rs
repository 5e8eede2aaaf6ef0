//! What the quick start says at its end: rejected rows, the proof, where things lie, what to try.

use std::path::Path;

use serde_json::{Value, json};
use warifu_common::object_store::ObjectLocation;
use warifu_common::wire::codec;

use super::casualty::Killed;
use super::proof::Proof;
use super::{OUTPUT, RUN_ID, Story};
use crate::commands::failures;
use crate::data_dir::DataDir;
use crate::text;

/// Rejected rows that are shown.
const SHOWN_FAILURES: usize = 5;

/// Everything that the end is made of.
pub(super) struct Report<'a> {
    pub(super) story: &'a Story,
    pub(super) proof: &'a Proof,
    pub(super) csv_file: &'a Path,
    pub(super) database: &'a Path,
    pub(super) data_dir: &'a DataDir,
}

impl Report<'_> {
    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "mapRun": codec::to_json(&self.story.ended.run),
            "proof": {
                "rowsInFile": self.proof.rows_in_file,
                "rowsInTable": self.proof.rows_in_table,
                "rejected": self.proof.rejected,
                "duplicates": self.proof.duplicates,
                "missing": self.proof.missing,
                "holds": self.proof.holds(),
            },
            "killedWorker": self.story.killed.as_ref().map(Killed::to_json),
            "itemFailures": self.story.failures.iter().map(codec::to_json).collect::<Vec<Value>>(),
            "dataDir": self.data_dir.text(),
            "resultsDir": self.results_dir(),
        })
    }

    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut text = self.rejected_rows();
        if let Some(killed) = &self.story.killed {
            text += &format!("{killed}; it was started again\n");
        }
        text += &format!("{}\n\n", self.proof);
        text += &format!("results    {}\n", self.results_dir());
        text += &format!("table      user_stats in {}\n", self.database.display());
        text += &self.commands_to_try();
        text
    }

    fn results_dir(&self) -> String {
        let directory = match &self.story.ended.run.result_location {
            Some(location) => ObjectLocation::new(OUTPUT.0, &location.manifest_key).key,
            None => format!("{}{RUN_ID}/manifest.json", OUTPUT.1),
        };
        self.data_dir.s3_root().join(OUTPUT.0).join(directory).display().to_string()
    }

    fn rejected_rows(&self) -> String {
        let failures = &self.story.failures;
        if failures.is_empty() {
            return String::new();
        }
        let shown = &failures[..failures.len().min(SHOWN_FAILURES)];
        let more = match failures.len() - shown.len() {
            0 => String::new(),
            more => {
                format!("… and {}\n", text::counted(more as u64, "more row").replace("more rows", "more"))
            }
        };
        let dev = self.dev_command();
        format!(
            "{} rejected; every other row of their batches went in:\n{}{more}\n\
             To list and redrive them:\n  {dev}   # in another terminal\n  \
             warifu failures {RUN_ID}\n  \
             warifu failures {RUN_ID} -o csv --with-errors > rejected.csv   # their bytes, to fix and submit\n  \
             warifu redrive {RUN_ID} --watch   # once what refuses them is changed\n\n",
            text::counted(failures.len() as u64, "row"),
            failures::table(shown),
        )
    }

    fn dev_command(&self) -> String {
        let directory = text::shell_word(self.data_dir.text());
        let config = self.data_dir.path().join("worker.toml");
        let config = text::shell_word(&config.display().to_string());
        format!("warifu dev --data-dir {directory} --worker-config {config}")
    }

    fn commands_to_try(&self) -> String {
        let csv_file = text::shell_word(&self.csv_file.display().to_string());
        let database = text::shell_word(&self.database.display().to_string());
        format!(
            "\nTry next:\n  \
             warifu run {csv_file} --exec cat --output results   # any command, on any CSV\n  \
             sqlite3 {database} 'SELECT * FROM user_stats ORDER BY post_count DESC LIMIT 5'\n  \
             {}   # then: warifu get {RUN_ID}\n",
            self.dev_command()
        )
    }
}
