//! Values that end the execution there, and are refused here before there is a run.

use super::Stage;
use super::job::Job;

/// Fields that recordings give impossible values, as AWS spells them.
const FIELDS: [&str; 4] =
    ["ToleratedFailureCount", "ToleratedFailurePercentage", "MaxConcurrency", "MaxItems"];

/// Makes sure that nothing is created, and that the message names the field that AWS names.
#[track_caller]
pub(super) fn expect(stage: &Stage<'_>, job: &Job, cause: &str) -> String {
    let field = FIELDS.into_iter().find(|field| cause.contains(field)).expect("the cause names a field");
    let said = match job {
        Job::Refused(said) => said.clone(),
        Job::Ready { spec, .. } => {
            let file = stage.dev.write("refused.json", spec.to_string());
            stage.dev.run(["submit", "-f", file.to_str().unwrap(), "--id", &stage.id]).expect(2).stderr
        }
    };
    let plain = |text: &str| text.replace('_', "").to_lowercase();
    assert!(plain(&said).contains(&plain(field)), "{field} is not named:\n{said}");
    stage.dev.run(["get", &stage.id]).expect(2);
    field.to_owned()
}
