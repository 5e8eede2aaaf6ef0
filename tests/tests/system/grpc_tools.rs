//! The API with tools that know nothing of it: grpcurl by reflection alone, curl with JSON, and a bare gRPC client.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;
use warifu_common::wire::v1::map_run_service_client::MapRunServiceClient;
use warifu_common::wire::v1::{CreateMapRunRequest, ItemProcessor, ItemReader, MapRun, MapRunSpec};

use crate::harness::{Dev, DevSettings, Finished, Process, curl, grpcurl, skipped, text};

/// grpcurl's exit status of a call that failed: 64 and gRPC's code.
const INVALID_ARGUMENT: i32 = 64 + 3;
const NOT_FOUND: i32 = 64 + 5;

/// curl's exit status of an HTTP status from 400 on.
const CURL_HTTP_ERROR: i32 = 22;

const JOB: &str = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
                   itemProcessor: {handler: echo}\n";

/// Calls with the request on stdin.
fn call(program: &PathBuf, dev: &Dev, flags: &[&str], method: &str, request: &str) -> Finished {
    use std::io::Write as _;
    let mut command = Command::new(program);
    command.args(["-plaintext", "-format-error"]).args(flags);
    command.args(["-d", "@", dev.grpc_address(), method]);
    let mut process = Process::start(command);
    process.stdin().write_all(request.as_bytes()).unwrap();
    process.finish()
}

#[test]
fn grpcurl_finds_and_calls_everything_by_reflection() {
    let program = match grpcurl() {
        Ok(program) => program,
        Err(reason) => return skipped("grpcurl", &reason),
    };
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "in.csv", "id\n1\n2\n");
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-plaintext", dev.grpc_address()]).args(arguments);
        Process::start(command).finish().expect(0).stdout
    };
    let services = ask(&["list"]);
    for service in [
        "warifu.v1.MapRunService",
        "warifu.v1.FleetService",
        "warifu.v1.WorkerService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        assert!(services.lines().any(|line| line == service), "no {service} in\n{services}");
    }
    let described = ask(&["describe", "warifu.v1.MapRunService.CreateMapRun"]);
    assert!(described.contains("Creates a map run"), "comments are part of it:\n{described}");
    let described = ask(&["describe", "warifu.v1.MapRunSpec"]);
    assert!(described.contains("tolerated_failure_percentage"), "{described}");
    let health = call(&program, &dev, &[], "grpc.health.v1.Health/Check", "{}").expect(0).json();
    assert_eq!(health["status"], "SERVING");

    // What `--print-request` writes is what grpcurl takes.
    let file = dev.write("job.yaml", JOB);
    let request = dev.run(["submit", "-f", text(&file), "--id", "by-grpcurl", "--print-request"]).expect(0);
    let create = "warifu.v1.MapRunService/CreateMapRun";
    let created = call(&program, &dev, &[], create, &request.stdout).expect(0).json();
    assert_eq!(created["name"], "mapRuns/by-grpcurl");
    let waited = call(&program, &dev, &[], "warifu.v1.MapRunService/WaitMapRun", r#"{"name": "by-grpcurl"}"#);
    assert_eq!(waited.expect(0).json()["state"], "SUCCEEDED");
    let method = "warifu.v1.MapRunService/GetMapRun";
    let missing = call(&program, &dev, &[], method, r#"{"name": "mapRuns/nobody"}"#).expect(NOT_FOUND);
    assert!(details(&missing).contains("MAP_RUN_NOT_FOUND"), "{}", missing.stderr);

    let wrong =
        json!({"mapRun": {"spec": {"itemProcessor": {"handler": ""}, "toleratedFailurePercentage": 200}}});
    let refused = call(&program, &dev, &[], create, &wrong.to_string()).expect(INVALID_ARGUMENT);
    let details = details(&refused);
    for field in ["spec.item_processor.handler", "spec.tolerated_failure_percentage", "spec.item_reader"] {
        assert!(details.contains(field), "no {field} in {details}");
    }
    dev.stop();
}

#[test]
fn curl_creates_and_reads_runs_as_json() {
    let program = match curl() {
        Ok(program) => program,
        Err(reason) => return skipped("JSON by curl", &reason),
    };
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "in.csv", "id\n1\n2\n");
    let call = |method: &str, request: &str| {
        use std::io::Write as _;
        let mut command = Command::new(&program);
        command.args(["--silent", "--show-error", "--fail-with-body", "--json", "@-"]);
        command.arg(format!("{}/warifu.v1.MapRunService/{method}", dev.place("endpoint")));
        let mut process = Process::start(command);
        process.stdin().write_all(request.as_bytes()).unwrap();
        process.finish()
    };
    let file = dev.write("job.yaml", JOB);
    let request = dev.run(["submit", "-f", text(&file), "--id", "by-curl", "--print-request"]).expect(0);
    let created = call("CreateMapRun", &request.stdout).expect(0).json();
    assert_eq!(created["name"], "mapRuns/by-curl");
    let waited = call("WaitMapRun", r#"{"name": "by-curl"}"#).expect(0).json();
    assert_eq!((&waited["state"], &waited["itemCounts"]["succeeded"]), (&json!("SUCCEEDED"), &json!(2)));
    let shown = dev.run(["get", "by-curl", "-o", "json"]).expect(0).json();
    assert_eq!(call("GetMapRun", r#"{"name": "by-curl"}"#).expect(0).json()["spec"], shown["spec"]);
    let missing = call("GetMapRun", r#"{"name": "nobody"}"#).expect(CURL_HTTP_ERROR).json();
    assert_eq!(
        (&missing["code"], &missing["details"][0]["debug"]["reason"]),
        (&json!("not_found"), &json!("MAP_RUN_NOT_FOUND"))
    );
    dev.stop();
}

/// All texts in the details of an error; grpcurl shows details of types that it does not know as base64.
fn details(failed: &Finished) -> String {
    let status: Value = serde_json::from_str(&failed.stderr)
        .unwrap_or_else(|error| panic!("no status ({error}):\n{}", failed.stderr));
    let details =
        status["details"].as_array().unwrap().iter().map(|detail| match detail["@value"].as_str() {
            Some(encoded) => String::from_utf8_lossy(&BASE64_STANDARD.decode(encoded).unwrap()).into_owned(),
            None => detail.to_string(),
        });
    details.collect::<Vec<_>>().join("\n")
}

/// A field's path from `spec` on.
fn short(field: &str) -> &str {
    field.trim_start_matches("map_run.")
}

#[tokio::test]
async fn reflection_is_served_in_its_first_version_too() {
    let dev = Dev::start(&DevSettings::default());
    let channel = Endpoint::from_shared(dev.place("endpoint").to_owned()).unwrap().connect().await.unwrap();
    let mut client = ServerReflectionClient::new(channel);
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let requests = tokio_stream::iter([list]);
    let answer = client.server_reflection_info(requests).await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.unwrap().message_response else {
        panic!("it lists no services");
    };
    let names: Vec<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"warifu.v1.MapRunService"), "{names:?}");
    dev.stop();
}

#[tokio::test]
async fn a_bare_client_gets_each_wrong_field_as_a_detail() {
    let dev = Dev::start(&DevSettings::default());
    let channel = Endpoint::from_shared(dev.place("endpoint").to_owned()).unwrap().connect().await.unwrap();
    let mut client = MapRunServiceClient::new(channel);
    let spec = MapRunSpec {
        item_reader: Some(ItemReader { bucket: "input".into(), ..ItemReader::default() }),
        item_processor: Some(ItemProcessor { handler: "not a name".into(), ..ItemProcessor::default() }),
        tolerated_failure_percentage: Some(-1.0),
        ..MapRunSpec::default()
    };
    let request = CreateMapRunRequest {
        map_run_id: "Not-An-Id".into(),
        map_run: Some(MapRun { spec: Some(spec), ..MapRun::default() }),
        ..CreateMapRunRequest::default()
    };
    let status = client.create_map_run(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("it names fields").field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    for field in [
        "map_run_id",
        "spec.item_reader.key",
        "spec.item_reader.reader_config",
        "spec.item_processor.handler",
        "spec.tolerated_failure_percentage",
    ] {
        assert!(fields.iter().any(|named| short(named).starts_with(field)), "no {field} in {fields:?}");
    }
    assert!(violations.iter().all(|violation| !violation.description.is_empty()));
    let info = details.error_info().expect("it names a reason");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("warifu", "INVALID_REQUEST"));
    let status = client.create_map_run(CreateMapRunRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    dev.stop();
}
