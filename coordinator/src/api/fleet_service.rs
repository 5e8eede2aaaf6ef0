//! `FleetService`: shows workers and coordinators, and takes workers out of service.

use tonic::{Request, Response, Status};
use warifu_common::error_chain::Chain;
use warifu_common::wire::v1;
use warifu_common::wire::v1::fleet_service_server::FleetService;
use warifu_scheduler::{Event, Reply, RequestId};

use super::{ApiError, Context, list, worker_id, wrong_reply};
use crate::security::name_resource;
use crate::state_store::Member;

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) context: Context,
}

impl Context {
    async fn worker(&self, request: v1::GetWorkerRequest) -> Result<v1::Worker, ApiError> {
        let id = worker_id(&request.name)?;
        let wanted = id.clone();
        let view = self.driver.query(move |scheduler| scheduler.worker(&wanted)).await?;
        view.as_ref().map(v1::Worker::from).ok_or(ApiError::NoSuchWorker(id.to_string()))
    }

    async fn drain(&self, request: v1::DrainWorkerRequest) -> Result<v1::Worker, ApiError> {
        let worker = worker_id(&request.name)?;
        if request.timeout.is_some() {
            return Err(ApiError::NotSupported { what: "a timeout for one drain".into() });
        }
        self.change_worker(|request| Event::DrainRequested { request, worker }).await
    }

    async fn uncordon(&self, request: v1::UncordonWorkerRequest) -> Result<v1::Worker, ApiError> {
        let worker = worker_id(&request.name)?;
        self.change_worker(|request| Event::UncordonRequested { request, worker }).await
    }

    async fn change_worker(
        &self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
    ) -> Result<v1::Worker, ApiError> {
        match self.driver.change(event).await? {
            Reply::Worker(view) => Ok(v1::Worker::from(&*view)),
            Reply::MapRun(_) | Reply::Deleted => Err(wrong_reply()),
        }
    }

    async fn cluster(&self) -> Result<v1::Cluster, ApiError> {
        let view = self.driver.query(|scheduler| scheduler.cluster()).await?;
        let (size_bytes, problem) = match self.store.size_bytes().await {
            Ok(size_bytes) => (size_bytes, String::new()),
            Err(error) => (0, Chain(&error).to_string()),
        };
        let leader = v1::ClusterMember {
            endpoint: self.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut members: Vec<_> = self.store.members().await?.into_iter().map(cluster_member).collect();
        if !members.contains(&leader) {
            members.push(leader.clone());
        }
        Ok(v1::Cluster {
            leader: Some(leader),
            members,
            store: Some(v1::StateStore { r#type: self.store.kind().to_owned(), size_bytes, problem }),
            ..v1::Cluster::from(&view)
        })
    }
}

fn cluster_member(member: Member) -> v1::ClusterMember {
    v1::ClusterMember { endpoint: member.endpoint, version: member.version }
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        Ok(Response::new(list::workers(&self.context, request.into_inner()).await?))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        Ok(Response::new(self.context.worker(request.into_inner()).await?))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        name_resource(&request, &request.get_ref().name);
        Ok(Response::new(self.context.drain(request.into_inner()).await?))
    }

    async fn uncordon_worker(
        &self,
        request: Request<v1::UncordonWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        name_resource(&request, &request.get_ref().name);
        Ok(Response::new(self.context.uncordon(request.into_inner()).await?))
    }

    async fn get_cluster(
        &self,
        _request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::Cluster>, Status> {
        Ok(Response::new(self.context.cluster().await?))
    }
}
