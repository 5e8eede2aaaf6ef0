//! Templates ready to be filled: JSON objects with holes, parsed once and written many times.
//!
//! Whatever is the same throughout a run stands in a shape as JSON text already, so filling one copies texts and writes what
//! the holes stand for. Numbers keep the text that they have in the data.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::item::Item;
use crate::item_field::Field;
use crate::json;
use crate::json_path::JsonPath;

/// What a number that is not known when batches are cut is measured as: the digits of the largest one.
pub const MEASURED_DIGITS: u64 = 20;

/// What a redrive's number is measured as: the digits of the largest one. Batches of all redrives are cut alike.
const REDRIVE_DIGITS: u64 = 10;

/// A JSON object whose entries hold holes of the kind `H`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape<H> {
    fields: Vec<ShapedField<H>>,
}

/// One entry of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapedField<H> {
    name: String,
    /// As it stands in the JSON: `"name":`.
    key: Vec<u8>,
    parts: Vec<Part<H>>,
}

/// A piece of an entry's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part<H> {
    /// The same in the whole run.
    Text(String),
    /// How often the run was redriven.
    Redrives(u32),
    /// Something that is known when the shape is filled.
    Hole(H),
}

/// What `itemSelector` can take of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemHole {
    /// Its index over the whole data set.
    Index,
    /// A value of it, or all of it.
    Value(JsonPath),
    /// The object that it comes from, where each item has its own.
    Source,
}

/// `itemSelector`.
pub type ItemShape = Shape<ItemHole>;

impl<H> Shape<H> {
    /// A shape with these entries, in their order.
    pub fn new(fields: impl IntoIterator<Item = (String, Vec<Part<H>>)>) -> Self {
        let fields = fields.into_iter().map(|(name, parts)| {
            let mut key = Vec::with_capacity(name.len() + 3);
            json::write_string(&name, &mut key);
            key.push(b':');
            ShapedField { name, key, parts: joined(parts) }
        });
        Self { fields: fields.collect() }
    }

    /// The bytes of its JSON without what its holes stand for.
    pub fn constant_bytes(&self) -> u64 {
        let commas = self.fields.len().saturating_sub(1) as u64;
        2 + commas + self.fields.iter().map(ShapedField::constant_bytes).sum::<u64>()
    }

    /// Its entries.
    pub fn fields(&self) -> &[ShapedField<H>] {
        &self.fields
    }

    /// Its holes, in the order in which they are written.
    pub fn holes(&self) -> impl Iterator<Item = &H> {
        self.fields.iter().flat_map(|field| &field.parts).filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) | Part::Redrives(_) => None,
        })
    }

    /// Appends its JSON; `fill` appends what a hole stands for.
    pub fn write(&self, out: &mut Vec<u8>, mut fill: impl FnMut(&H, &mut Vec<u8>)) {
        out.push(b'{');
        for (place, field) in self.fields.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&field.key);
            field.write(out, &mut fill);
        }
        out.push(b'}');
    }
}

impl<H> ShapedField<H> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends the JSON of its value.
    pub fn write(&self, out: &mut Vec<u8>, mut fill: impl FnMut(&H, &mut Vec<u8>)) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Redrives(count) => out.extend_from_slice(count.to_string().as_bytes()),
                Part::Hole(hole) => fill(hole, out),
            }
        }
    }

    fn constant_bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.len() as u64,
            Part::Redrives(_) => REDRIVE_DIGITS,
            Part::Hole(_) => 0,
        });
        self.key.len() as u64 + parts.sum::<u64>()
    }
}

impl ItemShape {
    /// The first path that names nothing in `item`: such an item has no shape.
    pub fn unmatched(&self, item: &Item) -> Option<&JsonPath> {
        self.holes().find_map(|hole| match hole {
            ItemHole::Value(path) if !item.has(path) => Some(path),
            ItemHole::Value(_) | ItemHole::Index | ItemHole::Source => None,
        })
    }

    /// The bytes of the JSON of `item` in this shape, numbers that are not known when batches are cut as their largest.
    pub fn item_bytes(&self, item: &Item) -> u64 {
        let holes = self.holes().map(|hole| match hole {
            ItemHole::Index => MEASURED_DIGITS,
            ItemHole::Value(path) => item.json_bytes_at(path),
            ItemHole::Source => source_of(item).len() as u64,
        });
        self.constant_bytes().saturating_add(holes.fold(0, u64::saturating_add))
    }

    /// Appends the JSON of `item`, the `index`th of the data set, in this shape. A path that names nothing gives `null`.
    pub fn write_item(&self, index: u64, item: &Item, out: &mut Vec<u8>) {
        self.write(out, |hole, out| fill(hole, index, item, out));
    }

    /// What the entry `name` holds.
    pub fn field<'a>(&self, name: &str, index: u64, item: &'a Item) -> Field<'a> {
        let field = self.fields.iter().find(|field| field.name == name);
        field.map_or(Field::Missing, |field| field.value(index, item))
    }
}

impl ShapedField<ItemHole> {
    /// What it holds. A path that names nothing gives `null`.
    pub fn value<'a>(&self, index: u64, item: &'a Item) -> Field<'a> {
        if let [Part::Hole(ItemHole::Value(path))] = &self.parts[..] {
            return match item.field_at(path) {
                Field::Missing => Field::Null,
                found => found,
            };
        }
        let mut json = Vec::new();
        self.write(&mut json, |hole, out| fill(hole, index, item, out));
        Field::of_json(Cow::Owned(String::from_utf8(json).expect("shapes and items are text")))
    }
}

fn fill(hole: &ItemHole, index: u64, item: &Item, out: &mut Vec<u8>) {
    match hole {
        ItemHole::Index => out.extend_from_slice(index.to_string().as_bytes()),
        ItemHole::Value(path) => {
            if !item.write_json_at(path, out) {
                out.extend_from_slice(b"null");
            }
        }
        ItemHole::Source => out.extend_from_slice(source_of(item).as_bytes()),
    }
}

/// The object that an item comes from, as JSON.
fn source_of(item: &Item) -> &str {
    match item.source_json() {
        "" => "null",
        source => source,
    }
}

/// The same parts, with texts that follow each other as one.
fn joined<H>(parts: Vec<Part<H>>) -> Vec<Part<H>> {
    let mut joined: Vec<Part<H>> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
            (_, part) => joined.push(part),
        }
    }
    joined
}
