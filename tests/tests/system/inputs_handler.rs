//! `itemReader.handler`: a handler that gives the items page by page, whatever happens between two pages.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Dev, DevSettings, Fleet, FleetSettings, HttpService, ServiceAnswer, eventually, read_results, text,
};

const WITHIN: Duration = Duration::from_secs(120);

/// A service in our own format gives pages, too.
fn service() -> HttpService {
    HttpService::start(|request| match request.body["nextToken"].as_str() {
        None => ServiceAnswer::ok(&json!({"items": [1, {"a": "b"}], "nextToken": "more"})),
        Some(_) => ServiceAnswer::ok(&json!({"items": [null]})),
    })
}

/// Pages of 10 items, as many as the run's `input.pages` says; notes each page that it is asked for. The file `fail` lets one
/// call fail, and goes with it; while the file `wait` is there, page 2 does not come.
const PAGES: &str = r#"
import json, os, sys, time
directory = sys.argv[1]
request = json.loads(sys.stdin.readline())
page = int(request["nextToken"] or 0)
open(os.path.join(directory, "asked"), "a").write(f"{page}\n")
while page == 2 and os.path.exists(os.path.join(directory, "wait")):
    time.sleep(0.05)
fail = os.path.join(directory, "fail")
if page == 1 and os.path.exists(fail):
    os.remove(fail)
    sys.exit(3)
pages = request["input"]["pages"]
if page < pages:
    rows = ",".join('{"n": %d, "price": %d.50}' % (n, n) for n in range(page * 10, page * 10 + 10))
    print('{"items": [%s], "nextToken": "%d"}' % (rows, page + 1))
else:
    print('{"items": []}')
"#;

fn worker(directory: &Path) -> String {
    let program = directory.join("pages.py");
    std::fs::write(&program, PAGES).unwrap();
    format!(
        "[handlers.pages]\ntype = \"exec\"\ncommand = [\"python3\", \"{}\", \"{}\"]\n",
        text(&program),
        text(directory)
    )
}

fn job(pages: u64, config: &Value) -> String {
    json!({
        "itemReader": {"handler": "pages", "readerConfig": config},
        "itemBatcher": {"maxItemsPerBatch": 3},
        "itemSelector": {"value.$": "$$.Map.Item.Value", "of.$": "$$.Map.Item.Source"},
        "itemProcessor": {"handler": "echo"},
        "resultWriter": {"bucket": "output", "prefix": "r/"},
        "input": {"pages": pages},
    })
    .to_string()
}

fn items(count: u64) -> Vec<Value> {
    let item = |n: u64| json!({"value": {"n": n, "price": n as f64 + 0.5}, "of": "handler:pages"});
    (0..count).map(item).collect()
}

fn asked(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn all_pages_are_read_once_each_and_a_failed_call_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&DevSettings { worker_config: &worker(directory.path()), ..DevSettings::default() });
    std::fs::write(directory.path().join("fail"), "").unwrap();
    let run = dev.submit_and_wait("all", &job(5, &json!({})), 0);
    assert_eq!(run["itemCounts"]["total"], 50, "{run}");
    read_results(&dev.download("all")).expect_echoed(&items(50));
    assert_eq!(asked(directory.path()), ["0", "1", "1", "2", "3", "4", "5"]);
    let shown = dev.run(["get", "all"]).expect(0).stdout;
    assert!(shown.contains("items of the handler pages"), "{shown}");

    for (id, pages, config, expected) in [
        ("none", 0, json!({}), 0),
        ("some", 5, json!({"maxItems": 13}), 13),
        ("exact", 2, json!({"maxItems": 20, "inputType": "JSON"}), 20),
    ] {
        let run = dev.submit_and_wait(id, &job(pages, &config), 0);
        assert_eq!(run["itemCounts"]["total"], expected, "{run}");
        read_results(&dev.download(id)).expect_echoed(&items(expected));
    }
    // A redrive reads what was written down, and asks nobody.
    let before = asked(directory.path()).len();
    dev.run(["redrive", "some"]);
    assert_eq!(asked(directory.path()).len(), before);
    dev.stop();
}

#[test]
fn jobs_that_name_a_reader_and_a_place_and_readers_that_give_no_pages_are_told() {
    let service = HttpService::start(|_| ServiceAnswer::ok(&json!({"rows": []})));
    let config = format!(
        "[handlers.rows]\ntype = \"http\"\nurl = \"{}\"\nprotocol = \"lambda\"\n",
        service.url("/rows")
    );
    let dev = Dev::start(&DevSettings { worker_config: &config, ..DevSettings::default() });
    let mut both: Value = serde_json::from_str(&job(1, &json!({"csvDelimiter": "TAB"}))).unwrap();
    both["itemReader"]["bucket"] = json!("input");
    let file = dev.write("both.yaml", both.to_string());
    dev.run(["submit", "-f", text(&file)]).expect(2).says(&[
        "spec.item_reader.bucket: stands beside `handler`",
        "spec.item_reader.reader_config: says how objects are read",
    ]);
    let mut rows: Value = serde_json::from_str(&job(1, &json!({}))).unwrap();
    rows["itemReader"]["handler"] = json!("rows");
    let run = dev.submit_and_wait("rows", &rows.to_string(), 1);
    assert_eq!(run["error"]["error"], "States.ItemReaderFailed", "{run}");
    let cause = run["error"]["cause"].as_str().unwrap();
    assert!(cause.contains("rows, page 0") && cause.contains("missing field `items`"), "{cause}");
    let mut noop: Value = serde_json::from_str(&job(1, &json!({}))).unwrap();
    noop["itemReader"]["handler"] = json!("noop");
    let run = dev.submit_and_wait("noop", &noop.to_string(), 1);
    assert!(run["error"]["cause"].as_str().unwrap().contains("noop puts nothing out"), "{run}");
    // Nobody offers it: a run that requires it is refused, and another one says what it waits for.
    let file = dev.write("absent.yaml", job(1, &json!({})));
    dev.run(["submit", "-f", text(&file), "--require-handler"]).expect(2);
    let warned = dev.json(["submit", "-f", text(&file), "--dry-run"], 0);
    let warnings = warned["warnings"].to_string();
    assert!(warnings.contains("no live worker offers the handler pages"), "{warned}");
    dev.stop();
}

#[test]
fn a_service_gives_pages_in_either_format() {
    let service = service();
    let section = |name: &str, format: &str| {
        format!("[handlers.{name}]\ntype = \"http\"\nurl = \"{}\"\n{format}", service.url("/pages"))
    };
    let config = section("pages", "") + &section("states", "event_format = \"states\"\n");
    let dev = Dev::start(&DevSettings { worker_config: &config, ..DevSettings::default() });
    for name in ["pages", "states"] {
        let mut job: Value = serde_json::from_str(&job(1, &json!({}))).unwrap();
        job["itemReader"]["handler"] = json!(name);
        let run = dev.submit_and_wait(name, &job.to_string(), 0);
        assert_eq!(run["itemCounts"]["total"], 3, "{run}");
        let source = format!("handler:{name}");
        let items =
            [json!(1), json!({"a": "b"}), json!(null)].map(|value| json!({"value": value, "of": source}));
        read_results(&dev.download(name)).expect_echoed(&items);
    }
    dev.stop();
}

#[test]
fn only_workers_that_have_the_reader_read_and_one_that_dies_costs_time_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet =
        Fleet::start(&FleetSettings { coordinators: 1, etcd_members: 1, ..FleetSettings::default() });
    fleet.start_worker("without", 4, "");
    fleet.start_worker("first", 4, &worker(directory.path()));
    let wait = directory.path().join("wait");
    std::fs::write(&wait, "").unwrap();
    fleet.submit("pages", &job(4, &json!({})));
    let arrived = |count: usize| {
        (asked(directory.path()).iter().filter(|page| *page == "2").count() >= count).then_some(())
    };
    eventually("the reader is in the middle of it", WITHIN, || arrived(1));
    fleet.start_worker("second", 4, &worker(directory.path()));
    fleet.kill_worker(1);
    eventually("the other worker begins anew", WITHIN, || arrived(2));
    std::fs::remove_file(&wait).unwrap();
    let run = fleet.wait("pages", WITHIN);
    assert_eq!(run["itemCounts"]["total"], 40, "{run}");
    assert!(!fleet.worker_log(0).contains("staging a source"), "it does not have the reader");
    let results = fleet.path("results");
    fleet.run(&["results", "pages", "--download", text(&results)]).expect(0);
    read_results(&results).expect_echoed(&items(40));
    fleet.stop();
}
