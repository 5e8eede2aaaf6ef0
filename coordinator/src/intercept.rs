//! What stands before all services: a layer of whatever wants to see each call before them, or the answer after them.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

/// Sees each call, and decides whether and how the services behind get it.
pub(crate) trait Intercept: Clone + Send + 'static {
    /// Answers a call; `services` is ready for one.
    fn intercept<S: Services>(
        self,
        services: S,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, S::Error>> + Send;
}

/// What is behind: other interceptors, and in the end the services.
pub(crate) trait Services:
    Service<Request<Body>, Response = Response<Body>, Future: Send> + Clone + Send + 'static
{
}

impl<S> Services for S where
    S: Service<Request<Body>, Response = Response<Body>, Future: Send> + Clone + Send + 'static
{
}

/// The layer of an interceptor.
#[derive(Debug, Clone)]
pub(crate) struct Before<I>(pub(crate) I);

impl<I: Intercept, S> Layer<S> for Before<I> {
    type Service = Intercepted<I, S>;

    fn layer(&self, services: S) -> Intercepted<I, S> {
        Intercepted { interceptor: self.0.clone(), services }
    }
}

/// Services behind an interceptor.
#[derive(Debug, Clone)]
pub(crate) struct Intercepted<I, S> {
    interceptor: I,
    services: S,
}

impl<I: Intercept, S: Services> Service<Request<Body>> for Intercepted<I, S> {
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is for this call; its clone stays, and has to become ready first.
        let clone = self.services.clone();
        let services = std::mem::replace(&mut self.services, clone);
        Box::pin(self.interceptor.clone().intercept(services, request))
    }
}
