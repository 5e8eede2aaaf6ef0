//! An HTTP server with one object, that misbehaves as told: one fault per request, then rightly (or the last for ever).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The header that an upload marks its object with.
const MARK: &str = "x-amz-meta-warifu-upload";

/// The ETag of the one object.
pub(super) const ETAG: &str = "\"etag-1\"";

/// How long a server that takes few requests at once works at each.
const SERVICE_TIME: Duration = Duration::from_millis(2);

/// What goes wrong with one request.
#[derive(Debug, Clone, Default)]
pub(super) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// An error answer: status, S3 code (empty: no body), further headers.
    Status(u16, &'static str, &'static str),
    /// The connection is closed before an answer.
    Hangup,
    /// The body ends after so many bytes, though more were announced.
    Truncated(usize),
    /// After so many bytes of the body nothing comes any more.
    Stalled(usize),
    /// Content-Range names other bytes.
    WrongRange,
    /// The object is another one by now.
    OtherEtag,
    /// 200 and the whole object, whatever range was asked for.
    WholeObject,
    /// The body goes on after what was asked for, and its length is not announced.
    TooLong,
    /// The request is taken, and never answered.
    Silent,
    /// What was asked is done, but the answer is lost.
    AnswerLost,
    /// An error in an answer of status 200.
    ErrorInOk(&'static str),
    /// An error answer with the given body.
    Body(u16, &'static str),
    /// SlowDown to requests beyond so many at once.
    SlowDownBeyond(usize),
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenRequest {
    pub(super) method: String,
    pub(super) target: String,
    /// Lower-case `name: value` lines.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl SeenRequest {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn is_about_uploads(&self) -> bool {
        self.target.contains("uploads") || self.target.contains("uploadId=")
    }
}

/// The running server; it stops when dropped.
pub(super) struct FaultServer {
    pub(super) endpoint: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    /// The mark of the upload that was begun last, and of the one that was completed last.
    marks: Mutex<(String, String)>,
    /// The requests that are being answered now.
    at_once: AtomicUsize,
    faults: Mutex<VecDeque<Fault>>,
    /// What happens when the faults are used up.
    afterwards: Fault,
    seen: Mutex<Vec<SeenRequest>>,
}

impl FaultServer {
    /// Serves `content`, with each fault once.
    pub(super) async fn once(content: Vec<u8>, faults: &[Fault]) -> Self {
        Self::start(content, faults, Fault::None).await
    }

    /// Serves `content`, always with the same fault.
    pub(super) async fn always(content: Vec<u8>, fault: Fault) -> Self {
        Self::start(content, &[], fault).await
    }

    async fn start(content: Vec<u8>, faults: &[Fault], afterwards: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let faults = Mutex::new(faults.iter().cloned().collect());
        let state = Arc::new(State { content, faults, afterwards, ..State::default() });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { endpoint, state, task }
    }

    /// The requests so far, in the order of their arrival.
    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        self.state.seen.lock().expect("no panic before").clone()
    }

    /// The `Range` of each request so far.
    pub(super) fn seen_ranges(&self) -> Vec<String> {
        self.seen().iter().filter_map(|request| request.header("range").map(str::to_owned)).collect()
    }
}

impl State {
    fn completed_mark(&self) -> String {
        self.marks.lock().expect("no panic before").1.clone()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer_one(socket, Arc::clone(&state)));
    }
}

/// Answers one request, then closes. A client that goes away meanwhile is no concern of a fault.
async fn answer_one(socket: TcpStream, state: Arc<State>) {
    let mut socket = BufReader::new(socket);
    let Some(request) = read_request(&mut socket).await else { return };
    state.seen.lock().expect("no panic before").push(request.clone());
    let fault = state.faults.lock().expect("no panic before").pop_front();
    let fault = fault.unwrap_or_else(|| state.afterwards.clone());
    let at_once = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    let (bytes, then_stall) = match fault {
        Fault::SlowDownBeyond(most) if at_once > most => (error_answer(&request, 503, "SlowDown", ""), false),
        Fault::SlowDownBeyond(_) => {
            tokio::time::sleep(SERVICE_TIME).await; // else no two requests would ever meet
            answer(&request, &Fault::None, &state)
        }
        fault => answer(&request, &fault, &state),
    };
    state.at_once.fetch_sub(1, Ordering::SeqCst);
    let _ = socket.write_all(&bytes).await;
    if then_stall {
        let _ = socket.read_u8().await; // returns once the client gives up
    }
}

async fn read_request(socket: &mut BufReader<TcpStream>) -> Option<SeenRequest> {
    let mut request = SeenRequest::default();
    let mut line = String::new();
    socket.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    (request.method, request.target) = (words.next()?.to_owned(), words.next()?.to_owned());
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.push(format!("{}: {value}", name.to_lowercase()));
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if request.header("expect").is_some() {
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    request.body = vec![0; length];
    socket.read_exact(&mut request.body).await.ok()?;
    Some(request)
}

/// The bytes of an answer, and whether nothing follows them for ever.
fn answer(request: &SeenRequest, fault: &Fault, state: &State) -> (Vec<u8>, bool) {
    let content = &state.content;
    match fault {
        Fault::Hangup => (Vec::new(), false),
        Fault::Silent => (Vec::new(), true),
        Fault::Status(status, code, headers) => (error_answer(request, *status, code, headers), false),
        Fault::AnswerLost => {
            upload_answer(request, state);
            (Vec::new(), false)
        }
        Fault::ErrorInOk(code) => (error_answer(request, 200, code, ""), false),
        Fault::Body(status, body) => (answer_with(*status, "", body), false),
        _ if request.is_about_uploads() => (upload_answer(request, state), false),
        _ if request.method == "HEAD" => (head_answer(content.len(), &state.completed_mark()), false),
        _ if request.method != "GET" => (head_answer(0, ""), false),
        _ => object_answer(request, fault, content),
    }
}

fn error_answer(request: &SeenRequest, status: u16, code: &str, headers: &str) -> Vec<u8> {
    let body = match code {
        "" => String::new(),
        _ if request.method == "HEAD" => String::new(),
        _ => format!("<Error><Code>{code}</Code><Message>as told</Message></Error>"),
    };
    answer_with(status, headers, &body)
}

fn answer_with(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nx-amz-request-id: REQ7\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn head_answer(length: usize, mark: &str) -> Vec<u8> {
    let mark = if mark.is_empty() { String::new() } else { format!("{MARK}: {mark}\r\n") };
    format!("HTTP/1.1 200 OK\r\netag: {ETAG}\r\n{mark}connection: close\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}

/// Does what a request about uploads asks for. One upload at a time is known.
fn upload_answer(request: &SeenRequest, state: &State) -> Vec<u8> {
    let mut marks = state.marks.lock().expect("no panic before");
    let has = |name: &str| request.target.contains(name);
    match request.method.as_str() {
        "POST" if has("uploads") => {
            marks.0 = request.header(MARK).unwrap_or_default().to_owned();
            answer_with(
                200,
                "",
                "<InitiateMultipartUploadResult><UploadId>U1</UploadId></InitiateMultipartUploadResult>",
            )
        }
        "POST" => {
            marks.1 = std::mem::take(&mut marks.0);
            let body =
                format!("<CompleteMultipartUploadResult><ETag>{ETAG}</ETag></CompleteMultipartUploadResult>");
            answer_with(200, "", &body)
        }
        "GET" if marks.0.is_empty() => answer_with(200, "", "<ListMultipartUploadsResult/>"),
        "GET" => {
            let upload = |key| format!("<Upload><Key>{key}</Key><UploadId>U1</UploadId></Upload>");
            let uploads = upload("run-1/a") + &upload("run-2/a");
            answer_with(
                200,
                "",
                &format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"),
            )
        }
        "DELETE" => {
            marks.0.clear();
            answer_with(204, "", "")
        }
        _ => answer_with(200, &format!("etag: {ETAG}\r\n"), ""),
    }
}

fn object_answer(request: &SeenRequest, fault: &Fault, content: &[u8]) -> (Vec<u8>, bool) {
    let asked = request.header("range").map_or(0..content.len(), range_of);
    let (first, last, size) = (asked.start, asked.end - 1, content.len());
    let partial = |range: Range<usize>, etag, first, length_line: String| {
        let head = format!(
            "HTTP/1.1 206 X\r\netag: {etag}\r\ncontent-range: bytes {first}-{last}/{size}\r\nconnection: close\r\n{length_line}\r\n"
        );
        [head.as_bytes(), &content[range]].concat()
    };
    let announced = format!("content-length: {}\r\n", asked.len());
    match fault {
        Fault::Truncated(after) => (partial(first..first + after, ETAG, first, announced), false),
        Fault::Stalled(after) => (partial(first..first + after, ETAG, first, announced), true),
        Fault::WrongRange => (partial(asked, ETAG, first + 1, announced), false),
        Fault::OtherEtag => (partial(asked, "\"etag-2\"", first, announced), false),
        Fault::TooLong => (partial(first..size, ETAG, first, String::new()), false),
        Fault::WholeObject => ([&head_answer(size, ""), content].concat(), false),
        _ => (partial(asked, ETAG, first, announced), false),
    }
}

fn range_of(header: &str) -> Range<usize> {
    let (first, last) =
        header.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("a range of bytes");
    let number = |text: &str| text.parse::<usize>().expect("a number");
    number(first)..number(last) + 1
}
