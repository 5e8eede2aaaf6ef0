//! An item's fields as a type of the author's: texts are read as what the type wants, and never guessed. An item that is
//! JSON has types of its own.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::handler::CallItem;

/// Reads an item. The error names the field.
pub(super) fn read_item<T: DeserializeOwned>(item: CallItem<'_>) -> Result<T, FieldError> {
    match item.json() {
        Some(json) => serde_json::from_str(&json).map_err(de::Error::custom),
        None => T::deserialize(Fields { rest: item.fields(), next: None }),
    }
}

/// What is wrong with an item.
#[derive(Debug, PartialEq)]
pub(super) struct FieldError {
    field: Option<String>,
    message: String,
}

impl FieldError {
    /// The error of a field that is not known yet.
    fn of_text(message: String) -> Self {
        Self { field: None, message }
    }

    fn in_field(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "the field `{field}`: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for FieldError {}

impl de::Error for FieldError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::of_text(message.to_string())
    }
}

/// All fields, as a map or a structure.
struct Fields<'de, I> {
    rest: I,
    /// The field whose name was given last.
    next: Option<(&'de str, Cow<'de, str>)>,
}

impl<'de, I: Iterator<Item = (&'de str, Cow<'de, str>)>> Deserializer<'de> for Fields<'de, I> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_map(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, I: Iterator<Item = (&'de str, Cow<'de, str>)>> MapAccess<'de> for Fields<'de, I> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        self.next = self.rest.next();
        let name = self.next.as_ref().map(|(name, _)| seed.deserialize(BorrowedStrDeserializer::new(name)));
        name.transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let (name, text) =
            self.next.take().ok_or_else(|| FieldError::of_text("no field is left".to_owned()))?;
        seed.deserialize(Text(text)).map_err(|error| error.in_field(name))
    }
}

/// The text of one field.
struct Text<'de>(Cow<'de, str>);

impl Text<'_> {
    fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Result<T, FieldError> {
        let what = std::any::type_name::<T>();
        let parsed = self.0.trim().parse();
        parsed.map_err(|error| FieldError::of_text(format!("{:?} is no {what}: {error}", self.0)))
    }
}

/// Methods that parse the text.
macro_rules! parsed {
    ($($method:ident $visit:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
                visitor.$visit(self.parse()?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    parsed! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8
        deserialize_i16 visit_i16
        deserialize_i32 visit_i32
        deserialize_i64 visit_i64
        deserialize_i128 visit_i128
        deserialize_u8 visit_u8
        deserialize_u16 visit_u16
        deserialize_u32 visit_u32
        deserialize_u64 visit_u64
        deserialize_u128 visit_u128
        deserialize_f32 visit_f32
        deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        serde_json::Deserializer::from_reader(self.0.as_bytes())
            .deserialize_seq(visitor)
            .map_err(de::Error::custom)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, FieldError> {
        serde_json::Deserializer::from_reader(self.0.as_bytes())
            .deserialize_tuple(len, visitor)
            .map_err(de::Error::custom)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        serde_json::Deserializer::from_reader(self.0.as_bytes())
            .deserialize_map(visitor)
            .map_err(de::Error::custom)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let mut json = serde_json::Deserializer::from_reader(self.0.as_bytes());
        json.deserialize_struct(name, fields, visitor).map_err(de::Error::custom)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::testing::call_of;

    fn read<T: DeserializeOwned>(csv: &str) -> Result<T, String> {
        read_item(call_of(csv).item(0)).map_err(|error| error.to_string())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Id(u64);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        id: Id,
        text: String,
        number: Option<f64>,
        flag: bool,
        colour: Colour,
        letter: char,
        #[serde(default)]
        missing: u8,
    }

    const HEADER: &str = "id,text,number,flag,colour,letter,more\n";

    #[test]
    fn texts_are_read_as_what_the_type_wants() {
        let row = read::<Row>(&format!("{HEADER} 7 , 007,1.50,true,red,あ,x\n")).unwrap();
        let expected = Row {
            id: Id(7),
            text: " 007".to_owned(),
            number: Some(1.5),
            flag: true,
            colour: Colour::Red,
            letter: 'あ',
            missing: 0,
        };
        assert_eq!(row, expected);
        assert_eq!(read::<Row>(&format!("{HEADER}7,,,false,red,a,\n")).unwrap().number, None);
    }

    #[test]
    fn maps_get_texts_which_are_never_guessed() {
        let map: BTreeMap<String, String> = read("a,b\n007,\n").unwrap();
        assert_eq!(map, [("a", "007"), ("b", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let value: serde_json::Value = read("a,b\n007,true\n").unwrap();
        assert_eq!(value.to_string(), r#"{"a":"007","b":"true"}"#);
        assert_eq!(read::<()>("a\n1\n"), Ok(()));
    }

    #[test]
    fn errors_name_the_field_and_what_is_wrong_with_it() {
        let table = [
            ("7.0,,,true,red,a,", "the field `id`: \"7.0\" is no u64: invalid digit found in string"),
            ("7,,x,true,red,a,", "the field `number`: \"x\" is no f64: invalid float literal"),
            (
                "7,,,yes,red,a,",
                "the field `flag`: \"yes\" is no bool: provided string was not `true` or `false`",
            ),
            ("7,,,true,blue,a,", "the field `colour`: unknown variant `blue`, expected `red`"),
            ("7,,,true,red,ab,", "the field `letter`: invalid value: string \"ab\", expected a character"),
        ];
        for (line, expected) in table {
            assert_eq!(read::<Row>(&format!("{HEADER}{line}\n")).unwrap_err(), expected);
        }
        assert_eq!(read::<Row>("id\n7\n").unwrap_err(), "missing field `text`");
    }
}
