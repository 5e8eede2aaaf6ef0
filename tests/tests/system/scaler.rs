//! A fleet that grows from zero and may shrink to it again, by what coordinators tell KEDA.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Fleet, FleetSettings, Process, eventually, grpcurl, skipped, text};

const WITHIN: Duration = Duration::from_secs(60);
const ITEMS: u32 = 20;
const LIMIT: u32 = 6;

/// KEDA's side of a ScaledObject.
struct Scaler {
    program: PathBuf,
    /// The coordinator that it asks.
    address: String,
}

impl Scaler {
    fn call(&self, method: &str, request: &Value) -> Value {
        let mut command = Command::new(&self.program);
        command.args(["-plaintext", "-emit-defaults", "-d", "@"]);
        command.args([&self.address, &format!("externalscaler.ExternalScaler/{method}")]);
        let mut process = Process::start(command);
        process.stdin().write_all(request.to_string().as_bytes()).unwrap();
        process.finish().expect(0).json()
    }

    fn is_active(&self, metadata: &Value) -> bool {
        self.call("IsActive", &json!({"scalerMetadata": metadata}))["result"].as_bool().unwrap()
    }

    fn desired_slots(&self) -> f64 {
        let request = json!({"scaledObjectRef": {"name": "workers"}, "metricName": "warifu-desired-slots"});
        self.call("GetMetrics", &request)["metricValues"][0]["metricValueFloat"].as_f64().unwrap()
    }
}

/// A handler that returns once there is a file.
fn waits_for(file: &Path) -> String {
    let wait = format!("cat >/dev/null; until [ -e '{}' ]; do sleep 0.05; done", text(file));
    format!(
        "[handlers.gated]\ntype = \"exec\"\noutput = \"discard\"\ncommand = [\"sh\", \"-c\", \"{wait}\"]\n"
    )
}

#[test]
fn keda_hears_how_many_slots_a_run_can_use_from_its_beginning_to_its_end() {
    let program = match grpcurl() {
        Ok(program) => program,
        Err(reason) => return skipped("KEDA's scaler", &reason),
    };
    let mut fleet =
        Fleet::start(&FleetSettings { coordinators: 2, etcd_members: 1, ..FleetSettings::default() });
    let follower = 1 - fleet.wait_for_leader();
    let scaler = Scaler { program, address: fleet.grpc_address(follower) };
    let rows: String = (0..ITEMS).map(|row| format!("{row}\n")).collect();
    fleet.s3().put("input", "in.csv", format!("id\n{rows}"));

    assert!(!scaler.is_active(&json!({})), "there is no run");
    assert_eq!(scaler.desired_slots(), 0.0);
    let spec = scaler.call("GetMetricSpec", &json!({"scalerMetadata": {"slotsPerWorker": "4"}}));
    assert_eq!(spec["metricSpecs"][0]["targetSizeFloat"], 4.0);

    fleet.submit(
        "scaled",
        &format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
             itemBatcher: {{maxItemsPerBatch: 1}}\nitemProcessor: {{handler: gated}}\nmaxConcurrency: {LIMIT}\n"
        ),
    );
    assert!(scaler.is_active(&json!({})), "it waits for its first worker");
    assert!(scaler.is_active(&json!({"handler": "gated,echo"})));
    assert!(!scaler.is_active(&json!({"handler": "echo"})), "no run needs it");
    assert!(scaler.desired_slots() >= 1.0);

    let go = fleet.path("go");
    fleet.start_worker("first", 4, &waits_for(&go));
    eventually("what is found is wanted, within the limit", WITHIN, || {
        (scaler.desired_slots() == f64::from(LIMIT)).then_some(())
    });
    std::fs::write(&go, "").unwrap();
    let run = fleet.wait("scaled", WITHIN);
    assert_eq!(run["itemCounts"]["succeeded"], ITEMS);
    eventually("nobody is wanted any more", WITHIN, || (!scaler.is_active(&json!({}))).then_some(()));
    assert_eq!(scaler.desired_slots(), 0.0);
    fleet.stop();
}
