//! Metrics: what is scraped pleases Prometheus' own tool, says what happened, and names no run by its ID; alerts fire when they
//! should; the dashboard asks for metrics that there are.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Dev, DevSettings, Fleet, FleetSettings, Process, eventually, repository};

use super::collector::Collector;
use super::{JOB, SOON, csv, handler};

/// Prometheus' tool, which the checks install with the package `prometheus`.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.current_dir(repository()).args(arguments);
    let mut process = Process::start(command);
    process.stdin().write_all(input.as_bytes()).unwrap();
    process.finish_within(SOON).expect(0);
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn http_get(port: u16, path: &str) -> String {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // HTTP/1.0 ends with the connection, and has no chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn has_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
}

#[test]
fn a_fleets_metrics_please_promtool_and_reach_a_collector() {
    let collector = Collector::start();
    let section = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.endpoint());
    let settings =
        FleetSettings { coordinators: 1, etcd_members: 1, leases: &section, ..FleetSettings::default() };
    let mut fleet = Fleet::start(&settings);
    fleet.s3().put("input", "in.csv", csv(20));
    let port = warifu_test_etcd::free_ports(1)[0];
    fleet.set_worker_http_port(Some(port));
    fleet.start_worker("w1", 2, &format!("{}{section}", handler("/dev/null")));
    fleet.submit("scraped", JOB);
    fleet.wait("scraped", SOON);
    let counted = eventually("the end is counted", SOON, || {
        let text = body(&http_get(fleet.http_port(0), "/metrics")).to_owned();
        text.contains("warifu_map_runs{state=\"succeeded\"} 1").then_some(text)
    });
    has_line(&counted, "warifu_map_run_items_total{map_run=\"nightly\",outcome=\"succeeded\"} 20");
    has_line(&counted, "warifu_leading 1");
    has_line(&counted, "warifu_workers{state=\"active\"} 1");
    assert!(counted.contains("warifu_store_size_bytes{store=\"etcd\"} "), "{counted}");
    assert!(!counted.contains("scraped"), "a run's ID is in\n{counted}");
    promtool(&["check", "metrics"], &counted);
    let of_worker = body(&http_get(port, "/metrics")).to_owned();
    has_line(&of_worker, "warifu_worker_items_total{handler=\"seen\"} 20");
    has_line(&of_worker, "warifu_worker_batches_total{handler=\"seen\",outcome=\"answered\"} 4");
    has_line(&of_worker, "warifu_batch_duration_seconds_count{handler=\"seen\"} 4");
    promtool(&["check", "metrics"], &of_worker);
    let names = |text: &str| -> BTreeSet<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    // What a process sends at its end is all that it has.
    fleet.stop();
    for (service, scraped) in [("warifu-coordinator", &counted), ("warifu-worker", &of_worker)] {
        let sent: BTreeSet<String> = collector.metrics_of(service).into_iter().collect();
        let missing: Vec<_> = sent.difference(&names(scraped)).cloned().collect();
        assert!(!sent.is_empty() && missing.is_empty(), "{service} sends, and does not serve, {missing:?}");
    }
    let known: BTreeSet<String> = names(&counted).union(&names(&of_worker)).cloned().collect();
    let dashboard = std::fs::read_to_string(observability("dashboard.json")).unwrap();
    let alerts = std::fs::read_to_string(observability("alerts.yml")).unwrap();
    for name in metrics_in(&dashboard).union(&metrics_in(&alerts)) {
        assert!(known.contains(name), "no process serves {name}");
    }
}

#[test]
fn alerts_fire_when_they_should() {
    promtool(&["check", "rules", "deploy/observability/alerts.yml"], "");
    promtool(&["test", "rules", "deploy/observability/alerts_test.yml"], "");
}

#[test]
fn many_names_of_runs_become_few_series() {
    let dev = Dev::start(&DevSettings { worker_config: &handler("/dev/null"), ..DevSettings::default() });
    dev.s3().put("input", "in.csv", csv(1));
    for number in 0..60 {
        dev.submit(&format!("run-{number}"), &JOB.replace("nightly", &format!("night-{number}")));
    }
    for number in 0..60 {
        dev.wait(&format!("run-{number}"), 0);
    }
    let text = eventually("all ends are counted", SOON, || {
        let text = body(&dev.http_get("/metrics")).to_owned();
        text.contains("warifu_map_runs{state=\"succeeded\"} 60").then_some(text)
    });
    let of_names = text.lines().filter(|line| {
        line.starts_with("warifu_map_run_items_total{map_run=\"night-") && line.contains("\"succeeded\"")
    });
    assert_eq!(of_names.count(), 50);
    has_line(&text, "warifu_map_run_items_total{map_run=\"other\",outcome=\"succeeded\"} 10");
    dev.stop();
}

fn observability(file: &str) -> PathBuf {
    repository().join("deploy/observability").join(file)
}

/// Names that begin with `warifu_`, without what a histogram's series end in.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("warifu_"));
    let base = |word: &str| {
        ["_bucket", "_count", "_sum"]
            .iter()
            .fold(word.to_owned(), |word, end| word.strip_suffix(end).map_or(word.clone(), str::to_owned))
    };
    words.map(base).collect()
}
