//! What travels between a process and a leader, each message on the stream that its Hello opened.

use crate::bounded::Bounded;
use crate::state::{BATCHES, Bits, LEASES, Mark, Report, Token};

/// A lease as Hello names it: the attempt of each batch, 0 for those it does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) token: Token,
    pub(crate) attempts: [u8; BATCHES],
}

/// What Welcome leaves of a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) token: Token,
    pub(crate) batches: Bits,
}

/// What is said.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Hello {
        held: u8,
        claims: Bounded<Claim, LEASES>,
    },
    Report(Report),
    Returned {
        token: Token,
        batches: Bits,
    },
    Shrink {
        slots: u8,
    },
    Goodbye,
    /// A heartbeat: it tells that Welcome has come.
    Alive,
    Welcome {
        kept: Bounded<Kept, LEASES>,
        slots_kept: bool,
    },
    Grant {
        token: Token,
        attempts: [u8; BATCHES],
        slots: u8,
    },
    #[default]
    Slots,
    Revoke {
        token: Token,
        from: u8,
    },
    Accepted(Mark),
    Superseded(Mark),
    Refused {
        mark: Mark,
        batches: Bits,
    },
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Message::Hello { held, claims } => {
                write!(f, "Hello, {held} slots")?;
                claims.iter().try_for_each(|claim| write!(f, ", {:?} {:?}", claim.token, claim.attempts))
            }
            Message::Report(report) => write!(f, "{report:?}"),
            Message::Returned { token, batches } => write!(f, "Returned {token:?} batches {batches:#b}"),
            Message::Shrink { slots } => write!(f, "Shrink {slots}"),
            Message::Goodbye => write!(f, "Goodbye"),
            Message::Alive => write!(f, "Alive"),
            Message::Welcome { kept, slots_kept } => {
                write!(f, "Welcome, slots {}", if *slots_kept { "kept" } else { "gone" })?;
                kept.iter().try_for_each(|kept| write!(f, ", {:?} {:#b}", kept.token, kept.batches))
            }
            Message::Grant { token, attempts, slots } => {
                write!(f, "Grant {token:?} attempts {attempts:?} with {slots} slots")
            }
            Message::Slots => write!(f, "Slots"),
            Message::Revoke { token, from } => write!(f, "Revoke {token:?} from b{from}"),
            Message::Accepted(mark) => write!(f, "Accepted {mark:?}"),
            Message::Superseded(mark) => write!(f, "Superseded {mark:?}"),
            Message::Refused { mark, batches } => write!(f, "Refused {mark:?} for {batches:#b}"),
        }
    }
}

impl Message {
    /// True from a worker to a leader.
    pub(crate) fn is_upward(&self) -> bool {
        match self {
            Message::Hello { .. }
            | Message::Report(_)
            | Message::Returned { .. }
            | Message::Shrink { .. }
            | Message::Goodbye
            | Message::Alive => true,
            Message::Welcome { .. }
            | Message::Grant { .. }
            | Message::Slots
            | Message::Revoke { .. }
            | Message::Accepted(_)
            | Message::Superseded(_)
            | Message::Refused { .. } => false,
        }
    }

    /// The report that it is, or answers.
    pub(crate) fn about_report(&self) -> Option<Mark> {
        match self {
            Message::Report(report) => Some(report.mark),
            Message::Accepted(mark) | Message::Superseded(mark) | Message::Refused { mark, .. } => {
                Some(*mark)
            }
            _ => None,
        }
    }
}

/// A message under way on the stream that `process` opened to `leader` with its Hello number `hello`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    pub(crate) process: u8,
    pub(crate) hello: u8,
    pub(crate) leader: u8,
    pub(crate) message: Message,
}

impl Packet {
    /// Messages of one stream and direction arrive in order, all others in any order.
    pub(crate) fn lane(&self) -> (u8, u8, bool) {
        (self.process, self.hello, self.message.is_upward())
    }
}
