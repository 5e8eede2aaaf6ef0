//! `ItemReader`.

use serde_json::{Value as Json, json};

use super::fields::{Fields, Job, Losses};
use super::function;

/// How AWS names the reading of one object, and a listing; partitions differ in what stands before.
const GET_OBJECT: &str = ":states:::s3:getObject";
const LIST_OBJECTS: &str = ":states:::s3:listObjectsV2";

/// Says whether there is an item reader, and puts it into the job.
pub(super) fn read(state: &mut Fields<'_>, job: &mut Job, losses: &mut Losses<'_>) -> bool {
    let Some(mut reader) = state.object("ItemReader", losses) else { return false };
    let mut carried = Job::new();
    resource(&mut reader, &mut carried, losses);
    for name in ["Parameters", "Arguments"] {
        if let Some(place) = reader.object(name, losses) {
            read_place(place, &mut carried, losses);
        }
    }
    if let Some(config) = reader.object("ReaderConfig", losses) {
        carried.insert("readerConfig".to_owned(), read_config(config, losses));
    }
    reader.finish(losses);
    job.insert("itemReader".to_owned(), Json::Object(carried));
    true
}

fn resource(reader: &mut Fields<'_>, carried: &mut Job, losses: &mut Losses<'_>) {
    let Some(resource) = reader.take("Resource") else { return };
    match resource.as_str() {
        // Inferred from `key`.
        Some(text) if text.ends_with(GET_OBJECT) => {}
        Some(text) if text.ends_with(LIST_OBJECTS) => _ = carried.insert("resource".to_owned(), json!(text)),
        Some(text) if let Some(name) = function::name_in_arn(text) => {
            carried.insert("handler".to_owned(), json!(function::handler_name(name)));
        }
        _ => losses.changes_the_work(
            reader.path_of("Resource"),
            format!(
                "{resource} is no way to read items; those are arn:aws{GET_OBJECT} and arn:aws{LIST_OBJECTS}"
            ),
        ),
    }
}

/// Fields of the place, as AWS and as a job spell them, and whether a job takes them by path itself.
const PLACE: [(&str, &str, bool); 6] = [
    ("Bucket", "bucket", true),
    ("Key", "key", true),
    ("Prefix", "prefix", true),
    ("VersionId", "versionId", false),
    ("ExpectedBucketOwner", "expectedBucketOwner", false),
    ("Range", "range", false),
];

fn read_place(mut place: Fields<'_>, carried: &mut Job, losses: &mut Losses<'_>) {
    for (name, key, has_path) in PLACE {
        place.copy(name, carried, key);
        let by_path = format!("{name}.$");
        // Without the input the job says where in it to look.
        if has_path && losses.input.is_none() {
            copy_path(&mut place, &by_path, carried, &format!("{key}Path"), losses);
        } else {
            place.resolve_into(&by_path, carried, key, losses);
        }
    }
    place.finish(losses);
}

fn copy_path(place: &mut Fields<'_>, name: &str, carried: &mut Job, key: &str, losses: &mut Losses<'_>) {
    let Some(reference) = place.take(name) else { return };
    match reference.as_str().and_then(super::path::Reference::parse) {
        Some(_) => _ = carried.insert(key.to_owned(), reference.clone()),
        None => losses.changes_the_work(
            place.path_of(name),
            format!("{reference} is no plain path into the state's input; write the value into the job"),
        ),
    }
}

/// Fields that both sides have.
const CONFIG: [(&str, &str); 7] = [
    ("InputType", "inputType"),
    ("CSVHeaderLocation", "csvHeaderLocation"),
    ("CSVHeaders", "csvHeaders"),
    ("CSVDelimiter", "csvDelimiter"),
    ("ItemsPointer", "itemsPointer"),
    ("Transformation", "transformation"),
    ("ManifestType", "manifestType"),
];

fn read_config(mut config: Fields<'_>, losses: &mut Losses<'_>) -> Json {
    let mut carried = Job::new();
    for (name, key) in CONFIG {
        config.copy(name, &mut carried, key);
    }
    config.copy_or_resolve("MaxItems", &mut carried, "maxItems", losses);
    let is_inventory = carried.get("manifestType").is_some_and(|kind| kind == "S3_INVENTORY");
    if is_inventory && !carried.contains_key("inputType") {
        // AWS assumes it.
        carried.insert("inputType".to_owned(), json!("MANIFEST"));
    }
    config.finish(losses);
    Json::Object(carried)
}
