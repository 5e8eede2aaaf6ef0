//! What KEDA is told, by the leader and through others.

use tokio::time::timeout;
use tonic::{Code, Streaming};
use warifu_common::wire::externalscaler::external_scaler_client::ExternalScalerClient;
use warifu_common::wire::externalscaler::{
    GetMetricsRequest, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
};

use super::harness::{DEADLINE, Harness, code_and_reason};

const METRIC: &str = "warifu-desired-slots";

fn reference(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    ScaledObjectRef { scaler_metadata: metadata.collect(), ..ScaledObjectRef::default() }
}

async fn next(activity: &mut Streaming<IsActiveResponse>) -> bool {
    let next = timeout(DEADLINE, activity.message()).await.expect("it changes");
    next.unwrap().expect("the stream goes on").result
}

#[tokio::test]
async fn a_fleet_of_none_is_wanted_once_there_is_a_run_and_until_it_ends() {
    let mut leader = Harness::start().await;
    let follower = leader.start_follower().await;
    let mut scaler = ExternalScalerClient::new(follower.channel.clone());
    let mut activity = scaler.stream_is_active(reference(&[])).await.unwrap().into_inner();
    assert!(!next(&mut activity).await, "there is no run");
    leader.create("a", leader.spec()).await.unwrap();
    assert!(next(&mut activity).await, "somebody has to read its source");

    let request = GetMetricsRequest {
        scaled_object_ref: Some(reference(&[("slotsPerWorker", "2")])),
        metric_name: METRIC.into(),
    };
    let values = scaler.get_metrics(request).await.unwrap().into_inner().metric_values;
    let one = MetricValue { metric_name: METRIC.into(), metric_value: 1, metric_value_float: 1.0 };
    assert_eq!(values, [one]);
    let specs = scaler.get_metric_spec(reference(&[("slotsPerWorker", "2")])).await.unwrap().into_inner();
    let two = MetricSpec { metric_name: METRIC.into(), target_size: 2, target_size_float: 2.0 };
    assert_eq!(specs.metric_specs, [two]);
    let others = scaler.is_active(reference(&[("handler", "another")])).await.unwrap().into_inner();
    assert!(!others.result, "this run needs another handler");

    leader.stop("a").await.unwrap();
    assert!(!next(&mut activity).await);
}

#[tokio::test]
async fn a_scaled_object_that_is_wrong_is_told_what_is() {
    let leader = Harness::start().await;
    let mut scaler = ExternalScalerClient::new(leader.channel.clone());
    let invalid = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
    let refused = scaler.get_metric_spec(reference(&[("slotsPerWorker", "0")])).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), invalid);
    assert!(refused.message().contains("slotsPerWorker"), "{}", refused.message());
    let request = GetMetricsRequest { metric_name: "cpu".into(), ..GetMetricsRequest::default() };
    let refused = scaler.get_metrics(request).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), invalid);
    assert!(refused.message().contains(METRIC), "{}", refused.message());
    let pushed = scaler.stream_metric_spec(reference(&[])).await.unwrap_err();
    assert_eq!(pushed.code(), Code::Unimplemented, "KEDA then asks for the spec");
}
