//! One value of an item, told apart by what it is.

use std::borrow::Cow;

use crate::json;

/// What an item holds under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field<'a> {
    /// There is no such column or member, or the record cannot be read.
    Missing,
    /// `null`, which only JSON has.
    Null,
    /// A text: every value of CSV, a string of JSON.
    Text(Cow<'a, str>),
    /// A number, `true`, `false`, an array or an object, as compact JSON: numbers keep their text.
    Json(Cow<'a, str>),
}

impl<'a> Field<'a> {
    /// The text, or the JSON; `None` for what is missing or null.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Missing | Self::Null => None,
            Self::Text(text) => Some(text),
            Self::Json(json) => Some(json),
        }
    }

    /// What compact JSON is as a field.
    pub fn of_json(json: Cow<'a, str>) -> Self {
        match (json.as_bytes().first().copied(), json) {
            (Some(b'"'), Cow::Borrowed(json)) => Self::Text(json::unescape(json)),
            (Some(b'"'), Cow::Owned(json)) => Self::Text(Cow::Owned(json::unescape(&json).into_owned())),
            (Some(b'n'), _) => Self::Null,
            (_, json) => Self::Json(json),
        }
    }
}
