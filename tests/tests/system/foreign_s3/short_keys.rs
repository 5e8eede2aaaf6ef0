//! Keys that last some seconds: a program that gives them out, and a gate before an S3 server that refuses older ones.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::text;

/// The head of a request with a signature is far smaller.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// What the names of keys begin with; what follows is the second of the epoch until which they are good.
const KEY_PREFIX: &str = "AKIAUNTIL";

const REFUSAL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>ExpiredToken</Code>\
    <Message>The provided token has expired.</Message></Error>";

/// An AWS configuration whose keys are good for so many seconds from when they are given out; they do not say so.
pub(super) fn aws_config(directory: &Path, seconds: u32) -> String {
    let program = directory.join("give-keys");
    let script = format!(
        "printf '{{\"Version\": 1, \"AccessKeyId\": \"{KEY_PREFIX}%s\", \"SecretAccessKey\": \"s\"}}' \
         $(($(date +%s) + {seconds}))\n"
    );
    std::fs::write(&program, script).unwrap();
    let file = directory.join("short-keys");
    std::fs::write(&file, format!("[default]\ncredential_process = sh {}\n", text(&program))).unwrap();
    text(&file).to_owned()
}

/// Stands before an S3 server, for as long as the value lives.
pub(super) struct Gate {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: u16,
    ended: AtomicBool,
    refused: AtomicU64,
}

impl Gate {
    pub(super) fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { target, ..Shared::default() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.serve(client));
            }
        });
        Self { port, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests that were refused for the age of their key.
    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // The listening thread looks up.
        _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// One request: the server is told to close after it, so that every request shows its key to the gate.
    fn serve(&self, mut client: TcpStream) {
        let Some(mut request) = read_head(&mut client) else { return };
        if is_expired(&String::from_utf8_lossy(&request)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{REFUSAL}",
                REFUSAL.len()
            );
            // An error means that the client has gone already.
            _ = client.write_all(answer.as_bytes());
            _ = client.shutdown(Shutdown::Write);
            _ = std::io::copy(&mut client, &mut std::io::sink());
            return;
        }
        let end_of_request_line =
            request.iter().position(|&byte| byte == b'\n').expect("a head has lines") + 1;
        request.splice(end_of_request_line..end_of_request_line, *b"connection: close\r\n");
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        if server.write_all(&request).is_err() {
            return;
        }
        let (mut body, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let sending = std::thread::spawn(move || std::io::copy(&mut body, &mut to_server));
        _ = std::io::copy(&mut server, &mut client);
        _ = client.shutdown(Shutdown::Both);
        _ = sending.join();
    }
}

/// The request up to its body, of which some may have come with it; `None` at the connection's end.
fn read_head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4 << 10]);
    while head.len() < MOST_HEAD_BYTES {
        let count = client.read(&mut buffer).ok()?;
        head.extend(&buffer[..count]);
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Some(head);
        }
        if count == 0 {
            return None;
        }
    }
    None
}

fn is_expired(head: &str) -> bool {
    let until = head.split_once(KEY_PREFIX).expect("requests are signed with keys of the program").1;
    let until: u64 = until.split_once('/').expect("the scope follows").0.parse().unwrap();
    until <= SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
