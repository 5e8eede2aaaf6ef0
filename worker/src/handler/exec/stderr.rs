//! Standard error of a program that is kept running: line by line into the worker's log, its end kept for failures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::process::KEPT_STDERR_BYTES;
use crate::handler::process::LEFTOVER_PATIENCE;

/// The most bytes of a line that are logged.
const MAX_LINE_BYTES: usize = 4 << 10;

/// Lines of one process that are logged in each [`LINE_WINDOW`]: a program that logs each item must not fill the disk.
const LINES_PER_WINDOW: u32 = 100;

/// What [`LINES_PER_WINDOW`] counts over.
const LINE_WINDOW: Duration = Duration::from_secs(1);

/// Reads the standard error of one process in a task that ends with it, or when this value goes.
pub(super) struct Stderr {
    last_bytes: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Stderr {
    /// Reads `pipe`, the standard error of process `pid` of `program`.
    pub(super) fn read(pipe: impl AsyncRead + Unpin + Send + 'static, program: String, pid: u32) -> Self {
        let last_bytes = Arc::new(Mutex::new(Vec::new()));
        let log = Log { program, pid, line: Vec::new(), cut: false, window: Window::new(Instant::now()) };
        let reading = tokio::spawn(read_all(pipe, Arc::clone(&last_bytes), log));
        Self { last_bytes, reading }
    }

    /// Forgets what was written: it belongs to a call that has ended.
    pub(super) fn forget(&self) {
        lock(&self.last_bytes).clear();
    }

    /// The last of what was written since [`forget`](Self::forget), by a program that has ended.
    pub(super) async fn into_last_bytes(mut self) -> Vec<u8> {
        // What it left running may hold the stream open.
        let _ = timeout(LEFTOVER_PATIENCE, &mut self.reading).await;
        lock(&self.last_bytes).clone()
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_all(mut pipe: impl AsyncRead + Unpin, last_bytes: Arc<Mutex<Vec<u8>>>, mut log: Log) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        {
            let mut last_bytes = lock(&last_bytes);
            last_bytes.extend_from_slice(&buffer[..count]);
            let excess = last_bytes.len().saturating_sub(KEPT_STDERR_BYTES);
            last_bytes.drain(..excess);
        }
        log.take(&buffer[..count], Instant::now());
    }
    log.end();
}

/// Turns bytes into lines of the log.
struct Log {
    program: String,
    pid: u32,
    line: Vec<u8>,
    cut: bool,
    window: Window,
}

impl Log {
    fn take(&mut self, bytes: &[u8], now: Instant) {
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = MAX_LINE_BYTES - self.line.len();
            self.cut |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                self.end_line(now);
            }
        }
    }

    fn end_line(&mut self, now: Instant) {
        self.tell_left_out(now);
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        if line.trim_ascii().is_empty() || !self.window.admits() {
            return;
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        let text = if cut { format!("{text}…") } else { text.into_owned() };
        info!(program = self.program, pid = self.pid, line = text, "a program wrote to standard error");
    }

    fn tell_left_out(&mut self, now: Instant) {
        let left_out = self.window.advance(now);
        if left_out > 0 {
            let (program, pid) = (&self.program, self.pid);
            warn!(program, pid, lines = left_out, "a program wrote too many lines, these are not in the log");
        }
    }

    fn end(&mut self) {
        let now = Instant::now();
        if !self.line.is_empty() {
            self.end_line(now);
        }
        self.tell_left_out(now + LINE_WINDOW);
    }
}

/// Counts lines in a stretch of time.
struct Window {
    began_at: Instant,
    lines: u32,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { began_at: now, lines: 0 }
    }

    /// Begins the next window if this one is over; returns how many lines this one refused.
    fn advance(&mut self, now: Instant) -> u32 {
        if now < self.began_at + LINE_WINDOW {
            return 0;
        }
        let left_out = self.lines.saturating_sub(LINES_PER_WINDOW);
        *self = Self::new(now);
        left_out
    }

    /// Counts a line; says whether it may be logged.
    fn admits(&mut self) -> bool {
        self.lines = self.lines.saturating_add(1);
        self.lines <= LINES_PER_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(now: Instant) -> Log {
        Log { program: "p".to_owned(), pid: 1, line: Vec::new(), cut: false, window: Window::new(now) }
    }

    #[test]
    fn lines_are_counted_whatever_pieces_they_come_in() {
        let now = Instant::now();
        let mut log = log(now);
        log.take(b"one\ntwo\n\nth", now);
        assert_eq!((log.window.lines, log.line.as_slice()), (2, &b"th"[..]));
        log.take(b"ree", now);
        log.take(b"\n", now);
        assert_eq!((log.window.lines, log.line.len()), (3, 0));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let now = Instant::now();
        let mut log = log(now);
        for _ in 0..100 {
            log.take(&[b'x'; 1000], now);
        }
        assert!(log.cut);
        assert_eq!(log.line.len(), MAX_LINE_BYTES);
    }

    #[test]
    fn too_many_lines_are_counted_and_told_in_the_next_window() {
        let now = Instant::now();
        let mut window = Window::new(now);
        let admitted = (0..LINES_PER_WINDOW + 7).filter(|_| window.admits()).count();
        assert_eq!(admitted, LINES_PER_WINDOW as usize);
        assert_eq!(window.advance(now), 0);
        assert_eq!(window.advance(now + LINE_WINDOW), 7);
        assert!(window.admits());
    }

    #[tokio::test]
    async fn the_last_bytes_are_kept() {
        let text = vec![b'x'; 3 * KEPT_STDERR_BYTES].into_iter().chain(*b"end").collect::<Vec<_>>();
        let stderr = Stderr::read(std::io::Cursor::new(text), "p".to_owned(), 1);
        let kept = stderr.into_last_bytes().await;
        assert_eq!(kept.len(), KEPT_STDERR_BYTES);
        assert!(kept.ends_with(b"xend"));
    }
}
