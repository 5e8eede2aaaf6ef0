//! A way to a server that counts what comes back, and may be slow: connections are passed on byte by byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Bytes that are passed on at once.
const PIECE: usize = 256 << 10;

/// The way. Its threads end with their connections, or with this process.
pub(crate) struct CountedWay {
    url: String,
    answers: Arc<Answers>,
}

/// What comes back, over all connections.
#[derive(Debug)]
struct Answers {
    bytes: AtomicU64,
    pace: Option<Pace>,
}

/// So many bytes a second, and no more.
#[derive(Debug)]
struct Pace {
    bytes_per_second: f64,
    /// When the last of what was let through so far is over.
    free_at: Mutex<Instant>,
}

impl Pace {
    /// When `bytes` more are over. Nothing is saved up.
    fn over_at(&self, bytes: usize) -> Instant {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + takes;
        *free_at
    }
}

impl Answers {
    fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(pace) = &self.pace {
            std::thread::sleep(pace.over_at(bytes).saturating_duration_since(Instant::now()));
        }
    }
}

impl CountedWay {
    /// Stands before the server at `url`.
    pub(crate) fn to(url: &str) -> anyhow::Result<Self> {
        Self::start(url, None)
    }

    /// The same, over which at most so many bytes come back in a second, on all connections together.
    pub(crate) fn paced(url: &str, bytes_per_second: f64) -> anyhow::Result<Self> {
        Self::start(url, Some(Pace { bytes_per_second, free_at: Mutex::new(Instant::now()) }))
    }

    fn start(url: &str, pace: Option<Pace>) -> anyhow::Result<Self> {
        let target = url.strip_prefix("http://").context("only plain HTTP is counted")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let answers = Arc::new(Answers { bytes: AtomicU64::new(0), pace });
        let way = Self { url: format!("http://{}", listener.local_addr()?), answers: Arc::clone(&answers) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that refuses ends the client's connection.
                let Ok(server) = TcpStream::connect(&target) else { continue };
                _ = pass_on(client, server, &answers);
            }
        });
        Ok(way)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Bytes of all answers so far, heads included.
    pub(crate) fn answered(&self) -> u64 {
        self.answers.bytes.load(Ordering::Relaxed)
    }
}

fn pass_on(client: TcpStream, server: TcpStream, answers: &Arc<Answers>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_in, server_in, answers) = (client.try_clone()?, server.try_clone()?, Arc::clone(answers));
    std::thread::spawn(move || copy(client_in, server, |_| {}));
    std::thread::spawn(move || copy(server_in, client, |bytes| answers.take(bytes)));
    Ok(())
}

/// Until one side ends; then so does the other. `take` is told of what comes before it is passed on.
fn copy(mut from: TcpStream, mut to: TcpStream, take: impl Fn(usize)) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        take(length);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // Whoever is gone needs no goodbye.
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_at_a_pace_is_over_one_after_another() {
        let pace = Pace { bytes_per_second: 1.0, free_at: Mutex::new(Instant::now()) };
        let first = pace.over_at(3_600);
        assert_eq!(pace.over_at(10) - first, Duration::from_secs(10));
    }

    #[test]
    fn answers_are_counted_and_requests_are_not() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let way = CountedWay::to(&format!("http://{}", server.local_addr().expect("it listens")))
            .expect("a port is free");
        let answering = std::thread::spawn(move || {
            let (mut client, _) = server.accept()?;
            client.read_exact(&mut [0; 3])?;
            client.write_all(&[7; 1_000])
        });
        let mut client = TcpStream::connect(way.url().trim_start_matches("http://")).expect("it listens");
        client.write_all(b"ask").expect("it is passed on");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("it is passed back");
        answering.join().expect("it does not panic").expect("it answers");
        assert_eq!((answer, way.answered()), (vec![7; 1_000], 1_000));
    }
}
