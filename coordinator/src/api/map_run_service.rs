//! `MapRunService`: creates map runs, watches them and acts on them.

use tonic::{Request, Response, Status};
use tracing::Instrument as _;
use warifu_common::telemetry::field;
use warifu_common::telemetry::traces::mark_failed;
use warifu_common::wire::v1;
use warifu_common::wire::v1::map_run_service_server::MapRunService;
use warifu_model::{MapRunId, MapRunView};
use warifu_scheduler::{Event, Reply};

use super::trace::TracedCall;
use super::{ApiError, Context, batches, create, failures, list, map_run_id, redrive, watch, wrong_reply};
use crate::security::name_resource;

/// Characters of a stop's cause that are kept: an error's cause takes 1 KiB at most.
const MAX_CAUSE_CHARS: usize = 200;

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct MapRuns {
    pub(crate) context: Context,
}

impl Context {
    /// One run as it is now.
    pub(super) async fn map_run(&self, id: MapRunId) -> Result<v1::MapRun, ApiError> {
        Ok(v1::MapRun::from(&self.view(&id).await?))
    }

    /// The same as plain data.
    pub(super) async fn view(&self, id: &MapRunId) -> Result<MapRunView, ApiError> {
        let wanted = id.clone();
        let view = self.driver.query(move |scheduler| scheduler.map_run(&wanted)).await?;
        view.ok_or_else(|| ApiError::NoSuchMapRun(id.clone()))
    }

    /// A change of a run, durable when it is answered.
    pub(super) async fn change(
        &self,
        event: impl FnOnce(warifu_scheduler::RequestId) -> Event + Send + 'static,
    ) -> Result<v1::MapRun, ApiError> {
        match self.driver.change(event).await? {
            Reply::MapRun(view) => Ok(v1::MapRun::from(&*view)),
            Reply::Deleted | Reply::Worker(_) => Err(wrong_reply()),
        }
    }

    async fn stop(&self, request: v1::StopMapRunRequest) -> Result<v1::MapRun, ApiError> {
        let map_run = map_run_id("name", &request.name)?;
        let cause: String = request.cause.chars().take(MAX_CAUSE_CHARS).collect();
        self.change(|request| Event::StopRequested { request, map_run, cause }).await
    }

    async fn update(&self, request: v1::UpdateMapRunRequest) -> Result<v1::MapRun, ApiError> {
        let (map_run, update) = super::source::update_of(&request)?;
        self.change(move |request| Event::UpdateRequested { request, map_run, update }).await
    }

    async fn delete(&self, request: v1::DeleteMapRunRequest) -> Result<(), ApiError> {
        let map_run = map_run_id("name", &request.name)?;
        match self.driver.change(|request| Event::DeleteRequested { request, map_run }).await? {
            Reply::Deleted => Ok(()),
            Reply::MapRun(_) | Reply::Worker(_) => Err(wrong_reply()),
        }
    }
}

#[tonic::async_trait]
impl MapRunService for MapRuns {
    type WatchMapRunStream = watch::Snapshots;

    async fn create_map_run(
        &self,
        request: Request<v1::CreateMapRunRequest>,
    ) -> Result<Response<v1::MapRun>, Status> {
        name_resource(&request, &request.get_ref().map_run_id);
        let call = TracedCall::of_create(request.metadata());
        let creating = create::create(&self.context, request.into_inner(), call.place);
        let created = creating.instrument(call.span.clone()).await;
        match &created {
            Ok(run) => _ = call.span.record(field::MAP_RUN_ID, run.name.trim_start_matches("mapRuns/")),
            Err(_) => mark_failed(&call.span),
        }
        Ok(Response::new(created?))
    }

    async fn get_map_run(
        &self,
        request: Request<v1::GetMapRunRequest>,
    ) -> Result<Response<v1::MapRun>, Status> {
        let id = map_run_id("name", &request.into_inner().name)?;
        Ok(Response::new(self.context.map_run(id).await?))
    }

    async fn list_map_runs(
        &self,
        request: Request<v1::ListMapRunsRequest>,
    ) -> Result<Response<v1::ListMapRunsResponse>, Status> {
        Ok(Response::new(list::map_runs(&self.context, request.into_inner()).await?))
    }

    async fn watch_map_run(
        &self,
        request: Request<v1::WatchMapRunRequest>,
    ) -> Result<Response<watch::Snapshots>, Status> {
        let id = map_run_id("name", &request.into_inner().name)?;
        Ok(Response::new(watch::watch(&self.context, id).await?))
    }

    async fn wait_map_run(
        &self,
        request: Request<v1::WaitMapRunRequest>,
    ) -> Result<Response<v1::MapRun>, Status> {
        Ok(Response::new(watch::wait(&self.context, request.into_inner()).await?))
    }

    async fn stop_map_run(
        &self,
        request: Request<v1::StopMapRunRequest>,
    ) -> Result<Response<v1::MapRun>, Status> {
        name_resource(&request, &request.get_ref().name);
        Ok(Response::new(self.context.stop(request.into_inner()).await?))
    }

    async fn update_map_run(
        &self,
        request: Request<v1::UpdateMapRunRequest>,
    ) -> Result<Response<v1::MapRun>, Status> {
        name_resource(&request, request.get_ref().map_run.as_ref().map_or("", |map_run| &map_run.name));
        Ok(Response::new(self.context.update(request.into_inner()).await?))
    }

    async fn redrive_map_run(
        &self,
        request: Request<v1::RedriveMapRunRequest>,
    ) -> Result<Response<v1::MapRun>, Status> {
        name_resource(&request, &request.get_ref().name);
        Ok(Response::new(redrive::redrive(&self.context, request.into_inner()).await?))
    }

    async fn delete_map_run(
        &self,
        request: Request<v1::DeleteMapRunRequest>,
    ) -> Result<Response<()>, Status> {
        name_resource(&request, &request.get_ref().name);
        Ok(Response::new(self.context.delete(request.into_inner()).await?))
    }

    async fn list_item_failures(
        &self,
        request: Request<v1::ListItemFailuresRequest>,
    ) -> Result<Response<v1::ListItemFailuresResponse>, Status> {
        Ok(Response::new(failures::list(&self.context, request.into_inner()).await?))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Result<Response<v1::ListBatchesResponse>, Status> {
        Ok(Response::new(batches::list(&self.context, request.into_inner()).await?))
    }
}
