//! A whole worker against a scripted coordinator over loopback gRPC.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use warifu_common::dataset::ByteRange;
use warifu_common::model::protocol::{
    CallOutcome, CoordinatorMessage, Hello, LeaderAddress, Report, ReportVerdict, RunContext, ScanOrder,
    Welcome, WorkerMessage,
};
use warifu_common::model::{HandlerName, LeaderTerm, MapRunId, SessionId, ShardNumber, WorkerId};
use warifu_common::wire::lease_stream::not_leader;
use warifu_common::wire::v1;
use warifu_common::wire::v1::worker_service_server::{WorkerService, WorkerServiceServer};

use crate::Worker;
use crate::handler::{Echo, Handler, HandlerAnswer};
use crate::testing::{MemoryStore, Scripted, context, grant_of, open_run, scan_of};

const CSV: &[u8] = b"id,name\n1,a\n2,b\n3,c\n4,d\n5,e\n";

/// One stream of a worker, as the coordinator sees it.
struct WorkerStream {
    messages: Streaming<v1::ConnectRequest>,
    answers: mpsc::Sender<Result<v1::ConnectResponse, Status>>,
}

impl WorkerStream {
    async fn next(&mut self) -> WorkerMessage {
        loop {
            match self.message().await.expect("the worker says more") {
                WorkerMessage::Heartbeat { nonce } => {
                    self.say(CoordinatorMessage::HeartbeatAck { nonce }).await
                }
                message => return message,
            }
        }
    }

    async fn message(&mut self) -> Option<WorkerMessage> {
        let message = self.messages.message().await.ok()??;
        Some(WorkerMessage::try_from(message).unwrap())
    }

    async fn say(&mut self, message: CoordinatorMessage) {
        self.answers.send(Ok(v1::ConnectResponse::from(&message))).await.unwrap();
    }

    async fn welcome(&mut self) -> Hello {
        let WorkerMessage::Hello(hello) = self.next().await else { panic!("Hello comes first") };
        let welcome = Welcome {
            session: SessionId { term: LeaderTerm(3), number: hello.hello_number },
            hello_number: hello.hello_number,
            ttl: Duration::from_secs(20),
            kept: Vec::new(),
            slots_kept: false,
        };
        self.say(CoordinatorMessage::Welcome(welcome)).await;
        hello
    }

    /// Everything up to the next report.
    async fn report(&mut self) -> Report {
        loop {
            if let WorkerMessage::Report(report) = self.next().await {
                return report;
            }
        }
    }

    async fn answer(&mut self, report: &Report, verdict: ReportVerdict) {
        let (lease, report) = (report.lease, report.number);
        self.say(CoordinatorMessage::ReportAnswer { lease, report, verdict }).await;
    }
}

struct Service {
    streams: mpsc::Sender<WorkerStream>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type ConnectStream = ReceiverStream<Result<v1::ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        let stream_of_worker = WorkerStream { messages: request.into_inner(), answers };
        self.streams.send(stream_of_worker).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

struct Coordinator {
    endpoint: String,
    streams: mpsc::Receiver<WorkerStream>,
}

impl Coordinator {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, streams) = mpsc::channel(4);
        let service = WorkerServiceServer::new(Service { streams: sender });
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { endpoint, streams }
    }

    async fn stream(&mut self) -> WorkerStream {
        self.streams.recv().await.unwrap()
    }
}

struct RunningWorker {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), crate::WorkerError>>,
}

fn start_worker(endpoint: &str, store: Arc<MemoryStore>, handler: impl Handler) -> RunningWorker {
    let worker = Worker::builder_with(WorkerId::new("worker-1").unwrap(), store)
        .endpoints([endpoint])
        .slots(2)
        .handler(HandlerName::new("h").unwrap(), Arc::new(handler))
        .build();
    let stop = CancellationToken::new();
    RunningWorker { task: tokio::spawn(worker.run(stop.clone())), stop }
}

fn object() -> Arc<MemoryStore> {
    MemoryStore::with("users.csv", CSV).0
}

async fn grant(stream: &mut WorkerStream, context: &RunContext, session: u64, batches: &[u32]) {
    let run = open_run(context.clone());
    let scan = scan_of(CSV, &run, ByteRange::new(8, CSV.len() as u64));
    let mut grant = grant_of(CSV, &scan, batches);
    grant.session.number = session;
    stream.say(CoordinatorMessage::OpenRun(Arc::new(context.clone()))).await;
    stream.say(CoordinatorMessage::Grant(grant)).await;
}

#[tokio::test]
async fn a_lease_is_read_run_stored_reported_and_the_worker_leaves_when_told() {
    let mut coordinator = Coordinator::start().await;
    let store = object();
    let worker = start_worker(&coordinator.endpoint, Arc::clone(&store), Echo);
    let mut stream = coordinator.stream().await;
    let hello = stream.welcome().await;
    assert_eq!((hello.slots, hello.handlers.len()), (2, 1));
    grant(&mut stream, &context(CSV), 1, &[0, 1, 2]).await;
    let report = stream.report().await;
    let entries: Vec<_> =
        report.entries.iter().map(|entry| (entry.batch.0, entry.call, entry.item_count)).collect();
    let answered = CallOutcome::Answered;
    assert_eq!(entries, [(0, answered, 2), (1, answered, 2), (2, answered, 1)]);
    let part = report.succeeded_part.clone().unwrap();
    assert_eq!((part.name.as_str(), part.item_count), ("SUCCEEDED_3-9-1.jsonl", 5));
    let text = store.text("results/run-1/SUCCEEDED_3-9-1.jsonl").unwrap();
    assert!(text.lines().last().unwrap().ends_with(r#""output":{"id":"5","name":"e"}}"#), "{text}");
    stream.answer(&report, ReportVerdict::Accepted).await;
    worker.stop.cancel();
    while stream.next().await != WorkerMessage::Goodbye {}
    drop(stream);
    worker.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn sources_are_probed_and_scanned_on_order() {
    let mut coordinator = Coordinator::start().await;
    let _worker = start_worker(&coordinator.endpoint, object(), Echo);
    let mut stream = coordinator.stream().await;
    stream.welcome().await;
    let map_run = MapRunId::new("run-1").unwrap();
    let unprobed = RunContext { header: None, ..context(CSV) };
    stream.say(CoordinatorMessage::OpenRun(Arc::new(unprobed))).await;
    stream.say(CoordinatorMessage::Probe { map_run: map_run.clone() }).await;
    let WorkerMessage::Probed { probe, .. } = stream.next().await else { panic!() };
    assert_eq!(probe.unwrap().header.names, ["id", "name"]);
    stream.say(CoordinatorMessage::OpenRun(Arc::new(context(CSV)))).await;
    let range = ByteRange::new(8, CSV.len() as u64);
    let order = ScanOrder {
        map_run,
        shard: ShardNumber(0),
        range,
        begins_data: true,
        ends_object: true,
        entry: None,
        item_limit: None,
    };
    stream.say(CoordinatorMessage::Scan(order)).await;
    let WorkerMessage::Scanned { scan, .. } = stream.next().await else { panic!() };
    assert_eq!(scan.unwrap(), scan_of(CSV, &open_run(context(CSV)), range));
}

#[tokio::test]
async fn an_unanswered_report_comes_again_unchanged_over_the_next_stream() {
    let mut coordinator = Coordinator::start().await;
    let _worker = start_worker(&coordinator.endpoint, object(), Echo);
    let mut stream = coordinator.stream().await;
    stream.welcome().await;
    grant(&mut stream, &context(CSV), 1, &[0, 1, 2]).await;
    let first = stream.report().await;
    drop(stream);
    let mut stream = coordinator.stream().await;
    let hello = stream.welcome().await;
    assert_eq!(hello.hello_number, 2);
    assert_eq!(stream.report().await, first);
}

#[tokio::test]
async fn a_follower_is_left_for_the_leader_that_it_names() {
    let (mut follower, mut leader) = (Coordinator::start().await, Coordinator::start().await);
    let _worker = start_worker(&follower.endpoint, object(), Echo);
    let stream = follower.stream().await;
    let address = LeaderAddress { term: LeaderTerm(3), endpoint: leader.endpoint.clone() };
    stream.answers.send(Ok(not_leader(Some(&address)))).await.unwrap();
    assert_eq!(leader.stream().await.welcome().await.hello_number, 2);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_told_at_once() {
    let mut coordinator = Coordinator::start().await;
    let store = object();
    *store.failures_left.lock().unwrap() = 1;
    let _worker = start_worker(&coordinator.endpoint, store, Echo);
    let mut stream = coordinator.stream().await;
    stream.welcome().await;
    grant(&mut stream, &context(CSV), 1, &[0]).await;
    loop {
        if let WorkerMessage::Fault { fault, .. } = stream.next().await {
            assert_eq!(fault.error, "States.ItemReaderFailed");
            return;
        }
    }
}

#[tokio::test]
async fn what_is_revoked_while_it_runs_ends_as_aborted() {
    let mut coordinator = Coordinator::start().await;
    let handler = Scripted(|_, cancel: CancellationToken| async move {
        cancel.cancelled().await;
        HandlerAnswer::Succeeded
    });
    let _worker = start_worker(&coordinator.endpoint, object(), handler);
    let mut stream = coordinator.stream().await;
    stream.welcome().await;
    grant(&mut stream, &context(CSV), 1, &[0, 1]).await;
    while !matches!(stream.next().await, WorkerMessage::Begun { .. }) {}
    let lease = crate::testing::lease_id(9);
    stream
        .say(CoordinatorMessage::Revoke { lease, from: warifu_common::model::BatchOrdinal(0), cancel: true })
        .await;
    let report = stream.report().await;
    assert_eq!(report.entries.len(), 1, "{report:?}");
    assert_eq!(report.entries[0].call, CallOutcome::Aborted);
    assert_eq!(report.failed_part.unwrap().item_count, 2);
}
