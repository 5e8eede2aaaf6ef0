//! The files that are measured: the same bytes on every machine.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::Settings;

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Notes of which a tenth holds a comma, a tenth a line break and a tenth a quote.
    Ordinary,
    /// Of the notes, four in ten hold five lines that look like records.
    LookAlike,
    /// Few records, some of which hold a field of 3 MiB that is made of lines that look like records.
    Long,
}

/// A file that is there.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    /// Its name.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its records.
    pub(crate) rows: u64,
    /// What the numbers in `post_count` come to.
    pub(crate) post_count: u64,
    /// Its bytes.
    pub(crate) bytes: u64,
}

/// Part of the files' names; grows with every change to their bytes, so that none made before is taken for one made now.
const EDITION: u32 = 2;
/// Bytes of a long field.
const LONG_FIELD: usize = 3 << 20;
/// Of the records of a file with long fields, one in so many has one.
const LONG_EVERY: u64 = 5_000;

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Ordinary, Self::LookAlike, Self::Long];

    fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::LookAlike => "look-alike",
            Self::Long => "long",
        }
    }

    /// The file, made if it is not there yet. One with long fields has a fifth of the records.
    pub(crate) fn file(self, settings: &Settings) -> anyhow::Result<DataFile> {
        let rows = if self == Self::Long { (settings.rows / 5).max(1) } else { settings.rows };
        let path = settings.directory.join(format!("{}-{rows}-{EDITION}.csv", self.name()));
        if !path.exists() {
            // A file that was half written under its own name would be taken for whole.
            let unfinished = path.with_extension("unfinished");
            self.write(rows, &unfinished)
                .with_context(|| format!("cannot write {}", unfinished.display()))?;
            std::fs::rename(&unfinished, &path)?;
        }
        let bytes = std::fs::metadata(&path)?.len();
        Ok(DataFile { name: self.name(), path, rows, post_count: (0..rows).map(post_count).sum(), bytes })
    }

    fn write(self, rows: u64, path: &PathBuf) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(b"user_id,login_count,post_count,note\n")?;
        for row in 0..rows {
            write!(file, "U{row:07},{},{},", row % 1_009, post_count(row))?;
            self.write_note(row, &mut file)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()
    }

    fn write_note(self, row: u64, file: &mut impl Write) -> std::io::Result<()> {
        // No comma and no quote: it stands without quotes.
        let plain = "a note of some length about this user as people write them";
        match (self, row % 10) {
            (Self::Long, _) if row % LONG_EVERY == LONG_EVERY / 2 => {
                file.write_all(b"\"")?;
                let line = b"U0000001,2,3,none\n";
                for _ in 0..LONG_FIELD / line.len() {
                    file.write_all(line)?;
                }
                file.write_all(b"\"")
            }
            (Self::LookAlike, 0..4) => {
                write!(file, "\"{plain}")?;
                for line in 0..5 {
                    write!(file, "\nU{row:07},{line},7,it looks like a record")?;
                }
                file.write_all(b"\"")
            }
            (_, 7) => write!(file, "\"{plain}, with a comma\""),
            (_, 8) => write!(file, "\"{plain}\nand a second line\""),
            (_, 9) => write!(file, "\"{plain}, \"\"quoted\"\"\""),
            _ => file.write_all(plain.as_bytes()),
        }
    }
}

fn post_count(row: u64) -> u64 {
    row * 31 % 9_973
}
