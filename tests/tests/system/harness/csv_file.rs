//! CSV files that are hard to cut, and what the `csv` crate reads in the whole of each.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Random;

/// Fields that look like what they are not. The last ones hold quotes as they stand in a file: doubled.
const FIELDS: [&str; 14] = [
    "plain",
    "",
    " blanks around ",
    "日本語テキスト",
    "emoji 🚀",
    "tab\tand;semi|pipe",
    "'single'",
    "comma, inside",
    "two\nlines",
    "crlf\r\ninside",
    "bare\rreturn",
    "say \"\"hi\"\"",
    "\"\"",
    "1,2,3\n4,5,\"\"6\"\"\n\"\"\n",
];

/// What makes a file hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CsvFile {
    /// Nothing.
    Plain,
    /// Quoted fields of every kind.
    Quotes,
    /// Quoted fields that hold whole rows, so that a look from inside sees a sound file.
    Decoys,
    /// Runs of thousands of quotes.
    QuoteRuns,
    /// Records end in CR LF.
    CrLf,
    /// A byte order mark, and nothing else in the way.
    Bom,
    /// Empty lines, which are no records, and lines of blanks, which are.
    BlankLines,
    /// Fields far longer than a shard.
    Huge,
    /// The last record has no line end.
    NoLastLineEnd,
    /// Hundreds of columns.
    Wide,
    /// Fewer and more fields than the header has.
    Ragged,
    /// One column: a record is nothing but its field.
    OneColumn,
}

impl CsvFile {
    /// All of them.
    pub(crate) const ALL: [CsvFile; 12] = [
        CsvFile::Plain,
        CsvFile::Quotes,
        CsvFile::Decoys,
        CsvFile::QuoteRuns,
        CsvFile::CrLf,
        CsvFile::Bom,
        CsvFile::BlankLines,
        CsvFile::Huge,
        CsvFile::NoLastLineEnd,
        CsvFile::Wide,
        CsvFile::Ragged,
        CsvFile::OneColumn,
    ];

    /// A file with `rows` records under its header.
    pub(crate) fn write(self, path: &Path, rows: u64, seed: u64) -> Table {
        std::fs::write(path, self.bytes(rows, seed)).unwrap();
        Table::read(path, b',')
    }

    fn bytes(self, rows: u64, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        let line_end: &str = if self == CsvFile::CrLf { "\r\n" } else { "\n" };
        let mut text = String::new();
        if self == CsvFile::Bom {
            text.push('\u{feff}');
        }
        text.push_str(&self.header());
        text.push_str(line_end);
        for row in 0..rows {
            if self == CsvFile::BlankLines && random.one_in(10) {
                text.push_str(random.choose(&["\n", "\n\n", "\r\n", "   \n"]));
            }
            self.push_row(&mut text, row, &mut random);
            if row + 1 < rows || self != CsvFile::NoLastLineEnd {
                text.push_str(line_end);
            }
        }
        text.into_bytes()
    }

    fn header(self) -> String {
        match self {
            CsvFile::OneColumn => "備考".to_owned(),
            CsvFile::Wide => {
                let columns: Vec<String> = (0..300).map(|column| format!("列{column}")).collect();
                columns.join(",")
            }
            _ => "ユーザーID,ログイン回数,投稿回数,備考".to_owned(),
        }
    }

    fn push_row(self, text: &mut String, row: u64, random: &mut Random) {
        let user = format!("U{row:08},{},{}", random.below(500), random.below(2_000));
        match self {
            CsvFile::Plain => text.push_str(&format!("{user},note {row}")),
            CsvFile::OneColumn => text.push_str(&quoted(random.choose(&FIELDS))),
            CsvFile::Wide => {
                let fields: Vec<String> = (0..300).map(|_| random.below(10).to_string()).collect();
                text.push_str(&fields.join(","));
            }
            CsvFile::Ragged => {
                let more = random.choose(&["", ",a", ",a,b", ",a,b,\"c\nd\""]);
                text.push_str(if random.one_in(5) { "only" } else { &user });
                text.push_str(more);
            }
            CsvFile::Decoys if random.one_in(20) => {
                let rows = 1 + random.below(200);
                let decoy = |row| match random_bit(row, rows) {
                    true => format!("X{row},1,2,\"\"fake\"\",\n"),
                    false => format!("X{row},1,2,fake\n"),
                };
                text.push_str(&format!("{user},\"{}\"", (0..rows).map(decoy).collect::<String>()));
            }
            CsvFile::QuoteRuns => {
                let pairs = if random.one_in(50) { random.below(20_000) } else { random.below(6) };
                let end = random.choose(&["", "x", "\n", ","]);
                text.push_str(&format!("{user},\"{}{end}\"", "\"\"".repeat(pairs as usize)));
            }
            CsvFile::Huge if row % 97 == 50 => {
                let lines = 1_000 + random.below(20_000) as usize;
                text.push_str(&format!("{user},\"{}\"", "a long note, with a comma\n".repeat(lines)));
            }
            _ => text.push_str(&format!("{user},{}", quoted(random.choose(&FIELDS)))),
        }
    }
}

fn random_bit(row: u64, rows: u64) -> bool {
    Random::new(row ^ (rows << 32)).one_in(2)
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) || field.is_empty() {
        return format!("\"{field}\"");
    }
    field.to_owned()
}

/// A CSV file as the `csv` crate reads all of it.
pub(crate) struct Table {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Names of the columns.
    pub(crate) header: Vec<String>,
    /// Records below the header.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a file.
    pub(crate) fn read(path: &Path, delimiter: u8) -> Self {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_path(path).unwrap();
        let fields = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        let header = fields(reader.headers().unwrap());
        let rows = reader.records().map(|record| fields(&record.unwrap())).collect();
        Self { path: path.to_owned(), header, rows }
    }

    /// Record `index` as an item: a value for each column, `""` where the record is too short.
    pub(crate) fn item(&self, index: usize) -> Value {
        let fields = self.rows[index].iter().map(String::as_str).chain(std::iter::repeat(""));
        let pairs = self.header.iter().zip(fields);
        Value::Object(pairs.map(|(name, field)| (name.clone(), field.into())).collect::<Map<_, _>>())
    }

    /// All records as items.
    pub(crate) fn items(&self) -> Vec<Value> {
        (0..self.rows.len()).map(|index| self.item(index)).collect()
    }
}
