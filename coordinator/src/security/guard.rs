//! The layer before all services: who calls, whether they may, how often, and the audit log's line of it.

use std::sync::Arc;
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use warifu_common::config::CallLimits;
use warifu_common::status::ApiError;

use super::accepted::WhileAccepted;
use super::audit::{self, Resource};
use super::authority::Denied;
use super::rate::RateLimit;
use super::{Authority, Peer, Principal, Role, role};
use crate::forward::PassedOn;
use crate::intercept::{Intercept, Services};

/// When to try again while too many connections are open.
const CONNECTIONS_RETRY: Duration = Duration::from_secs(5);

/// Lets calls through, or not; cheap to clone.
#[derive(Clone)]
pub(crate) struct Guard {
    /// Absent: everybody may call everything.
    authority: Option<Arc<Authority>>,
    rate: Arc<RateLimit>,
    limits: CallLimits,
}

impl Guard {
    pub(crate) fn new(authority: Option<Arc<Authority>>, limits: CallLimits) -> Self {
        Self { authority, rate: Arc::new(RateLimit::new(&limits)), limits }
    }

    /// Who calls, if they may.
    fn admit(&self, request: &Request<Body>) -> Result<Principal, Box<Denied>> {
        if request.extensions().get::<Peer>().is_some_and(Peer::is_one_too_many) {
            let what = format!("more than {} connections are open", self.limits.max_connections);
            let error = ApiError::Overloaded { what, retry_after: CONNECTIONS_RETRY };
            return Err(Box::new(Denied { principal: Principal::nobody(), error }));
        }
        let Some(authority) = &self.authority else { return Ok(Principal::nobody()) };
        let principal = authority.admit(request.uri().path(), request.headers())?;
        // Workers of one name may be thousands, and come again all at once; their streams have a bound of their own.
        if principal.is_known() && principal.role != Some(Role::Worker) {
            self.rate.take(&principal.name).map_err(|retry_after| {
                let what = format!(
                    "{} makes more than {} calls per second",
                    principal.name, self.limits.requests_per_second
                );
                let error = ApiError::Overloaded { what, retry_after };
                Box::new(Denied { principal: principal.clone(), error })
            })?;
        }
        Ok(principal)
    }

    /// Workers' streams are asked for every message that comes (`workers.rs`); others take nothing more once they are open.
    fn while_accepted(
        &self,
        principal: Principal,
        method: String,
        response: Response<Body>,
    ) -> Response<Body> {
        match &self.authority {
            Some(authority) if principal.is_known() && principal.role != Some(Role::Worker) => {
                let authority = Arc::clone(authority);
                response.map(|body| Body::new(WhileAccepted::new(authority, principal, method, body)))
            }
            Some(_) | None => response,
        }
    }

    /// tonic says OUT_OF_RANGE of a message beyond the limit, and nothing else here does.
    fn with_known_code(&self, response: Response<Body>) -> (Response<Body>, Code) {
        match Status::from_header_map(response.headers()).map(|status| status.code()) {
            None => (response, Code::Ok),
            Some(Code::OutOfRange) => {
                let error = ApiError::MessageTooLarge { limit_bytes: self.limits.max_message_bytes };
                (Status::from(error).into_http(), Code::ResourceExhausted)
            }
            Some(code) => (response, code),
        }
    }
}

impl Intercept for Guard {
    async fn intercept<S: Services>(
        self,
        mut services: S,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, S::Error> {
        let method = request.uri().path().to_owned();
        let principal = match self.admit(&request) {
            Ok(principal) => principal,
            Err(denied) => {
                let status = Status::from(denied.error);
                audit::record(&denied.principal, &method, "-", status.code());
                return Ok(status.into_http());
            }
        };
        let resource = Resource::default();
        request.extensions_mut().insert(resource.clone());
        request.extensions_mut().insert(principal.clone());
        let response = services.call(request).await?;
        // The process that it was passed on to has written its line.
        let is_ours = response.extensions().get::<PassedOn>().is_none();
        let (response, code) = self.with_known_code(response);
        if is_ours && (audit::is_refusal(code) || role::changes(&method)) {
            audit::record(&principal, &method, resource.name(), code);
        }
        Ok(self.while_accepted(principal, method, response))
    }
}
