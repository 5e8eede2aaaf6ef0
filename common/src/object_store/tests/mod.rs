//! Stores against a good S3 server (`s3s-fs`), a misbehaving one ([`fault_server`]), and real files.

use std::time::Duration;

use super::{ObjectError, RetryPolicy, S3Settings, S3Store, S3Timeouts};

mod fault_server;
mod local_files;
mod s3_credentials;
mod s3_faults;
mod s3_headers;
mod s3_server;
mod s3_store;
mod s3_trust;
mod s3_uploads;

const ACCESS_KEY: &str = "AKIATEST";
const SECRET_KEY: &str = "secret";

/// Settings for a store at `endpoint` that lose no time: waits of milliseconds, and GETs of 400 bytes, one by one.
fn quick_settings(endpoint: &str) -> S3Settings {
    S3Settings {
        endpoint_url: Some(endpoint.to_owned()),
        force_path_style: true,
        credentials: Some((ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())),
        timeouts: S3Timeouts { stall: Duration::from_millis(100), ..S3Timeouts::default() },
        retry: RetryPolicy {
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(20),
            ..RetryPolicy::default()
        },
        max_get_bytes: 400,
        parallel_gets: 1,
        ..S3Settings::default()
    }
}

async fn quick_store(endpoint: &str) -> S3Store {
    S3Store::connect(quick_settings(endpoint)).await
}

/// Bytes of which no two stretches look alike.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251 * 7) as u8).collect()
}

/// An error with its whole chain of causes, as a user sees it.
fn full_text(error: &ObjectError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
