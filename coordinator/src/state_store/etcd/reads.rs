//! Reads: linearizable, in pages, and never of a state older than what this process wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use etcd_client::{Client, GetOptions, GetResponse, KeyValue, SortOrder, SortTarget};

use super::super::{KeyRange, Member, Row, StoreError};
use super::connection::{Connection, Failure, unavailable};
use super::layout::{Layout, Process};

/// Rows asked for at once, while nothing is known of their size.
const FIRST_PAGE_ROWS: usize = 64;
/// And when it is: as many as have had so many bytes, but no more than so many rows.
const PAGE_BYTES: usize = 1 << 20;
const MAX_PAGE_ROWS: usize = 4_096;
/// The largest answer that is taken. Rows of one range are alike; a few may be far larger than those before them: etcd takes
/// no value beyond 1.5 MiB.
const MAX_ANSWER_BYTES: usize = 128 << 20;

/// Some versions of etcd answer from an old state after a pause; another member, or the same a little later, does not.
const STALE_RETRIES: u32 = 5;
const STALE_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Reads beside the task that writes.
#[derive(Clone)]
pub(super) struct Reads {
    pub(super) connection: Arc<Connection>,
    pub(super) layout: Layout,
    /// The last revision that this process wrote.
    pub(super) written: Arc<AtomicI64>,
}

impl Reads {
    /// Notes that this process wrote at `revision`.
    pub(super) fn wrote(&self, revision: i64) {
        self.written.fetch_max(revision, Ordering::AcqRel);
    }

    pub(super) async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (mut start, end) = self.layout.range(range);
        let mut rows = Vec::new();
        let (mut page_rows, mut bytes) = (FIRST_PAGE_ROWS, 0);
        while rows.len() < limit && start < end {
            let options = GetOptions::new().with_range(end.as_bytes());
            let answer = self.get(&start, options, page_rows.min(limit - rows.len())).await;
            let mut answer = answer.map_err(unavailable("read"))?;
            for found in answer.take_kvs() {
                bytes += found.key().len() + found.value().len();
                rows.push(self.row(found)?);
            }
            page_rows = (PAGE_BYTES * rows.len() / bytes.max(1)).clamp(1, MAX_PAGE_ROWS);
            match rows.last() {
                // Zero is what etcd sorts first: nothing lies between.
                Some((key, _)) if answer.more() => start = format!("{}\0", self.layout.key(key)),
                Some(_) | None => break,
            }
        }
        Ok(rows)
    }

    pub(super) async fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        let (start, end) = self.layout.range(range);
        if start >= end {
            return Ok(None);
        }
        let options = GetOptions::new().with_range(end).with_sort(SortTarget::Key, SortOrder::Descend);
        let mut answer = self.get(&start, options, 1).await.map_err(unavailable("read"))?;
        answer.take_kvs().pop().map(|found| self.row(found)).transpose()
    }

    /// One key of this store's own.
    pub(super) async fn one(&self, key: &str) -> Result<Option<KeyValue>, Failure> {
        Ok(self.get(key, GetOptions::new(), 1).await?.take_kvs().pop())
    }

    pub(super) async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let rows = self.scan(&self.layout.members(), MAX_MEMBERS).await?;
        rows.iter().map(|(key, value)| Ok(member(process(key, value)?))).collect()
    }

    pub(super) async fn size_bytes(&self) -> Result<u64, StoreError> {
        let status = self.connection.read(async |mut client: Client| client.status().await);
        let status = status.await.map_err(unavailable("ask for the size of"))?;
        if status.errors().iter().any(|alarm| alarm.contains("NOSPACE")) {
            return Err(unavailable("write to")(Failure::NoSpace { source: None }));
        }
        Ok(u64::try_from(status.db_size()).unwrap_or(0))
    }

    async fn get(&self, key: &str, options: GetOptions, limit: usize) -> Result<GetResponse, Failure> {
        let written = self.written.load(Ordering::Acquire);
        let options = options.with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
        for _ in 0..STALE_RETRIES {
            let get = async |client: Client| large_answers(&client).get(key, Some(options.clone())).await;
            let answer = self.connection.read(get).await?;
            if answer.header().is_some_and(|header| header.revision() >= written) {
                return Ok(answer);
            }
            tracing::warn!("etcd answered from an old state, it is asked again");
            tokio::time::sleep(STALE_RETRY_DELAY).await;
        }
        let error = "etcd answers from a state older than what was written";
        Err(Failure::Etcd(etcd_client::Error::Internal(error.to_owned())))
    }

    fn row(&self, found: KeyValue) -> Result<Row, StoreError> {
        let (key, value) = found.into_key_value();
        let ours = std::str::from_utf8(&key).ok().and_then(|key| self.layout.without_prefix(key));
        match ours {
            Some(ours) => Ok((ours.to_owned(), value)),
            None => {
                let key = String::from_utf8_lossy(&key).into_owned();
                Err(StoreError::Corrupt { key, kind: "store's", source: "it is not below the prefix".into() })
            }
        }
    }
}

/// Far more coordinators than anybody needs.
const MAX_MEMBERS: usize = 256;

/// What a key of the leader or of a member says.
pub(super) fn process(key: &str, value: &[u8]) -> Result<Process, StoreError> {
    let unreadable =
        |error| StoreError::Corrupt { key: key.to_owned(), kind: "process", source: Box::new(error) };
    Process::decode(value).map_err(unreadable)
}

fn member(process: Process) -> Member {
    Member { endpoint: process.endpoint, version: process.version }
}

fn large_answers(client: &Client) -> etcd_client::KvClient {
    client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES)
}
