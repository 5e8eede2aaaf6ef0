//! The connection to a coordinator: endpoint, token, limits.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tracing::Instrument as _;
use warifu_common::telemetry::traces::{TRACE_PARENT_HEADER, mark_failed, place_in_environment, place_of};
use warifu_common::wire::v1::fleet_service_client::FleetServiceClient;
use warifu_common::wire::v1::map_run_service_client::MapRunServiceClient;
use warifu_common::wire::v1::{CreateMapRunRequest, MapRun};
use warifu_common::{traced_span, transport};

use crate::args::GlobalArgs;
use crate::problem::Problem;

/// The environment variable with the bearer token. No flag: arguments are visible to every user of a machine.
const TOKEN_VARIABLE: &str = "WARIFU_TOKEN";

pub(crate) type AuthorizedChannel = InterceptedService<Channel, Token>;

/// A coordinator, connected.
pub(crate) struct Client {
    endpoint: String,
    channel: AuthorizedChannel,
}

impl Client {
    /// Connects to the coordinator that flags and environment name.
    pub(crate) async fn connect(global: &GlobalArgs) -> anyhow::Result<Self> {
        refuse_tls(global)?;
        Self::open(&global.endpoint, global.connect_timeout, Token::from_environment()?).await
    }

    /// Connects to the coordinator in this process.
    pub(crate) async fn connect_within_process(endpoint: &str) -> anyhow::Result<Self> {
        Self::open(endpoint, transport::CONNECT_TIMEOUT, Token(None)).await
    }

    async fn open(endpoint: &str, connect_timeout: Duration, token: Token) -> anyhow::Result<Self> {
        let channel = transport::endpoint(endpoint)?.connect_timeout(connect_timeout).connect().await;
        let channel = channel.map_err(|error| nobody_answers(endpoint).caused_by(error))?;
        Ok(Self { endpoint: endpoint.to_owned(), channel: InterceptedService::new(channel, token) })
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

fn refuse_tls(global: &GlobalArgs) -> Result<(), Problem> {
    if global.ca_cert.is_none() && global.cert.is_none() && global.key.is_empty() {
        return Ok(());
    }
    Err(Problem::new("TLS is not available in this version: --ca-cert, --cert and --key cannot be used")
        .advise("use http:// over a private network or a tunnel"))
}

/// Puts the bearer token into every call.
#[derive(Clone)]
pub(crate) struct Token(Option<MetadataValue<Ascii>>);

impl Token {
    fn from_environment() -> Result<Self, Problem> {
        let Ok(token) = std::env::var(TOKEN_VARIABLE) else { return Ok(Self(None)) };
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| Problem::new(format!("{TOKEN_VARIABLE} holds characters that no token has")))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}
