//! An ordinary client of the S3 server of a measurement.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::ensure;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Buf as _;
use flate2::bufread::MultiGzDecoder;
use memchr::memchr_iter;
use tokio::runtime::Runtime;

use crate::Settings;
use crate::data::DataFile;
use crate::s3_server::{Kind, S3Server};

/// Where sources are.
pub(crate) const BUCKET: &str = "input";

/// Where results and the programs' own objects are.
pub(crate) const OUTPUT: &str = "output";

/// What a server must have before anything is measured.
const BUCKETS: [&str; 2] = [BUCKET, OUTPUT];

/// What a bare client asks for at once: as much as a worker that scans.
const RANGE: u64 = 8 << 20;

/// Requests of a bare client at once: one for each worker.
const CONNECTIONS: usize = 2;

/// A server, and an ordinary client of it.
pub(crate) struct S3 {
    client: Client,
    runtime: Runtime,
    server: S3Server,
}

impl S3 {
    pub(crate) fn start(settings: &Settings, kind: &Kind) -> anyhow::Result<Self> {
        let mut server = S3Server::start(settings, kind)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(CONNECTIONS).enable_all().build()?;
        let client = connect(&server, &server.endpoint);
        server.wait_until(|| BUCKETS.iter().all(|bucket| runtime.block_on(has_bucket(&client, bucket))))?;
        Ok(Self { client, runtime, server })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.server.endpoint
    }

    /// Access key and secret key.
    pub(crate) fn keys(&self) -> [(&'static str, &str); 2] {
        [("AWS_ACCESS_KEY_ID", &self.server.access_key), ("AWS_SECRET_ACCESS_KEY", &self.server.secret_key)]
    }

    pub(crate) fn put(&self, file: &DataFile, key: &str) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let body = ByteStream::from_path(&file.path).await?;
            self.client.put_object().bucket(BUCKET).key(key).body(body).send().await?;
            Ok(())
        })
    }

    /// The compressed lines of succeeded items below `prefix` must be so many.
    pub(crate) fn ensure_gzip_lines(&self, bucket: &str, prefix: &str, rows: u64) -> anyhow::Result<()> {
        let lines = self.runtime.block_on(self.gzip_lines(bucket, prefix))?;
        ensure!(lines == rows, "{lines} results are below {prefix}; expected {rows}");
        Ok(())
    }

    async fn gzip_lines(&self, bucket: &str, prefix: &str) -> anyhow::Result<u64> {
        let mut lines = 0;
        let mut pages = self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.try_next().await? {
            for key in page
                .contents()
                .iter()
                .filter_map(|object| object.key())
                .filter(|key| key.ends_with(".jsonl.gz"))
            {
                let object = self.client.get_object().bucket(bucket).key(key).send().await?;
                let mut text = Vec::new();
                MultiGzDecoder::new(object.body.collect().await?.reader()).read_to_end(&mut text)?;
                lines += memchr_iter(b'\n', &text).count() as u64;
            }
        }
        Ok(lines)
    }

    /// A client that reaches the server at another URL.
    pub(crate) fn client_at(&self, endpoint: &str) -> Client {
        connect(&self.server, endpoint)
    }

    /// Seconds that the object's bytes take in ranges of 8 MiB, with nothing done to them but being counted.
    pub(crate) fn get_ranges(&self, file: &DataFile, key: &str) -> anyhow::Result<f64> {
        self.get_ranges_by(&self.client, file, key)
    }

    /// The same by another client.
    pub(crate) fn get_ranges_by(&self, client: &Client, file: &DataFile, key: &str) -> anyhow::Result<f64> {
        let next = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (client, key, next) = (client.clone(), key.to_owned(), Arc::clone(&next));
                self.runtime.spawn(get_some(client, key, file.bytes, next))
            })
            .collect();
        let mut bytes = 0;
        for client in clients {
            bytes += self.runtime.block_on(client)??;
        }
        let seconds = started.elapsed().as_secs_f64();
        ensure!(bytes == file.bytes, "{bytes} of {} bytes came from the S3 server", file.bytes);
        Ok(seconds)
    }
}

/// Ranges of an object that nobody else has asked for, one after another; how many bytes came.
async fn get_some(client: Client, key: String, size: u64, next: Arc<AtomicU64>) -> anyhow::Result<u64> {
    let mut bytes = 0;
    loop {
        let start = next.fetch_add(RANGE, Ordering::Relaxed);
        if start >= size {
            return Ok(bytes);
        }
        let range = format!("bytes={start}-{}", (start + RANGE).min(size) - 1);
        let mut body = client.get_object().bucket(BUCKET).key(&key).range(range).send().await?.body;
        while let Some(piece) = body.try_next().await? {
            bytes += piece.len() as u64;
        }
    }
}

/// Whether the bucket is there, or could be made.
async fn has_bucket(client: &Client, bucket: &str) -> bool {
    let is_there = client.head_bucket().bucket(bucket).send().await.is_ok();
    is_there || client.create_bucket().bucket(bucket).send().await.is_ok()
}

fn connect(server: &S3Server, endpoint: &str) -> Client {
    let keys = Credentials::new(&server.access_key, &server.secret_key, None, None, "bench");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(keys)
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}
