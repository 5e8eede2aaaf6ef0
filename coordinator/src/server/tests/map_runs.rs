//! `MapRunService`.

use tokio::time::timeout;
use tonic::Code;
use warifu_common::config::{CoordinatorConfig, Source};
use warifu_common::wire::v1;
use warifu_common::wire::v1::map_run::State;
use warifu_model::AccessRules;

use super::harness::{CSV, DEADLINE, Harness, code_and_reason, violated_fields};
use crate::Settings;
use crate::state_store::memory::InjectedOutcome;

#[tokio::test]
async fn a_created_run_can_be_read_back_and_created_again_with_the_same_answer() {
    let mut harness = Harness::start().await;
    let created = harness.create("run-1", harness.spec()).await.unwrap();
    assert_eq!(created.name, "mapRuns/run-1");
    assert_eq!(created.source_size_bytes, CSV.len() as u64);
    assert_eq!(created.warnings[0].reason, "HANDLER_NOT_AVAILABLE");
    assert_eq!(created.spec.as_ref().unwrap().item_processor.as_ref().unwrap().timeout_seconds, 900);

    let again = harness.create("run-1", harness.spec()).await.unwrap();
    assert_eq!((again.uid, again.create_time), (created.uid.clone(), created.create_time));
    assert_eq!(harness.get("mapRuns/run-1").await.unwrap().uid, created.uid);

    let other = v1::MapRunSpec { max_concurrency: 3, ..harness.spec() };
    let refused = harness.create("run-1", other).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::AlreadyExists, "MAP_RUN_EXISTS".into()));
}

#[tokio::test]
async fn a_repeated_request_without_an_id_gets_the_run_that_it_created() {
    let mut harness = Harness::start().await;
    let request = v1::CreateMapRunRequest { request_id: "k".into(), ..harness.request("", harness.spec()) };
    let first = harness.map_runs.create_map_run(request.clone()).await.unwrap().into_inner();
    let again = harness.map_runs.create_map_run(request).await.unwrap().into_inner();
    assert!(first.name.starts_with("mapRuns/run-"), "{}", first.name);
    assert_eq!(first.uid, again.uid);
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let mut harness = Harness::start().await;
    let spec = v1::MapRunSpec { tolerated_failure_percentage: Some(101.0), ..Default::default() };
    let refused = harness.create("Run_1", spec).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    let fields = violated_fields(&refused);
    for field in
        ["map_run_id", "spec.tolerated_failure_percentage", "spec.item_reader", "spec.item_processor"]
    {
        assert!(fields.iter().any(|found| found == field), "{field} is not among {fields:?}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_is_refused_by_name_and_no_run_exists() {
    let mut harness = Harness::start().await;
    let mut spec = harness.spec();
    spec.item_reader.as_mut().unwrap().key = "absent.csv".into();
    let refused = harness.create("run-1", spec).await.unwrap_err();
    assert_eq!(code_and_reason(&refused).1, "SOURCE_NOT_FOUND");
    assert!(refused.message().contains("absent.csv"), "{}", refused.message());
    let absent = harness.get("run-1").await.unwrap_err();
    assert_eq!(code_and_reason(&absent), (Code::NotFound, "MAP_RUN_NOT_FOUND".into()));
}

#[tokio::test]
async fn a_missing_handler_is_refused_only_where_it_is_required() {
    let mut harness = Harness::start().await;
    for validate_only in [false, true] {
        let request = harness.request("run-1", harness.spec());
        let request = v1::CreateMapRunRequest { require_handler: true, validate_only, ..request };
        let refused = harness.map_runs.create_map_run(request).await.unwrap_err();
        assert_eq!(code_and_reason(&refused), (Code::FailedPrecondition, "HANDLER_NOT_AVAILABLE".into()));
    }
    harness.create("run-1", harness.spec()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_only_validated_shows_the_first_events_and_creates_nothing() {
    let mut harness = Harness::start().await;
    let compensation =
        v1::Compensation { handler: "undo".into(), on: vec![v1::compensation::Trigger::Stopped.into()] };
    let spec = v1::MapRunSpec { compensation: Some(compensation), ..harness.spec() };
    let request = v1::CreateMapRunRequest { validate_only: true, ..harness.request("run-1", spec) };
    let shown = harness.map_runs.create_map_run(request).await.unwrap().into_inner();
    assert_eq!(
        shown.preview_events,
        [
            r#"{"Items":[{"id":"1","name":"a"},{"id":"2","name":"b"}]}"#,
            r#"{"Items":[{"id":"3","name":"c"},{"id":"4","name":"d"}]}"#,
            r#"{"Items":[{"id":"5","name":"e"}]}"#,
        ]
    );
    assert_eq!(shown.warnings[0].reason, "HANDLER_NOT_AVAILABLE");
    let messages: Vec<_> = shown.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "no live worker offers the handler echo; the run waits until one connects",
            "no live worker offers the compensation's handler undo; if none does when it is due, it is not run",
        ]
    );
    assert_eq!(harness.get("run-1").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_header_that_cannot_be_used_is_found_before_the_run_exists() {
    let mut harness = Harness::start().await;
    let path = harness.bucket().strip_prefix("file://").unwrap().to_owned() + "/twice.csv";
    std::fs::write(path, "id,id\n1,2\n").unwrap();
    let mut spec = harness.spec();
    spec.item_reader.as_mut().unwrap().key = "twice.csv".into();
    let request = v1::CreateMapRunRequest { validate_only: true, ..harness.request("run-1", spec) };
    let refused = harness.map_runs.create_map_run(request).await.unwrap_err();
    assert_eq!(code_and_reason(&refused).1, "SOURCE_NOT_READABLE");
    assert!(refused.message().contains("CSV headers cannot contain duplicates."), "{}", refused.message());
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page() {
    let mut harness = Harness::start().await;
    for n in 0..5 {
        let spec = v1::MapRunSpec {
            labels: [("parity".to_owned(), (n % 2).to_string())].into_iter().collect(),
            ..harness.spec()
        };
        harness.create(&format!("run-{n}"), spec).await.unwrap();
    }
    let mut names = Vec::new();
    let mut request = v1::ListMapRunsRequest { page_size: 2, ..Default::default() };
    loop {
        let page = harness.map_runs.list_map_runs(request.clone()).await.unwrap().into_inner();
        assert!(page.map_runs.len() <= 2);
        names.extend(page.map_runs.into_iter().map(|run| run.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names, ["mapRuns/run-4", "mapRuns/run-3", "mapRuns/run-2", "mapRuns/run-1", "mapRuns/run-0"]);

    request.labels = [("parity".to_owned(), "1".to_owned())].into_iter().collect();
    let refused = harness.map_runs.list_map_runs(request.clone()).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::InvalidArgument, "INVALID_PAGE_TOKEN".into()));
    request.page_token.clear();
    let page = harness.map_runs.list_map_runs(request).await.unwrap().into_inner();
    assert_eq!(page.map_runs.len(), 2);
}

#[tokio::test]
async fn a_watcher_sees_the_run_at_once_and_its_end_and_nothing_after() {
    let mut harness = Harness::start().await;
    harness.create("run-1", harness.spec()).await.unwrap();
    let request = v1::WatchMapRunRequest { name: "run-1".into() };
    let mut snapshots = harness.map_runs.watch_map_run(request).await.unwrap().into_inner();
    let first = timeout(DEADLINE, snapshots.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.map_run.unwrap().name, "mapRuns/run-1");
    harness.stop("run-1").await.unwrap();
    let mut last = None;
    while let Some(snapshot) = timeout(DEADLINE, snapshots.message()).await.unwrap().unwrap() {
        last = snapshot.map_run;
    }
    assert_eq!(last.unwrap().state(), State::Aborted);
}

#[tokio::test]
async fn waiting_ends_with_the_run_or_with_the_timeout() {
    let mut harness = Harness::start().await;
    harness.create("run-1", harness.spec()).await.unwrap();
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    let request = v1::WaitMapRunRequest { name: "run-1".into(), timeout };
    let waited = harness.map_runs.wait_map_run(request).await.unwrap().into_inner();
    assert!(![State::Aborted, State::Failed, State::Succeeded].contains(&waited.state()));
    harness.stop("run-1").await.unwrap();
    assert_eq!(harness.wait("run-1").await.state(), State::Aborted);
    let timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let request = v1::WaitMapRunRequest { name: "run-1".into(), timeout };
    assert_eq!(violated_fields(&harness.map_runs.wait_map_run(request).await.unwrap_err()), ["timeout"]);
}

#[tokio::test]
async fn limits_can_be_changed_where_the_mask_names_them() {
    let mut harness = Harness::start().await;
    harness.create("run-1", harness.spec()).await.unwrap();
    let spec = v1::MapRunSpec { max_concurrency: 9, ..Default::default() };
    let map_run = v1::MapRun { name: "mapRuns/run-1".into(), spec: Some(spec), ..Default::default() };
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    let request = |update_mask| v1::UpdateMapRunRequest { map_run: Some(map_run.clone()), update_mask };
    let updated = harness.map_runs.update_map_run(request(mask("spec.max_concurrency"))).await.unwrap();
    let spec = updated.into_inner().spec.unwrap();
    assert_eq!((spec.max_concurrency, spec.tolerated_failure_count), (9, Some(1)));
    for wrong in [None, mask("spec.labels")] {
        let refused = harness.map_runs.update_map_run(request(wrong)).await.unwrap_err();
        assert_eq!(violated_fields(&refused), ["update_mask"]);
    }
}

#[tokio::test]
async fn batches_are_listed_of_runs_that_there_are_under_tokens_of_their_own() {
    let mut harness = Harness::start().await;
    let request = v1::ListBatchesRequest { parent: "run-1".into(), ..Default::default() };
    let absent = harness.map_runs.list_batches(request.clone()).await.unwrap_err();
    assert_eq!(code_and_reason(&absent), (Code::NotFound, "MAP_RUN_NOT_FOUND".into()));
    harness.create("run-1", harness.spec()).await.unwrap();
    let page = harness.map_runs.list_batches(request.clone()).await.unwrap().into_inner();
    assert!(page.batches.is_empty() && page.next_page_token.is_empty(), "nothing is scanned: {page:?}");
    let negative = v1::ListBatchesRequest { page_size: -1, ..request.clone() };
    let refused = harness.map_runs.list_batches(negative).await.unwrap_err();
    assert_eq!(violated_fields(&refused), ["page_size"]);
    let foreign = v1::ListBatchesRequest { page_token: "AAAA".into(), ..request };
    let refused = harness.map_runs.list_batches(foreign).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::InvalidArgument, "INVALID_PAGE_TOKEN".into()));
}

#[tokio::test]
async fn only_a_terminal_run_can_be_deleted_and_its_id_is_not_free_again() {
    let mut harness = Harness::start().await;
    harness.create("run-1", harness.spec()).await.unwrap();
    let request = || v1::DeleteMapRunRequest { name: "run-1".into() };
    let refused = harness.map_runs.delete_map_run(request()).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));
    harness.stop("run-1").await.unwrap();
    harness.wait("run-1").await;
    harness.map_runs.delete_map_run(request()).await.unwrap();
    assert_eq!(harness.get("run-1").await.unwrap_err().code(), Code::NotFound);
    let mut harness = harness.restart().await;
    let refused = harness.create("run-1", harness.spec()).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::AlreadyExists, "MAP_RUN_EXISTS".into()));
}

#[tokio::test]
async fn runs_are_there_after_a_restart() {
    let mut harness = Harness::start().await;
    let created = harness.create("run-1", harness.spec()).await.unwrap();
    let mut harness = harness.restart().await;
    let found = harness.get("run-1").await.unwrap();
    assert_eq!((found.uid, found.spec), (created.uid, created.spec));
}

#[tokio::test]
async fn a_change_survives_whatever_becomes_of_its_transaction() {
    for outcome in
        [InjectedOutcome::Refused, InjectedOutcome::UnknownWritten, InjectedOutcome::UnknownNotWritten]
    {
        let mut harness = Harness::start().await;
        harness.store.inject([outcome]);
        harness.create("run-1", harness.spec()).await.unwrap();
        assert_eq!(harness.restart().await.get("run-1").await.unwrap().name, "mapRuns/run-1", "{outcome:?}");
    }
}

#[tokio::test]
async fn a_deposed_coordinator_says_that_it_does_not_know_and_recovers() {
    let mut harness = Harness::start().await;
    harness.store.inject([InjectedOutcome::Deposed]);
    let refused = harness.create("run-1", harness.spec()).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unknown | Code::Unavailable), "{refused}");
    let created = async {
        while let Err(status) = harness.create("run-1", harness.spec()).await {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
        }
    };
    timeout(DEADLINE, created).await.expect("it leads again soon");
}

#[tokio::test]
async fn jobs_may_use_only_what_the_cluster_allows() {
    let text = "[store]\npath = \"unused\"\n[s3]\nallowed = [\"s3://elsewhere/*\"]";
    let source = Source::new(None, text, Default::default(), Vec::new()).unwrap();
    let settings = Settings::from(&CoordinatorConfig::from_source(source).unwrap());
    let mut harness = Harness::start_with(Some(settings)).await;
    let refused = harness.create("run-1", harness.spec()).await.unwrap_err();
    assert_eq!(violated_fields(&refused), ["spec.item_reader.key", "spec.result_writer"]);
    let preview = v1::CreateMapRunRequest { validate_only: true, ..harness.request("run-1", harness.spec()) };
    let refused = harness.map_runs.create_map_run(preview).await.unwrap_err();
    assert_eq!(violated_fields(&refused), ["spec.item_reader.key", "spec.result_writer"]);
}

#[tokio::test]
async fn prefixes_are_read_and_written_only_if_all_under_them_is_allowed() {
    let text = "[store]\npath = \"unused\"\n[s3]\nallowed = [\"s3://b/in/*\", \"s3://b/out\"]";
    let source = Source::new(None, text, Default::default(), Vec::new()).unwrap();
    let settings = Settings::from(&CoordinatorConfig::from_source(source).unwrap());
    let mut harness = Harness::start_with(Some(settings)).await;
    for prefix in ["", "i", "in", "out", "out/"] {
        let mut spec = harness.spec();
        let reader = v1::ItemReader { bucket: "b".into(), prefix: prefix.into(), ..Default::default() };
        let resource = "arn:aws:states:::s3:listObjectsV2".into();
        spec.item_reader = Some(v1::ItemReader { resource, ..reader });
        spec.result_writer =
            Some(v1::ResultWriter { bucket: "b".into(), prefix: "out".into(), ..Default::default() });
        let refused = harness.create("run-1", spec).await.unwrap_err();
        let fields = violated_fields(&refused);
        for field in ["spec.item_reader.prefix", "spec.result_writer.prefix"] {
            assert!(fields.iter().any(|found| found == field), "{prefix:?}: {field} is not among {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_redrive_reads_only_what_the_cluster_allows_by_then() {
    let mut harness = Harness::start().await;
    harness.create("run-1", harness.spec()).await.unwrap();
    harness.stop("mapRuns/run-1").await.unwrap();
    let narrow = |settings: &mut Settings| {
        settings.scheduler.allowed = AccessRules::new(Some(vec!["s3://elsewhere/*".into()]));
    };
    let mut harness = harness.restart_with(narrow).await;
    for validate_only in [true, false] {
        let request =
            v1::RedriveMapRunRequest { name: "mapRuns/run-1".into(), validate_only, ..Default::default() };
        let refused = harness.map_runs.redrive_map_run(request).await.unwrap_err();
        assert_eq!(violated_fields(&refused), ["spec.item_reader.key"]);
    }
}
