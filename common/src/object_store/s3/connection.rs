//! The client of one store, what its requests may spend on retries, and the one loop that waits between them.

use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::Client;
use tracing::{debug, warn};

use super::S3Settings;
use crate::object_store::ObjectError;
use crate::object_store::retry::{Retries, RetryBudget};

/// The client of one store, shared by all its requests.
pub(super) struct Connection {
    pub(super) settings: S3Settings,
    client: Mutex<Client>,
    budget: RetryBudget,
}

impl Connection {
    pub(super) async fn open(settings: S3Settings) -> Self {
        let client = Mutex::new(settings.client().await);
        Self { settings, client, budget: RetryBudget::full() }
    }

    /// The current client; a handle, cheap to clone.
    pub(super) fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins the attempts of one operation.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts {
            connection: self,
            retries: Retries::new(&self.settings.retry, &self.budget),
            reloaded: false,
        }
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
            match operation(self.client()).await {
                Ok(value) => return Ok(attempts.succeed(value)),
                Err(error) => attempts.wait_after(error).await?,
            }
        }
    }

    /// Reads files and environment again: the SDK never learns by itself that credentials on disk were replaced.
    async fn reload_credentials(&self) {
        let client = self.settings.client().await;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// The attempts of one operation.
pub(super) struct Attempts<'a> {
    connection: &'a Connection,
    retries: Retries<'a>,
    reloaded: bool,
}

impl Attempts<'_> {
    /// Notes that the operation succeeded, and passes its value on.
    pub(super) fn succeed<T>(self, value: T) -> T {
        self.connection.budget.note_success();
        value
    }

    /// Waits until the next attempt may begin, or gives the error back as the operation's.
    pub(super) async fn wait_after(&mut self, error: ObjectError) -> Result<(), ObjectError> {
        if matches!(error, ObjectError::Credentials { expired: true, .. }) && !self.reloaded {
            warn!(%error, "credentials have expired, they are loaded again");
            self.reloaded = true;
            self.connection.reload_credentials().await;
            return Ok(());
        }
        let Some(delay) = self.retries.next_delay(&error) else { return Err(error) };
        debug!(%error, cause = std::error::Error::source(&error), ?delay, "the request is sent again after a delay");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
