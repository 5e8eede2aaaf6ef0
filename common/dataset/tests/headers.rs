//! Tables for the probe.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use warifu_dataset::{
    ByteRange, Dialect, HeaderLocation, HeaderProblem, Limits, Probe, ProbeError, RecordFormat, probe,
};

fn first_row(object: &[u8]) -> Result<Probe, ProbeError> {
    probe(object, true, RecordFormat::default(), &HeaderLocation::FirstRow, &Limits::default())
}

fn given(object: &[u8], names: &[&str]) -> Result<Probe, ProbeError> {
    let names = names.iter().map(ToString::to_string).collect();
    probe(object, true, RecordFormat::default(), &HeaderLocation::Given(names), &Limits::default())
}

fn problem(result: Result<Probe, ProbeError>) -> (HeaderProblem, u64, String) {
    match result {
        Err(ProbeError::Header { problem, offset, detail }) => (problem, offset, detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_names_the_columns_and_says_where_the_data_starts() {
    /// Object; names, range of the header, start of the data, line feeds before it.
    type Row<'a> = (&'a [u8], &'a [&'a str], (u64, u64), u64, u64);
    let cases: &[Row<'_>] = &[
        (b"a,b\n1,2\n", &["a", "b"], (0, 3), 4, 1),
        (b"a,b\r\n1,2\r\n", &["a", "b"], (0, 3), 5, 1),
        (b"a,b\r1,2\r", &["a", "b"], (0, 3), 4, 0),
        (b"a,b", &["a", "b"], (0, 3), 3, 0),
        (b"a,b\r", &["a", "b"], (0, 3), 4, 0),
        (b"\xef\xbb\xbfa,b\n", &["a", "b"], (3, 6), 7, 1),
        (b"\xef\xbb\xbf\xef\xbb\xbfa\n", &["\u{feff}a"], (3, 7), 8, 1),
        (b"\r\n\n\ra,b\n1", &["a", "b"], (4, 7), 8, 3),
        (b"a,\n1", &["a", ""], (0, 2), 3, 1),
        (b"   \n1", &["   "], (0, 3), 4, 1),
        (b"\"a\nb\",\"say \"\"c\"\"\"\n1", &["a\nb", "say \"c\""], (0, 17), 18, 2),
        (b"0,{},\"\"\nx", &["0", "{}", ""], (0, 7), 8, 1),
        (b"", &[], (0, 0), 0, 0),
        (b"\n\r\n", &[], (3, 3), 3, 2),
        (b"\xef\xbb\xbf", &[], (3, 3), 3, 0),
    ];
    for (object, names, range, data_start, newlines) in cases {
        let probe = first_row(object).unwrap();
        assert_eq!(probe.header.names, *names, "{object:?}");
        assert_eq!(probe.header.range, ByteRange::new(range.0, range.1), "{object:?}");
        assert_eq!((probe.data_start, probe.newlines_before_data), (*data_start, *newlines), "{object:?}");
    }
}

#[test]
fn given_names_leave_the_first_record_as_data() {
    let probe = given(b"\xef\xbb\xbf1,2\n", &["a", "b"]).unwrap();
    assert_eq!((probe.data_start, probe.header.range), (3, ByteRange::new(3, 3)));
    assert_eq!(given(b"1,2\n", &["a", "b"]).unwrap().data_start, 0);
    assert_eq!(given(b"", &["a"]).unwrap().data_start, 0);
}

#[test]
fn duplicate_names_are_refused_with_name_and_both_columns() {
    for result in [first_row(b"id,name,x,name\n"), given(b"", &["id", "name", "x", "name"])] {
        assert_eq!(result.clone().unwrap_err().to_string(), "CSV headers cannot contain duplicates.");
        let (problem, _, detail) = problem(result);
        let name = "name".to_owned();
        assert_eq!(problem, HeaderProblem::Duplicate { name, first_column: 2, second_column: 4 });
        assert_eq!(detail, "\"name\" is the name of column 2 and of column 4");
    }
    assert!(matches!(problem(first_row(b",,\n")).0, HeaderProblem::Duplicate { .. }));
}

#[test]
fn a_header_that_is_not_utf8_is_refused_at_its_first_bad_byte() {
    let (problem, offset, _) = problem(first_row(b"\xef\xbb\xbf\nab,\"c\xff\"\n1,2"));
    assert_eq!((problem, offset), (HeaderProblem::InvalidUtf8, 9));
    assert!(first_row(b"ab,c\n\xff").is_ok());
}

#[test]
fn a_header_that_is_too_long_is_refused_before_more_is_asked_for() {
    let limits = Limits { max_header_bytes: 8, ..Limits::default() };
    let probe = |head: &[u8], at_end| {
        probe(head, at_end, RecordFormat::default(), &HeaderLocation::FirstRow, &limits)
    };
    assert!(probe(b"abcdefgh\n", false).is_ok());
    assert_eq!(problem(probe(b"\nabcdefghi", false)).1, 1);
    assert_eq!(problem(probe(b"\"abcdefgh", false)).0, HeaderProblem::TooLong { limit: 8 });
    assert_eq!(problem(probe(b"\n\n\n\n\n\n\n\n\na\n", false)).0, HeaderProblem::TooLong { limit: 8 });
    assert_eq!(problem(probe(b"\n\n\n\n\n\n\n\n\n", false)).0, HeaderProblem::TooLong { limit: 8 });
}

#[test]
fn a_million_columns_are_refused() {
    let limits = Limits { max_header_bytes: 2 << 20, ..Limits::default() };
    let object = ",".repeat(1_000_000);
    let result = probe(object.as_bytes(), true, RecordFormat::default(), &HeaderLocation::FirstRow, &limits);
    assert_eq!(problem(result).0, HeaderProblem::TooManyColumns { limit: 65_536 });
    assert!(matches!(problem(first_row(object.as_bytes())).0, HeaderProblem::TooLong { .. }));
}

#[test]
fn a_quote_left_open_is_refused_unless_quotes_are_lenient() {
    assert_eq!(problem(first_row(b"a,\"b\n1,2")), {
        let detail = "the quote at byte 2 is not closed; close it, or set lenientQuotes".to_owned();
        (HeaderProblem::QuoteOpenAtEnd, 2, detail)
    });
    let lenient = Dialect { lenient_quotes: true, ..Dialect::default() };
    let probe =
        probe(b"a,\"b\n1", true, lenient.into(), &HeaderLocation::FirstRow, &Limits::default()).unwrap();
    assert_eq!(probe.header.names, ["a", "b\n1"]);
}

#[test]
fn more_is_asked_for_until_the_terminator_is_known() {
    let head = |head: &[u8]| {
        probe(head, false, RecordFormat::default(), &HeaderLocation::FirstRow, &Limits::default())
    };
    for incomplete in [&b""[..], b"\xef", b"\xef\xbb", b"a,b", b"a\r", b"\"a\n", b"\n\n"] {
        assert!(
            matches!(head(incomplete), Err(ProbeError::NeedMore { bytes }) if bytes > 3),
            "{incomplete:?}"
        );
    }
    assert_eq!(head(b"a\r\n").unwrap().data_start, 3);
    assert_eq!(head(b"a\rx").unwrap().data_start, 2);
}

#[test]
fn only_delimiters_that_a_spec_can_name_are_taken() {
    for delimiter in 0..=u8::MAX {
        let dialect = Dialect { delimiter, lenient_quotes: false };
        let result = probe(b"ab\n", true, dialect.into(), &HeaderLocation::FirstRow, &Limits::default());
        assert_eq!(result.is_ok(), b",|; \t".contains(&delimiter));
    }
}
