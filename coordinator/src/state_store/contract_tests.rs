//! What every state store must do, run on each of them.

use std::sync::Arc;

use async_trait::async_trait;
use warifu_model::{Incarnation, MapRunId, MapRunState, ShardNumber, WorkerId};
use warifu_scheduler::record::{Record, RosterRecord};
use warifu_scheduler::{Commit, CommitId};

use warifu_test_etcd::EtcdCluster;

use super::memory::InjectedOutcome;
use super::sqlite::Fault;
use super::*;

/// A store under test, whose next transactions can be made to fail, and which can be opened again.
#[async_trait]
trait Subject: Send + Sync {
    fn store(&self) -> Arc<dyn StateStore>;
    fn inject(&self, outcome: InjectedOutcome);
    /// As after a crash of the process.
    async fn reopen(&mut self);
}

struct Memory(Arc<MemoryStore>);

#[async_trait]
impl Subject for Memory {
    fn store(&self) -> Arc<dyn StateStore> {
        self.0.clone()
    }
    fn inject(&self, outcome: InjectedOutcome) {
        self.0.inject([outcome]);
    }
    async fn reopen(&mut self) {}
}

struct Sqlite {
    directory: tempfile::TempDir,
    store: Option<Arc<SqliteStore>>,
}

#[async_trait]
impl Subject for Sqlite {
    fn store(&self) -> Arc<dyn StateStore> {
        self.store.clone().unwrap()
    }
    fn inject(&self, outcome: InjectedOutcome) {
        let fault = match outcome {
            InjectedOutcome::Refused => Fault::BeforeCommit,
            InjectedOutcome::UnknownWritten => Fault::AnswerLost,
            InjectedOutcome::UnknownNotWritten => Fault::CommitLost,
            InjectedOutcome::Done | InjectedOutcome::Deposed | InjectedOutcome::UnknownTwice => {
                unreachable!()
            }
        };
        self.store.as_ref().unwrap().inject([fault]);
    }
    async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Arc::new(open_when_free(self.directory.path()).await));
    }
}

/// The task of a store that was dropped gives the directory free when it has closed the database.
async fn open_when_free(directory: &std::path::Path) -> SqliteStore {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match SqliteStore::open(directory).await {
            Ok(store) => return store,
            Err(StoreError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

struct Etcd {
    cluster: EtcdCluster,
    store: Arc<EtcdStore>,
}

impl Etcd {
    async fn start() -> Self {
        let cluster = EtcdCluster::start(1);
        let store = Arc::new(EtcdStore::connect(etcd::tests::settings(&cluster, "a")).unwrap());
        Self { cluster, store }
    }
}

#[async_trait]
impl Subject for Etcd {
    fn store(&self) -> Arc<dyn StateStore> {
        self.store.clone()
    }
    fn inject(&self, outcome: InjectedOutcome) {
        let fault = match outcome {
            InjectedOutcome::Refused => etcd::Fault::Refused,
            InjectedOutcome::UnknownWritten => etcd::Fault::AnswerLost,
            InjectedOutcome::UnknownNotWritten => etcd::Fault::Late,
            InjectedOutcome::Done | InjectedOutcome::Deposed | InjectedOutcome::UnknownTwice => {
                unreachable!()
            }
        };
        self.store.inject(fault);
    }
    async fn reopen(&mut self) {
        let settings = etcd::tests::settings(&self.cluster, "a");
        self.store = Arc::new(EtcdStore::connect(settings).unwrap());
        self.store.wait_until_free().await;
    }
}

async fn subjects() -> Vec<Box<dyn Subject>> {
    let directory = tempfile::tempdir().unwrap();
    let store = Some(Arc::new(SqliteStore::open(directory.path()).await.unwrap()));
    vec![
        Box::new(Memory(Arc::new(MemoryStore::new()))),
        Box::new(Sqlite { directory, store }),
        Box::new(Etcd::start().await),
    ]
}

fn run(id: &str) -> MapRunId {
    MapRunId::new(id).unwrap()
}

fn commit(term: LeaderTerm, id: u64, records: Vec<Record>) -> Commit {
    Commit { id: CommitId(id), term, records }
}

fn create(id: &str) -> Vec<Record> {
    vec![
        Record::PutSpec(run(id), Box::new(samples::spec(id))),
        Record::PutStatus(run(id), Box::new(samples::status())),
    ]
}

#[tokio::test]
async fn an_empty_store_gives_a_first_term_and_nothing_else() {
    for subject in subjects().await {
        let (term, snapshot) = subject.store().lead().await.unwrap().taken().unwrap();
        assert!(term > LeaderTerm(0) && snapshot.handed_over);
        assert!(snapshot.map_runs.is_empty() && snapshot.used_ids.is_empty() && snapshot.roster.is_empty());
    }
}

#[tokio::test]
async fn a_process_that_cannot_read_a_record_does_not_keep_the_lead() {
    for subject in subjects().await {
        let (term, _) = subject.store().lead().await.unwrap().taken().unwrap();
        let key = super::keys::status(&run("a"));
        let newer = Write::Put { key: key.clone(), value: vec![99] };
        let id = Write::Put { key: super::keys::used_id(&run("a")), value: Vec::new() };
        subject.store().write(term, CommitId(1), vec![newer, id]).await.unwrap();
        let Err(StoreError::Corrupt { key: named, .. }) = subject.store().lead().await else {
            panic!("it cannot be read")
        };
        assert_eq!(named, key);
        // Nobody leads, and the next one cannot rely on the one before: that one did not say that it had stopped.
        let Campaign::Won { term: next, handed_over } = subject.store().campaign().await.unwrap() else {
            panic!("nobody leads")
        };
        assert!(next > term);
        assert_eq!(handed_over, subject.store().kind() == "sqlite", "{}", subject.store().kind());
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_crash() {
    for mut subject in subjects().await {
        let (term, _) = subject.store().lead().await.unwrap().taken().unwrap();
        let worker = WorkerId::new("w").unwrap();
        let mut records = create("a");
        records.push(Record::PutPlan(run("a"), Box::new(samples::plan())));
        for shard in [1, 0, 300] {
            records.push(Record::PutShard(run("a"), ShardNumber(shard), Box::new(samples::shard(shard))));
        }
        records.push(Record::PutOutputs { map_run: run("a"), chunk: 0, lines: vec!["1".into(), "2".into()] });
        records.push(Record::PutOutputs { map_run: run("a"), chunk: 1, lines: vec!["3".into()] });
        records.push(Record::PutRoster(worker.clone(), samples::roster()));
        subject.store().commit(&commit(term, 1, records)).await.unwrap();
        subject.reopen().await;

        let (next_term, snapshot) = subject.store().lead().await.unwrap().taken().unwrap();
        assert!(next_term > term);
        assert_eq!(snapshot.roster, vec![(worker, samples::roster())]);
        let [stored] = &snapshot.map_runs[..] else { panic!("one run") };
        assert_eq!(
            (&stored.id, &stored.spec, &stored.status),
            (&run("a"), &samples::spec("a"), &samples::status())
        );
        assert_eq!(stored.plan, Some(samples::plan()));
        assert_eq!(stored.outputs, ["1", "2", "3"]);
        let expected: Vec<_> = [0, 1, 300].map(|n| (ShardNumber(n), samples::shard(n))).into();
        assert_eq!(stored.shards, expected);
    }
}

#[tokio::test]
async fn shards_of_a_terminal_run_are_read_only_when_asked_for() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let status = StatusRecord { state: MapRunState::Failed, ..samples::status() };
        let records = vec![
            Record::PutSpec(run("a"), Box::new(samples::spec("a"))),
            Record::PutStatus(run("a"), Box::new(status)),
            Record::PutShard(run("a"), ShardNumber(0), Box::new(samples::shard(0))),
        ];
        store.commit(&commit(term, 1, records)).await.unwrap();
        assert!(store.map_run(&run("a")).await.unwrap().unwrap().shards.is_empty());
        assert_eq!(store.load_shards(&run("a")).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_deposed_term_writes_nothing() {
    for subject in subjects().await {
        let store = subject.store();
        let (old, _) = store.lead().await.unwrap().taken().unwrap();
        let (new, _) = store.lead().await.unwrap().taken().unwrap();
        let refused = store.commit(&commit(old, 1, create("a"))).await;
        assert!(matches!(refused, Err(CommitError::Deposed { term }) if term == old), "{refused:?}");
        assert_eq!(store.spec(&run("a")).await.unwrap(), None);
        store.commit(&commit(new, 1, create("a"))).await.unwrap();
        assert!(store.read_back(old, CommitId(1)).await.is_err());
    }
}

#[tokio::test]
async fn a_refused_transaction_wrote_nothing_and_can_be_sent_again() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        subject.inject(InjectedOutcome::Refused);
        let refused = store.commit(&commit(term, 1, create("a"))).await;
        assert!(matches!(refused, Err(CommitError::Refused { .. })), "{refused:?}");
        assert_eq!(store.spec(&run("a")).await.unwrap(), None);
        assert!(!store.read_back(term, CommitId(1)).await.unwrap());
        store.commit(&commit(term, 1, create("a"))).await.unwrap();
        assert!(store.read_back(term, CommitId(1)).await.unwrap());
    }
}

#[tokio::test]
async fn an_unknown_outcome_can_be_read_back() {
    for mut subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        store.commit(&commit(term, 1, create("a"))).await.unwrap();
        for (id, name, outcome, written) in [
            (2, "b", InjectedOutcome::UnknownWritten, true),
            (3, "c", InjectedOutcome::UnknownNotWritten, false),
        ] {
            subject.inject(outcome);
            let unknown = store.commit(&commit(term, id, create(name))).await;
            assert!(matches!(unknown, Err(CommitError::Unknown { .. })), "{unknown:?}");
            assert_eq!(store.read_back(term, CommitId(id)).await.unwrap(), written);
            assert_eq!(store.spec(&run(name)).await.unwrap().is_some(), written);
        }
        drop(store);
        subject.reopen().await;
        let (_, snapshot) = subject.store().lead().await.unwrap().taken().unwrap();
        let ids: Vec<_> = snapshot.map_runs.iter().map(|run| run.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
    }
}

#[tokio::test]
async fn a_transaction_is_written_whole_or_not_at_all() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let records: Vec<Record> = (0..50)
            .map(|n| Record::PutShard(run("a"), ShardNumber(n), Box::new(samples::shard(n))))
            .collect();
        subject.inject(InjectedOutcome::UnknownNotWritten);
        store.commit(&commit(term, 1, records.clone())).await.unwrap_err();
        assert!(store.load_shards(&run("a")).await.unwrap().is_empty());
        store.commit(&commit(term, 2, records)).await.unwrap();
        assert_eq!(store.load_shards(&run("a")).await.unwrap().len(), 50);
    }
}

#[tokio::test]
async fn more_records_than_a_page_holds_are_all_read() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let count = PAGE_RECORDS as u32 * 2;
        for first in (0..count).step_by(64) {
            let records = (first..first + 64)
                .map(|n| Record::PutShard(run("a"), ShardNumber(n), Box::new(samples::shard(n))))
                .collect();
            store.commit(&commit(term, u64::from(first) + 1, records)).await.unwrap();
        }
        let shards = store.load_shards(&run("a")).await.unwrap();
        assert!(shards.iter().map(|(shard, _)| shard.0).eq(0..count));
    }
}

#[tokio::test]
async fn failures_are_read_from_any_place_across_records() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let put = |first: u64, end: u64| Record::PutFailures {
            map_run: run("a"),
            first,
            failures: samples::failures(first..end),
        };
        let mut records: Vec<Record> = (0..40).map(|n| put(n * 3, n * 3 + 3)).collect();
        records.push(Record::PutFailures {
            map_run: run("a-b"),
            first: 0,
            failures: samples::failures(0..1),
        });
        store.commit(&commit(term, 1, records)).await.unwrap();
        for (from, limit, expected) in
            [(0, 5, 0..5), (4, 1, 4..5), (5, 100, 5..105), (118, 9, 118..120), (120, 9, 120..120)]
        {
            let found = store.failures(&run("a"), from, limit).await.unwrap();
            assert!(found.iter().map(|failure| failure.index).eq(expected), "from {from}: {found:?}");
        }
        store.commit(&commit(term, 2, vec![Record::RemoveFailures(run("a"))])).await.unwrap();
        assert!(store.failures(&run("a"), 0, 9).await.unwrap().is_empty());
        assert_eq!(store.failures(&run("a-b"), 0, 9).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_log_of_parts_is_read_in_pages_and_never_with_a_gap() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let put = |name: &str, number: u64| Record::PutParts {
            map_run: run(name),
            number,
            parts: samples::parts(number as u32),
        };
        let count = PARTS_PAGE_RECORDS as u64 + 8;
        let mut records: Vec<Record> = (0..count).map(|number| put("a", number)).collect();
        records.extend([put("a", count + 1), put("a-b", 0)]);
        store.commit(&commit(term, 1, records)).await.unwrap();
        let (mut found, mut redrives) = (0, Vec::new());
        while found < count {
            let page = store.parts(&run("a"), found, count).await.unwrap();
            assert!(page.len() <= PARTS_PAGE_RECORDS);
            found += page.len() as u64;
            redrives.extend(page.into_iter().map(|entry| u64::from(entry.redrive)));
        }
        assert!(redrives.into_iter().eq(0..count));
        assert!(store.parts(&run("a"), count, count).await.unwrap().is_empty());
        for from in [count - 1, count, count + 2] {
            let gap = store.parts(&run("a"), from, count + 3).await;
            assert!(matches!(gap, Err(StoreError::Corrupt { kind: "parts", .. })), "from {from}: {gap:?}");
        }
        store.commit(&commit(term, 2, vec![Record::RemoveParts(run("a"))])).await.unwrap();
        assert!(store.parts(&run("a"), 0, 1).await.is_err());
        assert_eq!(store.parts(&run("a-b"), 0, 1).await.unwrap(), [samples::parts(0)]);
    }
}

#[tokio::test]
async fn of_a_deleted_run_only_the_id_is_left() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        store.commit(&commit(term, 1, [create("a"), create("a-b")].concat())).await.unwrap();
        let shard = Record::PutShard(run("a"), ShardNumber(0), Box::new(samples::shard(0)));
        store.commit(&commit(term, 2, vec![shard, Record::RemoveMapRun(run("a"))])).await.unwrap();
        let (_, snapshot) = store.lead().await.unwrap().taken().unwrap();
        assert_eq!(snapshot.used_ids, [run("a")]);
        assert_eq!(snapshot.map_runs.len(), 1);
        assert!(store.load_shards(&run("a")).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_roster_entry_can_be_replaced_and_removed() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let worker = WorkerId::new("w").unwrap();
        let entry = samples::roster();
        let put = Record::PutRoster(worker.clone(), entry);
        store.commit(&commit(term, 1, vec![put.clone(), put])).await.unwrap();
        store.commit(&commit(term, 2, vec![Record::RemoveRoster(worker, entry.incarnation)])).await.unwrap();
        assert!(store.lead().await.unwrap().taken().unwrap().1.roster.is_empty());
        assert!(store.size_bytes().await.unwrap() < 1 << 20);
    }
}

#[tokio::test]
async fn a_workers_last_process_leaves_the_roster_without_the_next_one() {
    for subject in subjects().await {
        let store = subject.store();
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        let worker = WorkerId::new("w").unwrap();
        let [last, next] = [1, 2].map(|process| RosterRecord { incarnation: Incarnation(process) });
        let put = |entry| Record::PutRoster(worker.clone(), entry);
        let remove = Record::RemoveRoster(worker.clone(), last.incarnation);
        store.commit(&commit(term, 1, vec![put(last)])).await.unwrap();
        store.commit(&commit(term, 2, vec![put(next), remove])).await.unwrap();
        let (_, snapshot) = store.lead().await.unwrap().taken().unwrap();
        assert_eq!(snapshot.roster, [(worker, next)]);
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out_of_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let refused = SqliteStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("is in use by another process; stop that one"), "{refused}");
    drop(store);
    open_when_free(directory.path()).await;
}

#[tokio::test]
async fn a_commit_that_its_caller_no_longer_awaits_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path()).await.unwrap());
    let (term, _) = store.lead().await.unwrap().taken().unwrap();
    let abandoned = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&commit(term, 1, create("a"))).await }
    });
    tokio::task::yield_now().await;
    abandoned.abort();
    store.commit(&commit(term, 2, create("b"))).await.unwrap();
    assert!(store.spec(&run("b")).await.unwrap().is_some());
}
