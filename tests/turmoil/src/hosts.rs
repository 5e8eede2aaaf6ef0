//! The software of the hosts: real coordinators and workers, begun again whenever they have left.

use std::net::SocketAddr;
use std::sync::Arc;

use warifu_coordinator::{Coordinator, EndError, Settings};
use warifu_model::{HandlerName, WorkerId};
use warifu_session::SessionSettings;
use warifu_worker::Worker;

use crate::clocks::SimulatedClock;
use crate::ledger::NotingHandler;
use crate::network::{PORT, SimulatedNetwork, endpoint, incoming};
use crate::objects::OUTPUT;
use crate::plan::{Broken, Host};
use crate::scene::Scene;
use crate::store::{LEADER_TTL, Seat};

/// What the job names.
pub(crate) const HANDLER: &str = "note";

/// Batches may be lost so often: seeds have more faults than a run is meant to bear.
const MAX_LOSSES: u32 = 1_000;

/// A coordinator, over and over.
pub(crate) async fn coordinator(scene: Arc<Scene>, index: usize) -> turmoil::Result {
    let host = Host::Coordinator(index);
    loop {
        let stop = scene.started(host);
        let seat = Arc::new(Seat { records: scene.records.clone(), coordinator: index });
        let address = SocketAddr::new(turmoil::lookup(host.to_string()), PORT);
        let connections = incoming(host, scene.clone()).await?;
        let settings = coordinator_settings(&scene, host);
        let objects = scene.objects.clone();
        let started = Coordinator::start_on(settings, seat, objects, (address, connections), None).await;
        let mut coordinator = started?;
        tokio::select! {
            ended = coordinator.ended() => return Err(ended.into()),
            () = stop.cancelled() => {}
        }
        match coordinator.shutdown().await {
            // Whoever does not read cannot keep it from ending.
            Ok(()) | Err(EndError::TimedOut(_)) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(scene.away_for(host)).await;
    }
}

fn coordinator_settings(scene: &Arc<Scene>, host: Host) -> Settings {
    let Host::Coordinator(index) = host else { unreachable!("coordinators run on their hosts") };
    Settings {
        scheduler: warifu_scheduler::Config {
            session_ttl: scene.plan.session_ttl,
            step_down_after: Some(LEADER_TTL * 2 / 3),
            max_losses: MAX_LOSSES,
            system_location: (OUTPUT.0.to_owned(), "system/".to_owned()),
            broken: match scene.plan.broken {
                Some(Broken::Coordinator(rule)) => Some(rule),
                Some(Broken::Worker(_)) | None => None,
            },
            ..warifu_scheduler::Config::default()
        },
        shard_bytes: scene.plan.shard_bytes,
        advertise: Some(endpoint(index)),
        clock: Arc::new(SimulatedClock::of(host, scene.plan.seed)),
        dial: Arc::new(SimulatedNetwork { host, scene: scene.clone() }),
        ..Settings::default()
    }
}

/// A worker, over and over.
pub(crate) async fn worker(scene: Arc<Scene>, index: usize) -> turmoil::Result {
    let host = Host::Worker(index);
    loop {
        let stop = scene.started(host);
        let (incarnation, last) = scene.incarnation(host);
        let handler = NotingHandler::new(scene.ledger.clone(), &scene.plan);
        let worker = Worker::builder_with(WorkerId::new(&host.to_string())?, scene.objects.clone())
            .endpoints((0..scene.plan.coordinators).map(endpoint))
            .slots(scene.plan.workers[index])
            .incarnation(incarnation, last.filter(|_| scene.plan.proves_death))
            .handler(HandlerName::new(HANDLER)?, Arc::new(handler))
            .session_settings(session_settings(&scene))
            .clock(Arc::new(SimulatedClock::of(host, scene.plan.seed)))
            .dial(Arc::new(SimulatedNetwork { host, scene: scene.clone() }))
            .build();
        worker.run(stop).await?;
        tokio::time::sleep(scene.away_for(host)).await;
    }
}

fn session_settings(scene: &Scene) -> SessionSettings {
    SessionSettings {
        broken: match scene.plan.broken {
            Some(Broken::Worker(rule)) => Some(rule),
            Some(Broken::Coordinator(_)) | None => None,
        },
        ..SessionSettings::default()
    }
}
