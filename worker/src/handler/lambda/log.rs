//! What a runtime process prints: line by line to the worker's own log, its end kept for causes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::{info, warn};

use crate::handler::process::{Keep, Stream};

/// Where the lines go to, for filters.
const TARGET: &str = "warifu_worker::lambda";
/// Longer lines are cut into several.
const MAX_LINE_BYTES: usize = 4 << 10;
/// Bytes that are kept of what the process printed last.
const KEPT_BYTES: usize = 4 << 10;
/// Bytes of one invocation's lines that go to the worker's log: a function that prints without end must not fill it.
const MAX_LOGGED_BYTES: usize = 1 << 20;
/// Read at once.
const BUFFER_BYTES: usize = 16 << 10;

/// The log of one process.
pub(super) struct Log {
    handler: String,
    state: Mutex<State>,
}

struct State {
    /// The event that the process has, or had last; empty before the first one.
    request_id: String,
    logged_bytes: usize,
    left_out_bytes: usize,
    kept: Stream,
}

impl Log {
    /// The log of a process of `handler`.
    pub(super) fn new(handler: &str) -> Self {
        let state = State {
            request_id: String::new(),
            logged_bytes: 0,
            left_out_bytes: 0,
            kept: Stream::new(KEPT_BYTES, Keep::End),
        };
        Self { handler: handler.to_owned(), state: Mutex::new(state) }
    }

    /// What is printed from now on belongs to the event `request_id`.
    pub(super) fn begin(&self, request_id: &str) {
        let mut state = self.state();
        self.tell_left_out(&state);
        request_id.clone_into(&mut state.request_id);
        state.logged_bytes = 0;
        state.left_out_bytes = 0;
        state.kept.bytes.clear();
    }

    /// What was printed last for the current event.
    pub(super) fn last_lines(&self) -> String {
        String::from_utf8_lossy(&self.state().kept.bytes).into_owned()
    }

    /// Takes in a stream of the process to its end.
    pub(super) async fn pump(&self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut lines = Lines::default();
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            lines.take(&buffer[..count], |line| self.line(line));
        }
        lines.finish(|line| self.line(line));
        self.tell_left_out(&self.state());
    }

    fn line(&self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return;
        }
        let mut state = self.state();
        state.kept.take(line);
        state.kept.take(b"\n");
        if state.logged_bytes + line.len() > MAX_LOGGED_BYTES {
            state.left_out_bytes += line.len();
            return;
        }
        state.logged_bytes += line.len();
        let line = String::from_utf8_lossy(line);
        info!(target: TARGET, handler = self.handler, request_id = state.request_id, "{line}");
    }

    fn tell_left_out(&self, state: &State) {
        if state.left_out_bytes > 0 {
            let (request_id, bytes) = (&state.request_id, state.left_out_bytes);
            warn!(target: TARGET, handler = self.handler, request_id, bytes, "the function printed more, it is left out");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Lines {
    /// A line that has not ended yet; less than [`MAX_LINE_BYTES`].
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], &mut each);
            each(&std::mem::take(&mut self.begun));
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, &mut each);
    }

    fn extend(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while self.begun.len() + bytes.len() >= MAX_LINE_BYTES {
            let (now, later) = bytes.split_at(MAX_LINE_BYTES - self.begun.len());
            self.begun.extend_from_slice(now);
            each(&std::mem::take(&mut self.begun));
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }

    fn finish(self, mut each: impl FnMut(&[u8])) {
        each(&self.begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_at_line_feeds_wherever_it_was_read() {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in ["a\nb", "c", "\n\nd\n", "e"] {
            lines.take(piece.as_bytes(), |line| found.push(String::from_utf8_lossy(line).into_owned()));
        }
        lines.finish(|line| found.push(String::from_utf8_lossy(line).into_owned()));
        assert_eq!(found, ["a", "bc", "", "d", "e"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut lengths = Vec::new();
        let mut lines = Lines::default();
        for _ in 0..10 {
            lines.take(&[b'x'; 1000], |line| lengths.push(line.len()));
        }
        lines.finish(|line| lengths.push(line.len()));
        assert_eq!(lengths, [4096, 4096, 10_000 - 2 * 4096]);
    }

    #[tokio::test]
    async fn only_the_end_is_kept_and_only_of_the_current_event() {
        let log = Log::new("f");
        log.pump(Some(&b"before\n"[..])).await;
        log.begin("r-1");
        assert_eq!(log.last_lines(), "");
        let much = "0123456789abcde\n".repeat(1 << 17);
        log.pump(Some(much.as_bytes())).await;
        assert_eq!(log.last_lines().len(), KEPT_BYTES);
        let state = log.state();
        assert_eq!(state.logged_bytes + state.left_out_bytes, 15 << 17);
        assert!(state.logged_bytes <= MAX_LOGGED_BYTES);
    }
}
