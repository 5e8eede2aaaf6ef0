//! Telemetry: one trace leads from the client over both leaders and the worker to the handler; metrics can be read by
//! Prometheus' own tools and reach a collector; and a collector that is not there hinders nobody.

mod collector;
mod metrics;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Dev, DevSettings, Fleet, FleetSettings, Process, eventually, text};
use collector::{Collector, Span};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(60);

const JOB: &str = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
                   itemBatcher: {maxItemsPerBatch: 5}\n\
                   itemProcessor: {handler: seen}\n\
                   labels: {name: nightly}\n\
                   resultWriter: {bucket: output, prefix: results}\n";

/// A handler that writes down which trace it is part of.
fn handler(log: &str) -> String {
    format!(
        "[handlers.seen]\ntype = \"exec\"\noutput = \"discard\"\n\
         command = [\"sh\", \"-c\", \"cat >/dev/null; echo \\\"$TRACEPARENT\\\" >>{log}\"]\n"
    )
}

fn csv(items: u32) -> String {
    (0..items).fold("id\n".to_owned(), |text, item| format!("{text}U{item}\n"))
}

fn lines(path: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn one_trace_leads_from_the_client_to_the_handler_over_a_change_of_leader() {
    let collector = Collector::start();
    let section =
        format!("[telemetry]\notlp_endpoint = \"{}\"\nlog_format = \"json\"\n", collector.endpoint());
    let settings =
        FleetSettings { coordinators: 2, etcd_members: 1, leases: &section, ..FleetSettings::default() };
    let mut fleet = Fleet::start(&settings);
    fleet.s3().put("input", "in.csv", csv(20));
    let job = fleet.path("job.yaml");
    std::fs::write(&job, JOB).unwrap();
    let mut submit = fleet.client(&["submit", "-f", text(&job), "--id", "traced"]);
    submit.env("WARIFU_TELEMETRY__OTLP_ENDPOINT", collector.endpoint());
    Process::start(submit).finish().expect(0);
    // The leader that took the run is gone before anybody works at it. It sends its spans as it goes.
    let leader = fleet.wait_for_leader();
    fleet.stop_coordinator(leader);
    fleet.wait_for_leader();
    let log = fleet.path("seen.log");
    fleet.start_worker("w1", 2, &format!("{}{section}", handler(text(&log))));
    fleet.wait("traced", SOON);
    let worker_log = fleet.worker_log(0);
    let seen: BTreeSet<String> = lines(&log).into_iter().collect();
    fleet.stop();

    let spans = eventually("all spans arrive", SOON, || {
        let spans = collector.spans();
        (spans.iter().filter(|span| span.name == "handler").count() == 4).then_some(spans)
    });
    let find =
        |id: &str| spans.iter().find(|span| span.id == id).unwrap_or_else(|| panic!("no {id}: {spans:#?}"));
    for handler in spans.iter().filter(|span| span.name == "handler") {
        let batch = find(&handler.parent);
        let lease = find(&batch.parent);
        let created = find(&lease.parent);
        let client = find(&created.parent);
        let path = [handler, batch, lease, created, client];
        let names = path.map(|span: &Span| (span.service.as_str(), span.name.as_str()));
        assert_eq!(
            names,
            [
                ("warifu-worker", "handler"),
                ("warifu-worker", "batch"),
                ("warifu-worker", "lease"),
                ("warifu-coordinator", "warifu.v1.MapRunService/CreateMapRun"),
                ("warifu", "warifu.v1.MapRunService/CreateMapRun"),
            ]
        );
        assert!(path.iter().all(|span| span.trace == client.trace) && client.parent.is_empty());
        assert_eq!(created.attributes["map_run_id"], "traced");
    }
    let trace = &spans[0].trace;
    assert!(spans.iter().all(|span| span.trace == *trace), "{spans:#?}");
    for name in ["read", "report", "commit"] {
        assert!(spans.iter().any(|span| span.name == name), "no {name}: {spans:#?}");
    }
    let handlers = spans.iter().filter(|span| span.name == "handler");
    assert_eq!(seen, handlers.map(|span| format!("00-{trace}-{}-01", span.id)).collect());
    for line in worker_log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
    }
}

#[test]
fn a_callers_trace_reaches_the_handler_although_nothing_is_recorded() {
    let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let dev = Dev::start(&DevSettings { worker_config: &handler("seen.log"), ..DevSettings::default() });
    dev.s3().put("input", "in.csv", csv(10));
    let job = dev.write("job.yaml", JOB);
    let mut submit = dev.command(["submit", "-f", text(&job), "--id", "passed-on"]);
    submit.env("TRACEPARENT", place);
    Process::start(submit).finish().expect(0);
    dev.wait("passed-on", 0);
    assert_eq!(lines(&dev.directory().join("seen.log")), [place, place]);
    dev.submit_and_wait("untraced", JOB, 0);
    assert_eq!(lines(&dev.directory().join("seen.log"))[2..], ["", ""]);
    dev.stop();
}

#[test]
fn a_collector_that_is_not_there_hinders_nobody() {
    // Nobody listens on the port of a socket that is bound and does not listen.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let section = format!("[telemetry]\notlp_endpoint = \"http://{}\"\n", nobody.local_addr().unwrap());
    let settings =
        FleetSettings { coordinators: 1, etcd_members: 1, leases: &section, ..FleetSettings::default() };
    let mut fleet = Fleet::start(&settings);
    fleet.s3().put("input", "in.csv", csv(20));
    fleet.start_worker("w1", 2, &format!("{}{section}", handler("/dev/null")));
    fleet.submit("alone", JOB);
    fleet.wait("alone", SOON);
    fleet.stop();
}
