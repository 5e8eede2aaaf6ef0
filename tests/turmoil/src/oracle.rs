//! What must be true when the run has ended, read from what it left behind.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::RUN;
use crate::objects::OUTPUT;
use crate::scene::Scene;

/// Every item stands in exactly one file that the manifest names, once, with its own output, and its handler was called.
pub(crate) fn check(scene: &Scene) -> Result<(), String> {
    let manifest = json(scene, &format!("{}/{RUN}/manifest.json", OUTPUT.1))?;
    let files = &manifest["ResultFiles"];
    if files["FAILED"] != Value::Array(Vec::new()) || files["PENDING"] != Value::Array(Vec::new()) {
        return Err(format!("the manifest has files for what did not succeed: {files}"));
    }
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for file in files["SUCCEEDED"].as_array().into_iter().flatten() {
        let key = file["Key"].as_str().ok_or("a file without a key")?;
        let text = scene.objects.look(OUTPUT.0, key).ok_or_else(|| format!("{key} is not there"))?;
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).map_err(|error| format!("{key}: {error}"))?;
            let index = line["index"].as_u64().ok_or("a line without an index")?;
            if line["output"] != index {
                return Err(format!("item {index} has the output of another: {line}"));
            }
            *seen.entry(index).or_default() += 1;
        }
    }
    let begun = scene.ledger.begun();
    for index in 0..scene.plan.items {
        let (lines, calls) = (seen.remove(&index).unwrap_or(0), begun.get(&index).copied().unwrap_or(0));
        if lines != 1 || calls == 0 {
            return Err(format!("item {index} stands on {lines} lines after {calls} calls"));
        }
    }
    if seen.is_empty() {
        Ok(())
    } else {
        Err(format!("there are results of items that do not exist: {seen:?}"))
    }
}

fn json(scene: &Scene, key: &str) -> Result<Value, String> {
    let bytes = scene.objects.look(OUTPUT.0, key).ok_or_else(|| format!("{key} is not there"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{key}: {error}"))
}
