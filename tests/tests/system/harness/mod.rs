//! What the stories share: processes that end with the test, files, an independent reading of CSV and of results.

mod binaries;
mod clock;
mod compressed;
mod csv_file;
mod database;
mod dev;
mod fleet;
mod hosts;
mod http_service;
mod process;
mod proxy;
mod random;
mod results;
mod s3;
mod sink;
mod tools;
mod wait;

pub(crate) use binaries::{binary, repository, shared_directory, soak};
pub(crate) use clock::library as clock_library;
pub(crate) use compressed::{gzip, zstd};
pub(crate) use csv_file::{CsvFile, Table};
pub(crate) use database::{count, execute};
pub(crate) use dev::{Dev, DevSettings};
pub(crate) use fleet::{Fleet, FleetSettings};
pub(crate) use hosts::Hosts;
pub(crate) use http_service::{HttpService, ServiceAnswer, ServiceRequest};
pub(crate) use process::{Finished, Process, command, example_command, run, run_json, warifu, warifu_in};
pub(crate) use proxy::{Network, PARTITION, Proxy};
pub(crate) use random::Random;
pub(crate) use results::{Results, read_results};
pub(crate) use s3::S3;
pub(crate) use sink::{Sink, users_csv};
pub(crate) use tools::{curl, grpcurl, python_with, tool, tools_directory};
pub(crate) use wait::{computing_for_long, eventually, skipped};

use std::path::Path;

/// A directory of the test's own, gone with it.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("warifu-test-").tempdir().unwrap()
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
