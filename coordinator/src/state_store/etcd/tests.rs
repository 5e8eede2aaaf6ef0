//! What only etcd can do wrong: leaders at two processes, transactions that arrive late, members that go, no space.

use std::time::Duration;

use etcd_client::Client;
use warifu_test_etcd::{Certificates, EtcdCluster};

use super::super::{Leader, keys};
use super::commits::Fault;
use super::*;

/// Longer than any lease of these tests, and than two elections of etcd's.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

impl EtcdStore {
    /// Lets the next transactions go wrong.
    pub(in crate::state_store) fn inject(&self, fault: Fault) {
        self.faults.inject([fault]);
    }

    /// Waits until nobody leads.
    pub(in crate::state_store) async fn wait_until_free(&self) {
        let leader = self.reads.layout.leader();
        let free = async {
            while self.reads.one(&leader).await.unwrap().is_some() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(DEADLINE, free).await.expect("a dropped store gives its lease up");
    }

    /// What etcd's own defects do at times: the lease is gone, and nobody says so.
    async fn revoke_leaders_lease(&self) {
        let leader = self.reads.one(&self.reads.layout.leader()).await.unwrap().unwrap();
        let revoke = async |mut client: Client| client.lease_revoke(leader.lease()).await;
        self.reads.connection.call(revoke).await.unwrap();
    }

    /// Applies what was held back, as etcd does when it comes to it; returns what became of each.
    async fn apply_held(&self) -> Vec<bool> {
        let mut applied = Vec::new();
        for txn in self.faults.held() {
            let apply = async |mut client: Client| client.txn(txn).await;
            applied.push(self.reads.connection.call(apply).await.unwrap().succeeded());
        }
        applied
    }
}

/// Settings of a coordinator beside others.
pub(in crate::state_store) fn settings(cluster: &EtcdCluster, name: &str) -> EtcdSettings {
    EtcdSettings {
        endpoints: cluster.endpoints(),
        prefix: "/warifu/v1".into(),
        user: None,
        tls: EtcdTls::default(),
        leader_ttl: Duration::from_secs(2),
        member: Member { endpoint: format!("http://{name}:7400"), version: "1".into() },
        compaction: Compaction::Own,
    }
}

pub(super) fn connect(cluster: &EtcdCluster, name: &str) -> EtcdStore {
    EtcdStore::connect(settings(cluster, name)).unwrap()
}

async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.expect("it comes to pass within the deadline")
}

/// Stands until it leads.
pub(super) async fn win(store: &EtcdStore) -> (LeaderTerm, bool) {
    eventually(async || match store.campaign().await {
        Ok(Campaign::Won { term, handed_over }) => Some((term, handed_over)),
        Ok(Campaign::Lost(_)) | Err(_) => None,
    })
    .await
}

fn put(key: &str, value: &str) -> Vec<Write> {
    vec![Write::Put { key: key.into(), value: value.into() }]
}

async fn value(store: &EtcdStore, key: &str) -> Option<String> {
    let rows = store.scan(&KeyRange::one(key.to_owned()), 1).await.unwrap();
    rows.into_iter().next().map(|(_, value)| String::from_utf8(value).unwrap())
}

#[tokio::test]
async fn one_of_two_leads_and_the_other_is_told_who() {
    let cluster = EtcdCluster::start(1);
    let (a, b) = (connect(&cluster, "a"), connect(&cluster, "b"));
    let (term, handed_over) = win(&a).await;
    assert!(handed_over, "nobody led before");
    let leader = Leader { term, endpoint: "http://a:7400".into() };
    assert_eq!(b.campaign().await.unwrap(), Campaign::Lost(leader));
    let endpoints =
        |members: Vec<Member>| members.into_iter().map(|member| member.endpoint).collect::<Vec<_>>();
    assert_eq!(endpoints(b.members().await.unwrap()), ["http://a:7400", "http://b:7400"]);

    a.resign(term).await.unwrap();
    assert!(matches!(
        a.write(term, CommitId(1), put("k", "late")).await,
        Err(CommitError::Deposed { term: of }) if of == term
    ));
    let (next, handed_over) = win(&b).await;
    assert!(next > term && handed_over);
    drop(a);
    eventually(async || (b.members().await.unwrap().len() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_leader_whose_lease_is_gone_is_followed_and_writes_nothing_more() {
    let cluster = EtcdCluster::start(1);
    let (a, b) = (connect(&cluster, "a"), connect(&cluster, "b"));
    let (term, _) = win(&a).await;
    a.write(term, CommitId(1), put("k", "a")).await.unwrap();
    b.revoke_leaders_lease().await;
    let (next, handed_over) = win(&b).await;
    assert!(next > term && !handed_over);
    b.write(next, CommitId(1), put("k", "b")).await.unwrap();
    let refused = a.write(term, CommitId(2), put("k", "a again")).await;
    assert!(matches!(refused, Err(CommitError::Deposed { .. })), "{refused:?}");
    assert_eq!(value(&b, "k").await.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_transaction_that_arrives_late_is_not_applied_once_it_was_read_back() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    store.write(term, CommitId(1), put("k", "1")).await.unwrap();
    store.inject(Fault::Late);
    let unknown = store.write(term, CommitId(2), put("k", "2")).await;
    assert!(matches!(unknown, Err(CommitError::Unknown { .. })), "{unknown:?}");
    assert!(!store.read_back(term, CommitId(2)).await.unwrap());
    assert_eq!(store.apply_held().await, [false]);
    store.write(term, CommitId(3), put("k", "3")).await.unwrap();
    assert_eq!(value(&store, "k").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_transaction_that_arrived_late_but_before_it_was_asked_for_counts() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    store.inject(Fault::Late);
    store.write(term, CommitId(1), put("k", "1")).await.unwrap_err();
    assert_eq!(store.apply_held().await, [true]);
    assert!(store.read_back(term, CommitId(1)).await.unwrap());
    store.write(term, CommitId(2), put("k", "2")).await.unwrap();
}

#[tokio::test]
async fn a_fence_whose_answer_was_lost_still_tells_the_truth() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    store.inject(Fault::Late);
    store.inject(Fault::AnswerLost);
    store.write(term, CommitId(1), put("k", "1")).await.unwrap_err();
    store.read_back(term, CommitId(1)).await.unwrap_err();
    assert!(!store.read_back(term, CommitId(1)).await.unwrap());
    assert_eq!(store.apply_held().await, [false]);
    store.write(term, CommitId(2), put("k", "2")).await.unwrap();
}

#[tokio::test]
async fn a_late_transaction_of_an_old_term_is_never_applied() {
    let cluster = EtcdCluster::start(1);
    let (a, b) = (connect(&cluster, "a"), connect(&cluster, "b"));
    let (term, _) = win(&a).await;
    a.inject(Fault::Late);
    a.write(term, CommitId(1), put("k", "a")).await.unwrap_err();
    a.resign(term).await.unwrap();
    win(&b).await;
    assert_eq!(a.apply_held().await, [false]);
    assert_eq!(value(&b, "k").await, None);
}

/// etcd's own leader stands still; a put on it times out, another is acknowledged elsewhere, and the first comes to life.
#[tokio::test]
async fn a_write_that_etcd_applies_seconds_late_does_not_undo_a_newer_one() {
    let cluster = EtcdCluster::start(3);
    let paused = cluster.leader().unwrap();
    let mut settings = settings(&cluster, "a");
    // So that the next call goes to the one that will stand still.
    settings.endpoints.rotate_left(paused);
    // The lease must outlive the pause: this is about writes.
    settings.leader_ttl = DEADLINE;
    let store = EtcdStore::connect(settings).unwrap();
    let (term, _) = win(&store).await;
    store.write(term, CommitId(1), put("k", "1")).await.unwrap();
    cluster.pause(paused);
    let mut unknown = 0;
    let mut number = 1;
    let written = eventually(async || {
        number += 1;
        let id = CommitId(number);
        match store.write(term, id, put("k", &number.to_string())).await {
            Ok(()) => Some(number),
            Err(CommitError::Unknown { .. }) => {
                unknown += 1;
                eventually(async || store.read_back(term, id).await.ok()).await.then_some(number)
            }
            Err(CommitError::Refused { .. }) => None,
            Err(CommitError::Deposed { .. }) => panic!("the lease is renewed at the others"),
        }
    });
    let written = written.await;
    assert!(unknown > 0, "nothing timed out");
    cluster.resume(paused);
    eventually(async || cluster.leader()).await;
    // The paused one has caught up when a guarded write through every member holds.
    for id in written + 1..written + 10 {
        eventually(async || store.write(term, CommitId(id), put("k", &id.to_string())).await.ok()).await;
        assert_eq!(value(&store, "k").await, Some(id.to_string()));
    }
}

#[tokio::test]
async fn one_member_of_three_may_go() {
    let mut cluster = EtcdCluster::start(3);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    for gone in 0..3 {
        cluster.kill(gone);
        for id in 1..=10 {
            let id = CommitId(gone as u64 * 100 + id);
            match store.write(term, id, put("k", &id.0.to_string())).await {
                Ok(()) => {}
                Err(CommitError::Unknown { .. }) => {
                    let written = eventually(async || store.read_back(term, id).await.ok()).await;
                    assert_eq!(value(&store, "k").await == Some(id.0.to_string()), written);
                }
                Err(error) => panic!("{error}"),
            }
        }
        cluster.restart(gone);
    }
}

#[tokio::test]
async fn without_space_nothing_is_written_and_the_error_says_what_to_do() {
    let cluster = EtcdCluster::start_with(1, &["--quota-backend-bytes", "16777216"]);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    let large = vec![7; 1 << 20];
    let mut id = 0;
    let (last, error) = eventually(async || {
        id += 1;
        match store
            .write(term, CommitId(id), vec![Write::Put { key: "k".into(), value: large.clone() }])
            .await
        {
            Ok(()) => None,
            Err(error) => Some((id, error)),
        }
    })
    .await;
    let CommitError::Refused { source } = error else { panic!("{error:?}") };
    let why = std::error::Error::source(&source).unwrap().to_string();
    assert!(why.contains("etcdctl alarm disarm"), "{why}");
    assert!(store.size_bytes().await.is_err(), "the alarm is seen where the size is asked for");

    cluster.make_space();
    assert!(!store.read_back(term, CommitId(last)).await.unwrap());
    store.write(term, CommitId(last + 1), put("k", "small")).await.unwrap();
    assert_eq!(value(&store, "k").await.as_deref(), Some("small"));
}

#[tokio::test]
async fn what_etcd_would_not_take_is_refused_before_it_is_sent() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    let many = (0..128).flat_map(|n| put(&format!("k{n}"), "")).collect();
    let large = vec![Write::Put { key: "k".into(), value: vec![0; 3 << 19] }];
    for (id, writes) in [(1, many), (2, large)] {
        let refused = store.write(term, CommitId(id), writes).await;
        assert!(matches!(refused, Err(CommitError::Refused { .. })), "{refused:?}");
    }
    let fits = (0..127).flat_map(|n| put(&format!("k{n}"), "")).collect();
    store.write(term, CommitId(3), fits).await.unwrap();
    let all = KeyRange { start: keys::after("j"), end: "l".into() };
    assert_eq!(store.scan(&all, 1_000).await.unwrap().len(), 127);
}

#[tokio::test]
async fn removals_and_puts_of_one_transaction_end_as_in_order() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    let folder = KeyRange { start: "f/".into(), end: "f0".into() };
    let writes =
        [put("f/1", "a"), put("f/2", "b"), vec![Write::Remove(folder.clone())], put("f/2", "c")].concat();
    store.write(term, CommitId(1), writes).await.unwrap();
    assert_eq!(store.scan(&folder, 9).await.unwrap(), [("f/2".to_owned(), b"c".to_vec())]);
    assert_eq!(store.last(&folder).await.unwrap(), Some(("f/2".to_owned(), b"c".to_vec())));
}

#[tokio::test]
async fn etcd_is_reached_by_tls_with_a_certificate_and_not_without() {
    let certificates = Certificates::create();
    let (cluster, port) = EtcdCluster::start_with_tls(&certificates);
    let path = |name: &str| std::path::PathBuf::from(certificates.path(name));
    let ours = EtcdSettings {
        endpoints: vec![format!("https://127.0.0.1:{port}")],
        tls: EtcdTls {
            ca_file: Some(path("ca.pem")),
            identity: Some((path("client.pem"), path("client.key"))),
        },
        ..settings(&cluster, "a")
    };
    let store = EtcdStore::connect(ours.clone()).unwrap();
    let (term, _) = win(&store).await;
    store.write(term, CommitId(1), put("k", "1")).await.unwrap();

    let without = EtcdTls { identity: None, ..ours.tls.clone() };
    let store = EtcdStore::connect(EtcdSettings { tls: without, ..ours.clone() }).unwrap();
    store.campaign().await.unwrap_err();
    let missing = EtcdTls { ca_file: Some("/nowhere/ca.pem".into()), identity: None };
    let error = EtcdStore::connect(EtcdSettings { tls: missing, ..ours }).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_user_of_etcd_who_may_only_use_the_prefix_is_enough() {
    let cluster = EtcdCluster::start(1);
    cluster.enable_authentication("warifu", "secret", "/warifu/v1/");
    let user = |password: &str| EtcdSettings {
        user: Some(("warifu".to_owned(), Secret::new(password))),
        ..settings(&cluster, "a")
    };
    let store = EtcdStore::connect(user("secret")).unwrap();
    let (term, _) = win(&store).await;
    store.write(term, CommitId(1), put("k", "1")).await.unwrap();
    assert_eq!(value(&store, "k").await.as_deref(), Some("1"));
    assert_eq!(store.members().await.unwrap().len(), 1);

    let error = EtcdStore::connect(user("guess")).unwrap().campaign().await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("authentication failed"), "{why}");
    let elsewhere = EtcdSettings { prefix: "/elsewhere".into(), ..user("secret") };
    let error = EtcdStore::connect(elsewhere).unwrap().campaign().await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("permission denied"), "{why}");
}
