//! Texts of items as values of columns, converted strictly: what a database would refuse fails the item.

use serde::de::IgnoredAny;
use warifu_common::config::handlers::SqlType;
use warifu_common::model::CallFailure;

use super::datetime::TimeRule;

/// A value as it is bound.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SqlValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl SqlValue {
    /// A text that is equal for equal values, to put rows in an order.
    pub(super) fn sort_key(&self) -> String {
        match self {
            Self::Null => String::new(),
            // Numbers of one length sort by their digits.
            Self::Integer(value) => format!("{:020}", value.abs_diff(i64::MIN)),
            Self::Real(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// A failure under a SQLSTATE. Classes 22 and 23 are the data's fault, all others are not.
pub(super) fn sql_failure(sqlstate: &str, cause: impl Into<String>) -> CallFailure {
    let error = format!("Sql.{sqlstate}");
    if sqlstate.starts_with("22") || sqlstate.starts_with("23") {
        CallFailure::business(error, cause)
    } else {
        CallFailure::system(error, cause)
    }
}

/// Why a text is no value of its column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// 22P02
    Syntax,
    /// 22003
    OutOfRange,
    /// 22007
    DateTimeSyntax,
    /// 22008
    DateTimeOutOfRange,
    /// 22021
    NulByte,
}

impl Mismatch {
    /// The item's failure, in PostgreSQL's words.
    pub(super) fn into_failure(self, column: &str, column_type: SqlType, text: &str) -> CallFailure {
        let name = type_name(column_type);
        let (sqlstate, what) = match self {
            Mismatch::Syntax => ("22P02", format!("invalid input syntax for type {name}: {text:?}")),
            Mismatch::OutOfRange => ("22003", format!("value {text:?} is out of range for type {name}")),
            Mismatch::DateTimeSyntax => ("22007", format!("invalid input syntax for type {name}: {text:?}")),
            Mismatch::NulByte => ("22021", "invalid byte sequence for encoding \"UTF8\": 0x00".to_owned()),
            Mismatch::DateTimeOutOfRange => {
                ("22008", format!("date/time field value out of range: {text:?}"))
            }
        };
        sql_failure(sqlstate, format!("column {column:?}: {what}"))
    }
}

fn type_name(column_type: SqlType) -> &'static str {
    match column_type {
        SqlType::Text => "text",
        SqlType::Int2 => "smallint",
        SqlType::Int4 => "integer",
        SqlType::Int8 => "bigint",
        SqlType::Numeric => "numeric",
        SqlType::Float8 => "double precision",
        SqlType::Bool => "boolean",
        SqlType::Date => "date",
        SqlType::Time => "time",
        SqlType::Timestamp => "timestamp",
        SqlType::Timestamptz => "timestamp with time zone",
        SqlType::Uuid => "uuid",
        SqlType::Json => "json",
        SqlType::Bytea => "bytea",
    }
}

/// Converts `text`, which is trimmed already unless the type is text.
pub(super) fn convert(column_type: SqlType, times: &TimeRule, text: &str) -> Result<SqlValue, Mismatch> {
    match column_type {
        SqlType::Text => Ok(SqlValue::Text(text.to_owned())),
        SqlType::Int2 => integer(text, i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => integer(text, i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::Int8 => integer(text, i64::MIN, i64::MAX),
        SqlType::Numeric => numeric(text),
        SqlType::Float8 => float(text),
        SqlType::Bool => boolean(text),
        SqlType::Date => times.date(text).map(SqlValue::Text),
        SqlType::Time => times.time(text).map(SqlValue::Text),
        SqlType::Timestamp => times.timestamp(text).map(SqlValue::Text),
        SqlType::Timestamptz => times.timestamptz(text).map(SqlValue::Text),
        SqlType::Uuid => uuid(text),
        SqlType::Json => json(text),
        SqlType::Bytea => bytes(text),
    }
}

fn integer(text: &str, least: i64, greatest: i64) -> Result<SqlValue, Mismatch> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !is_digits(digits) {
        return Err(Mismatch::Syntax);
    }
    let value: i64 = text.parse().map_err(|_| Mismatch::OutOfRange)?;
    if (least..=greatest).contains(&value) { Ok(SqlValue::Integer(value)) } else { Err(Mismatch::OutOfRange) }
}

/// Kept as text: the column's affinity turns it into a number without loss where it can.
fn numeric(text: &str) -> Result<SqlValue, Mismatch> {
    if is_decimal(text) { Ok(SqlValue::Text(text.to_owned())) } else { Err(Mismatch::Syntax) }
}

fn float(text: &str) -> Result<SqlValue, Mismatch> {
    if !is_decimal(text) {
        return Err(Mismatch::Syntax);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(SqlValue::Real(value)),
        Ok(_) => Err(Mismatch::OutOfRange),
        Err(_) => Err(Mismatch::Syntax),
    }
}

fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_digits = exponent.map(|exponent| exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    has_digits
        && is_digits(whole)
        && is_digits(fraction)
        && exponent_digits.is_none_or(|digits| !digits.is_empty() && is_digits(digits))
}

pub(super) fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn boolean(text: &str) -> Result<SqlValue, Mismatch> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(text.as_str());
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        Ok(SqlValue::Integer(1))
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" {
        Ok(SqlValue::Integer(0))
    } else {
        Err(Mismatch::Syntax)
    }
}

fn uuid(text: &str) -> Result<SqlValue, Mismatch> {
    let groups = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let hex = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    if groups && hex { Ok(SqlValue::Text(text.to_ascii_lowercase())) } else { Err(Mismatch::Syntax) }
}

fn json(text: &str) -> Result<SqlValue, Mismatch> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| Mismatch::Syntax)?;
    Ok(SqlValue::Text(text.to_owned()))
}

/// `\x` and hexadecimal digits, or the text's own bytes.
fn bytes(text: &str) -> Result<SqlValue, Mismatch> {
    let Some(hex) = text.strip_prefix(r"\x") else {
        return Ok(SqlValue::Blob(text.as_bytes().to_vec()));
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.filter(|_| rest.is_empty()).map(SqlValue::Blob).ok_or(Mismatch::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(column_type: SqlType, text: &str) -> String {
        match convert(column_type, &TimeRule::default(), text) {
            Ok(SqlValue::Null) => "NULL".to_owned(),
            Ok(SqlValue::Integer(value)) => value.to_string(),
            Ok(SqlValue::Real(value)) => format!("{value:?}"),
            Ok(SqlValue::Text(value)) => format!("'{value}'"),
            Ok(SqlValue::Blob(value)) => format!("{value:02x?}"),
            Err(mismatch) => mismatch.into_failure("c", column_type, text).error,
        }
    }

    #[test]
    fn texts_become_values_or_a_failure_under_the_databases_own_code() {
        use SqlType::*;
        let table = [
            (Int2, "32767", "32767"),
            (Int2, "32768", "Sql.22003"),
            (Int4, "-2147483648", "-2147483648"),
            (Int8, "+12", "12"),
            (Int8, "9223372036854775808", "Sql.22003"),
            (Int8, "1.0", "Sql.22P02"),
            (Int8, "1_000", "Sql.22P02"),
            (Int8, "", "Sql.22P02"),
            (Int8, "-", "Sql.22P02"),
            (Int8, "１", "Sql.22P02"),
            (Numeric, "12345678901234567890.10", "'12345678901234567890.10'"),
            (Numeric, ".5e-3", "'.5e-3'"),
            (Numeric, "1e", "Sql.22P02"),
            (Numeric, ".", "Sql.22P02"),
            (Numeric, "NaN", "Sql.22P02"),
            (Float8, "1.5", "1.5"),
            (Float8, "1e999", "Sql.22003"),
            (Float8, "inf", "Sql.22P02"),
            (Bool, "T", "1"),
            (Bool, "Yes", "1"),
            (Bool, "off", "0"),
            (Bool, "o", "Sql.22P02"),
            (Bool, "2", "Sql.22P02"),
            (Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
            (Uuid, "a0eebc99", "Sql.22P02"),
            (Json, "{\"a\": 1}", "'{\"a\": 1}'"),
            (Json, "{", "Sql.22P02"),
            (Bytea, "\\x00fF", "[00, ff]"),
            (Bytea, "\\x0", "Sql.22P02"),
            (Bytea, "ab", "[61, 62]"),
            (Date, "2024-02-29", "'2024-02-29'"),
            (Date, "2023-02-29", "Sql.22008"),
            (Date, "29.2.2024", "Sql.22007"),
            (Time, "23:59", "'23:59:00'"),
            (Time, "24:00", "Sql.22008"),
            (Timestamp, "2024-01-02T03:04:05.5", "'2024-01-02 03:04:05.5'"),
            (Timestamp, "2024-01-02", "'2024-01-02 00:00:00'"),
            (Timestamp, "2024-01-02 03:04:05Z", "Sql.22007"),
            (Timestamptz, "2024-01-01 00:30:00+09:00", "'2023-12-31 15:30:00+00:00'"),
            (Timestamptz, "2024-01-01T00:30:00Z", "'2024-01-01 00:30:00+00:00'"),
            (Timestamptz, "2024-12-31 23:30:00-01", "'2025-01-01 00:30:00+00:00'"),
            (Text, " a ", "' a '"),
        ];
        for (column_type, text, expected) in table {
            assert_eq!(shown(column_type, text), expected, "{column_type:?} {text:?}");
        }
    }
}
