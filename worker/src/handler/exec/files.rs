//! What does not fit into variables: files that live as long as the call.

use std::io::{self, Write};

use tempfile::NamedTempFile;

use crate::handler::BatchCall;

/// The temporary files of one call.
pub(super) struct CallFiles {
    indexes: NamedTempFile,
    batch_input: Option<NamedTempFile>,
}

impl CallFiles {
    /// Writes them: global indexes one per line, in the items' order; the job's `batchInput` as JSON, if it has one.
    pub(super) fn write(call: &BatchCall) -> io::Result<Self> {
        let indexes: String = call.items().map(|item| format!("{}\n", item.index())).collect();
        let batch_input = call.batch_input().map(|input| write_file(&input)).transpose()?;
        Ok(Self { indexes: write_file(&indexes)?, batch_input })
    }

    /// The variables that name them.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let pair = |name: &str, file: &NamedTempFile| (name.to_owned(), file.path().display().to_string());
        let indexes = pair("WARIFU_INDEXES_FILE", &self.indexes);
        let batch_input = self.batch_input.as_ref().map(|file| pair("WARIFU_BATCH_INPUT_FILE", file));
        [indexes].into_iter().chain(batch_input)
    }
}

fn write_file(text: &str) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("warifu-")?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}
