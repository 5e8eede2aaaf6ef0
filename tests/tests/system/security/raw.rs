//! Calls that no program of ours makes: a worker's stream spoken by hand.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use warifu_common::config::ClientTlsConfig;
use warifu_common::model::protocol::{Hello, WorkerMessage};
use warifu_common::model::{Incarnation, LeaderTerm, LeaseEpoch, LeaseId, RangeSet, WorkerId};
use warifu_common::security::{BearerToken, SecureDial};
use warifu_common::transport::{self, Dial};
use warifu_common::wire::v1;
use warifu_common::wire::v1::fleet_service_client::FleetServiceClient;
use warifu_common::wire::v1::worker_service_client::WorkerServiceClient;

use super::scene::{SOON, Scene, token};

/// Leases of the leader that are tried: far more than there are.
const LEASES: u64 = 32;

/// What a worker says that is none of the fleet's.
pub(super) struct Impostor<'s> {
    scene: &'s Scene,
    principal: &'static str,
    runtime: tokio::runtime::Runtime,
}

impl<'s> Impostor<'s> {
    pub(super) fn new(scene: &'s Scene, principal: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { scene, principal, runtime }
    }

    /// Says Hello under this name, and returns why it was refused.
    pub(super) fn says_hello_as(&self, worker: &str) -> Option<(Code, String)> {
        self.runtime.block_on(self.stream(vec![hello(worker)])).map(|status| code_and_reason(&status))
    }

    /// Says Hello under a name of its own and gives back a lease that is not its own, whichever that is.
    pub(super) fn returns_anothers_lease(&self, worker: &str) -> Option<(Code, String)> {
        let term = self.scene.call("vera", &["cluster", "-o", "json"]).json()["term"].as_u64().unwrap();
        (1..=LEASES).find_map(|epoch| {
            let lease = LeaseId { term: LeaderTerm(term), epoch: LeaseEpoch(epoch) };
            let returned = WorkerMessage::Returned { lease, batches: RangeSet::from_range(0..1) };
            let messages = vec![hello(&format!("{worker}-{epoch}")), returned, WorkerMessage::Goodbye];
            self.runtime.block_on(self.stream(messages)).map(|status| code_and_reason(&status))
        })
    }

    /// Asks for the cluster again and again, and returns the first refusal.
    pub(super) fn asks_too_often(&self) -> Status {
        self.runtime.block_on(async {
            let mut fleet = FleetServiceClient::new(self.channel().await);
            loop {
                if let Err(status) = fleet.get_cluster(self.request(v1::GetClusterRequest {})).await {
                    return status;
                }
            }
        })
    }

    /// The status that the stream ends with; `None` if it ended well, or goes on after a Welcome that was wanted.
    async fn stream(&self, messages: Vec<WorkerMessage>) -> Option<Status> {
        let (sender, queued) = mpsc::channel(8);
        let is_alone = messages.len() == 1;
        for message in &messages {
            sender.send(v1::ConnectRequest::from(message)).await.unwrap();
        }
        let _open = is_alone.then_some(sender);
        let mut client = WorkerServiceClient::new(self.channel().await);
        let answers = async {
            let mut answers = match client.connect(self.request(ReceiverStream::new(queued))).await {
                Ok(answers) => answers.into_inner(),
                Err(status) => return Some(status),
            };
            loop {
                match answers.message().await {
                    Ok(Some(_)) if is_alone => return None,
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        };
        tokio::time::timeout(SOON, answers).await.expect("an answer comes")
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", token(self.principal));
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        request
    }

    async fn channel(&self) -> Channel {
        let tls = ClientTlsConfig {
            ca_file: Some(self.scene.path("ca.pem")),
            cert_file: Some(self.scene.path("client.pem")),
            key_file: Some(self.scene.path("client.key")),
        };
        let dial = SecureDial::new(&[], &tls, BearerToken::None).unwrap();
        dial.dial(&transport::endpoint(&self.scene.endpoint).unwrap()).await.unwrap()
    }
}

fn hello(worker: &str) -> WorkerMessage {
    WorkerMessage::Hello(Hello {
        worker: WorkerId::new(worker).unwrap(),
        // Numbers of processes are drawn at random; each name here has its own.
        incarnation: Incarnation(worker.bytes().fold(7, |sum, byte| sum * 31 + u128::from(byte))),
        hello_number: 1,
        dead_incarnation: None,
        version: env!("CARGO_PKG_VERSION").into(),
        slots: 1,
        handlers: Vec::new(),
        cache_bytes: 0,
        cut_versions: Vec::new(),
        draining: false,
        held_slots: Default::default(),
        leases: Vec::new(),
        compensates: true,
    })
}

fn code_and_reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    (status.code(), details.error_info().map_or_else(String::new, |info| info.reason.clone()))
}
