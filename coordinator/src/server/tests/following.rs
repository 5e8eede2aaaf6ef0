//! Coordinators that do not lead.

use tokio::time::timeout;
use tonic::Code;
use warifu_common::wire::lease_stream::FromCoordinator;
use warifu_common::wire::v1;
use warifu_common::wire::v1::map_run::State;
use warifu_model::LeaderTerm;

use super::harness::{DEADLINE, FakeWorker, Harness, code_and_reason};
use crate::state_store::Leader;

#[tokio::test]
async fn a_call_to_a_follower_is_answered_by_the_leader() {
    let mut leader = Harness::start().await;
    let mut follower = leader.start_follower().await;
    let request = leader.request("a", leader.spec());
    follower.map_runs.create_map_run(request).await.unwrap();
    assert_eq!(leader.get("a").await.unwrap().state(), State::Running);
    let refused = follower.get("nothing").await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::NotFound, "MAP_RUN_NOT_FOUND".into()), "details come along");
    let cluster = follower.fleet.get_cluster(v1::GetClusterRequest {}).await.unwrap().into_inner();
    assert_eq!(cluster.leader.unwrap().endpoint, format!("http://{}", leader.coordinator.grpc_addr()));
}

#[tokio::test]
async fn a_run_is_watched_through_a_follower() {
    let mut leader = Harness::start().await;
    let mut follower = leader.start_follower().await;
    leader.create("a", leader.spec()).await.unwrap();
    let request = v1::WatchMapRunRequest { name: "a".into() };
    let mut snapshots = follower.map_runs.watch_map_run(request).await.unwrap().into_inner();
    let first = snapshots.message().await.unwrap().unwrap().map_run.unwrap();
    assert_eq!(first.state(), State::Running);
    leader.stop("a").await.unwrap();
    let last = async {
        let mut last = first;
        while let Some(snapshot) = snapshots.message().await.unwrap() {
            last = snapshot.map_run.unwrap();
        }
        last
    };
    let last = timeout(DEADLINE, last).await.expect("the stream ends with the run");
    assert_eq!(last.state(), State::Aborted);
}

#[tokio::test]
async fn a_worker_is_told_where_the_leader_is() {
    let leader = Harness::start().await;
    let follower = leader.start_follower().await;
    let mut worker = FakeWorker::open(follower.channel.clone()).await;
    let Some(FromCoordinator::NotLeader(Some(address))) = worker.hear_anything().await.unwrap() else {
        panic!("the leader's address comes first")
    };
    assert_eq!(address.endpoint, format!("http://{}", leader.coordinator.grpc_addr()));
    assert!(worker.hear_anything().await.unwrap().is_none(), "the stream ends");
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_named() {
    let leader = Harness::start().await;
    let mut follower = leader.start_follower().await;
    let endpoint = format!("http://{}", leader.coordinator.grpc_addr());
    leader.coordinator.shutdown().await.unwrap();
    let refused = follower.get("a").await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::Unavailable, "NOT_LEADER".into()));
    assert!(refused.message().contains(&endpoint), "{}", refused.message());
}

#[tokio::test]
async fn a_follower_takes_the_lead_when_nobody_has_it() {
    let leader = Harness::start().await;
    let mut follower = leader.start_follower().await;
    leader.coordinator.shutdown().await.unwrap();
    follower.store.set_leader(None);
    let leads = async {
        let mine = format!("http://{}", follower.coordinator.grpc_addr());
        loop {
            let cluster = follower.fleet.get_cluster(v1::GetClusterRequest {}).await;
            if cluster.is_ok_and(|cluster| cluster.into_inner().leader.unwrap().endpoint == mine) {
                return;
            }
        }
    };
    timeout(DEADLINE, leads).await.expect("it leads soon");
}

/// One that takes a follower for the leader: the call comes back refused instead of going from one to the next.
#[tokio::test]
async fn a_call_is_passed_on_once_at_most() {
    let leader = Harness::start().await;
    let follower = leader.start_follower().await;
    let mut mistaken = leader.start_follower().await;
    let endpoint = format!("http://{}", follower.coordinator.grpc_addr());
    mistaken.store.set_leader(Some(Leader { term: LeaderTerm(2), endpoint }));
    let refused = async {
        loop {
            match mistaken.get("a").await {
                Err(status) if status.code() == Code::Unavailable => return status,
                // The leader that it knew before answers until it looks again.
                Ok(_) | Err(_) => {}
            }
        }
    };
    let refused = timeout(DEADLINE, refused).await.expect("the call comes back");
    assert_eq!(code_and_reason(&refused).1, "NOT_READY");
}
