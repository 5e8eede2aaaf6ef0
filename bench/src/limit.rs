//! The limit program: records shipped to two processes over bare gRPC streams, and nothing else.
//!
//! No leases, no retries, no state, no S3, no counts of failures: a floor that an engine which ships rows stands on. The
//! coordinator splits by the parity of quotes, sends batches of 25 records, at most so many unanswered per worker, and writes a
//! line for each record's answer. Workers parse with `csv-core` and answer with a number for each record.

mod codec;

use std::convert::Infallible;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

use self::codec::Raw;
use crate::data::DataFile;

/// Records of a batch.
pub(crate) const BATCH: usize = 25;

/// Processes that records are shipped to.
const WORKERS: usize = 2;

/// Where the method is.
const PATH: &str = "/warifu.bench.Limit/Ship";

/// The column whose numbers are answered.
const COLUMN: usize = 2;

/// Seconds that shipping all records of `file` takes with at most `window` unanswered batches per worker.
pub(crate) fn ship(file: &DataFile, window: usize, directory: &Path) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(ship_all(file, window, directory))
}

async fn ship_all(file: &DataFile, window: usize, directory: &Path) -> anyhow::Result<f64> {
    let bytes = Bytes::from(std::fs::read(&file.path)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let results = BufWriter::new(std::fs::File::create(directory.join("limit.results"))?);
    let shared = Arc::new(Shared {
        window,
        splitter: Mutex::new(Splitter::new(bytes)),
        results: Mutex::new(Results { file: results, rows: 0, sum: 0 }),
        started: Mutex::new(None),
    });
    let (ended, mut all_ended) = mpsc::channel(WORKERS);
    let service = Service { shared: Arc::clone(&shared), ended };
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let workers: Vec<Worker> =
        (0..WORKERS).map(|_| Worker::start(&address.to_string())).collect::<Result<_, _>>()?;
    for _ in 0..WORKERS {
        all_ended.recv().await.context("the server is gone")?.map_err(anyhow::Error::msg)?;
    }
    let started = shared.started.lock().expect("nobody panicked").context("no worker came")?;
    let mut results = shared.results.lock().expect("nobody panicked");
    results.file.flush()?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(
        (results.rows, results.sum) == (file.rows, file.post_count),
        "the limit program counted {} records that come to {}; there are {} that come to {}",
        results.rows,
        results.sum,
        file.rows,
        file.post_count
    );
    drop(workers);
    server.abort();
    Ok(seconds)
}

/// A process that ends with the value.
struct Worker(Child);

impl Worker {
    fn start(address: &str) -> std::io::Result<Self> {
        Command::new(std::env::current_exe()?).args(["limit-worker", address]).spawn().map(Self)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

struct Shared {
    window: usize,
    splitter: Mutex<Splitter>,
    results: Mutex<Results>,
    /// When the first worker came.
    started: Mutex<Option<Instant>>,
}

struct Results {
    file: BufWriter<std::fs::File>,
    rows: u64,
    sum: u64,
}

/// Cuts batches off at line breaks outside of quotes.
struct Splitter {
    bytes: Bytes,
    at: usize,
}

impl Splitter {
    fn new(bytes: Bytes) -> Self {
        let mut splitter = Self { bytes, at: 0 };
        splitter.at = splitter.end_of_records(1);
        splitter
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.at == self.bytes.len() {
            return None;
        }
        let end = self.end_of_records(BATCH);
        let batch = self.bytes.slice(self.at..end);
        self.at = end;
        Some(batch)
    }

    fn end_of_records(&self, mut records: usize) -> usize {
        let (mut at, mut quoted) = (self.at, false);
        while let Some(found) = memchr2(b'"', b'\n', &self.bytes[at..]) {
            at += found + 1;
            if self.bytes[at - 1] == b'"' {
                quoted = !quoted;
            } else if !quoted {
                records -= 1;
                if records == 0 {
                    return at;
                }
            }
        }
        self.bytes.len()
    }
}

#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
    ended: mpsc::Sender<Result<(), String>>,
}

impl NamedService for Service {
    const NAME: &'static str = "warifu.bench.Limit";
}

type Answer<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

impl<B> tonic::codegen::Service<tonic::codegen::http::Request<B>> for Service
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send + 'static,
{
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).streaming(service, request).await) })
    }
}

impl tonic::server::StreamingService<Bytes> for Service {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Answer<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let Self { shared, ended } = self.clone();
        let (sender, receiver) = mpsc::channel(shared.window);
        tokio::spawn(async move {
            let shipped = shared.serve(request.into_inner(), sender).await;
            // Nobody listens any more only if another worker failed.
            _ = ended.send(shipped.map_err(|error| format!("{error:#}"))).await;
        });
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(receiver))) })
    }
}

impl Shared {
    async fn serve(
        &self,
        mut answers: Streaming<Bytes>,
        batches: mpsc::Sender<Result<Bytes, Status>>,
    ) -> anyhow::Result<()> {
        self.started.lock().expect("nobody panicked").get_or_insert_with(Instant::now);
        let (mut unanswered, mut is_over) = (0, false);
        loop {
            while unanswered < self.window && !is_over {
                let next = self.splitter.lock().expect("nobody panicked").next();
                match next {
                    Some(batch) => batches.send(Ok(batch)).await?,
                    None => is_over = true,
                }
                unanswered += usize::from(!is_over);
            }
            if unanswered == 0 {
                return Ok(());
            }
            let answer = answers.message().await?.context("a worker ended early")?;
            unanswered -= 1;
            self.results.lock().expect("nobody panicked").note(&answer)?;
        }
    }
}

impl Results {
    fn note(&mut self, answer: &[u8]) -> std::io::Result<()> {
        for number in answer.chunks_exact(8) {
            let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
            writeln!(self.file, "{number}")?;
            self.rows += 1;
            self.sum += number;
        }
        Ok(())
    }
}

/// The worker's part: answers batches until there are none.
pub(crate) fn work(address: &str) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let channel = tonic::transport::Endpoint::new(format!("http://{address}"))?
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .connect()
            .await?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await?;
        let (sender, receiver) = mpsc::channel(64);
        let answers = Request::new(ReceiverStream::new(receiver));
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(PATH);
        let mut batches = client.streaming(answers, path, Raw).await?.into_inner();
        let mut parser = Parser { reader: csv_core::Reader::new(), output: Vec::new(), ends: vec![0; 16] };
        while let Some(batch) = batches.next().await {
            sender.send(parser.numbers(&batch?)?).await?;
        }
        Ok(())
    })
}

/// Reads records with `csv-core`.
struct Parser {
    reader: csv_core::Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl Parser {
    /// The number of each record in [`COLUMN`], as eight bytes.
    fn numbers(&mut self, mut batch: &[u8]) -> anyhow::Result<Bytes> {
        let mut numbers = BytesMut::with_capacity(8 * BATCH);
        self.output.resize(batch.len().max(self.output.len()), 0);
        self.reader.reset();
        while !batch.is_empty() {
            let (_, read, _, ends) = self.reader.read_record(batch, &mut self.output, &mut self.ends);
            ensure!(ends > COLUMN, "a record has {ends} fields");
            let number = &self.output[self.ends[COLUMN - 1]..self.ends[COLUMN]];
            numbers.put_u64_le(std::str::from_utf8(number)?.parse()?);
            batch = &batch[read..];
        }
        Ok(numbers.freeze())
    }
}
