//! What no failure may hold.

use std::cmp::Reverse;

use warifu_common::config::handlers::HttpConfig;
use warifu_common::model::CallFailure;

use crate::handler::HandlerAnswer;

/// Shorter texts stand in every message, and are no secrets.
const LEAST_SECRET_BYTES: usize = 4;

/// What stands in their place.
const HIDDEN: &str = "***";

/// Texts of the configuration that a service might repeat in its answers.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Values of headers, whole and without the scheme before them (`Bearer …`), and secret parts of the URL.
    pub(super) fn of(config: &HttpConfig) -> Self {
        let values = config.url.secrets().chain(config.headers.values()).map(|secret| secret.expose());
        let parts =
            values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, rest)| rest.trim())]);
        let long = parts.flatten().filter(|text| text.len() >= LEAST_SECRET_BYTES);
        let mut texts: Vec<String> = long.map(str::to_owned).collect();
        // One that is part of another must not spoil that.
        texts.sort_unstable_by_key(|text| Reverse(text.len()));
        Self(texts)
    }

    /// The answer with failures that hold none of them. Outputs are the service's own.
    pub(super) fn hide_in(&self, mut answer: HandlerAnswer) -> HandlerAnswer {
        match &mut answer {
            HandlerAnswer::Failed(failure) => self.hide(failure),
            HandlerAnswer::Answered { failures, .. } => {
                failures.iter_mut().for_each(|failed| self.hide(&mut failed.failure));
            }
            HandlerAnswer::Succeeded | HandlerAnswer::RunFailed(_) => {}
        }
        answer
    }

    fn hide(&self, failure: &mut CallFailure) {
        for secret in &self.0 {
            for text in [&mut failure.error, &mut failure.cause] {
                if text.contains(secret) {
                    *text = text.replace(secret, HIDDEN);
                }
            }
        }
    }
}
