//! The controller against services whose capacity is known: where it settles, how fast, and what it is not misled by.

use std::time::Duration;

use warifu_model::{AdaptedLimit, LimitReason, Timestamp};

use super::{Call, CallEnd, Controller, ControllerRecord, Work};

const MANY: u64 = 10_000_000;

/// A backend that runs so many calls at once; others wait for their turn.
#[derive(Clone, Copy)]
struct Service {
    capacity: u32,
    /// What a call takes that does not wait.
    millis: f64,
    /// Each call takes so much of it more or less, at random.
    noise: f64,
    /// With more calls than this at once it refuses those beyond.
    refuses_beyond: u32,
}

const SERVICE: Service = Service { capacity: u32::MAX, millis: 100.0, noise: 0.0, refuses_beyond: u32::MAX };

/// A run whose calls end, round by round.
struct Run {
    controller: Controller,
    service: Service,
    /// Slots of the fleet.
    slots: u32,
    work: Work,
    now: f64,
    random: u64,
    limits: Vec<u32>,
}

fn work(most: u32) -> Work {
    Work { most, batches_left: MANY, time_left: None }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp((seconds * 1e6) as u64)
}

impl Run {
    fn of(service: Service, most: u32) -> Self {
        let (controller, work) = (Controller::new(None, at(0.0)), work(most));
        Self { controller, service, slots: u32::MAX, work, now: 0.0, random: 1, limits: Vec::new() }
    }

    fn limit(&self) -> u32 {
        self.controller.limit(self.work.most).limit
    }

    fn reason(&self) -> LimitReason {
        self.controller.limit(self.work.most).reason
    }

    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) as f64 / (1u64 << 31) as f64
    }

    /// As many calls as the limit and the fleet allow run for some seconds, and are reported once a second at most.
    fn go_on(&mut self, seconds: f64) -> u32 {
        let end = self.now + seconds;
        while self.now < end {
            let in_progress = self.limit().min(self.slots);
            let waiting = f64::from(in_progress) / f64::from(self.service.capacity);
            let seconds = self.service.millis / 1e3 * waiting.max(1.0);
            let round = seconds.max(1.0);
            self.now += round;
            let calls = (f64::from(in_progress) * round / seconds) as u32;
            for call in 0..calls.min(2_000) {
                let factor = 1.0 + self.service.noise * (2.0 * self.random() - 1.0);
                let refused = call % in_progress >= self.service.refuses_beyond;
                let end = if refused { CallEnd::Failed } else { CallEnd::Answered };
                let time = Duration::from_secs_f64(seconds * factor);
                self.controller.call_ended(at(self.now), Call { time, end, in_progress }, &self.work);
                assert!((1..=self.work.most).contains(&self.limit()), "{}", self.limit());
            }
            self.limits.push(self.limit());
        }
        self.limit()
    }
}

#[test]
fn it_settles_near_what_the_service_runs_at_once_and_stays_there() {
    for (capacity, millis, noise) in [
        (1, 20.0, 0.0),
        (2, 100.0, 0.0),
        (5, 100.0, 0.0),
        (8, 3_000.0, 0.0),
        (20, 100.0, 0.1),
        (50, 20.0, 0.2),
        (50, 2_000.0, 0.3),
        (400, 100.0, 0.1),
    ] {
        let mut run = Run::of(Service { capacity, millis, noise, ..SERVICE }, 10_000);
        run.go_on(900.0);
        run.limits.clear();
        run.go_on(900.0);
        let (least, most) = (*run.limits.iter().min().unwrap(), *run.limits.iter().max().unwrap());
        let (low, high) = (f64::from(capacity) * 0.75, f64::from(capacity) * 1.35 + 2.0);
        assert!(
            f64::from(least) >= low && f64::from(most) <= high,
            "{least} to {most} with a capacity of {capacity}, {:?}",
            run.reason()
        );
        assert!(matches!(run.reason(), LimitReason::Latency { .. } | LimitReason::Rising { .. }));
    }
}

#[test]
fn without_strain_it_rises_to_the_ceiling_by_doubling_while_the_run_is_long() {
    let mut run = Run::of(SERVICE, 300);
    // 10,000,000 batches of 100 ms need 3,334 at once to be done in five minutes.
    run.go_on(20.0);
    assert_eq!((run.limit(), run.reason()), (300, LimitReason::MaxConcurrency));
    let doubled = [2, 4, 8, 16, 32, 64, 128, 256];
    assert!(doubled.iter().all(|limit| run.limits.contains(limit)), "{:?}", run.limits);

    let mut short = Run::of(SERVICE, 300);
    short.work.batches_left = 1_000;
    short.go_on(20.0);
    assert!((8..60).contains(&short.limit()), "{:?}", short.limits);
    assert!(matches!(short.reason(), LimitReason::Rising { .. }));
}

#[test]
fn refusals_halve_it_and_it_comes_back_by_steps() {
    let mut run = Run::of(Service { refuses_beyond: 40, ..SERVICE }, 1_000);
    run.go_on(30.0);
    assert!(run.limits.windows(2).any(|pair| pair[1] == pair[0] / 2), "{:?}", run.limits);
    run.limits.clear();
    run.go_on(600.0);
    let (least, most) = (*run.limits.iter().min().unwrap(), *run.limits.iter().max().unwrap());
    assert!(least >= 20 && most <= 48, "{:?}", run.limits);
    let steps = |pair: &&[u32]| pair[1] > pair[0];
    let largest = run.limits.windows(2).filter(steps).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(largest <= 5, "{:?}", run.limits);
    // It heals: the limit goes on rising.
    run.service.refuses_beyond = u32::MAX;
    assert!(run.go_on(120.0) > 200, "{:?}", run.limits);
}

fn call(in_progress: u32, end: CallEnd) -> Call {
    Call { time: Duration::from_millis(100), end, in_progress }
}

fn with_limit(limit: u32) -> Controller {
    let limit = AdaptedLimit { limit, reason: LimitReason::Starting };
    Controller::new(Some(ControllerRecord { limit, doubles_until: Some(limit.limit), least: None }), at(0.0))
}

#[test]
fn a_failure_among_many_calls_halves_nothing() {
    use CallEnd::{Answered, Failed};
    for (limit, answered, failed, expected) in [
        (20, 0, 1, 20),
        (20, 0, 2, 10),
        (20, 30, 2, 10),
        (20, 39, 1, 20),
        (50, 0, 3, 50), // of at least 64 that are looked at
        (50, 0, 4, 25),
        (2, 0, 1, 2),
        (2, 2, 2, 1),
        (1, 0, 50, 1),
        (1_000, 0, 4, 500),
    ] {
        let mut controller = with_limit(limit);
        for _ in 0..answered {
            controller.call_ended(at(9.0), call(limit, Answered), &work(1_000));
        }
        for _ in 0..failed {
            controller.call_ended(at(9.0), call(limit, Failed), &work(1_000));
        }
        let found = controller.limit(1_000).limit;
        assert_eq!(found, expected, "{limit} with {answered} answered, {failed} failed");
    }
}

#[test]
fn what_began_before_a_change_does_not_change_it_again() {
    let mut controller = with_limit(64);
    let mut fails = |now| controller.call_ended(at(now), call(64, CallEnd::Failed), &work(1_000));
    assert!((0..100).any(|_| fails(9.0)));
    // They took 100 ms, and were reported within a second.
    assert!(!(0..100).any(|_| fails(9.0)));
    assert!(!(0..100).any(|_| fails(10.0)));
    assert!((0..100).any(|_| fails(10.2)));
    assert_eq!(controller.limit(1_000).limit, 16);
}

#[test]
fn it_is_not_raised_while_it_is_not_reached() {
    let mut run = Run::of(SERVICE, 1_000);
    run.slots = 3;
    assert_eq!((run.go_on(60.0), run.reason()), (4, LimitReason::Unreached));
    run.slots = 30;
    run.go_on(60.0);
    assert!((30..60).contains(&run.limit()), "{:?}", run.limits);
    assert_eq!(run.reason(), LimitReason::Unreached);
}

#[test]
fn too_few_calls_change_nothing() {
    let mut controller = with_limit(8);
    for _ in 0..15 {
        assert!(!controller.call_ended(at(9.0), call(8, CallEnd::Answered), &work(1_000)));
    }
    assert_eq!(controller.limit(1_000).reason, LimitReason::Starting);
    assert!(controller.call_ended(at(9.0), call(8, CallEnd::Answered), &work(1_000)));
    assert_eq!(controller.limit(1_000).limit, 9);
}

#[test]
fn calls_with_a_part_of_their_items_say_nothing_of_time() {
    let mut controller = with_limit(4);
    for _ in 0..1_000 {
        assert!(!controller.call_ended(at(9.0), call(4, CallEnd::AnsweredInPart), &work(1_000)));
    }
    assert!(controller.window.times.is_empty() && controller.window.calls < super::LONGEST_WINDOW);
    // Failures among them say something all the same, and a time that no clock can hold says nothing.
    for _ in 0..40 {
        controller.call_ended(at(9.0), call(4, CallEnd::Failed), &work(1_000));
    }
    assert_eq!(controller.limit(1_000).limit, 2);
    let endless = Call { time: Duration::MAX, ..call(4, CallEnd::Failed) };
    assert!(!controller.call_ended(at(1e9), endless, &work(1_000)));
}

#[test]
fn a_target_is_given_what_it_needs_and_no_more() {
    // 36,000 batches of 100 ms in an hour: one at once.
    for (batches, seconds, expected) in
        [(36_000, 3_600, 1), (36_001, 3_600, 2), (720_000, 3_600, 20), (MANY, 3_600, 200)]
    {
        let mut run = Run::of(SERVICE, 200);
        run.work.batches_left = batches;
        run.work.time_left = Some(Duration::from_secs(seconds));
        assert_eq!(run.go_on(120.0), expected, "{:?}", run.limits);
        let reason = if expected == 200 { LimitReason::MaxConcurrency } else { LimitReason::TargetDuration };
        assert_eq!(run.reason(), reason);
    }
    // A target that is over is given what the service bears.
    let mut late = Run::of(Service { capacity: 10, ..SERVICE }, 200);
    late.work.time_left = Some(Duration::ZERO);
    late.go_on(120.0);
    assert!((10..16).contains(&late.limit()), "{:?}", late.limits);
}

#[test]
fn a_ceiling_that_is_lowered_holds_at_once_and_one_that_is_raised_is_used() {
    let mut run = Run::of(SERVICE, 100);
    assert_eq!(run.go_on(60.0), 100);
    run.work.most = 7;
    let lowered = AdaptedLimit { limit: 7, reason: LimitReason::MaxConcurrency };
    assert_eq!(run.controller.limit(7), lowered);
    assert_eq!(run.go_on(10.0), 7);
    run.work.most = 300;
    assert_eq!(run.go_on(60.0), 300);
}

#[test]
fn calls_that_become_slower_of_themselves_do_not_bring_it_down_for_good() {
    let mut run = Run::of(Service { capacity: 40, ..SERVICE }, 1_000);
    run.go_on(300.0);
    run.service.millis = 400.0;
    run.go_on(600.0);
    assert!((30..55).contains(&run.limit()), "{:?}", run.limits);
    // Those that become faster are first seen with some of them waiting: that much too high it may settle.
    run.service.millis = 50.0;
    run.go_on(600.0);
    assert!((30..60).contains(&run.limit()), "{:?}", run.limits);
}

#[test]
fn a_new_leader_goes_on_where_the_last_one_was() {
    let mut run = Run::of(Service { capacity: 40, ..SERVICE }, 1_000);
    let before = run.go_on(300.0);
    run.controller = Controller::new(Some(run.controller.record()), at(run.now));
    assert_eq!(run.limit(), before);
    run.limits.clear();
    run.go_on(300.0);
    assert!(run.limits.iter().all(|limit| (30..55).contains(limit)), "{:?}", run.limits);
}

/// Whatever calls do: the limit is within its bounds, what is remembered is bounded, and the same calls give the same limits.
#[test]
fn any_calls_leave_it_within_its_bounds() {
    let limits_of = |seed: u64| {
        let mut run = Run { random: seed, ..Run::of(SERVICE, 50) };
        let mut limits = Vec::new();
        for _ in 0..20_000 {
            run.now += run.random() * 0.3;
            run.work.most = 1 + (run.random() * 60.0) as u32;
            run.work.time_left = (run.random() < 0.3).then(|| Duration::from_secs_f64(run.random() * 99.0));
            run.work.batches_left = (run.random() * 1e4) as u64;
            let end = match (run.random() * 10.0) as u32 {
                0 => CallEnd::Failed,
                1 => CallEnd::AnsweredInPart,
                _ => CallEnd::Answered,
            };
            let time = Duration::from_secs_f64(run.random().powi(8) * 40.0);
            let in_progress = (run.random() * 80.0) as u32;
            run.controller.call_ended(at(run.now), Call { time, end, in_progress }, &run.work);
            assert!((1..=run.work.most).contains(&run.limit()));
            assert!(run.controller.window.times.len() <= super::MOST_CALLS as usize);
            limits.push(run.limit());
        }
        limits
    };
    for seed in 1..20 {
        assert_eq!(limits_of(seed), limits_of(seed));
    }
}
