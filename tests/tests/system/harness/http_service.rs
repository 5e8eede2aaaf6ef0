//! A service that handlers call over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

/// A request as it came.
#[derive(Debug)]
pub(crate) struct ServiceRequest {
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, which is JSON.
    pub(crate) body: Value,
}

impl ServiceRequest {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// An answer: a status, further header lines, and a body.
#[derive(Debug, Clone)]
pub(crate) struct ServiceAnswer {
    /// As in `503 Service Unavailable`.
    pub(crate) status: &'static str,
    /// Each ends in `\r\n`.
    pub(crate) headers: &'static str,
    /// JSON, or nothing.
    pub(crate) body: String,
}

impl ServiceAnswer {
    /// Status 200 with a body.
    pub(crate) fn ok(body: &Value) -> Self {
        Self { status: "200 OK", headers: "", body: body.to_string() }
    }
}

/// Takes no new connections once the value is gone.
pub(crate) struct HttpService {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl HttpService {
    /// Answers each request with what `answer` says; several are asked for at once.
    pub(crate) fn start(answer: impl Fn(ServiceRequest) -> ServiceAnswer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self { address: listener.local_addr().unwrap(), ended: Arc::default() };
        let (ended, answer) = (Arc::clone(&service.ended), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let answer = Arc::clone(&answer);
                // Ends when the handler closes the connection.
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        service
    }

    /// Where it is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for HttpService {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The listening thread looks up.
        _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(ServiceRequest) -> ServiceAnswer) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let ServiceAnswer { status, headers, body } = answer(request);
        let length = body.len();
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        if writer.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

/// `None` at the connection's end.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<ServiceRequest> {
    let mut headers = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
    }
    let mut request = ServiceRequest { headers, body: Value::Null };
    let mut body = vec![0; request.header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    request.body = serde_json::from_slice(&body).unwrap();
    Some(request)
}
