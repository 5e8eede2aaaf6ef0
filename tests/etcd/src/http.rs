//! One HTTP request on a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A member that takes longer is paused, or has no quorum.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn get(port: u16, path: &str) -> Option<Value> {
    request(port, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

pub(crate) fn post(port: u16, path: &str, body: &Value) -> Option<Value> {
    let body = body.to_string();
    let length = body.len();
    request(port, &format!("POST {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}"))
}

/// The body of an answer with status 200.
fn request(port: u16, request: &str) -> Option<Value> {
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), TIMEOUT).ok()?;
    socket.set_read_timeout(Some(TIMEOUT)).ok()?;
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1)? != "200" {
        return None;
    }
    serde_json::from_str(body).ok()
}
