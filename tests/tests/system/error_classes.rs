//! Failures by kind, error rates that are told once, and what handlers said last.

use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings};

const ROWS: u64 = 400;
const BATCH_SIZE: u64 = 10;
/// Of every batch one item fails by name; every tenth batch fails as a whole.
const BUSINESS: u64 = ROWS / BATCH_SIZE - BROKEN_BATCHES;
const BROKEN_BATCHES: u64 = ROWS / BATCH_SIZE / 10;
const SYSTEM: u64 = BROKEN_BATCHES * BATCH_SIZE;

/// Leaves lines on stderr and ends with status 3 in every tenth batch; fails items whose number ends in 5.
const HANDLER: &str = r#"
if [ $((WARIFU_BATCH_NUMBER % 10)) = 7 ]; then
    echo "batch $WARIFU_BATCH_NUMBER: opening" >&2
    echo "cannot reach the warehouse" >&2
    exit 3
fi
sed 's/.*"id":"[0-9]*5".*/{"warifu:error":{"errorType":"Odd","errorMessage":"I do not like it"}}/'
"#;

fn start() -> Dev {
    let config =
        format!("[handlers.picky]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", {}]\n", json!(HANDLER));
    let dev =
        Dev::start(&DevSettings { workers: 2, slots: 2, worker_config: &config, ..DevSettings::default() });
    let rows: String = (0..ROWS).map(|row| format!("{row}\n")).collect();
    dev.s3().put("input", "in.csv", format!("id\n{rows}"));
    dev
}

fn job() -> String {
    format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: {BATCH_SIZE}}}\n\
         itemProcessor: {{handler: picky}}\n\
         maxConcurrency: 3\n\
         toleratedFailurePercentage: 100\n\
         resultWriter: {{bucket: output, prefix: r/}}\n"
    )
}

/// The lines of the log that tell an error rate.
fn told(dev: &Dev) -> Vec<String> {
    let log = dev.log();
    log.lines().filter(|line| line.contains("error rate of a map run is high")).map(str::to_owned).collect()
}

fn metric(dev: &Dev, sample: &str) -> u64 {
    let metrics = dev.http_get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with(&format!("{sample} ")));
    line.unwrap_or_else(|| panic!("{sample} is not in\n{metrics}"))[sample.len() + 1..].parse().unwrap()
}

#[test]
fn both_kinds_are_counted_and_a_high_error_rate_is_told_once() {
    let dev = start();
    dev.submit_and_wait("kinds", &job(), 0);
    let run = dev.run(["get", "kinds", "-o", "json"]).expect(0).json();
    assert_eq!(run["failureCounts"], json!({"business": BUSINESS, "system": SYSTEM}));
    assert_eq!(run["itemCounts"]["failed"], BUSINESS + SYSTEM);

    let manifest: Value = serde_json::from_slice(&dev.s3().get("output", "r/kinds/manifest.json")).unwrap();
    let summary = &manifest["Summary"];
    assert_eq!(summary["ErrorsByKind"], json!({"BUSINESS": BUSINESS, "SYSTEM": SYSTEM}));
    assert_eq!(summary["ErrorRate"], (BUSINESS + SYSTEM) as f64 / ROWS as f64);
    let errors = json!([
        {"Error": "Exec.Exit.3", "Kind": "SYSTEM", "Count": SYSTEM},
        {"Error": "Odd", "Kind": "BUSINESS", "Count": BUSINESS},
    ]);
    assert_eq!((&summary["Errors"], &summary["TopErrors"]), (&errors, &errors));

    // 76 of 400: whichever batches came first, the rate rose over 10 % once a hundred items were decided.
    let warnings = run["warnings"].as_array().unwrap();
    let reasons: Vec<_> = warnings.iter().map(|warning| warning["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["ERROR_RATE_HIGH"]);
    let shown = dev.run(["get", "kinds"]).expect(0);
    let rate = format!("Error rate 19.0 % of {ROWS} items: {BUSINESS} BUSINESS, {SYSTEM} SYSTEM");
    assert!(shown.stdout.contains(&rate), "{}", shown.stdout);
    assert!(shown.stdout.contains("Warning    ERROR_RATE_HIGH: "), "{}", shown.stdout);
    assert!(shown.stdout.contains("Advice     `warifu logs kinds` shows"), "{}", shown.stdout);
    let watched = dev.run(["watch", "kinds"]).expect(0);
    watched.says(&["warning    ERROR_RATE_HIGH: ", "more than 10 %", "warifu logs kinds"]);

    let high: Vec<String> =
        told(&dev).into_iter().filter(|line| line.contains("alert_level=\"HIGH\"")).collect();
    assert_eq!(high.len(), 1, "{high:?}");
    assert!(high[0].contains("map_run_id=kinds") && high[0].contains("top_error="), "{}", high[0]);
    assert_eq!(metric(&dev, "warifu_error_rate_alerts_total{level=\"high\"}"), 1);
    assert_eq!(metric(&dev, "warifu_item_failures_total{kind=\"business\"}"), BUSINESS);
    assert_eq!(metric(&dev, "warifu_item_failures_total{kind=\"system\"}"), SYSTEM);

    // A redrive counts anew: the same items fail again, and nothing else.
    dev.run(["redrive", "kinds", "--watch"]).expect(0);
    let run = dev.run(["get", "kinds", "-o", "json"]).expect(0).json();
    assert_eq!(run["failureCounts"], json!({"business": BUSINESS, "system": SYSTEM}));
    assert_eq!(run["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(metric(&dev, "warifu_error_rate_alerts_total{level=\"high\"}"), 2);
    dev.stop();
}

#[test]
fn logs_show_what_programs_said_last_by_batch() {
    let dev = start();
    dev.submit_and_wait("logs", &job(), 0);
    let attempts = dev.run(["logs", "logs", "--limit", "1000", "-o", "json"]).expect(0).json();
    let attempts = attempts["attempts"].as_array().unwrap();
    assert_eq!(attempts.len() as u64, ROWS / BATCH_SIZE, "every batch has failed items, and one entry");
    let times: Vec<&str> = attempts.iter().map(|attempt| attempt["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    let of_batch = |batch: u64| attempts.iter().find(|attempt| attempt["batch"] == batch).unwrap();
    let broken = of_batch(17);
    assert_eq!((&broken["attempt"], &broken["timedOut"]), (&json!(1), &json!(false)));
    let failure = &broken["failures"][0];
    assert_eq!((&failure["error"], &failure["kind"]), (&json!("Exec.Exit.3"), &json!("SYSTEM")));
    assert_eq!(failure["items"], (170..180).collect::<Value>());
    let lines = failure["lines"].as_array().unwrap();
    assert!(lines[0].as_str().unwrap().ends_with("batch 17: opening"), "{lines:?}");
    assert_eq!(lines[1], "cannot reach the warehouse");
    let refused = &of_batch(3)["failures"];
    assert_eq!(
        refused,
        &json!([{"error": "Odd", "kind": "BUSINESS", "items": [35], "lines": ["I do not like it"]}])
    );

    let shown = dev.run(["logs", "logs", "--item", "174"]).expect(0);
    assert!(shown.stdout.starts_with("batch 17 · attempt 1 · worker "), "{}", shown.stdout);
    assert!(shown.stdout.contains("  Exec.Exit.3 (SYSTEM): 10 items, 170-179\n"), "{}", shown.stdout);
    assert!(shown.stdout.ends_with("\n    cannot reach the warehouse\n"), "{}", shown.stdout);
    let shown = dev.run(["logs", "logs", "--batch", "3"]).expect(0);
    assert_eq!(shown.stdout.lines().count(), 3, "{}", shown.stdout);
    let newest = dev.run(["logs", "logs", "--limit", "2"]).expect(0);
    newest.says(&["38 earlier attempts left out"]);
    dev.run(["logs", "missing"]).expect(2);
    dev.stop();
}
