//! The connection to a coordinator: endpoint, token, limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tracing::Instrument as _;
use warifu_common::config::{ClientTlsConfig, TOKEN_VARIABLE};
use warifu_common::security::{BearerToken, SecureDial};
use warifu_common::telemetry::traces::{TRACE_PARENT_HEADER, mark_failed, place_in_environment, place_of};
use warifu_common::traced_span;
use warifu_common::transport::{self, Dial, Tcp};
use warifu_common::wire::v1::fleet_service_client::FleetServiceClient;
use warifu_common::wire::v1::map_run_service_client::MapRunServiceClient;
use warifu_common::wire::v1::{CreateMapRunRequest, MapRun};

use crate::args::GlobalArgs;
use crate::problem::Problem;

/// Stands for `--key`, which is another flag of `run`.
const KEY_VARIABLE: &str = "WARIFU_KEY_FILE";

pub(crate) type AuthorizedChannel = InterceptedService<Channel, Token>;

/// A coordinator, connected.
pub(crate) struct Client {
    endpoint: String,
    channel: AuthorizedChannel,
}

impl Client {
    /// Connects to the coordinator that flags and environment name.
    pub(crate) async fn connect(global: &GlobalArgs) -> anyhow::Result<Self> {
        Self::open(&global.endpoint, global.connect_timeout, Arc::new(secure_dial(global)?)).await
    }

    /// Connects to the coordinator in this process.
    pub(crate) async fn connect_within_process(endpoint: &str) -> anyhow::Result<Self> {
        Self::open(endpoint, transport::CONNECT_TIMEOUT, Arc::new(Tcp)).await
    }

    async fn open(endpoint: &str, connect_timeout: Duration, dial: Arc<dyn Dial>) -> anyhow::Result<Self> {
        let address = transport::endpoint(endpoint)?.connect_timeout(connect_timeout);
        let channel = dial.dial(&address).await;
        let channel = channel.map_err(|error| nobody_answers(endpoint).caused_by(error))?;
        Ok(Self { endpoint: endpoint.to_owned(), channel: InterceptedService::new(channel, Token(dial)) })
    }

    /// Where the coordinator is.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its map runs.
    pub(crate) fn map_runs(&self) -> MapRunServiceClient<AuthorizedChannel> {
        MapRunServiceClient::new(self.channel.clone()).max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
    }

    /// Creates a map run, as part of the trace that `TRACEPARENT` names, or of a new one.
    pub(crate) async fn create_map_run(&self, request: CreateMapRunRequest) -> Result<MapRun, Status> {
        let caller = place_in_environment();
        let span = traced_span!(caller.as_ref(); "create_map_run",
            otel.name = "warifu.v1.MapRunService/CreateMapRun",
            otel.kind = "client",
            rpc.system.name = "grpc",
            rpc.method = "warifu.v1.MapRunService/CreateMapRun",
        );
        let mut request = Request::new(request);
        if let Some(place) = place_of(&span).or(caller) {
            let place = place.to_string().parse().expect("it is hexadecimal digits and hyphens");
            request.metadata_mut().insert(TRACE_PARENT_HEADER, place);
        }
        let mut map_runs = self.map_runs();
        let created = map_runs.create_map_run(request).instrument(span.clone()).await;
        if created.is_err() {
            mark_failed(&span);
        }
        Ok(created?.into_inner())
    }

    /// Its workers, and itself.
    pub(crate) fn fleet(&self) -> FleetServiceClient<AuthorizedChannel> {
        FleetServiceClient::new(self.channel.clone()).max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
    }
}

fn nobody_answers(endpoint: &str) -> Problem {
    Problem::new(format!("no coordinator answers at {endpoint}"))
        .advise("start one with `warifu dev`, or name yours with --endpoint or WARIFU_ENDPOINT")
}

/// The network with the certificates and the token that flags and environment name.
fn secure_dial(global: &GlobalArgs) -> anyhow::Result<SecureDial> {
    let key_file = global.key.first().map(PathBuf::from).or_else(|| path_of_variable(KEY_VARIABLE));
    let tls = ClientTlsConfig { ca_file: global.ca_cert.clone(), cert_file: global.cert.clone(), key_file };
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        return Err(Problem::new("a certificate and its key go together: give both --cert and --key").into());
    }
    let named = [&tls.ca_file, &tls.cert_file].into_iter().any(Option::is_some);
    if named && global.endpoint.starts_with("http://") {
        let problem = Problem::new("certificates are for an endpoint that begins with https://");
        return Err(problem.advise("write https:// in --endpoint or WARIFU_ENDPOINT").into());
    }
    let endpoints = [global.endpoint.clone()];
    Ok(SecureDial::new(&endpoints, &tls, bearer_token(global)?)?)
}

fn bearer_token(global: &GlobalArgs) -> anyhow::Result<BearerToken> {
    if let Some(file) = &global.token_file {
        return Ok(BearerToken::file(file.clone())?);
    }
    match std::env::var(TOKEN_VARIABLE) {
        Ok(token) if !token.trim().is_empty() => BearerToken::fixed(&token)
            .map_err(|problem| Problem::new(format!("{TOKEN_VARIABLE} {problem}")).into()),
        Ok(_) | Err(_) => Ok(BearerToken::None),
    }
}

fn path_of_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Puts the bearer token into every call.
#[derive(Clone)]
pub(crate) struct Token(Arc<dyn Dial>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0.authorization() {
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }
}
