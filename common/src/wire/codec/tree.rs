//! YAML 1.2 text, and so JSON text, as a tree that still knows how each scalar was written.
//!
//! Scalars follow the core schema, but what could be meant in two ways stays [`Scalar::Odd`]: whoever wants a value from
//! it can say what to write instead. Keys may stand twice here; the decoder knows their path and refuses them there.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::wire::InvalidRequest;

/// Longest text that is parsed: a specification takes 256 KiB at most, and comments must fit too.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Deepest nesting. Each level of a free-form object costs three levels of protobuf, whose decoders stop at 100.
pub const MAX_DEPTH: usize = 24;

/// Most nodes, those that aliases repeat included: a few aliases could stand for billions.
const MAX_NODES: usize = 200_000;

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) content: Content,
    /// From 1; 0 for what stands in no text.
    pub(crate) line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One `key: value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) value: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    /// Decimal digits, perhaps after a sign.
    Integer(String),
    /// A number with a fraction or an exponent, as written, and its value.
    Float(String, f64),
    Text(String),
    /// Not quoted, and a number to some readers only: `0x10`, `007`, `.inf`.
    Odd(String),
}

impl Node {
    /// A mapping without entries.
    pub(crate) fn empty_mapping() -> Self {
        Self { content: Content::Mapping(Vec::new()), line: 0 }
    }

    /// A text that stands in no file.
    pub(crate) fn text(text: &str) -> Self {
        Self { content: Content::Scalar(Scalar::Text(text.to_owned())), line: 0 }
    }

    /// True for `null` and for nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        self.content == Content::Scalar(Scalar::Null)
    }

    /// The entries, if it is a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Mapping(entries) => Some(entries),
            Content::Scalar(_) | Content::Sequence(_) => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.content {
            Content::Scalar(Scalar::Null) => "null".to_owned(),
            Content::Scalar(Scalar::Bool(value)) => format!("the boolean {value}"),
            Content::Scalar(Scalar::Integer(text) | Scalar::Float(text, _)) => format!("the number {text}"),
            Content::Scalar(Scalar::Text(text)) => {
                format!("the string {}", crate::wire::violation::quoted(text))
            }
            Content::Scalar(Scalar::Odd(text)) => format!("`{text}`"),
            Content::Sequence(_) => "a list".to_owned(),
            Content::Mapping(_) => "an object".to_owned(),
        }
    }
}

/// Parses one YAML or JSON document.
pub(crate) fn parse(text: &str) -> Result<Node, InvalidRequest> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text takes {} bytes; at most {MAX_TEXT_BYTES} are read", text.len());
        return Err(InvalidRequest::one("", message));
    }
    let mut builder =
        Builder { events: Parser::new_from_str(text), anchors: BTreeMap::new(), node_count: 0, line: 1 };
    builder.document()
}

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Anchored>,
    node_count: usize,
    line: usize,
}

/// A node that aliases may repeat.
#[derive(Clone)]
struct Anchored {
    node: Node,
    /// Nodes in it, itself included.
    size: usize,
    /// Levels below it.
    height: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, InvalidRequest> {
        let mut root = None;
        while let Some(event) = self.next_event()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(self.error("a second document begins; only one is read"));
                }
                Event::DocumentStart(..) => {
                    let event = self.expect_event()?;
                    root = Some(self.node(event, 0)?);
                }
                _ => return Err(self.error("this is no document")),
            }
        }
        root.filter(|root| !root.is_null()).ok_or_else(|| InvalidRequest::one("", "the text is empty"))
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, InvalidRequest> {
        self.count_nodes(1)?;
        self.check_depth(depth)?;
        let (line, before) = (self.line, self.node_count);
        let (content, anchor, tag) = match event {
            Event::Alias(anchor) => return self.aliased(anchor, depth),
            Event::Scalar(text, style, anchor, tag) => {
                (Content::Scalar(scalar(&text, style)), anchor, tag.is_some())
            }
            Event::SequenceStart(_, anchor, tag) => (self.sequence(depth)?, anchor, tag.is_some()),
            Event::MappingStart(_, anchor, tag) => (self.mapping(depth)?, anchor, tag.is_some()),
            _ => return Err(self.error("a value is missing")),
        };
        if tag {
            return Err(self.error("tags (`!…`) are not read; quote what is a string"));
        }
        let node = Node { content, line };
        if anchor != 0 {
            let (size, height) = (self.node_count - before + 1, height(&node));
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, height });
        }
        Ok(node)
    }

    fn aliased(&mut self, anchor: usize, depth: usize) -> Result<Node, InvalidRequest> {
        let known = self.anchors.get(&anchor).cloned();
        let anchored = known.ok_or_else(|| self.error("an alias stands within its own anchor"))?;
        self.count_nodes(anchored.size)?;
        self.check_depth(depth + anchored.height)?;
        Ok(anchored.node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Content, InvalidRequest> {
        let mut nodes = Vec::new();
        loop {
            match self.expect_event()? {
                Event::SequenceEnd => return Ok(Content::Sequence(nodes)),
                event => nodes.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Content, InvalidRequest> {
        let mut entries = Vec::new();
        loop {
            let key = match self.expect_event()? {
                Event::MappingEnd => return Ok(Content::Mapping(entries)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(self.error("a key must be a plain or quoted text")),
            };
            let line = self.line;
            let event = self.expect_event()?;
            entries.push(Entry { key, line, value: self.node(event, depth + 1)? });
        }
    }

    fn next_event(&mut self) -> Result<Option<Event<'a>>, InvalidRequest> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.line = line_of(&span);
                Ok(Some(event))
            }
            Some(Err(error)) => Err(syntax_error(&error)),
        }
    }

    fn expect_event(&mut self) -> Result<Event<'a>, InvalidRequest> {
        self.next_event()?.ok_or_else(|| self.error("the text ends in the middle of a value"))
    }

    fn count_nodes(&mut self, count: usize) -> Result<(), InvalidRequest> {
        self.node_count = self.node_count.saturating_add(count);
        if self.node_count > MAX_NODES {
            return Err(self.error(&format!("the text holds more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), InvalidRequest> {
        if depth > MAX_DEPTH {
            return Err(self.error(&format!("values are nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn error(&self, message: &str) -> InvalidRequest {
        InvalidRequest::one("", format!("line {}: {message}", self.line))
    }
}

fn height(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 0,
        Content::Sequence(nodes) => nodes.iter().map(|node| height(node) + 1).max().unwrap_or(0),
        Content::Mapping(entries) => entries.iter().map(|entry| height(&entry.value) + 1).max().unwrap_or(0),
    }
}

fn line_of(span: &Span) -> usize {
    span.start.line()
}

fn syntax_error(error: &ScanError) -> InvalidRequest {
    let marker = error.marker();
    let place = format!("line {}, column {}", marker.line(), marker.col() + 1);
    InvalidRequest::one("", format!("{place}: {}", error.info()))
}

/// The core schema (YAML 1.2.2, section 10.3.2), without its hexadecimal and octal numbers.
fn scalar(text: &str, style: ScalarStyle) -> Scalar {
    if style != ScalarStyle::Plain {
        return Scalar::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ => number(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = *unsigned.as_bytes().first()?;
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Some(Scalar::Odd(text.to_owned()));
    }
    if !(first.is_ascii_digit() || (first == b'.' && unsigned[1..].starts_with(|c: char| c.is_ascii_digit())))
    {
        return None;
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let plain = (unsigned.len() == 1 || first != b'0') && !text.starts_with('+');
        return Some(if plain { Scalar::Integer(text.to_owned()) } else { Scalar::Odd(text.to_owned()) });
    }
    if is_radix_number(unsigned) {
        return Some(Scalar::Odd(text.to_owned()));
    }
    let float = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value = text.parse::<f64>().ok().filter(|_| float)?;
    Some(if value.is_finite() { Scalar::Float(text.to_owned(), value) } else { Scalar::Odd(text.to_owned()) })
}

fn is_radix_number(text: &str) -> bool {
    let digits = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)))
    };
    digits("0x", 16) || digits("0o", 8) || digits("0b", 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        scalar(text, ScalarStyle::Plain)
    }

    #[test]
    fn scalars_follow_the_core_schema_and_doubtful_ones_stay_as_written() {
        assert_eq!(plain("~"), Scalar::Null);
        assert_eq!(plain("no"), Scalar::Text("no".to_owned()));
        assert_eq!(plain("True"), Scalar::Bool(true));
        assert_eq!(plain("-12"), Scalar::Integer("-12".to_owned()));
        assert_eq!(plain("1e3"), Scalar::Float("1e3".to_owned(), 1000.0));
        assert_eq!(plain(".5"), Scalar::Float(".5".to_owned(), 0.5));
        for odd in ["0x10", "0o17", "007", "+5", ".inf", "-.INF", ".nan", "1e999"] {
            assert_eq!(plain(odd), Scalar::Odd(odd.to_owned()), "{odd}");
        }
        for text in ["1.2.3", "2025-01-01", "10:30", "1_000", "-", ".", "e3", "run-1", "5%"] {
            assert_eq!(plain(text), Scalar::Text(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn json_is_read_as_written() {
        let node = parse("{\"a\": [1, \"\\ud83d\\ude00\\u0041\", null, true],\n\t\"b\":{}}").unwrap();
        let entries = node.entries().unwrap();
        let Content::Sequence(values) = &entries[0].value.content else { panic!("{entries:?}") };
        assert_eq!(values[1].content, Content::Scalar(Scalar::Text("😀A".to_owned())));
        assert_eq!(entries[1].line, 2);
    }

    #[test]
    fn bombs_and_depths_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().to_string().contains("more than 200000 values"));
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&deep).unwrap_err().to_string().contains("nested more than 24"));
        let chain: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{}]\n", i - 1)).collect();
        assert!(
            parse(&format!("a0: &a0 x\n{chain}")).unwrap_err().to_string().contains("nested more than 24")
        );
        assert!(parse(&"#".repeat(MAX_TEXT_BYTES + 1)).is_err());
    }

    #[test]
    fn what_is_no_single_document_is_refused_with_its_line() {
        for (text, expected) in [
            ("", "empty"),
            ("# nothing\n", "empty"),
            ("a: 1\n---\nb: 2\n", "line 2: a second document"),
            ("a: !!str 5\n", "line 1: tags"),
            ("a: [1\nb: 2\n", "line 2"),
            ("? [a]\n: 1\n", "line 1: a key"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
