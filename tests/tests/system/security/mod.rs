//! Certificates, tokens and roles: whoever may not is refused with the right status, and the audit log says so; no secret is
//! in any log.

mod certificates;
mod issuer;
mod raw;
mod scene;

use std::process::Command;

use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Process, curl, eventually, skipped, text};
use certificates::Authority;
use issuer::Issuer;
use raw::Impostor;
use scene::{SOON, Scene, token};

/// What a command says when nobody answers that it trusts, or that trusts it.
const UNREACHABLE: i32 = 3;
const REFUSED: i32 = 2;

fn job(bucket: &str) -> String {
    format!(
        "itemReader:\n  bucket: {bucket}\n  key: users.csv\n  \
         readerConfig: {{inputType: CSV, csvHeaderLocation: FIRST_ROW}}\n\
         itemBatcher: {{maxItemsPerBatch: 1}}\nitemProcessor: {{handler: gated}}\nmaxConcurrency: 2\n\
         resultWriter: {{bucket: output, prefix: results/}}\n"
    )
}

/// A handler whose batches end once a file is there.
fn gated(scene: &Scene) -> String {
    let gate = scene.path("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done; cat", text(&gate));
    format!("[handlers.gated]\ntype = 'exec'\ncommand = ['sh', '-c', '{script}']\noutput = 'items'\n")
}

fn put_users(scene: &Scene, rows: u32) {
    let lines: String = (0..rows).map(|row| format!("{row}\n")).collect();
    scene.s3.s3().put("input", "users.csv", format!("id\n{lines}"));
}

fn ended(mut command: Command, variables: &[(&str, &str)]) -> crate::harness::Finished {
    for (name, value) in variables {
        command.env(name, value);
    }
    Process::start(command).finish()
}

#[test]
fn a_call_needs_a_certificate_a_token_and_a_role() {
    let scene = Scene::start("");
    let list = || scene.bare(&["list"]);
    let vera = ("WARIFU_TOKEN", token("vera"));
    ended(list(), &[vera]).expect(0);

    let mut without_certificate = list();
    without_certificate.env_remove("WARIFU_CERT_FILE").env_remove("WARIFU_KEY_FILE");
    let refused = ended(without_certificate, &[vera]);
    assert!([UNREACHABLE, REFUSED].contains(&refused.status), "{refused:?}");
    let (certificate, key) = (scene.path("expired.pem"), scene.path("expired.key"));
    let expired = [vera, ("WARIFU_CERT_FILE", text(&certificate)), ("WARIFU_KEY_FILE", text(&key))];
    let refused = ended(list(), &expired);
    assert!([UNREACHABLE, REFUSED].contains(&refused.status), "{refused:?}");
    eventually("both handshakes are in the log", SOON, || {
        (scene.coordinator.stderr().matches("its handshake failed").count() >= 2).then_some(())
    });

    ended(list(), &[]).expect(REFUSED).says(&["no valid token"]);
    ended(list(), &[("WARIFU_TOKEN", token("ghost"))]).expect(REFUSED).says(&["no valid token"]);
    scene.expect_audit(&[
        ("method", "/warifu.v1.MapRunService/ListMapRuns"),
        ("outcome", "UNAUTHENTICATED"),
        ("principal", "-"),
    ]);

    put_users(&scene, 3);
    scene.submit("vera", "one", &job("input")).expect(REFUSED).says(&["role viewer may not call"]);
    scene.submit("fleet-a", "one", &job("input")).expect(REFUSED).says(&["role worker may not call"]);
    scene.submit("sam", "one", &job("input")).expect(0);
    scene.call("sam", &["delete", "one"]).expect(REFUSED).says(&["role submitter may not call"]);
    scene.call("sam", &["stop", "one"]).expect(0);
    eventually("the run ends", SOON, || (scene.call("olga", &["delete", "one"]).status == 0).then_some(()));
    let create = ("method", "/warifu.v1.MapRunService/CreateMapRun");
    scene.expect_audit(&[create, ("principal", "vera"), ("outcome", "PERMISSION_DENIED")]);
    scene.expect_audit(&[create, ("principal", "fleet-a"), ("outcome", "PERMISSION_DENIED")]);
    scene.expect_audit(&[create, ("principal", "sam"), ("role", "submitter"), ("resource", "one")]);
    let delete = ("method", "/warifu.v1.MapRunService/DeleteMapRun");
    scene.expect_audit(&[delete, ("principal", "olga"), ("resource", "mapRuns/one"), ("outcome", "OK")]);
    scene.expect_no_secret_in(&[]);
}

#[test]
fn a_token_of_the_identity_provider_says_who_calls_and_which_role() {
    let scene = Scene::start("");
    put_users(&scene, 3);
    let file = scene.path("job.yaml");
    std::fs::write(&file, job("input")).unwrap();
    let submit = |token: &str| {
        ended(scene.bare(&["submit", "-f", text(&file), "--id", "signed"]), &[("WARIFU_TOKEN", token)])
    };
    let ann = scene.issuer.token("ann", "submitter");
    let refused = [
        scene.issuer.expired_token("ann", "submitter"),
        Issuer::stranger().token("ann", "submitter"),
        format!("{ann}x"),
    ];
    for token in &refused {
        submit(token).expect(REFUSED).says(&["no valid token"]);
    }
    let viewer = scene.issuer.token("bob", "viewer");
    submit(&viewer).expect(REFUSED).says(&["role viewer may not call"]);
    submit(&ann).expect(0);
    let create = ("method", "/warifu.v1.MapRunService/CreateMapRun");
    scene.expect_audit(&[create, ("principal", "jwt:bob"), ("outcome", "PERMISSION_DENIED")]);
    scene.expect_audit(&[create, ("principal", "jwt:ann"), ("role", "submitter"), ("outcome", "OK")]);
    let log = scene.coordinator.stderr();
    for token in refused.iter().chain([&ann, &viewer]) {
        assert!(!log.contains(token.as_str()), "a token is in the log:\n{log}");
    }
    scene.expect_no_secret_in(&[]);
}

/// What calls as JSON come to is the same as of others.
#[test]
fn a_json_call_needs_them_too() {
    let program = match curl() {
        Ok(program) => program,
        Err(reason) => return skipped("JSON by curl", &reason),
    };
    let scene = Scene::start("");
    let call = |protocol: &str, principal: Option<&str>, method: &str| {
        let mut command = Command::new(&program);
        command.args([protocol, "--silent", "--show-error", "--json", "{}", "--write-out", " %{http_code}"]);
        command.arg("--cacert").arg(scene.path("ca.pem"));
        command.arg("--cert").arg(scene.path("client.pem")).arg("--key").arg(scene.path("client.key"));
        if let Some(principal) = principal {
            command.args(["--header", &format!("authorization: Bearer {}", token(principal))]);
        }
        command.arg(format!("{}/warifu.v1.MapRunService/{method}", scene.endpoint));
        Process::start(command).finish().expect(0).stdout
    };
    for protocol in ["--http1.1", "--http2"] {
        let listed = call(protocol, Some("vera"), "ListMapRuns");
        assert!(listed.ends_with(" 200"), "{listed}");
    }
    for (principal, method, status, code) in [
        (None, "ListMapRuns", 401, "unauthenticated"),
        (Some("ghost"), "ListMapRuns", 401, "unauthenticated"),
        (Some("vera"), "CreateMapRun", 403, "permission_denied"),
        (Some("sam"), "DeleteMapRun", 403, "permission_denied"),
    ] {
        let refused = call("--http1.1", principal, method);
        assert!(refused.contains(code) && refused.ends_with(&format!(" {status}")), "{refused}");
    }
    let create = ("method", "/warifu.v1.MapRunService/CreateMapRun");
    scene.expect_audit(&[create, ("principal", "vera"), ("outcome", "PERMISSION_DENIED")]);

    let mut anonymous = Command::new(&program);
    anonymous.args(["--silent", "--json", "{}"]).arg("--cacert").arg(scene.path("ca.pem"));
    anonymous.arg(format!("{}/warifu.v1.MapRunService/ListMapRuns", scene.endpoint));
    let refused = Process::start(anonymous).finish();
    assert!(refused.status != 0 && refused.stdout.is_empty(), "{refused:?}");
    scene.expect_no_secret_in(&[]);
}

#[test]
fn a_job_reads_and_writes_only_where_it_may() {
    let scene = Scene::start("");
    scene
        .submit("sam", "one", &job("payroll"))
        .expect(REFUSED)
        .says(&["spec.item_reader.key", "[s3] allowed"]);
    let elsewhere = job("input").replace("bucket: output", "bucket: payroll");
    scene
        .submit("sam", "one", &elsewhere)
        .expect(REFUSED)
        .says(&["spec.result_writer.prefix", "[s3] allowed"]);
}

#[test]
fn a_worker_cannot_speak_for_another_one() {
    let scene = Scene::start("");
    put_users(&scene, 4);
    let worker = scene.worker("w-1", "fleet-a", &gated(&scene));
    scene.submit("sam", "one", &job("input")).expect(0);
    eventually("the worker holds batches", SOON, || {
        let run = scene.call("vera", &["get", "one", "-o", "json"]).json();
        (run["batchCounts"]["running"].as_u64() == Some(2)).then_some(())
    });

    let of_another = Some((Code::PermissionDenied, "WORKER_OF_ANOTHER".to_owned()));
    let impostor = Impostor::new(&scene, "fleet-b");
    assert_eq!(impostor.says_hello_as("w-1"), of_another);
    assert_eq!(impostor.returns_anothers_lease("w-2"), of_another);
    let connect = ("method", "/warifu.v1.WorkerService/Connect");
    scene.expect_audit(&[
        connect,
        ("principal", "fleet-b"),
        ("resource", "w-1"),
        ("outcome", "PERMISSION_DENIED"),
    ]);
    let submitter = Impostor::new(&scene, "sam").says_hello_as("w-3");
    assert_eq!(submitter, Some((Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned())));

    std::fs::write(scene.path("gate"), "").unwrap();
    let run = scene.call("vera", &["wait", "one", "--timeout", "60s", "-o", "json"]).expect(0).json();
    assert_eq!(run["itemCounts"]["succeeded"], 4);
    scene.expect_no_secret_in(&[&worker.stderr()]);
}

#[test]
fn a_token_that_was_taken_away_ends_a_workers_stream() {
    let scene = Scene::start("[leases]\nttl_seconds = 5\n");
    let worker = scene.worker("w-1", "fleet-a", "");
    scene.revoke(&["fleet-a", "vera"]);
    scene.expect_audit(&[("principal", "fleet-a"), ("outcome", "UNAUTHENTICATED"), ("resource", "w-1")]);
    eventually("the viewer is not known any more", SOON, || {
        (scene.call("vera", &["list"]).status == REFUSED).then_some(())
    });
    scene.expect_audit(&[("method", "/warifu.v1.WorkerService/Connect"), ("principal", "-")]);
    scene.revoke(&[]);
    eventually("the worker is back", SOON, || scene.shows_worker("w-1", "ACTIVE").then_some(()));
    scene.expect_no_secret_in(&[&worker.stderr()]);
}

#[test]
fn a_token_that_was_taken_away_ends_a_watch_at_its_next_snapshot() {
    let scene = Scene::start("");
    put_users(&scene, 3);
    scene.submit("sam", "one", &job("input")).expect(0);
    let mut command = scene.bare(&["watch", "one"]);
    command.env("WARIFU_TOKEN", token("vera"));
    let watch = Process::start(command);
    eventually("it watches", SOON, || watch.stderr().contains("one").then_some(()));
    scene.revoke(&["vera"]);
    eventually("the viewer is not known any more", SOON, || {
        (scene.call("vera", &["list"]).status == REFUSED).then_some(())
    });
    scene.call("sam", &["stop", "one"]).expect(0);
    watch.finish().expect(REFUSED).says(&["no valid token"]);
    let watched = ("method", "/warifu.v1.MapRunService/WatchMapRun");
    scene.expect_audit(&[watched, ("principal", "vera"), ("outcome", "UNAUTHENTICATED")]);
}

#[test]
fn certificates_change_under_a_running_worker_and_nothing_fails() {
    let scene = Scene::start("");
    put_users(&scene, 6);
    let worker = scene.worker("w-1", "fleet-a", &gated(&scene));
    scene.submit("sam", "one", &job("input")).expect(0);

    // A pair that does not belong together changes nothing.
    let good = std::fs::read(scene.path("server.key")).unwrap();
    std::fs::copy(scene.path("client.key"), scene.path("server.key")).unwrap();
    eventually("the log says that the old ones stay", SOON, || {
        let answered = scene.call("vera", &["list"]).status == 0;
        assert!(answered, "{}", scene.coordinator.stderr());
        scene.coordinator.stderr().contains("files have changed but cannot be used").then_some(())
    });
    std::fs::write(scene.path("server.key"), good).unwrap();

    // Another authority signs the server's certificate; for a while clients trust both.
    let new = Authority::create(scene.directory.path(), "new");
    let both = format!("{}{}", scene.authority.pem(), new.pem());
    std::fs::write(scene.path("ca.pem"), both).unwrap();
    new.sign("server");
    new.sign("worker");
    eventually("the new certificate is served", SOON, || {
        let mut trusting_the_new = scene.bare(&["list"]);
        trusting_the_new.env("WARIFU_CA_FILE", scene.path("new.pem")).env("WARIFU_TOKEN", token("vera"));
        (Process::start(trusting_the_new).finish().status == 0).then_some(())
    });
    // The worker's stream breaks, and it comes again with the certificate that is there now.
    scene.revoke(&["fleet-a"]);
    scene.expect_audit(&[("principal", "fleet-a"), ("outcome", "UNAUTHENTICATED")]);
    scene.revoke(&[]);
    eventually("the worker is back", SOON, || scene.shows_worker("w-1", "ACTIVE").then_some(()));

    std::fs::write(scene.path("gate"), "").unwrap();
    let run = scene.call("vera", &["wait", "one", "--timeout", "60s", "-o", "json"]).expect(0).json();
    assert_eq!(
        (run["state"].as_str(), run["itemCounts"]["succeeded"].as_u64()),
        (Some("SUCCEEDED"), Some(6))
    );
    scene.expect_no_secret_in(&[&worker.stderr()]);
}

#[test]
fn a_principal_that_calls_too_often_is_told_when_to_come_again() {
    let scene = Scene::start("[limits]\nrequests_per_second = 1\nrequest_burst = 3\n");
    let status = Impostor::new(&scene, "olga").asks_too_often();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.get_error_details().retry_info().is_some_and(|info| info.retry_delay.is_some()));
    scene.expect_audit(&[("principal", "olga"), ("outcome", "RESOURCE_EXHAUSTED")]);
}
