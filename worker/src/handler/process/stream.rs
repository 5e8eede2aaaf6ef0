//! A program's stream, read to its end and kept in part.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Which part of a stream is kept.
#[derive(PartialEq)]
pub(in crate::handler) enum Keep {
    /// Its first bytes.
    Start,
    /// Its last bytes.
    End,
}

/// A stream of a program's, read to its end, kept in part.
pub(in crate::handler) struct Stream {
    /// What is kept.
    pub(in crate::handler) bytes: Vec<u8>,
    /// Whether there was more than is kept of its start.
    pub(in crate::handler) overflowed: bool,
    max_bytes: usize,
    keep: Keep,
}

impl Stream {
    /// Keeps at most `max_bytes`.
    pub(in crate::handler) fn new(max_bytes: usize, keep: Keep) -> Self {
        Self { bytes: Vec::new(), max_bytes, keep, overflowed: false }
    }

    /// Reads `pipe` to its end.
    pub(in crate::handler) async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            self.take(&buffer[..count]);
        }
    }

    /// Takes in what was read elsewhere.
    pub(in crate::handler) fn take(&mut self, bytes: &[u8]) {
        match self.keep {
            Keep::Start => {
                let room = self.max_bytes - self.bytes.len();
                self.overflowed |= bytes.len() > room;
                self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Keep::End => {
                self.bytes.extend_from_slice(bytes);
                let excess = self.bytes.len().saturating_sub(self.max_bytes);
                self.bytes.drain(..excess);
            }
        }
    }
}
