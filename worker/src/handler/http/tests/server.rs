//! A service that does what a test says, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: String,
    pub(super) at: Instant,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// What is done with a request.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// These bytes, and the next request is awaited.
    Answer(String),
    /// These bytes, and the connection is closed.
    Close(String),
    /// These bytes, and nothing more.
    Hang(String),
    /// These bytes, and chunks without end.
    Endless(String),
}

/// A response with a length.
pub(super) fn response(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"))
}

/// Status 200 with a body.
pub(super) fn ok(body: &str) -> Act {
    response("200 OK", "", body)
}

type Script = dyn Fn(usize) -> Act + Send + Sync;

/// Listens on a port of its own until the runtime ends.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// A permit for each connection that the other side closed.
    pub(super) closed: Arc<Semaphore>,
    /// A permit for each request.
    pub(super) requested: Arc<Semaphore>,
}

impl Server {
    /// Does `script(n)` with request number n, from 0.
    pub(super) async fn start(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            closed: Arc::new(Semaphore::new(0)),
            requested: Arc::new(Semaphore::new(0)),
        };
        let (seen, script): (_, Arc<Script>) = (Arc::clone(&server.seen), Arc::new(script));
        let (closed, requested) = (Arc::clone(&server.closed), Arc::clone(&server.requested));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serve(stream, Arc::clone(&seen), Arc::clone(&script), Arc::clone(&requested));
                let closed = Arc::clone(&closed);
                tokio::spawn(async move {
                    serving.await;
                    closed.add_permits(1);
                });
            }
        });
        server
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
    requested: Arc<Semaphore>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request);
            seen.len() - 1
        };
        requested.add_permits(1);
        let (Act::Answer(bytes) | Act::Close(bytes) | Act::Hang(bytes) | Act::Endless(bytes)) =
            &script(number);
        if stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
        match script(number) {
            Act::Answer(_) => {}
            Act::Close(_) => return,
            // Ends when the other side does.
            Act::Hang(_) => drop(stream.read(&mut [0]).await),
            Act::Endless(_) => while stream.write_all(b"1\r\n \r\n").await.is_ok() {},
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head_end) = head_end {
            let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
            let mut request = Seen { head, body: String::new(), at: Instant::now() };
            let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() == head_end + length {
                request.body = String::from_utf8(bytes.split_off(head_end)).unwrap();
                return Some(request);
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
