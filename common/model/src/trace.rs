//! A place in a trace, as W3C Trace Context and AWS X-Ray write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of a `traceparent` of version 00: `00-TRACE-SPAN-FLAGS`.
const LENGTH: usize = 55;

/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// A span that others continue: the header `traceparent` of W3C Trace Context, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A text that is no `traceparent`. It is to be passed over: a trace is no reason to refuse work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no traceparent: it is written 00-TRACE-SPAN-FLAGS, in lower-case hexadecimal digits, and no ID is 0"
)]
pub struct InvalidTraceParent;

impl TraceParent {
    /// A span of a trace; `None` if an ID is 0, which stands for none.
    pub fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span, flags: u8::from(sampled) })
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.trace
    }

    /// The span within it.
    pub fn span_id(&self) -> u64 {
        self.span
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace as hexadecimal digits, as logs name it.
    pub fn trace_id_text(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The same place as X-Ray writes it: `Root=1-…;Parent=…;Sampled=…`.
    pub fn to_x_ray(&self) -> String {
        let (trace, sampled) = (self.trace_id_text(), u8::from(self.is_sampled()));
        format!("Root=1-{}-{};Parent={:016x};Sampled={sampled}", &trace[..8], &trace[8..], self.span)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Takes later versions as well, of which it keeps what version 00 has, as the specification asks.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes = text.as_bytes();
        let (head, rest) = bytes.split_at_checked(LENGTH).ok_or(InvalidTraceParent)?;
        let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let well_formed = head.iter().enumerate().all(|(place, byte)| match place {
            2 | 35 | 52 => *byte == b'-',
            _ => digit(byte),
        });
        let ends_well = match &head[..2] {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !well_formed || !ends_well {
            return Err(InvalidTraceParent);
        }
        let trace = u128::from_str_radix(&text[3..35], 16).map_err(|_| InvalidTraceParent)?;
        let span = u64::from_str_radix(&text[36..52], 16).map_err(|_| InvalidTraceParent)?;
        let flags = u8::from_str_radix(&text[53..55], 16).map_err(|_| InvalidTraceParent)?;
        Self::new(trace, span, flags & SAMPLED != 0).ok_or(InvalidTraceParent)
    }
}

impl TryFrom<String> for TraceParent {
    type Error = InvalidTraceParent;

    fn try_from(text: String) -> Result<Self, InvalidTraceParent> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> String {
        parent.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_specifications_example_is_read_and_written() {
        let parent: TraceParent = TEXT.parse().unwrap();
        assert_eq!(parent.to_string(), TEXT);
        assert!(parent.is_sampled());
        assert_eq!(
            parent.to_x_ray(),
            "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"
        );
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let (upper, later) = (TEXT.to_uppercase(), format!("{TEXT}-x"));
        let zero_trace = format!("00-{:032x}-b7ad6b7169203331-01", 0);
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", 0);
        let texts =
            ["", "00", &TEXT[..54], &upper, &later, &zero_trace, &zero_span, &TEXT.replacen("00", "ff", 1)];
        for text in texts {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
        assert!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033é-01".parse::<TraceParent>().is_err());
    }

    #[test]
    fn a_later_version_is_taken_for_what_this_one_has() {
        let parent: TraceParent = format!("{}-more", TEXT.replacen("00", "01", 1)).parse().unwrap();
        assert_eq!(parent.to_string(), TEXT);
    }
}
