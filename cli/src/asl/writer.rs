//! `ResultWriter`.

use serde_json::{Value as Json, json};

use super::fields::{Fields, Job, Losses};

/// How AWS names the writing of results; partitions differ in what stands before.
const PUT_OBJECT: &str = ":states:::s3:putObject";

/// Puts the result writer into the job.
pub(super) fn read(state: &mut Fields<'_>, job: &mut Job, losses: &mut Losses<'_>) {
    let Some(mut writer) = state.object("ResultWriter", losses) else { return };
    let mut carried = Job::new();
    let has_resource = resource(&mut writer, losses);
    for name in ["Parameters", "Arguments"] {
        if let Some(mut place) = writer.object(name, losses) {
            for (name, key) in [("Bucket", "bucket"), ("Prefix", "prefix")] {
                place.copy(name, &mut carried, key);
                place.resolve_into(&format!("{name}.$"), &mut carried, key, losses);
            }
            place.finish(losses);
        }
    }
    let config = writer.object("WriterConfig", losses);
    if !has_resource {
        losses.beside(
            writer.path().to_owned(),
            "it only shapes the state's output, which a map run has none of",
        );
        return writer.finish(losses);
    }
    carried.insert("writerConfig".to_owned(), read_config(config, losses));
    writer.finish(losses);
    job.insert("resultWriter".to_owned(), Json::Object(carried));
}

fn resource(writer: &mut Fields<'_>, losses: &mut Losses<'_>) -> bool {
    let Some(resource) = writer.take("Resource") else { return false };
    if !resource.as_str().is_some_and(|text| text.ends_with(PUT_OBJECT)) {
        let why = format!("{resource} is no way to write results; that is arn:aws{PUT_OBJECT}");
        losses.changes_the_work(writer.path_of("Resource"), why);
    }
    true
}

/// What AWS writes where the state does not say is not what a job does then, so it is said.
fn read_config(config: Option<Fields<'_>>, losses: &mut Losses<'_>) -> Json {
    let mut carried = Job::new();
    carried.insert("transformation".to_owned(), json!("NONE"));
    carried.insert("outputType".to_owned(), json!("JSON"));
    if let Some(mut config) = config {
        config.copy("Transformation", &mut carried, "transformation");
        config.copy("OutputType", &mut carried, "outputType");
        config.finish(losses);
    }
    Json::Object(carried)
}
