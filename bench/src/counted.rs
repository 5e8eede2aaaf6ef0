//! A way to a server that counts what comes back: connections are passed on byte by byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

/// Bytes that are passed on at once.
const PIECE: usize = 256 << 10;

/// The way. Its threads end with their connections, or with this process.
pub(crate) struct CountedWay {
    url: String,
    answered: Arc<AtomicU64>,
}

impl CountedWay {
    /// Stands before the server at `url`.
    pub(crate) fn to(url: &str) -> anyhow::Result<Self> {
        let target = url.strip_prefix("http://").context("only plain HTTP is counted")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let way =
            Self { url: format!("http://{}", listener.local_addr()?), answered: Arc::new(AtomicU64::new(0)) };
        let answered = Arc::clone(&way.answered);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that refuses ends the client's connection.
                let Ok(server) = TcpStream::connect(&target) else { continue };
                _ = pass_on(client, server, &answered);
            }
        });
        Ok(way)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Bytes of all answers so far, heads included.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

fn pass_on(client: TcpStream, server: TcpStream, answered: &Arc<AtomicU64>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_in, server_in, answered) = (client.try_clone()?, server.try_clone()?, Arc::clone(answered));
    std::thread::spawn(move || copy(client_in, server, &AtomicU64::new(0)));
    std::thread::spawn(move || copy(server_in, client, &answered));
    Ok(())
}

/// Until one side ends; then so does the other.
fn copy(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
    // Whoever is gone needs no goodbye.
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

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
