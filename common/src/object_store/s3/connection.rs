//! The client of one store, what its requests may spend on retries, and the one loop that waits between them.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use tracing::{debug, info, warn};

use super::S3Settings;
use super::answer::is_throttling;
use super::pace::{Pace, Passage};
use crate::object_store::ObjectError;
use crate::object_store::retry::{Retries, RetryBudget};

/// The client of one store, shared by all its requests.
pub(super) struct Connection {
    pub(super) settings: S3Settings,
    /// Absent until it is needed first: making one takes the SDK tens of milliseconds.
    client: Mutex<Option<CurrentClient>>,
    /// Held while a client is made, so that many requests that need one make one.
    making: tokio::sync::Mutex<()>,
    budget: RetryBudget,
    pace: Arc<Pace>,
}

/// A client, a handle that is cheap to clone, and how many there were before it.
#[derive(Clone)]
pub(super) struct CurrentClient {
    client: Client,
    number: u64,
}

impl Connection {
    pub(super) fn new(settings: S3Settings) -> Self {
        let (budget, pace) = (RetryBudget::full(), Pace::new());
        Self { settings, client: Mutex::default(), making: tokio::sync::Mutex::default(), budget, pace }
    }

    /// The client, made if there is none yet.
    pub(super) async fn current(&self) -> CurrentClient {
        if let Some(current) = self.made() {
            return current;
        }
        let _one_at_a_time = self.making.lock().await;
        match self.made() {
            Some(current) => current,
            None => self.make(0).await,
        }
    }

    fn made(&self) -> Option<CurrentClient> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Needs `making`.
    async fn make(&self, number: u64) -> CurrentClient {
        let current = CurrentClient { client: self.settings.client().await, number };
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
        current
    }

    /// Begins the attempts of one operation.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        let retries = Retries::new(&self.settings.retry, &self.budget);
        Attempts { connection: self, retries, reloaded: false, current: None }
    }

    /// Runs an operation until it succeeds or is not worth another attempt.
    pub(super) async fn retrying<T, F>(
        &self,
        mut operation: impl FnMut(Client) -> F,
    ) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        let mut attempts = self.attempts();
        loop {
            let client = attempts.begin().await;
            match operation(client).await {
                Ok(value) => return Ok(attempts.succeed(value)),
                Err(error) => attempts.wait_after(error).await?,
            }
        }
    }

    /// Reads files and environment again, unless another request has done so since the client of this `number` was made:
    /// the SDK never learns by itself that credentials on disk were replaced, or that a store refuses what it holds.
    async fn reload_credentials(&self, number: u64) {
        let _one_at_a_time = self.making.lock().await;
        if self.made().is_some_and(|current| current.number == number) {
            self.make(number + 1).await;
        }
    }
}

/// The attempts of one operation.
pub(super) struct Attempts<'a> {
    connection: &'a Connection,
    retries: Retries<'a>,
    reloaded: bool,
    /// The attempt that is under way, and the number of its client.
    current: Option<(Passage, u64)>,
}

impl Attempts<'_> {
    /// Waits until the store may be asked once more, and returns what to ask it with.
    pub(super) async fn begin(&mut self) -> Client {
        let passage = self.connection.pace.enter().await;
        let CurrentClient { client, number } = self.connection.current().await;
        self.current = Some((passage, number));
        client
    }

    /// Notes that the operation succeeded, and passes its value on.
    pub(super) fn succeed<T>(self, value: T) -> T {
        self.connection.budget.note_success();
        if let Some((passage, _)) = self.current {
            passage.succeeded();
        }
        value
    }

    /// Notes that the attempt brought the operation well forward before it failed: failures are counted anew.
    pub(super) fn note_progress(&mut self) {
        self.retries.begin_anew();
    }

    /// Waits until the next attempt may begin, or gives the error back as the operation's.
    pub(super) async fn wait_after(&mut self, error: ObjectError) -> Result<(), ObjectError> {
        let throttled = is_throttling(&error);
        let number = self.current.take().map(|(passage, number)| {
            if throttled && let Some(requests) = passage.throttled() {
                info!(requests, "the store throttles, fewer requests are sent at once");
            }
            number
        });
        if matches!(error, ObjectError::Credentials { expired: true, .. }) && !self.reloaded {
            warn!(%error, "credentials have expired, they are loaded again");
            self.reloaded = true;
            self.connection.reload_credentials(number.unwrap_or_default()).await;
            return Ok(());
        }
        let Some(delay) = self.retries.next_delay(&error, throttled) else { return Err(error) };
        debug!(%error, cause = std::error::Error::source(&error), ?delay, "the request is sent again after a delay");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
