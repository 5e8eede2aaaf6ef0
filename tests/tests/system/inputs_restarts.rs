//! What is staged survives the coordinator and the workers that it is staged by: exact, and nothing left behind.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{Fleet, FleetSettings, eventually, read_results};

/// Records of the source, each of [`NOTE_BYTES`] and more: staging them takes a while, handling them does not.
const RECORDS: u64 = 50_000;
const NOTE_BYTES: usize = 4_000;

const WITHIN: Duration = Duration::from_secs(240);

fn source() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let note = "x".repeat(NOTE_BYTES);
    encoder.write_all(b"id,note\n").unwrap();
    for record in 0..RECORDS {
        writeln!(encoder, "{record},{note}").unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn a_coordinator_killed_while_a_source_is_staged_and_a_worker_killed_after_it_change_nothing() {
    let mut fleet =
        Fleet::start(&FleetSettings { coordinators: 1, etcd_members: 1, ..FleetSettings::default() });
    for id in ["w0", "w1"] {
        fleet.start_worker(id, 4, "");
    }
    fleet.s3().put("input", "large.csv.gz", source());
    let job = json!({
        "itemReader": {"bucket": "input", "key": "large.csv.gz", "readerConfig": {"inputType": "CSV"}},
        "itemSelector": {"id.$": "$$.Map.Item.Value.id"},
        "itemBatcher": {"maxItemsPerBatch": 50},
        "itemProcessor": {"handler": "echo"},
        "resultWriter": {"bucket": "output", "prefix": "results/"},
    });
    fleet.submit("large", &job.to_string());
    let stages = |fleet: &Fleet, index: usize| fleet.worker_log(index).contains("staging a source");
    let first = eventually("a worker stages", WITHIN, || (0..2).find(|index| stages(&fleet, *index)));
    fleet.kill_coordinator(0);
    assert!(
        !fleet.worker_log(first).contains("staged a source"),
        "it was too fast for the coordinator to be killed"
    );
    fleet.start_coordinator(0);
    fleet.wait_for_leader();
    eventually("items succeed", WITHIN, || {
        let run = fleet.get("large")?;
        (run["itemCounts"]["succeeded"].as_u64()? > 0).then_some(())
    });
    fleet.kill_worker(1 - first);
    let run = fleet.wait("large", WITHIN);
    assert_eq!(
        (&run["itemCounts"]["total"], &run["itemCounts"]["succeeded"]),
        (&json!(RECORDS), &json!(RECORDS))
    );
    let directory = fleet.path("results");
    fleet.run(&["results", "large", "--download", directory.to_str().unwrap()]).expect(0);
    let expected: Vec<Value> = (0..RECORDS).map(|record| json!({"id": record.to_string()})).collect();
    read_results(&directory).expect_echoed(&expected);
    let staged = || fleet.s3().list("output", "warifu/large/staged/");
    eventually("one staged object is left", WITHIN, || (staged().len() == 1).then_some(()));
    fleet.run(&["delete", "large"]).expect(0);
    assert!(staged().is_empty(), "{:?}", staged());
    fleet.stop();
}
