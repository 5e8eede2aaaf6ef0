//! The lease protocol on the wire: `warifu_model::protocol` as the messages of `WorkerService.Connect`, and back.
//!
//! Encoding and decoding round-trip exactly, but for failure texts, which are cut to their bounds. Decoding takes nothing
//! for granted: what no worker or coordinator says is refused, never guessed at, and what is kept in memory is a small
//! multiple of the message's bytes ([`MAX_RANGES`], the message limit of `transport`).
//!
//! It deliberately judges no lease, attempt or redrive: that is the scheduler's.

mod grant;
mod hello;
mod identity;
mod open_run;
mod range_set;
mod report;
mod scan;
mod stage;
#[cfg(test)]
mod tests;

use warifu_model::protocol::{
    CoordinatorMessage, LeaderAddress, ReportVerdict, RunFault, Welcome, WorkerMessage,
};
use warifu_model::{BatchOrdinal, IdError, LeaderTerm, LeaseId, RangeSet, ReportNumber};

use self::identity::{lease, map_run, required, set, span};
use super::InvalidRequest;
use super::time::wire_duration;
use super::v1::{
    self, connect_request::Message as FromWorkerWire, connect_response::Message as FromLeaderWire,
};

pub use range_set::MAX_RANGES;

/// A message that no peer of a known version sends: the stream ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidMessage {
    /// What is wrong.
    pub field: &'static str,
    /// How.
    pub reason: String,
}

impl InvalidMessage {
    fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

impl From<IdError> for InvalidMessage {
    fn from(error: IdError) -> Self {
        let value = super::violation::quoted(&error.value);
        Self::new(error.what, format!("{value} does not match {}", error.rule))
    }
}

impl From<InvalidRequest> for InvalidMessage {
    fn from(error: InvalidRequest) -> Self {
        Self::new("spec", format!("is invalid: {error}"))
    }
}

impl From<&WorkerMessage> for v1::ConnectRequest {
    fn from(message: &WorkerMessage) -> Self {
        let message = match message {
            WorkerMessage::Hello(hello) => FromWorkerWire::Hello(hello.into()),
            WorkerMessage::Heartbeat { nonce } => FromWorkerWire::Heartbeat(v1::Heartbeat { nonce: *nonce }),
            WorkerMessage::Begun { lease, batches } => FromWorkerWire::Begun(v1::Begun {
                lease_id: Some((*lease).into()),
                batches: Some(batches.into()),
            }),
            WorkerMessage::Report(report) => FromWorkerWire::Report(report.into()),
            WorkerMessage::Returned { lease, batches } => FromWorkerWire::Returned(v1::Returned {
                lease_id: Some((*lease).into()),
                batches: Some(batches.into()),
            }),
            WorkerMessage::Shrink { map_run, slots } => {
                FromWorkerWire::Shrink(v1::Shrink { map_run_id: map_run.to_string(), slots: *slots })
            }
            WorkerMessage::Probed { map_run, probe } => FromWorkerWire::Probed(scan::probed(map_run, probe)),
            WorkerMessage::Staged { map_run, staged } => {
                FromWorkerWire::Staged(stage::staged(map_run, staged))
            }
            WorkerMessage::Scanned { map_run, shard, scan } => {
                FromWorkerWire::Scanned(scan::scanned(map_run, *shard, scan))
            }
            WorkerMessage::Fault { map_run, redrive, fault } => FromWorkerWire::Fault(v1::Fault {
                map_run_id: map_run.to_string(),
                redrive: *redrive,
                fault: Some(fault.into()),
            }),
            WorkerMessage::Draining => FromWorkerWire::Draining(v1::Draining {}),
            WorkerMessage::Goodbye => FromWorkerWire::Goodbye(v1::Goodbye {}),
        };
        v1::ConnectRequest { message: Some(message) }
    }
}

impl TryFrom<v1::ConnectRequest> for WorkerMessage {
    type Error = InvalidMessage;

    fn try_from(request: v1::ConnectRequest) -> Result<Self, InvalidMessage> {
        Ok(match required(request.message, "message")? {
            FromWorkerWire::Hello(hello) => WorkerMessage::Hello(hello.try_into()?),
            FromWorkerWire::Heartbeat(heartbeat) => WorkerMessage::Heartbeat { nonce: heartbeat.nonce },
            FromWorkerWire::Begun(begun) => {
                WorkerMessage::Begun { lease: lease(begun.lease_id)?, batches: set(begun.batches)? }
            }
            FromWorkerWire::Report(report) => WorkerMessage::Report(report.try_into()?),
            FromWorkerWire::Returned(returned) => {
                WorkerMessage::Returned { lease: lease(returned.lease_id)?, batches: set(returned.batches)? }
            }
            FromWorkerWire::Shrink(shrink) => {
                WorkerMessage::Shrink { map_run: map_run(&shrink.map_run_id)?, slots: shrink.slots }
            }
            FromWorkerWire::Probed(probed) => scan::read_probed(probed)?,
            FromWorkerWire::Staged(staged) => stage::read_staged(staged)?,
            FromWorkerWire::Scanned(scanned) => scan::read_scanned(scanned)?,
            FromWorkerWire::Fault(fault) => WorkerMessage::Fault {
                map_run: map_run(&fault.map_run_id)?,
                redrive: fault.redrive,
                fault: required(fault.fault, "fault")?.into(),
            },
            FromWorkerWire::Draining(v1::Draining {}) => WorkerMessage::Draining,
            FromWorkerWire::Goodbye(v1::Goodbye {}) => WorkerMessage::Goodbye,
        })
    }
}

impl From<&CoordinatorMessage> for v1::ConnectResponse {
    fn from(message: &CoordinatorMessage) -> Self {
        let message = match message {
            CoordinatorMessage::Welcome(welcome) => FromLeaderWire::Welcome(welcome.into()),
            CoordinatorMessage::HeartbeatAck { nonce } => {
                FromLeaderWire::HeartbeatAck(v1::HeartbeatAck { nonce: *nonce })
            }
            CoordinatorMessage::OpenRun(context) => FromLeaderWire::OpenRun(context.as_ref().into()),
            CoordinatorMessage::CloseRun { map_run } => {
                FromLeaderWire::CloseRun(v1::CloseRun { map_run_id: map_run.to_string() })
            }
            CoordinatorMessage::Stage { map_run } => {
                FromLeaderWire::Stage(v1::Stage { map_run_id: map_run.to_string() })
            }
            CoordinatorMessage::Probe { map_run } => {
                FromLeaderWire::Probe(v1::Probe { map_run_id: map_run.to_string() })
            }
            CoordinatorMessage::Scan(order) => FromLeaderWire::Scan(order.into()),
            CoordinatorMessage::Grant(grant) => FromLeaderWire::Grant(grant.into()),
            CoordinatorMessage::Slots { map_run, slots } => {
                FromLeaderWire::Slots(v1::Slots { map_run_id: map_run.to_string(), slots: *slots })
            }
            CoordinatorMessage::Revoke { lease, from, cancel } => FromLeaderWire::Revoke(v1::Revoke {
                lease_id: Some((*lease).into()),
                from_batch: from.0,
                cancel: *cancel,
            }),
            CoordinatorMessage::ReportAnswer { lease, report, verdict } => {
                FromLeaderWire::ReportAnswer(report_answer(*lease, *report, verdict))
            }
            CoordinatorMessage::Drain { within } => {
                FromLeaderWire::Drain(v1::Drain { within: Some(wire_duration(*within)) })
            }
            CoordinatorMessage::Uncordon => FromLeaderWire::Uncordon(v1::Uncordon {}),
            CoordinatorMessage::Superseded => FromLeaderWire::Superseded(v1::Superseded {}),
        };
        v1::ConnectResponse { message: Some(message) }
    }
}

/// What may come on a worker's stream.
#[derive(Debug, Clone, PartialEq)]
pub enum FromCoordinator {
    /// The leader speaks.
    Message(CoordinatorMessage),
    /// This process does not lead. `None`: nor does it know who does.
    NotLeader(Option<LeaderAddress>),
    /// A newer coordinator says something that this version does not know: pass over it.
    Unknown,
}

impl TryFrom<v1::ConnectResponse> for FromCoordinator {
    type Error = InvalidMessage;

    fn try_from(response: v1::ConnectResponse) -> Result<Self, InvalidMessage> {
        let Some(message) = response.message else { return Ok(FromCoordinator::Unknown) };
        Ok(FromCoordinator::Message(match message {
            FromLeaderWire::Welcome(welcome) => CoordinatorMessage::Welcome(welcome.try_into()?),
            FromLeaderWire::HeartbeatAck(ack) => CoordinatorMessage::HeartbeatAck { nonce: ack.nonce },
            FromLeaderWire::OpenRun(context) => CoordinatorMessage::OpenRun(open_run::read(context)?),
            FromLeaderWire::CloseRun(close) => {
                CoordinatorMessage::CloseRun { map_run: map_run(&close.map_run_id)? }
            }
            FromLeaderWire::Stage(stage) => {
                CoordinatorMessage::Stage { map_run: map_run(&stage.map_run_id)? }
            }
            FromLeaderWire::Probe(probe) => {
                CoordinatorMessage::Probe { map_run: map_run(&probe.map_run_id)? }
            }
            FromLeaderWire::Scan(order) => CoordinatorMessage::Scan(order.try_into()?),
            FromLeaderWire::Grant(grant) => CoordinatorMessage::Grant(grant.try_into()?),
            FromLeaderWire::Slots(slots) => {
                CoordinatorMessage::Slots { map_run: map_run(&slots.map_run_id)?, slots: slots.slots }
            }
            FromLeaderWire::Revoke(revoke) => CoordinatorMessage::Revoke {
                lease: lease(revoke.lease_id)?,
                from: BatchOrdinal(revoke.from_batch),
                cancel: revoke.cancel,
            },
            FromLeaderWire::ReportAnswer(answer) => read_report_answer(answer)?,
            FromLeaderWire::Drain(drain) => {
                CoordinatorMessage::Drain { within: span(drain.within, "within")? }
            }
            FromLeaderWire::Uncordon(v1::Uncordon {}) => CoordinatorMessage::Uncordon,
            FromLeaderWire::Superseded(v1::Superseded {}) => CoordinatorMessage::Superseded,
            FromLeaderWire::NotLeader(not_leader) => {
                return Ok(FromCoordinator::NotLeader(leader(not_leader)));
            }
        }))
    }
}

/// The answer of a process that does not lead.
pub fn not_leader(leader: Option<&LeaderAddress>) -> v1::ConnectResponse {
    let (term, endpoint) =
        leader.map_or((0, String::new()), |leader| (leader.term.0, leader.endpoint.clone()));
    v1::ConnectResponse { message: Some(FromLeaderWire::NotLeader(v1::NotLeader { term, endpoint })) }
}

fn leader(not_leader: v1::NotLeader) -> Option<LeaderAddress> {
    let v1::NotLeader { term, endpoint } = not_leader;
    (!endpoint.is_empty()).then_some(LeaderAddress { term: LeaderTerm(term), endpoint })
}

fn report_answer(lease: LeaseId, report: ReportNumber, verdict: &ReportVerdict) -> v1::ReportAnswer {
    use v1::report_answer::Verdict;
    let (verdict, refused) = match verdict {
        ReportVerdict::Accepted => (Verdict::Accepted, None),
        ReportVerdict::Superseded => (Verdict::Superseded, None),
        ReportVerdict::Refused { batches } => (Verdict::Refused, Some(batches.into())),
    };
    v1::ReportAnswer {
        lease_id: Some(lease.into()),
        report_number: report.0,
        verdict: verdict.into(),
        refused_batches: refused,
    }
}

fn read_report_answer(answer: v1::ReportAnswer) -> Result<CoordinatorMessage, InvalidMessage> {
    use v1::report_answer::Verdict;
    let verdict = match answer.verdict() {
        Verdict::Unspecified => return Err(InvalidMessage::new("verdict", "is not known")),
        Verdict::Accepted => ReportVerdict::Accepted,
        Verdict::Superseded => ReportVerdict::Superseded,
        Verdict::Refused => ReportVerdict::Refused { batches: set(answer.refused_batches)? },
    };
    let report = ReportNumber(answer.report_number);
    Ok(CoordinatorMessage::ReportAnswer { lease: lease(answer.lease_id)?, report, verdict })
}

impl From<&Welcome> for v1::Welcome {
    fn from(welcome: &Welcome) -> Self {
        let kept = |(lease, batches): &(LeaseId, RangeSet)| v1::KeptLease {
            lease_id: Some((*lease).into()),
            batches: Some(batches.into()),
        };
        v1::Welcome {
            session_id: Some(welcome.session.into()),
            hello_number: welcome.hello_number,
            ttl: Some(wire_duration(welcome.ttl)),
            kept: welcome.kept.iter().map(kept).collect(),
            slots_kept: welcome.slots_kept,
        }
    }
}

impl TryFrom<v1::Welcome> for Welcome {
    type Error = InvalidMessage;

    fn try_from(welcome: v1::Welcome) -> Result<Self, InvalidMessage> {
        let kept = welcome.kept.into_iter().map(|kept| Ok((lease(kept.lease_id)?, set(kept.batches)?)));
        Ok(Welcome {
            session: required(welcome.session_id, "session_id")?.into(),
            hello_number: welcome.hello_number,
            ttl: span(welcome.ttl, "ttl")?,
            kept: kept.collect::<Result<_, InvalidMessage>>()?,
            slots_kept: welcome.slots_kept,
        })
    }
}

impl From<&RunFault> for v1::RunFault {
    fn from(fault: &RunFault) -> Self {
        let (error, cause) = report::bounded_texts(&fault.error, &fault.cause);
        v1::RunFault { error, cause }
    }
}

impl From<v1::RunFault> for RunFault {
    fn from(fault: v1::RunFault) -> Self {
        let (error, cause) = report::bounded_texts(&fault.error, &fault.cause);
        RunFault { error, cause }
    }
}
