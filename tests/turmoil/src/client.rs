//! The user: creates a run, follows it through whatever happens, and holds what it is told against the promises.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use warifu_common::transport::{self, Dial};
use warifu_common::wire::v1;

use crate::hosts::HANDLER;
use crate::network::{SimulatedNetwork, endpoint};
use crate::objects::{INPUT, OUTPUT};
use crate::plan::{Host, Plan};
use crate::scene::{Order, Scene};

/// The run's name.
pub(crate) const RUN: &str = "run-1";

/// A call that takes longer is given up, and made again elsewhere.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// From one look at the run to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(700);

/// Asks one coordinator after the other.
struct Client {
    network: SimulatedNetwork,
    channel: Option<Channel>,
    turn: usize,
}

impl Client {
    /// Makes a call until it is answered. Calls are such that they may be made twice.
    async fn ask<T, F>(&mut self, call: impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        loop {
            match timeout(CALL_TIMEOUT, self.try_once(&call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) if is_final(status.code()) => return Err(status),
                Ok(Err(_)) | Err(_) => {}
            }
            self.channel = None;
            self.turn += 1;
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn try_once<T, F>(&mut self, call: &impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        if self.channel.is_none() {
            let address = endpoint(self.turn % self.network.scene.plan.coordinators);
            let address = transport::endpoint(&address).expect("it is an address");
            let dialled = self.network.dial(&address).await;
            self.channel = Some(dialled.map_err(|error| Status::unavailable(error.to_string()))?);
        }
        let channel = self.channel.clone().expect("it was just made");
        Ok(call(channel).await?.into_inner())
    }
}

impl Client {
    /// Drains a worker, or lets it work again. One that is not there needs neither.
    async fn obey(&mut self, order: Order) -> Result<(), Status> {
        let done = match order {
            Order::Drain(worker) => {
                let request = v1::DrainWorkerRequest { name: worker.to_string(), timeout: None };
                self.ask(|channel| drain(channel, request.clone())).await
            }
            Order::Uncordon(worker) => {
                let request = v1::UncordonWorkerRequest { name: worker.to_string() };
                self.ask(|channel| uncordon(channel, request.clone())).await
            }
        };
        match done {
            Err(status) if status.code() != Code::NotFound => Err(status),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether asking again would not help.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}

/// Creates the run, and ends when the run has ended as it must.
pub(crate) async fn run(scene: Arc<Scene>) -> turmoil::Result {
    let network = SimulatedNetwork { host: Host::Client, scene: scene.clone() };
    let mut client = Client { network, channel: None, turn: 0 };
    let request = v1::CreateMapRunRequest {
        map_run_id: RUN.to_owned(),
        map_run: Some(v1::MapRun { spec: Some(spec(&scene.plan)), ..v1::MapRun::default() }),
        ..v1::CreateMapRunRequest::default()
    };
    client.ask(|channel| create(channel, request.clone())).await?;
    loop {
        for order in scene.take_orders() {
            client.obey(order).await?;
        }
        let seen = client.ask(get).await?;
        let counts = seen.item_counts.unwrap_or_default();
        check_sum(&counts)?;
        match seen.state() {
            v1::map_run::State::Queued | v1::map_run::State::Running => sleep(LOOK_INTERVAL).await,
            v1::map_run::State::Succeeded => return check_end(&scene.plan, &counts),
            state => return Err(format!("the run is {state:?}: {:?}", seen.error).into()),
        }
    }
}

/// Watches the run, again whenever the stream ends before the run does.
pub(crate) async fn watcher(scene: Arc<Scene>) -> turmoil::Result {
    let network = SimulatedNetwork { host: Host::Watcher, scene };
    let mut client = Client { network, channel: None, turn: 1 };
    loop {
        match client.ask(watch).await {
            Ok(mut stream) => {
                while let Ok(Some(seen)) = stream.message().await {
                    let seen = seen.map_run.unwrap_or_default();
                    check_sum(&seen.item_counts.unwrap_or_default())?;
                    if seen.state() == v1::map_run::State::Succeeded {
                        return Ok(());
                    }
                }
            }
            // It was not created yet.
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn create(
    channel: Channel,
    request: v1::CreateMapRunRequest,
) -> Result<tonic::Response<v1::MapRun>, Status> {
    transport::map_run_client(channel).create_map_run(request).await
}

async fn get(channel: Channel) -> Result<tonic::Response<v1::MapRun>, Status> {
    let request = v1::GetMapRunRequest { name: RUN.to_owned() };
    transport::map_run_client(channel).get_map_run(request).await
}

async fn drain(
    channel: Channel,
    request: v1::DrainWorkerRequest,
) -> Result<tonic::Response<v1::Worker>, Status> {
    transport::fleet_client(channel).drain_worker(request).await
}

async fn uncordon(
    channel: Channel,
    request: v1::UncordonWorkerRequest,
) -> Result<tonic::Response<v1::Worker>, Status> {
    transport::fleet_client(channel).uncordon_worker(request).await
}

async fn watch(channel: Channel) -> Result<tonic::Response<Streaming<v1::WatchMapRunResponse>>, Status> {
    let request = v1::WatchMapRunRequest { name: RUN.to_owned() };
    transport::map_run_client(channel).watch_map_run(request).await
}

fn spec(plan: &Plan) -> v1::MapRunSpec {
    let retry = v1::Retrier {
        error_equals: vec!["States.ALL".to_owned()],
        max_attempts: Some(2),
        ..v1::Retrier::default()
    };
    v1::MapRunSpec {
        item_reader: Some(v1::ItemReader {
            bucket: INPUT.0.to_owned(),
            key: INPUT.1.to_owned(),
            reader_config: Some(v1::ReaderConfig {
                input_type: v1::input_type::Type::Csv.into(),
                ..v1::ReaderConfig::default()
            }),
            ..v1::ItemReader::default()
        }),
        item_batcher: Some(v1::ItemBatcher {
            max_items_per_batch: plan.batch_items,
            ..v1::ItemBatcher::default()
        }),
        item_processor: Some(v1::ItemProcessor {
            handler: HANDLER.to_owned(),
            retry: vec![retry],
            ..v1::ItemProcessor::default()
        }),
        max_concurrency: plan.max_concurrency,
        result_writer: Some(v1::ResultWriter {
            bucket: OUTPUT.0.to_owned(),
            prefix: OUTPUT.1.to_owned(),
            ..v1::ResultWriter::default()
        }),
        ..v1::MapRunSpec::default()
    }
}

/// Counts by state add up, at every look.
fn check_sum(counts: &v1::Counts) -> turmoil::Result {
    let sum = counts.pending
        + counts.running
        + counts.succeeded
        + counts.failed
        + counts.timed_out
        + counts.aborted
        + counts.pending_redrive;
    if sum == counts.total { Ok(()) } else { Err(format!("counts do not add up: {counts:?}").into()) }
}

fn check_end(plan: &Plan, counts: &v1::Counts) -> turmoil::Result {
    let expected = v1::Counts {
        total: plan.items,
        succeeded: plan.items,
        results_written: plan.items,
        ..v1::Counts::default()
    };
    if *counts == expected { Ok(()) } else { Err(format!("counted at the end: {counts:?}").into()) }
}
