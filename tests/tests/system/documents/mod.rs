//! Every command that a document shows is run here as it stands there, or is known to be run elsewhere.
//!
//! A command is a line of a `console` block that begins with `$ `; indented lines go on with it.

mod parse;
mod session;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{curl, grpcurl, repository, skipped};
use parse::{ShownCommand, commands, first_block};
use session::Session;

const USERS: &str = "id,name\n1,Aoi\n2,Ren\n";

/// Answers each item with itself.
const CHECK: &str = "#!/usr/bin/env python3\nimport sys\nfor line in sys.stdin:\n    print(line, end='')\n";

/// Refuses one user, for the failures that the README tells of.
const REFUSE_SECOND: &str = r#"#!/usr/bin/env python3
import sys
for line in sys.stdin:
    refused = '{"warifu:error": {"errorType": "Refused", "errorMessage": "no"}}'
    print(refused if '"2"' in line else line.strip())
"#;

/// How commands begin that the tests here do not run, and who runs them.
const ELSEWHERE: [(&str, &str); 28] = [
    ("bash .ci/check", "this is one of its steps"),
    ("cargo build --release -p warifu-bench", "whoever measures does it"),
    ("cargo bench -p warifu-bench", "whoever measures does it"),
    ("cargo build -p warifu-cli", "these tests build it"),
    ("cargo run -p warifu-cli -- quickstart", "the checks' last step, as it stands"),
    ("cargo test -p warifu-tests", "these tests"),
    ("git clone REPOSITORY", "whoever reads this has done it"),
    ("target/release/warifu-bench", "bench/tests runs its parts with --quick"),
    ("REDIS_URL=redis://127.0.0.1:6379/0 target/release/warifu-bench all", "likewise, but for the peers"),
    ("warifu-coordinator --config coordinator.toml", "`helm_chart` and `images`: with such files"),
    ("warifu-worker --config worker.toml", "likewise"),
    ("etcdctl ", "etcd's own, for an etcd that is full; `failover` fills one"),
    (
        "for target in coordinator worker; do docker build",
        "needs a registry; deploy/images/verify builds them",
    ),
    ("docker build", "likewise"),
    ("docker run", "likewise"),
    ("bash deploy/images/", "needs buildah, podman and a release build"),
    ("docker compose", "needs a registry; `images` reads the file"),
    ("printf 'user_id,login_count", "for compose"),
    ("export AWS_ACCESS_KEY_ID=warifu AWS_SECRET_ACCESS_KEY=warifu-example", "for compose"),
    ("aws --endpoint-url", "for compose"),
    ("warifu submit -f deploy/compose/job.yaml", "for compose; `images` checks the job"),
    ("warifu cluster", "needs the fleet of its document; `cluster`"),
    ("helm install", "needs a cluster; `helm_chart` renders it"),
    ("helm test", "likewise"),
    ("kubectl ", "likewise"),
    ("pip install ./python", "the checks' step for Python"),
    ("export WARIFU_ENDPOINT=https://", "`security` calls with these"),
    ("warifu list", "likewise"),
];

/// Documents whose commands are run, in order, by the tests below.
const RUN_HERE: [&str; 4] = ["README.md", "docs/cli.md", "docs/quickstart.md", "docs/step-functions.md"];
/// Of these, the commands that begin like this are left out.
const LEFT_OUT: [(&str, &str); 2] = [
    ("warifu run users.csv --lambda", "needs AWS's runtime client; `lambda` runs it"),
    ("grpcurl -plaintext -d '{\"scaledObjectRef\"", "`scaler`"),
];

fn is_elsewhere(command: &ShownCommand) -> bool {
    ELSEWHERE.iter().chain(&LEFT_OUT).any(|(beginning, _)| command.text.starts_with(beginning))
}

fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| repository().join(name)));
    documents.sort();
    documents
}

fn name(document: &Path) -> &str {
    document.strip_prefix(repository()).unwrap().to_str().unwrap()
}

#[test]
fn every_command_is_run_somewhere() {
    let mut used = BTreeSet::new();
    for document in documents() {
        let document = name(&document);
        for command in commands(document) {
            let known = ELSEWHERE.iter().chain(&LEFT_OUT).find(|(begin, _)| command.text.starts_with(begin));
            used.extend(known.map(|(beginning, _)| *beginning));
            let is_run =
                RUN_HERE.contains(&document) || SECURITY.iter().any(|text| command.text.starts_with(text));
            assert!(known.is_some() || is_run, "{document}:{}: nobody runs {:?}", command.line, command.text);
        }
    }
    for (beginning, _) in ELSEWHERE.iter().chain(&LEFT_OUT) {
        assert!(used.contains(beginning), "no document shows {beginning:?} any more");
    }
}

#[test]
fn every_reason_and_every_alert_is_explained() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let explained = read("docs/troubleshooting.md");
    let is_explained =
        |name: &str| explained.split(|c: char| c != '_' && !c.is_alphanumeric()).any(|word| word == name);
    let (proto, alerts) =
        (read("proto/warifu/v1/error_reason.proto"), read("deploy/observability/alerts.yml"));
    let reasons = proto.lines().filter_map(|line| line.trim().split_once(" = ")).map(|(name, _)| name);
    let reasons: Vec<_> = reasons.filter(|name| *name != "syntax" && *name != "REASON_UNSPECIFIED").collect();
    let alerts: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(reasons.len() > 20 && alerts.len() > 5, "{reasons:?} {alerts:?}");
    for name in reasons.into_iter().chain(alerts) {
        assert!(is_explained(name), "docs/troubleshooting.md says nothing of {name}");
    }
}

#[test]
fn the_quick_start_works_step_by_step() {
    let mut session = Session::start("docs/quickstart.md", &[("users.csv", USERS), ("check.py", CHECK)]);
    session.write("job.yaml", &first_block("docs/quickstart.md", "yaml"));
    session.run_all(&[]);
}

#[test]
fn the_readme_works_from_top_to_bottom() {
    let files = [
        ("users.csv", USERS),
        ("check.py", REFUSE_SECOND),
        ("worker.toml", "[handlers.check]\ntype = 'exec'\ncommand = ['./check.py']\n"),
    ];
    let mut session = Session::start("README.md", &files);
    let job = first_block("docs/quickstart.md", "yaml");
    session.write(
        "job.yaml",
        &job.replace("handler: echo", "handler: check").replace("Percentage: 5", "Percentage: 50"),
    );
    session.start_server("warifu dev");
    session.create_table("users.db");
    session.run_all(&[]);
    session.expect_in("rejected.csv", "2,Ren,");
}

#[test]
fn the_api_is_called_as_the_reference_shows() {
    for (tool, program) in [("grpcurl", grpcurl()), ("curl", curl())] {
        if let Err(reason) = program {
            return skipped(tool, &reason);
        }
    }
    let mut session = Session::start("docs/cli.md", &[("users.csv", USERS)]);
    session.write("job.yaml", &first_block("docs/quickstart.md", "yaml"));
    session.start_server("warifu dev");
    session.run("warifu submit -f job.yaml --id first --watch", 0);
    session.run_all(&[]);
}

#[test]
fn a_state_machine_becomes_a_run() {
    let state = r#"{
        "Type": "Map", "End": true, "Label": "Rows",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "Echo",
            "States": {"Echo": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:echo", "End": true}}
        },
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
            "Parameters": {"Bucket": "input", "Key": "users.csv"}
        }
    }"#;
    let mut session =
        Session::start("docs/step-functions.md", &[("users.csv", USERS), ("sm.asl.json", state)]);
    session.start_server("warifu dev");
    session.run_all(&[]);
}

/// What makes a token is run by itself.
const SECURITY: [&str; 2] = ["token=$(openssl rand -hex 32)", "printf '%s' \"$token\" | sha256sum"];

#[test]
fn a_token_is_made_as_shown() {
    let session = Session::start("docs/security.md", &[]);
    let lines: Vec<_> = commands("docs/security.md").into_iter().map(|command| command.text).collect();
    let [token, sum] = SECURITY.map(|start| lines.iter().find(|line| line.starts_with(start)).unwrap());
    let finished = session.run(&format!("{token}\n{sum}"), 0);
    let digest = finished.stdout.split(' ').next().unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{finished:?}");
}
