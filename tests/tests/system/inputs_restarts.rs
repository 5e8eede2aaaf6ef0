//! What is staged survives the coordinator and the workers that it is staged by: exact, and nothing left behind.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{Fleet, FleetSettings, Network, PARTITION, eventually, read_results};
use crate::inputs_kinds::{Kind, job, kinds};

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

/// Kinds that are read as they are.
const NOT_STAGED: [&str; 3] = ["csv", "inline", "jsonl"];

#[test]
fn the_coordinator_and_every_worker_killed_while_inputs_of_all_kinds_are_read_change_nothing() {
    let kinds = kinds();
    let is_staged = |kind: &&Kind| !NOT_STAGED.contains(&kind.id);
    // One for each source that is rewritten: a worker rewrites one at a time.
    let staging = kinds.iter().filter(is_staged).count();
    let mut fleet = Fleet::start(&FleetSettings {
        coordinators: 1,
        etcd_members: 1,
        leases: "[leases]\nttl_seconds = 5\nleader_ttl_seconds = 3\n",
        s3_past_network: true,
        ..FleetSettings::default()
    });
    for index in 0..staging {
        fleet.start_worker(&format!("w{index}"), 1, "");
    }
    let s3 = fleet.s3();
    for (key, body) in kinds.iter().flat_map(|kind| &kind.objects) {
        s3.put("input", key, body.clone());
    }
    fleet.s3_network.set(PARTITION);
    for kind in &kinds {
        fleet.submit(kind.id, &job(&kind.source, None));
    }
    let begun = |fleet: &Fleet| {
        let logs = (0..staging).map(|index| fleet.worker_log(index).matches("staging a source").count());
        logs.sum::<usize>()
    };
    eventually("each is being read", WITHIN, || (begun(&fleet) >= staging).then_some(()));
    fleet.kill_coordinator(0);
    fleet.start_coordinator(0);
    fleet.wait_for_leader();
    let connected = |fleet: &Fleet| {
        let workers = fleet.json(&["workers"], 0);
        workers["workers"].as_array().is_some_and(|workers| workers.len() == staging)
    };
    eventually("all workers are back", WITHIN, || connected(&fleet).then_some(()));
    for index in 0..staging {
        fleet.kill_worker(index);
    }
    for index in 0..staging {
        fleet.spawn_worker(index);
    }
    eventually("others begin anew", WITHIN, || (begun(&fleet) > 0).then_some(()));
    fleet.s3_network.set(Network::Passes);
    for kind in &kinds {
        let run = fleet.wait(kind.id, WITHIN);
        assert_eq!(run["itemCounts"]["total"], kind.items.len(), "{}: {run}", kind.id);
        let directory = fleet.path(&format!("results-{}", kind.id));
        fleet.run(&["results", kind.id, "--download", directory.to_str().unwrap()]).expect(0);
        read_results(&directory).expect_echoed(&kind.items);
    }
    assert!(begun(&fleet) >= staging, "each was read anew");
    fleet.stop();
}
