//! How many bytes an item takes as compact JSON, in its shape if it has one.
//!
//! Of CSV it is a fixed number of bytes, and of each column's escaped value so many copies. Of JSON it is a fixed number of
//! bytes, the record itself without the white space between its parts so many times, and the values that paths name in it.

use crate::columns::empty_item_bytes;
use crate::cut::CutRules;
use crate::fields::{FieldVisitor, visit_fields};
use crate::format::RecordFormat;
use crate::json::{MAX_ESCAPED_BYTES, compact_len, escaped_len};
use crate::json_path::{JsonPath, PathStep};
use crate::looks::RecordLooks;
use crate::shape::{ItemHole, ItemShape, MEASURED_DIGITS};
use crate::sourced::split_sourced;

/// Measures records as the items that they are.
#[derive(Debug, Clone)]
pub(crate) struct ItemMeasure {
    /// Bytes of the item without what comes from the record.
    fixed_bytes: u64,
    values: Values,
}

/// What an item takes from its record.
#[derive(Debug, Clone)]
enum Values {
    /// How often the value of each column stands in the item; `alike` if that is the same for all.
    Fields { copies: Vec<u64>, alike: Option<u64>, most_copies: u64, delimiter: u8 },
    /// How often the record itself stands in it, and the parts of it that do; whether the object that it comes from is told
    /// apart from it, and how often that stands in it.
    Json { copies: u64, parts: Vec<JsonPath>, sourced: bool, sources: u64 },
}

impl ItemMeasure {
    pub(crate) fn new(rules: &CutRules) -> Self {
        match rules.format {
            RecordFormat::Csv(dialect) => Self::of_fields(rules, dialect.delimiter),
            RecordFormat::JsonLines => Self::of_json(rules.shape.as_ref(), rules.sourced),
        }
    }

    fn of_fields(rules: &CutRules, delimiter: u8) -> Self {
        let names = &rules.header.names;
        let bare = empty_item_bytes(names);
        let (fixed_bytes, copies) = match &rules.shape {
            Some(shape) => shaped_fields(names, bare, shape),
            None => (bare, vec![1; names.len()]),
        };
        let most_copies = copies.iter().copied().max().unwrap_or(0);
        let alike = copies.iter().all(|copies| *copies == most_copies).then_some(most_copies);
        Self { fixed_bytes, values: Values::Fields { copies, alike, most_copies, delimiter } }
    }

    fn of_json(shape: Option<&ItemShape>, sourced: bool) -> Self {
        let Some(shape) = shape else {
            let values = Values::Json { copies: 1, parts: Vec::new(), sourced, sources: 0 };
            return Self { fixed_bytes: 0, values };
        };
        let (mut fixed_bytes, mut copies, mut parts, mut sources) =
            (shape.constant_bytes(), 0, Vec::new(), 0);
        for hole in shape.holes() {
            match hole {
                ItemHole::Index => fixed_bytes += MEASURED_DIGITS,
                ItemHole::Value(path) if path.steps().is_empty() => copies += 1,
                ItemHole::Value(path) => parts.push(path.clone()),
                ItemHole::Source => sources += 1,
            }
        }
        Self { fixed_bytes, values: Values::Json { copies, parts, sourced, sources } }
    }

    /// At least the bytes of a record's item.
    pub(crate) fn upper_bound(&self, record_bytes: u64) -> u64 {
        self.fixed_bytes.saturating_add(record_bytes.saturating_mul(self.most_per_byte()))
    }

    /// How many bytes `items` records may have together so that their items, with commas between them, certainly take at most
    /// `json_bytes`; 0 also if not even empty ones do.
    pub(crate) fn certain_record_bytes(&self, items: u64, json_bytes: u64) -> u64 {
        let fixed = self.fixed_bytes.saturating_add(1).saturating_mul(items);
        let left = json_bytes.saturating_sub(fixed);
        left.checked_div(self.most_per_byte()).unwrap_or(if fixed > json_bytes { 0 } else { u64::MAX })
    }

    /// The most bytes of an item that one byte of its record adds.
    fn most_per_byte(&self) -> u64 {
        match &self.values {
            Values::Fields { most_copies, .. } => MAX_ESCAPED_BYTES.saturating_mul(*most_copies),
            Values::Json { copies, parts, sources, .. } => copies + parts.len() as u64 + sources,
        }
    }

    /// Whether [`of_looks`](Self::of_looks) knows most items.
    pub(crate) fn knows_looks(&self) -> bool {
        matches!(&self.values, Values::Fields { alike: Some(_), .. })
    }

    /// The bytes of the item of a record that holds `looks`. `None`: its values have to be told apart, for there are too many, or not
    /// as many copies of each.
    pub(crate) fn of_looks(&self, looks: RecordLooks) -> Option<u64> {
        let Values::Fields { copies, alike, .. } = &self.values else { return None };
        let of_record = values_together_len(looks, copies.len(), *alike)?;
        Some(self.fixed_bytes.saturating_add(of_record))
    }

    /// The bytes of a record's item if they are at most `enough`, else anything above that: the rest of a very long record is
    /// not looked at.
    pub(crate) fn exact_up_to(&self, enough: u64, record: &[u8]) -> u64 {
        let start = usize::try_from(enough.saturating_add(enough / 4)).unwrap_or(usize::MAX);
        if matches!(self.values, Values::Fields { .. }) && record.len() / 2 > start {
            // The start of a record has the same values, or starts of them.
            let least = self.exact(&record[..start.max(1)]);
            if least > enough {
                return least;
            }
        }
        self.exact(record)
    }

    /// Bytes that are not UTF-8 count one each, and all bytes of what is not JSON count: such an item is never sent. A path
    /// that names nothing counts nothing: nor is that one.
    fn exact(&self, record: &[u8]) -> u64 {
        let of_record = match &self.values {
            Values::Fields { most_copies: 0, .. } => 0,
            Values::Fields { copies, alike, delimiter, .. } => {
                let looks = RecordLooks::of(record, *delimiter);
                values_together_len(looks, copies.len(), *alike)
                    .unwrap_or_else(|| values_len_one_by_one(record, copies, *delimiter))
            }
            Values::Json { copies, parts, sourced, sources } => {
                let (source, record) = if *sourced { split_sourced(record) } else { (&[][..], record) };
                let source = (source.len() as u64).saturating_mul(*sources);
                let whole = if *copies > 0 { compact_len(record).saturating_mul(*copies) } else { 0 };
                whole.saturating_add(source).saturating_add(parts_len(record, parts))
            }
        };
        self.fixed_bytes.saturating_add(of_record)
    }
}

/// The bytes of all values of a record that holds `looks`, as [`ItemMeasure::of_looks`] says.
fn values_together_len(looks: RecordLooks, columns: usize, alike: Option<u64>) -> Option<u64> {
    let is_told = looks.delimiters < columns as u64;
    alike.filter(|_| is_told).map(|copies| looks.values_len.saturating_mul(copies))
}

fn values_len_one_by_one(record: &[u8], copies: &[u64], delimiter: u8) -> u64 {
    let mut values = EscapedValues { bytes: 0, copies };
    visit_fields(record, delimiter, &mut values);
    values.bytes
}

/// The fixed bytes of a shaped CSV item, and the copies of each column's value; `bare` are the fixed bytes of one without a
/// shape.
fn shaped_fields(names: &[String], bare: u64, shape: &ItemShape) -> (u64, Vec<u64>) {
    let mut fixed_bytes = shape.constant_bytes();
    let mut copies = vec![0; names.len()];
    for hole in shape.holes() {
        match hole {
            ItemHole::Index => fixed_bytes += MEASURED_DIGITS,
            ItemHole::Value(path) if path.steps().is_empty() => {
                fixed_bytes += bare;
                copies.iter_mut().for_each(|copies| *copies += 1);
            }
            // Records of CSV say of no object that they come from it.
            ItemHole::Source => fixed_bytes += NULL,
            ItemHole::Value(path) => {
                let column = match path.steps() {
                    [PathStep::Name(name)] => names.iter().position(|column| column == name),
                    _ => None,
                };
                if let Some(column) = column {
                    copies[column] += 1;
                    fixed_bytes += QUOTES;
                }
            }
        }
    }
    (fixed_bytes, copies)
}

/// The compact bytes of the parts of a JSON record that `paths` name.
fn parts_len(record: &[u8], paths: &[JsonPath]) -> u64 {
    if paths.is_empty() {
        return 0;
    }
    let Ok(text) = std::str::from_utf8(record) else { return 0 };
    let parts = paths.iter().filter_map(|path| path.find_in_text(text));
    parts.map(|part| compact_len(part.as_bytes())).sum()
}

/// The bytes of `null`.
const NULL: u64 = 4;

/// The quotes around a value.
const QUOTES: u64 = 2;

/// Sums up the escaped values of the fields that have a column.
struct EscapedValues<'a> {
    bytes: u64,
    /// Of the field in progress and those after it.
    copies: &'a [u64],
}

impl FieldVisitor for EscapedValues<'_> {
    fn piece(&mut self, bytes: &[u8]) {
        if self.copies[0] > 0 {
            self.bytes += escaped_len(bytes) * self.copies[0];
        }
    }

    fn field_end(&mut self) -> bool {
        self.copies = &self.copies[1..];
        !self.copies.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::Dialect;
    use crate::header::Header;
    use crate::machine::EntryState;
    use crate::range::ByteRange;
    use crate::walk::Cursor;

    fn rules(columns: usize) -> CutRules {
        let names = (0..columns).map(|column| format!("column {column}")).collect();
        CutRules {
            max_items: 1,
            max_input_bytes: 0,
            envelope_bytes: 0,
            header: Header { names, range: ByteRange::new(0, 0) },
            format: RecordFormat::default(),
            sourced: false,
            max_record_bytes: 0,
            shape: None,
        }
    }

    /// What ends a record ends it; it may be empty.
    fn first_record(bytes: &[u8], delimiter: u8) -> &[u8] {
        let format = RecordFormat::Csv(Dialect { delimiter, lenient_quotes: false });
        let end = Cursor::at_start(EntryState::RecordStart).seek_record_end(bytes, format);
        &bytes[..end.unwrap_or(bytes.len())]
    }

    proptest! {
        #[test]
        fn what_is_too_large_is_measured_as_too_large_and_all_else_exactly(
            letters in vec(0..6_usize, 1..300),
            columns in 1..4_usize,
            enough in 0..400_u64,
        ) {
            let letters: Vec<u8> = letters.iter().map(|letter| b"\"\",a\n\x01"[*letter]).collect();
            let record = first_record(&letters, b',');
            let measure = ItemMeasure::new(&rules(columns));
            let (exact, up_to) = (measure.exact(record), measure.exact_up_to(enough, record));
            prop_assert!(up_to <= exact);
            prop_assert!(up_to == exact || up_to > enough);
            prop_assert!(exact <= measure.upper_bound(record.len() as u64));
        }

        #[test]
        fn values_are_as_long_together_as_one_by_one(
            runs in vec((0..8_usize, prop_oneof![9 => 1..4_usize, 1 => 1..150_usize]), 0..60),
            columns in 1..100_usize,
            alike in 1..3_u64,
            delimiter in prop_oneof![Just(b','), Just(b'\t'), Just(b' ')],
        ) {
            let letters: Vec<u8> =
                runs.iter().flat_map(|(letter, length)| vec![b"\"\"a,\t\\\x01\xE3 \n"[*letter]; *length]).collect();
            let record = first_record(&letters, delimiter);
            let copies = vec![alike; columns];
            if let Some(together) = values_together_len(RecordLooks::of(record, delimiter), columns, Some(alike)) {
                prop_assert_eq!(together, values_len_one_by_one(record, &copies, delimiter));
            }
        }

        #[test]
        fn records_of_bytes_that_are_certain_to_fit_do_fit(
            lengths in vec(1..200_u64, 1..30),
            columns in 0..4_usize,
            json_bytes in 0..20_000_u64,
        ) {
            let measure = ItemMeasure::new(&rules(columns));
            let together: u64 = lengths.iter().sum();
            if together <= measure.certain_record_bytes(lengths.len() as u64, json_bytes) {
                let items: u64 = lengths.iter().map(|length| measure.upper_bound(*length) + 1).sum();
                prop_assert!(items <= json_bytes);
            }
        }
    }
}
