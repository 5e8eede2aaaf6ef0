//! `externalscaler.ExternalScaler`: tells KEDA how many slots could be busy. What that means is the scheduler's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use warifu_common::wire::InvalidRequest;
use warifu_common::wire::externalscaler::external_scaler_server::ExternalScaler;
use warifu_common::wire::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use warifu_model::HandlerName;
use warifu_scheduler::SlotDemand;

use super::{ApiError, Context, stopping};

/// The one metric.
const METRIC: &str = "warifu-desired-slots";

/// Keys of a trigger's metadata that are ours.
const HANDLER: &str = "handler";
const SLOTS_PER_WORKER: &str = "slotsPerWorker";

/// As `worker.slots` in worker.toml: unless it is set, and at most.
const WORKER_SLOTS: (u32, u32) = (8, 4096);

/// Handlers that one ScaledObject may name; more than any worker has.
const MOST_HANDLERS: usize = 1000;

/// How often a stream looks whether something has changed: soon enough for a pod, which takes seconds to start.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Scaler {
    pub(crate) context: Context,
}

/// What a ScaledObject asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// Empty: all.
    handlers: BTreeSet<HandlerName>,
    slots_per_worker: u32,
}

impl Wanted {
    fn of(reference: &ScaledObjectRef) -> Result<Self, ApiError> {
        let metadata = &reference.scaler_metadata;
        Ok(Self { handlers: handlers(metadata)?, slots_per_worker: slots_per_worker(metadata)? })
    }
}

fn handlers(metadata: &BTreeMap<String, String>) -> Result<BTreeSet<HandlerName>, ApiError> {
    let invalid = |description: String| invalid(HANDLER, description);
    let Some(names) = metadata.get(HANDLER) else { return Ok(BTreeSet::new()) };
    if names.split(',').count() > MOST_HANDLERS {
        return Err(invalid(format!("names more than {MOST_HANDLERS} handlers")));
    }
    let name = |name: &str| HandlerName::new(name.trim()).map_err(|error| invalid(error.to_string()));
    names.split(',').map(name).collect()
}

fn slots_per_worker(metadata: &BTreeMap<String, String>) -> Result<u32, ApiError> {
    let (default, most) = WORKER_SLOTS;
    let Some(text) = metadata.get(SLOTS_PER_WORKER) else { return Ok(default) };
    let slots = text.trim().parse().ok().filter(|slots| (1..=most).contains(slots));
    slots.ok_or_else(|| {
        invalid(
            SLOTS_PER_WORKER,
            format!("must be a whole number from 1 to {most}: worker.slots of a worker"),
        )
    })
}

fn invalid(key: &str, description: String) -> ApiError {
    InvalidRequest::one(format!("scaler_metadata.{key}"), description).into()
}

impl Context {
    async fn slot_demand(&self, handlers: &BTreeSet<HandlerName>) -> Result<SlotDemand, ApiError> {
        let (now, handlers) = (self.clock.now().at, handlers.clone());
        Ok(self.driver.query(move |scheduler| scheduler.slot_demand(now, &handlers)).await?)
    }

    async fn metrics(&self, request: GetMetricsRequest) -> Result<GetMetricsResponse, ApiError> {
        if !matches!(request.metric_name.as_str(), "" | METRIC) {
            return Err(InvalidRequest::one("metric_name", format!("the only metric is {METRIC}")).into());
        }
        let wanted = Wanted::of(&request.scaled_object_ref.unwrap_or_default())?;
        let slots = self.slot_demand(&wanted.handlers).await?.slots;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: i64::try_from(slots).unwrap_or(i64::MAX),
            metric_value_float: slots as f64,
        };
        Ok(GetMetricsResponse { metric_values: vec![value] })
    }
}

fn metric_spec(reference: &ScaledObjectRef) -> Result<GetMetricSpecResponse, ApiError> {
    let slots = Wanted::of(reference)?.slots_per_worker;
    let spec = MetricSpec {
        metric_name: METRIC.to_owned(),
        target_size: i64::from(slots),
        target_size_float: f64::from(slots),
    };
    Ok(GetMetricSpecResponse { metric_specs: vec![spec] })
}

type Activity = mpsc::Sender<Result<IsActiveResponse, Status>>;

/// Says whether the fleet is needed, at once and at every change. Ends when it cannot be known any more.
async fn send_activity(context: &Context, handlers: &BTreeSet<HandlerName>, activity: &Activity) {
    let mut said = None;
    loop {
        match context.slot_demand(handlers).await {
            Ok(SlotDemand { is_active, .. }) if said != Some(is_active) => {
                said = Some(is_active);
                if activity.send(Ok(IsActiveResponse { result: is_active })).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                let _ = activity.send(Err(error.into())).await;
                return;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let wanted = Wanted::of(request.get_ref())?;
        let result = self.context.slot_demand(&wanted.handlers).await?.is_active;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let wanted = Wanted::of(request.get_ref())?;
        let context = self.context.clone();
        let (activity, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            // Each only borrows what lives on; dropping them ends the stream.
            tokio::select! {
                () = send_activity(&context, &wanted.handlers, &activity) => {}
                () = context.shutdown.cancelled() => drop(activity.try_send(Err(stopping().into()))),
                () = activity.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(metric_spec(request.get_ref())?))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        Ok(Response::new(self.context.metrics(request.into_inner()).await?))
    }

    type StreamMetricSpecStream = Pin<Box<dyn Stream<Item = Result<GetMetricSpecResponse, Status>> + Send>>;

    async fn stream_metric_spec(
        &self,
        _request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented(
            "the target does not change while a ScaledObject stands: call GetMetricSpec",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(metadata: &[(&str, &str)]) -> Result<Wanted, String> {
        let scaler_metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let reference =
            ScaledObjectRef { scaler_metadata: scaler_metadata.collect(), ..ScaledObjectRef::default() };
        Wanted::of(&reference).map_err(|error| error.to_string())
    }

    #[test]
    fn metadata_names_handlers_and_the_slots_of_a_worker() {
        let all = wanted(&[("scalerAddress", "warifu:7400")]).unwrap();
        assert_eq!(all, Wanted { handlers: BTreeSet::new(), slots_per_worker: 8 });
        let some = wanted(&[("handler", "b, a"), ("slotsPerWorker", "16")]).unwrap();
        let names: Vec<&str> = some.handlers.iter().map(HandlerName::as_str).collect();
        assert_eq!((names, some.slots_per_worker), (vec!["a", "b"], 16));
        for (key, value) in [
            ("handler", ""),
            ("handler", "a,,b"),
            ("handler", "not a name"),
            ("slotsPerWorker", "0"),
            ("slotsPerWorker", "4097"),
            ("slotsPerWorker", "many"),
        ] {
            let refused = wanted(&[(key, value)]).unwrap_err();
            assert!(refused.contains(&format!("scaler_metadata.{key}")), "{key}={value}: {refused}");
        }
    }
}
