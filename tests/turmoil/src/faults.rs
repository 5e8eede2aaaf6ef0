//! What goes wrong, and how it is put right again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use turmoil::Sim;

use crate::plan::{Host, Plan, PlannedFault};
use crate::scene::{Order, Scene};

/// One way to go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Whatever the two send each other is lost.
    Partition(Host, Host),
    /// Whatever the first sends the second is lost.
    OneWay(Host, Host),
    /// Whatever the two send each other arrives at the end.
    Hold(Host, Host),
    /// One segment in twenty is lost, and with it the connection's life.
    Lossy(Host, Host),
    /// Segments take up to a second.
    Slow(Host, Host),
    /// The host reaches nobody.
    CutOff(Host),
    /// The process dies; its system closes its connections.
    Crash(Host),
    /// The machine dies: nobody hears of it.
    Vanish(Host),
    /// The process dies, and the next one starts at once.
    Bounce(Host),
    /// The host reads nothing from its connections.
    Stall(Host),
    /// The process is told to end, does so in order, and comes again.
    Leave(Host),
    /// A user drains a worker, and lets it work again at the end.
    Drain(Host),
    /// A coordinator does not reach the state store.
    NoStore(Host),
    /// Answers of the state store are lost.
    LostAnswers,
}

/// Chance of a segment to be lost on a lossy link.
const LOSS: f64 = 0.05;
/// Latency on a slow link.
const SLOW: Duration = Duration::from_secs(1);

/// Which faults of the plan are to come, which are in force.
pub(crate) struct Faults {
    coming: std::vec::IntoIter<PlannedFault>,
    in_force: Vec<PlannedFault>,
    busy: BTreeSet<(Host, Host)>,
    hosts: Vec<Host>,
    usual_latency: Duration,
    pub(crate) log: Vec<String>,
    /// Faults that came while the run was going on.
    pub(crate) happened: Vec<Fault>,
}

impl Faults {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            coming: plan.faults.clone().into_iter(),
            in_force: Vec::new(),
            busy: BTreeSet::new(),
            hosts: plan.hosts(),
            usual_latency: plan.max_latency,
            log: Vec::new(),
            happened: Vec::new(),
        }
    }

    /// Ends and begins what is due.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, scene: &Arc<Scene>) {
        let now = sim.elapsed();
        let (over, in_force) = std::mem::take(&mut self.in_force)
            .into_iter()
            .partition(|planned| planned.at + planned.lasts <= now);
        self.in_force = in_force;
        let over: Vec<PlannedFault> = over;
        for planned in over {
            self.log(now, format_args!("ends: {:?}", planned.fault));
            self.end(sim, scene, &planned.fault);
        }
        while self.coming.as_slice().first().is_some_and(|planned| planned.at <= now) {
            let planned = self.coming.next().expect("it was seen");
            if !self.claim(sim, &planned.fault) {
                continue;
            }
            self.log(now, format_args!("begins for {:?}: {:?}", planned.lasts, planned.fault));
            begin(sim, scene, &planned);
            self.happened.push(planned.fault.clone());
            self.in_force.push(planned);
        }
    }

    fn log(&mut self, now: Duration, text: fmt::Arguments<'_>) {
        tracing::info!("{now:?} {text}");
        self.log.push(format!("{now:?} {text}"));
    }

    /// Links that a fault changes.
    fn links(&self, fault: &Fault) -> Vec<(Host, Host)> {
        match fault {
            Fault::Partition(a, b)
            | Fault::OneWay(a, b)
            | Fault::Hold(a, b)
            | Fault::Lossy(a, b)
            | Fault::Slow(a, b) => vec![(*a.min(b), *a.max(b))],
            Fault::CutOff(host) | Fault::Vanish(host) => {
                let others = self.hosts.iter().filter(|other| *other != host);
                others.map(|other| (*host.min(other), *host.max(other))).collect()
            }
            Fault::Crash(_)
            | Fault::Bounce(_)
            | Fault::Stall(_)
            | Fault::Leave(_)
            | Fault::Drain(_)
            | Fault::NoStore(_)
            | Fault::LostAnswers => Vec::new(),
        }
    }

    /// Takes the links and the host that a fault is about, unless another fault has one of them.
    fn claim(&mut self, sim: &mut Sim<'_>, fault: &Fault) -> bool {
        let links = self.links(fault);
        let is_dead = match fault {
            Fault::Crash(host) | Fault::Vanish(host) | Fault::Bounce(host) | Fault::Leave(host) => {
                !sim.is_host_running(host.to_string())
            }
            _ => false,
        };
        if is_dead || links.iter().any(|link| self.busy.contains(link)) {
            return false;
        }
        self.busy.extend(links);
        true
    }

    fn end(&mut self, sim: &mut Sim<'_>, scene: &Scene, fault: &Fault) {
        for link in self.links(fault) {
            self.busy.remove(&link);
        }
        match fault {
            Fault::Partition(a, b) => sim.repair(a.to_string(), b.to_string()),
            Fault::OneWay(a, b) => sim.repair_oneway(a.to_string(), b.to_string()),
            Fault::Hold(a, b) => sim.release(a.to_string(), b.to_string()),
            Fault::Lossy(a, b) => {
                sim.set_link_fail_rate(a.to_string(), b.to_string(), 0.0);
                sim.repair(a.to_string(), b.to_string());
            }
            Fault::Slow(a, b) => {
                sim.set_link_max_message_latency(a.to_string(), b.to_string(), self.usual_latency);
            }
            Fault::CutOff(host) => self.reconnect(sim, *host),
            Fault::Crash(host) => sim.bounce(host.to_string()),
            Fault::Vanish(host) => {
                self.reconnect(sim, *host);
                sim.bounce(host.to_string());
            }
            Fault::Drain(host) => scene.order(Order::Uncordon(*host)),
            Fault::Bounce(_) | Fault::Stall(_) | Fault::Leave(_) | Fault::NoStore(_) | Fault::LostAnswers => {
            }
        }
    }

    fn reconnect(&self, sim: &Sim<'_>, host: Host) {
        for other in self.hosts.iter().filter(|other| **other != host) {
            sim.repair(host.to_string(), other.to_string());
        }
    }
}

fn begin(sim: &mut Sim<'_>, scene: &Arc<Scene>, planned: &PlannedFault) {
    let until = planned.at + planned.lasts;
    match &planned.fault {
        Fault::Partition(a, b) => sim.partition(a.to_string(), b.to_string()),
        Fault::OneWay(a, b) => sim.partition_oneway(a.to_string(), b.to_string()),
        Fault::Hold(a, b) => sim.hold(a.to_string(), b.to_string()),
        Fault::Lossy(a, b) => sim.set_link_fail_rate(a.to_string(), b.to_string(), LOSS),
        Fault::Slow(a, b) => sim.set_link_max_message_latency(a.to_string(), b.to_string(), SLOW),
        Fault::CutOff(host) => cut_off(sim, scene, *host),
        Fault::Crash(host) => sim.crash(host.to_string()),
        Fault::Vanish(host) => {
            cut_off(sim, scene, *host);
            sim.crash(host.to_string());
        }
        Fault::Bounce(host) => sim.bounce(host.to_string()),
        Fault::Stall(host) => scene.stall(*host, until),
        Fault::Leave(host) => scene.leave(*host, planned.lasts),
        Fault::Drain(host) => scene.order(Order::Drain(*host)),
        Fault::NoStore(Host::Coordinator(index)) => scene.records.cut(*index, until),
        Fault::NoStore(other) => unreachable!("{other} has no state store"),
        Fault::LostAnswers => scene.records.lose_answers(),
    }
}

fn cut_off(sim: &Sim<'_>, scene: &Arc<Scene>, host: Host) {
    for other in scene.plan.hosts().into_iter().filter(|other| *other != host) {
        sim.partition(host.to_string(), other.to_string());
    }
}
