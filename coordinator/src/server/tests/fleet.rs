//! `FleetService`, reflection and health.

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use warifu_common::wire::v1;
use warifu_common::wire::v1::worker::State;
use warifu_model::protocol::CoordinatorMessage;

use super::harness::{Harness, code_and_reason};

#[tokio::test]
async fn a_worker_is_listed_drained_and_taken_back() {
    let mut harness = Harness::start().await;
    let mut worker = harness.worker("w-1").await;
    worker.until(|message| matches!(message, CoordinatorMessage::Welcome(_)).then_some(())).await;

    let listed = harness.fleet.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.workers[0].name, "workers/w-1");
    assert_eq!(listed.workers[0].handlers[0].name, "echo");
    let request = v1::DrainWorkerRequest { name: "w-1".into(), timeout: None };
    let drained = harness.fleet.drain_worker(request).await.unwrap().into_inner();
    assert_eq!(drained.state(), State::Draining);
    worker.until(|message| matches!(message, CoordinatorMessage::Drain { .. }).then_some(())).await;
    let request = v1::UncordonWorkerRequest { name: "workers/w-1".into() };
    let taken_back = harness.fleet.uncordon_worker(request).await.unwrap().into_inner();
    assert_eq!(taken_back.state(), State::Active);
    let cluster = harness.fleet.get_cluster(v1::GetClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((cluster.worker_count, cluster.slot_count), (1, 4));
    assert_eq!(cluster.store.unwrap().r#type, "memory");
    assert_eq!(cluster.leader.unwrap().endpoint, format!("http://{}", harness.coordinator.grpc_addr()));
}

#[tokio::test]
async fn a_worker_that_is_not_there_is_named() {
    let mut harness = Harness::start().await;
    let request = v1::GetWorkerRequest { name: "workers/nobody".into() };
    let refused = harness.fleet.get_worker(request).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::NotFound, "WORKER_NOT_FOUND".into()));
    assert!(refused.message().contains("nobody"), "{}", refused.message());
}

#[tokio::test]
async fn health_is_served_beside_the_services() {
    let harness = Harness::start().await;
    let mut client = HealthClient::new(harness.channel.clone());
    let request = HealthCheckRequest { service: "warifu.v1.MapRunService".into() };
    let status = client.check(request).await.unwrap().into_inner().status();
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_names_every_service_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let harness = Harness::start().await;

    let mut client = v1::server_reflection_client::ServerReflectionClient::new(harness.channel.clone());
    let request = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    for service in [
        "warifu.v1.MapRunService",
        "warifu.v1.FleetService",
        "warifu.v1.WorkerService",
        "grpc.health.v1.Health",
    ] {
        assert!(answer.contains(service), "{service} is not in {answer}");
    }

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(harness.channel.clone());
    let symbol = "warifu.v1.MapRunService".to_owned();
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            symbol,
        )),
        ..Default::default()
    };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files) = answer else {
        panic!("{answer:?}");
    };
    let comment = b"Creates map runs, watches them";
    let has_comment = |file: &Vec<u8>| file.windows(comment.len()).any(|bytes| bytes == comment);
    assert!(files.file_descriptor_proto.iter().any(has_comment), "comments are shown");
}
