//! Where what is in etcd lies, below the prefix, and the form of what only this store knows.

use etcd_client::{Compare, CompareOp};
use serde::{Deserialize, Serialize};
use warifu_model::LeaderTerm;
use warifu_scheduler::CommitId;

use super::super::KeyRange;

/// Names of keys below a prefix.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Ends in `/`.
    folder: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self { folder: format!("{}/", prefix.trim_end_matches('/')) }
    }

    /// One of our keys.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.folder)
    }

    /// The start and the end of one of our ranges.
    pub(super) fn range(&self, range: &KeyRange) -> (String, String) {
        (self.key(&range.start), self.key(&range.end))
    }

    /// What follows the prefix.
    pub(super) fn without_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.folder)
    }

    /// Who leads. Bound to a lease; its create_revision is the term.
    pub(super) fn leader(&self) -> String {
        self.key("leader")
    }

    /// The last term that began.
    pub(super) fn epoch(&self) -> String {
        self.key("epoch")
    }

    /// What was written last: a [`Marker`].
    pub(super) fn commit(&self) -> String {
        self.key("commit")
    }

    /// The term whose leader said that it stopped.
    pub(super) fn resigned(&self) -> String {
        self.key("resigned")
    }

    pub(super) fn member(&self, endpoint: &str) -> String {
        self.key(&format!("members/{}", endpoint.replace('%', "%25").replace('/', "%2F")))
    }

    pub(super) fn members(&self) -> KeyRange {
        KeyRange { start: "members/".to_owned(), end: "members0".to_owned() }
    }

    /// Holds while `term` leads.
    pub(super) fn leads(&self, term: i64) -> Compare {
        Compare::create_revision(self.leader(), CompareOp::Equal, term)
    }
}

/// The value of `leader` and of `members/…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) endpoint: String,
    pub(super) version: String,
    /// Unlike any other process's, a former one at the same endpoint included.
    #[serde(default)]
    pub(super) instance: String,
}

impl Process {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts have a JSON form")
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// The value of `commit`. Each has another revision, on which the next write is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// A term began.
    Begin(LeaderTerm),
    /// A commit was written.
    Commit(LeaderTerm, CommitId),
    /// Nothing that was sent before it can be written any more.
    Fence(LeaderTerm, u64),
}

impl Marker {
    pub(super) fn encode(self) -> String {
        match self {
            Marker::Begin(term) => format!("{} begin 0", term.0),
            Marker::Commit(term, commit) => format!("{} commit {}", term.0, commit.0),
            Marker::Fence(term, number) => format!("{} fence {number}", term.0),
        }
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let term = LeaderTerm(words.next()?.parse().ok()?);
        let (kind, number) = (words.next()?, words.next()?.parse().ok()?);
        match kind {
            "begin" => Some(Marker::Begin(term)),
            "commit" => Some(Marker::Commit(term, CommitId(number))),
            "fence" => Some(Marker::Fence(term, number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_read_back() {
        let term = LeaderTerm(7);
        for marker in [Marker::Begin(term), Marker::Commit(term, CommitId(3)), Marker::Fence(term, 9)] {
            assert_eq!(Marker::decode(marker.encode().as_bytes()), Some(marker));
        }
        assert_eq!(Marker::decode(b"7 other 1"), None);
    }

    #[test]
    fn every_key_lies_below_the_prefix() {
        let layout = Layout::new("/warifu/v1/");
        assert_eq!(layout.leader(), "/warifu/v1/leader");
        assert_eq!(layout.member("http://a:1"), "/warifu/v1/members/http:%2F%2Fa:1");
        assert_eq!(layout.without_prefix("/warifu/v1/runs/a"), Some("runs/a"));
        assert_eq!(layout.without_prefix("/other/runs/a"), None);
    }
}
