//! A coordinator with its clients, and a worker that does what it is told by hand.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;
use warifu_common::object_store::LocalFiles;
use warifu_common::wire::lease_stream::FromCoordinator;
use warifu_common::wire::v1;
use warifu_common::wire::v1::fleet_service_client::FleetServiceClient;
use warifu_common::wire::v1::map_run_service_client::MapRunServiceClient;
use warifu_common::wire::v1::worker_service_client::WorkerServiceClient;
use warifu_model::protocol::{CoordinatorMessage, Hello, WorkerMessage};
use warifu_model::{HandlerName, Incarnation, LeaderTerm, WorkerHandler, WorkerId};

use crate::state_store::{Leader, MemoryStore};
use crate::{Coordinator, CoordinatorHandle, Settings};

/// Nothing here takes longer; a test that waits so long has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

pub(super) const CSV: &str = "id,name\n1,a\n2,b\n3,c\n4,d\n5,e\n";

/// A coordinator, and the directory that its objects lie in.
pub(super) struct Harness {
    pub(super) coordinator: CoordinatorHandle,
    pub(super) map_runs: MapRunServiceClient<Channel>,
    pub(super) fleet: FleetServiceClient<Channel>,
    pub(super) channel: Channel,
    pub(super) store: Arc<MemoryStore>,
    directory: TempDir,
}

impl Harness {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts with settings other than the usual ones.
    pub(super) async fn start_with(settings: Option<Settings>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("users.csv"), CSV).unwrap();
        let settings = settings.unwrap_or_else(|| usual_settings(&directory));
        Self::start_on(directory, Arc::new(MemoryStore::new()), settings).await
    }

    async fn start_on(directory: TempDir, store: Arc<MemoryStore>, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let objects = Arc::new(LocalFiles::new());
        let coordinator =
            Coordinator::start(settings, store.clone(), objects, listener, Some(http)).await.unwrap();
        let endpoint = format!("http://{}", coordinator.grpc_addr());
        let channel = Channel::from_shared(endpoint).unwrap().connect().await.unwrap();
        let map_runs = MapRunServiceClient::new(channel.clone());
        let fleet = FleetServiceClient::new(channel.clone());
        let mut harness = Self { coordinator, map_runs, fleet, channel, store, directory };
        harness.until_ready().await;
        harness
    }

    /// Another coordinator, for which this one leads.
    pub(super) async fn start_follower(&self) -> Self {
        let endpoint = format!("http://{}", self.coordinator.grpc_addr());
        let store = MemoryStore::new();
        store.set_leader(Some(Leader { term: LeaderTerm(1), endpoint }));
        let directory = tempfile::tempdir().unwrap();
        let settings = usual_settings(&directory);
        Self::start_on(directory, Arc::new(store), settings).await
    }

    /// Ends the coordinator and starts another on the same store.
    pub(super) async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same, with settings changed.
    pub(super) async fn restart_with(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.coordinator.shutdown().await.unwrap();
        let mut settings = usual_settings(&self.directory);
        change(&mut settings);
        Self::start_on(self.directory, self.store, settings).await
    }

    async fn until_ready(&mut self) {
        let request = || v1::GetClusterRequest {};
        let ready = async { while self.fleet.get_cluster(request()).await.is_err() {} };
        timeout(DEADLINE, ready).await.expect("the coordinator leads soon");
    }

    pub(super) fn bucket(&self) -> String {
        format!("file://{}", self.directory.path().display())
    }

    pub(super) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    /// A specification that reads `users.csv`, two items a batch.
    pub(super) fn spec(&self) -> v1::MapRunSpec {
        v1::MapRunSpec {
            item_reader: Some(v1::ItemReader {
                bucket: self.bucket(),
                key: "users.csv".into(),
                reader_config: Some(v1::ReaderConfig {
                    input_type: v1::input_type::Type::Csv.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            item_batcher: Some(v1::ItemBatcher { max_items_per_batch: 2, ..Default::default() }),
            item_processor: Some(v1::ItemProcessor { handler: "echo".into(), ..Default::default() }),
            tolerated_failure_count: Some(1),
            ..Default::default()
        }
    }

    pub(super) fn request(&self, id: &str, spec: v1::MapRunSpec) -> v1::CreateMapRunRequest {
        v1::CreateMapRunRequest {
            map_run_id: id.into(),
            map_run: Some(v1::MapRun { spec: Some(spec), ..Default::default() }),
            ..Default::default()
        }
    }

    pub(super) async fn create(&mut self, id: &str, spec: v1::MapRunSpec) -> Result<v1::MapRun, Status> {
        let request = self.request(id, spec);
        Ok(self.map_runs.create_map_run(request).await?.into_inner())
    }

    pub(super) async fn get(&mut self, id: &str) -> Result<v1::MapRun, Status> {
        Ok(self.map_runs.get_map_run(v1::GetMapRunRequest { name: id.into() }).await?.into_inner())
    }

    pub(super) async fn stop(&mut self, id: &str) -> Result<v1::MapRun, Status> {
        let request = v1::StopMapRunRequest { name: id.into(), cause: String::new() };
        Ok(self.map_runs.stop_map_run(request).await?.into_inner())
    }

    pub(super) async fn wait(&mut self, id: &str) -> v1::MapRun {
        let request = v1::WaitMapRunRequest { name: id.into(), timeout: None };
        timeout(DEADLINE, self.map_runs.wait_map_run(request))
            .await
            .expect("the run ends")
            .unwrap()
            .into_inner()
    }

    pub(super) async fn worker(&self, name: &str) -> FakeWorker {
        FakeWorker::connect(self.channel.clone(), name).await
    }
}

/// Runs without a result writer are allowed.
fn usual_settings(directory: &TempDir) -> Settings {
    let mut settings = Settings::default();
    let bucket = format!("file://{}", directory.path().display());
    settings.scheduler.system_location = (bucket, "system/".into());
    settings
}

/// Code and reason of a failed call.
pub(super) fn code_and_reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    (status.code(), details.error_info().map_or_else(String::new, |info| info.reason.clone()))
}

/// The fields that a failed call names.
pub(super) fn violated_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    violations.iter().map(|violation| violation.field.clone()).collect()
}

/// A worker's stream, spoken by hand.
pub(super) struct FakeWorker {
    outgoing: mpsc::Sender<v1::ConnectRequest>,
    incoming: Streaming<v1::ConnectResponse>,
}

impl FakeWorker {
    /// Opens a stream and says Hello on it.
    pub(super) async fn connect(channel: Channel, name: &str) -> Self {
        let id = WorkerId::new(name).unwrap();
        let mut worker = Self::open(channel).await;
        worker
            .say(WorkerMessage::Hello(Hello {
                worker: id,
                incarnation: Incarnation(7),
                hello_number: 1,
                dead_incarnation: None,
                version: env!("CARGO_PKG_VERSION").into(),
                slots: 4,
                handlers: vec![WorkerHandler { name: HandlerName::new("echo").unwrap(), unavailable: None }],
                cache_bytes: 1 << 20,
                cut_versions: warifu_dataset::CUT_VERSIONS.collect(),
                draining: false,
                held_slots: Default::default(),
                leases: Vec::new(),
                compensates: true,
            }))
            .await;
        worker
    }

    /// Opens a stream and says nothing.
    pub(super) async fn open(channel: Channel) -> Self {
        let (outgoing, queued) = mpsc::channel(16);
        let mut client = WorkerServiceClient::new(channel);
        let incoming = timeout(DEADLINE, client.connect(ReceiverStream::new(queued)));
        let incoming =
            incoming.await.expect("the call answers before anything is said").unwrap().into_inner();
        Self { outgoing, incoming }
    }

    pub(super) async fn say(&mut self, message: WorkerMessage) {
        self.outgoing.send((&message).into()).await.unwrap();
    }

    /// What comes next; `None` at the end of the stream.
    pub(super) async fn hear(&mut self) -> Result<Option<CoordinatorMessage>, Status> {
        Ok(self.hear_anything().await?.map(|heard| match heard {
            FromCoordinator::Message(message) => message,
            other => panic!("heard {other:?}"),
        }))
    }

    /// What comes next, also from a coordinator that does not lead.
    pub(super) async fn hear_anything(&mut self) -> Result<Option<FromCoordinator>, Status> {
        let response = timeout(DEADLINE, self.incoming.message()).await.expect("something comes")?;
        Ok(response.map(|response| FromCoordinator::try_from(response).unwrap()))
    }

    /// The next message.
    pub(super) async fn expect(&mut self) -> CoordinatorMessage {
        self.hear().await.unwrap().expect("the stream goes on")
    }

    /// The first message that `wanted` takes; others are passed over.
    pub(super) async fn until<T>(&mut self, wanted: impl Fn(&CoordinatorMessage) -> Option<T>) -> T {
        loop {
            let message = self.expect().await;
            if let Some(found) = wanted(&message) {
                return found;
            }
        }
    }
}
