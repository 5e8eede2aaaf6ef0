//! What a configuration file may say, and every way in which it can be wrong.

mod s3;

use std::collections::BTreeMap;
use std::time::Duration;

use warifu_model::HandlerName;

use super::handlers::{
    ColumnSource, ContextValue, EmptyRule, EventFormat, ExecOutput, ExecPer, HandlerConfig, LambdaConfig,
    Literal, OnConflict, SqlStatement, SqlType,
};
use super::{
    CompactionConfig, ConfigError, CoordinatorConfig, S3Encryption, Secret, Setting, Source, StoreConfig,
    WorkerConfig,
};
use crate::telemetry::LogFormat;

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn source(text: &str, variables: &[(&str, &str)], flags: Vec<Setting>) -> Source {
    Source::new(None, text, environment(variables), flags).unwrap()
}

fn coordinator(text: &str, variables: &[(&str, &str)]) -> Result<CoordinatorConfig, ConfigError> {
    CoordinatorConfig::from_source(source(text, variables, Vec::new()))
}

fn worker(text: &str, variables: &[(&str, &str)]) -> Result<WorkerConfig, ConfigError> {
    WorkerConfig::from_source(source(text, variables, Vec::new()))
}

fn problems<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> Vec<String> {
    result.unwrap_err().problems.iter().map(ToString::to_string).collect()
}

const STORE: &str = "[store]\ntype = \"sqlite\"\npath = \"/data/state.db\"\n";

#[test]
fn defaults_are_those_of_the_contract() {
    let config = coordinator(STORE, &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(config.server.http_listen.to_string(), "127.0.0.1:7401");
    assert_eq!(config.server.advertise, "http://127.0.0.1:7400");
    assert_eq!(config.store, StoreConfig::Sqlite { path: "/data/state.db".into() });
    assert_eq!(config.leases.ttl, Duration::from_secs(20));
    assert_eq!(config.limits.max_record_bytes, 16_777_216);
    assert_eq!(config.limits.max_active_map_runs, 100);
    assert_eq!(config.retention.map_runs, Duration::from_secs(30 * 86_400));
    assert_eq!(config.s3.system_prefix, "warifu/");
    assert!(config.s3.system_bucket.is_none() && config.s3.endpoint_url.is_none());

    let config = worker("", &[]).unwrap();
    assert_eq!(config.coordinator.endpoints, ["http://127.0.0.1:7400"]);
    assert_eq!((config.worker.slots, config.worker.cache_bytes), (8, 268_435_456));
    assert_eq!(config.worker.drain_timeout, Duration::from_secs(100));
    let names: Vec<_> = config.handlers.keys().map(HandlerName::as_str).collect();
    assert_eq!(names, ["echo", "noop"]);
}

#[test]
fn an_etcd_store_is_read_and_its_password_not_shown() {
    let text = "[store]\ntype = \"etcd\"\nendpoints = [\"https://a:2379\", \"https://b:2379\"]\n\
                user = \"warifu\"\ntls = {ca_file = \"/ca.pem\"}\n";
    let variables = [("WARIFU_STORE__PASSWORD", "hunter2"), ("WARIFU_STORE__COMPACTION", "server")];
    let config = coordinator(text, &variables).unwrap();
    let StoreConfig::Etcd(etcd) = &config.store else { panic!("etcd") };
    assert_eq!(etcd.endpoints, ["https://a:2379", "https://b:2379"]);
    assert_eq!((etcd.prefix.as_str(), etcd.compaction), ("/warifu/v1", CompactionConfig::Server));
    assert_eq!(etcd.password.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!(etcd.tls.ca_file.as_deref(), Some(std::path::Path::new("/ca.pem")));
    let shown = config.to_redacted_toml();
    assert!(!shown.contains("hunter2") && shown.contains("type = \"etcd\""), "{shown}");
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_the_file() {
    let text = format!("{STORE}\n[server]\nlisten = \"127.0.0.1:1\"\nhttp_listen = \"127.0.0.1:2\"\n");
    let variables = [
        ("WARIFU_SERVER__LISTEN", "127.0.0.1:3"),
        ("WARIFU_SERVER__HTTP_LISTEN", "127.0.0.1:4"),
        ("WARIFU_LIMITS__MAX_COLUMNS", "12"),
        ("WARIFU_S3__ALLOWED", "s3://a/*, s3://b/*"),
        ("WARIFU_S3__FORCE_PATH_STYLE", "true"),
        ("WARIFU_TELEMETRY__LOG_FORMAT", "json"),
        ("WARIFU_WORKER__SLOTS", "another process's"),
        ("WARIFU_ENDPOINT", "no key at all"),
        ("PATH", "/bin"),
    ];
    let flags =
        vec![Setting { flag: "--listen".into(), key: "server.listen".into(), value: "127.0.0.1:5".into() }];
    let config = CoordinatorConfig::from_source(source(&text, &variables, flags)).unwrap();
    assert_eq!((config.server.listen.port(), config.server.http_listen.port()), (5, 4));
    assert_eq!(config.limits.max_columns, 12);
    assert!(
        config.s3.force_path_style
            && config.s3.allowed.check_object("b", "x").is_ok()
            && config.s3.allowed.check_object("c", "x").is_err()
    );
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
}

#[test]
fn every_problem_is_reported_at_once_with_its_key() {
    let text = "
unknown = 1
[server]
listen = \"0.0.0.0:7400\"
http_listen = 7401
advertize = \"http://x\"
[tls]
cert_file = \"a\"
[auth]
issuer = \"b\"
[store]
type = \"etcd\"
endpoints = [\"http://127.0.0.1:2379\", \"https://127.0.0.1:2379\"]
user = \"warifu\"
compaction = \"never\"
tls = {cert_file = \"a\"}
[leases]
ttl_seconds = 1
[limits]
max_columns = \"many\"
[retention]
map_runs = \"forever\"
[telemetry]
log_format = \"xml\"
otlp_endpoint = \"collector:4317\"
trace_sample_ratio = 2
[s3]
endpoint_url = \"minio\"
allowed = [\"input/*\"]
";
    let variables = [
        ("WARIFU_SERVR__LISTEN", "x"),
        ("WARIFU_LEASES__TTL", "9"),
        ("WARIFU_LIMITS__MAX_HEADER_BYTES", "x"),
    ];
    let expected = [
        "tls.cert_file: a certificate and its `key_file` are required",
        "server.http_listen: wants a string, not the number 7401",
        "server.listen: 0.0.0.0:7400 is reachable from other machines and there is no TLS",
        "server.advertise: is required when listening on 0.0.0.0:7400",
        "server.advertize: is not known; did you mean `advertise`?",
        "store.compaction: \"never\": write one of \"own\", \"server\"",
        "store.tls.cert_file: a certificate and its `key_file` go together",
        "store.user: a user and a password (`password` or `password_file`) go together",
        "store.endpoints: all members must be https, or none",
        "auth.jwks_file: is required for signed tokens, or `jwks_url`",
        "s3.endpoint_url: \"minio\": write http://host:port",
        "s3.allowed: \"input/*\": write s3://bucket/prefix*",
        "leases.ttl_seconds: must be a whole number from 5 to 3600",
        "WARIFU_LIMITS__MAX_HEADER_BYTES: must be a whole number from 64",
        "limits.max_columns: wants a whole number, not the string \"many\"",
        "retention.map_runs: \"forever\": write a whole number and ms, s, m, h or d",
        "telemetry.otlp_endpoint: \"collector:4317\": write http://host:port",
        "telemetry.trace_sample_ratio: must be a number from 0 to 1",
        "telemetry.log_format: \"xml\": write \"text\" or \"json\"",
        "unknown: is no section of this file",
        "WARIFU_LEASES__TTL: there is no key `leases.ttl` to set so; did you mean `ttl_seconds`?",
        "WARIFU_SERVR__LISTEN: there is no section `servr`; did you mean `server`?",
    ];
    let found = problems(coordinator(text, &variables));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn certificates_and_tokens_are_read_and_what_belongs_together_is_wanted_together() {
    let text = format!(
        "{STORE}[tls]\ncert_file = \"c\"\nkey_file = \"k\"\nclient_ca_file = \"a\"\n\
         [server]\nlisten = \"10.0.0.1:7400\"\n[auth]\njwks_url = \"https://id/keys\"\nissuer = \"i\"\naudience = \"w\"\n"
    );
    let config = coordinator(&text, &[]).unwrap();
    assert_eq!(config.server.advertise, "https://10.0.0.1:7400");
    let client = config.tls.as_ref().unwrap().as_client();
    assert_eq!(client.ca_file.as_deref(), Some(std::path::Path::new("a")));
    assert_eq!(config.auth.as_ref().unwrap().jwt.as_ref().unwrap().role_claim, "role");
    let shown = config.to_redacted_toml();
    assert!(shown.contains("jwks_url = \"https://id/keys\"") && shown.contains("max_connections"), "{shown}");
    for (sections, problem) in [
        ("[tls]\nkey_file = \"k\"", "tls.cert_file: a certificate and its `key_file` are required"),
        ("[auth]", "auth.tokens_file: is required"),
        ("[auth]\njwks_file = \"f\"\naudience = \"w\"", "auth.issuer: is required"),
        ("[auth]\njwks_url = \"http://id/keys\"\nissuer = \"i\"\naudience = \"w\"", "auth.jwks_url:"),
        ("[auth]\ntokens_file = \"f\"\nissuer = \"i\"", "auth.jwks_file: is required for signed tokens"),
    ] {
        let found = problems(coordinator(&format!("{STORE}{sections}"), &[]));
        assert!(found.len() == 1 && found[0].starts_with(problem), "{found:?} is not {problem}");
    }
}

#[test]
fn listening_beyond_this_machine_needs_a_word() {
    let server =
        |rest: &str| coordinator(&format!("{STORE}[server]\nlisten = \"10.0.0.1:7400\"\n{rest}"), &[]);
    assert!(problems(server(""))[0].contains("set [tls], or server.insecure = true"));
    assert_eq!(server("insecure = true").unwrap().server.advertise, "http://10.0.0.1:7400");
    assert!(problems(coordinator("", &[]))[0].starts_with("store.path: is required"));
    assert!(
        Source::new(None, "[a", BTreeMap::new(), Vec::new()).unwrap_err().to_string().contains("not valid")
    );
}

const WORKER: &str = r#"
[worker]
id = "w-1"
slots = 4
[handlers.user-stats]
type = "sql"
url = "sqlite://${DIR}/users.db"
upsert = { table = "user_stats", key = ["user_id"] }
audit = { table = "audit_log" }
[handlers.user-stats.columns]
user_id     = { from = "ユーザーID" }
login_count = { from = "ログイン回数", type = "int8", on_conflict = "add", default = 0 }
kind        = { value = "user" }
run         = { context = "mapRunId", on_conflict = "keep" }
[handlers.clean]
type = "exec"
command = ["python3", "clean.py"]
output = "text"
env = { TOKEN = "${SECRET}" }
workdir = "/srv"
[handlers.legacy]
type = "lambda"
command = ["python3", "-m", "awslambdaric", "app.handler"]
warm = 2
partial_failures = true
env = { PASSWORD = "${SECRET}" }
[handlers.kept]
type = "exec"
command = ["python3", "serve.py"]
per = "process"
max_calls_per_process = 1000
event_format = "states"
partial_failures = true
"#;

#[test]
fn handlers_are_read_with_their_references() {
    let config = worker(WORKER, &[("DIR", "/data"), ("SECRET", "hunter2")]).unwrap();
    let handler = |name: &str| &config.handlers[&HandlerName::new(name).unwrap()].handler;
    let HandlerConfig::Sql(sql) = handler("user-stats") else { panic!("sql") };
    assert_eq!(sql.url, "sqlite:///data/users.db");
    assert_eq!(
        sql.statement,
        SqlStatement::Upsert { table: "user_stats".into(), key: vec!["user_id".into()] }
    );
    assert!(sql.create_tables && sql.audit.as_ref().unwrap().table == "audit_log");
    let names: Vec<_> = sql.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["user_id", "login_count", "kind", "run"]);
    let count = &sql.columns[1];
    assert_eq!(count.source, ColumnSource::From("ログイン回数".into()));
    assert_eq!(
        (count.r#type, count.on_conflict, count.empty),
        (SqlType::Int8, OnConflict::Add, EmptyRule::Null)
    );
    assert_eq!(count.default, Some(Literal::Integer(0)));
    assert_eq!(sql.columns[0].empty, EmptyRule::Keep);
    assert_eq!(sql.columns[3].source, ColumnSource::Context(ContextValue::MapRunId));
    let HandlerConfig::Exec(exec) = handler("clean") else { panic!("exec") };
    assert_eq!((exec.command.len(), exec.output), (2, ExecOutput::Text));
    assert_eq!(exec.env["TOKEN"].expose(), "hunter2");
    let HandlerConfig::Lambda(lambda) = handler("legacy") else { panic!("lambda") };
    assert_eq!((lambda.function_name.as_str(), lambda.warm), ("legacy", 2));
    assert_eq!(lambda.event_format, EventFormat::States { partial_failures: true });
    assert_eq!(lambda.env["PASSWORD"].expose(), "hunter2");
    let default = LambdaConfig::new("legacy", lambda.command.clone());
    assert_eq!((default.warm, default.max_response_bytes), (1, 6_291_556));
    assert_eq!(
        (lambda.init_timeout, lambda.idle_timeout),
        (Duration::from_secs(10), Duration::from_secs(300))
    );
    assert_eq!((exec.per, exec.event_format), (ExecPer::Batch, EventFormat::Warifu));
    let HandlerConfig::Exec(kept) = handler("kept") else { panic!("exec") };
    assert_eq!((kept.per, kept.max_calls_per_process), (ExecPer::Process, Some(1000)));
    assert_eq!(kept.event_format, EventFormat::States { partial_failures: true });
}

#[test]
fn what_is_printed_holds_no_secret_and_reads_back() {
    let printed = worker(WORKER, &[("DIR", "/data"), ("SECRET", "hunter2")]).unwrap().to_redacted_toml();
    assert!(!printed.contains("hunter2") && printed.contains("TOKEN = \"***\""), "{printed}");
    assert!(printed.contains("drain_timeout = \"100s\""), "{printed}");
    assert!(printed.contains("event_format = \"states\"\npartial_failures = true\n"), "{printed}");
    assert!(printed.contains("per = \"process\"\nmax_calls_per_process = 1000\n"), "{printed}");
    let coordinator_toml = coordinator(STORE, &[]).unwrap().to_redacted_toml();
    let again = coordinator(&coordinator_toml, &[]).unwrap();
    assert_eq!(again.to_redacted_toml(), coordinator_toml);
}

#[test]
fn every_problem_of_a_handler_is_reported_with_its_key() {
    let text = r#"
[handlers.echo]
type = "exec"
[handlers.hook]
type = "http"
[handlers.fn]
type = "lambda"
warm = 9
event_format = "warifu"
partial_failures = true
function_name = "a b"
init_timeout = "2h"
max_response_bytes = 0
env = { AWS_LAMBDA_RUNTIME_API = "x" }
[handlers.run]
type = "exec"
command = []
per = "batches"
event_format = "aws"
max_calls_per_process = 5
env = { WARIFU_X = "1" }
outptu = "text"
[handlers.kept]
type = "exec"
command = ["a"]
per = "process"
max_calls_per_process = 0
output = "text"
partial_failures = true
[handlers.states]
type = "exec"
command = ["a"]
event_format = "states"
output = "discard"
[handlers.db]
type = "sql"
url = "postgres://${NOT_SET}@db/x"
insert = { table = "a; drop table b" }
upsert = { table = "t", key = [] }
[handlers.pg]
type = "sql"
url = "postgres://me@db/x"
insert = { table = "t" }
[handlers.pg.columns]
a = { from = "$.a[*]", on_conflict = "add" }
b = { from = "x", value = 1 }
c = { from = "x", type = "integer", colour = 1 }
d = { from = "x", format = "%Y" }
e = { from = "x", type = "date", time_zone = "UTC" }
[handlers.ora]
type = "sql"
url = "oracle://db/x"
insert = { table = "t" }
statement = "DELETE FROM t"
order_guard = "seen"
[handlers.own]
type = "sql"
url = "mysql://db/x"
statement = "DELETE FROM t"
pool_size = 0
[handlers.sum]
type = "sql"
url = "postgres://db/x"
upsert = { table = "t", key = ["id"] }
order_guard = "seen"
[handlers.sum.columns]
id = { from = "id" }
n = { from = "n", type = "int8", on_conflict = "add" }
[handlers.lite]
type = "sql"
url = "sqlite:///x.db"
upsert = { table = "t", key = ["id"] }
[handlers.lite.columns]
name = { from = "name" }
[handlers."bad name"]
type = "ftp"
"#;
    let expected = [
        "handlers.echo: is built in; choose another name",
        "handlers.hook.url: is required",
        "handlers.fn.command: is required: program and arguments",
        "handlers.fn.partial_failures: is only for event_format = \"states\"",
        "handlers.fn.function_name: \"a b\": write at most 64 letters",
        "handlers.fn.init_timeout: must be more than 0 and at most 900s",
        "handlers.fn.max_response_bytes: must be a whole number from 1 to 67108864",
        "handlers.fn.env: \"AWS_LAMBDA_RUNTIME_API\" cannot be set",
        "handlers.fn.warm: 9 processes would be kept for 8 slots",
        "handlers.run.command: names no program",
        "handlers.run.per: \"batches\": write one of \"batch\", \"process\"",
        "handlers.run.event_format: \"aws\": write one of \"warifu\", \"states\"",
        "handlers.run.max_calls_per_process: is only for per = \"process\"",
        "handlers.kept.max_calls_per_process: must be a whole number from 1 to 1000000000",
        "handlers.kept.output: is only for per = \"batch\"",
        "handlers.kept.partial_failures: is only for event_format = \"states\"",
        "handlers.states.output: is only for per = \"batch\"",
        "handlers.run.env: \"WARIFU_X\" cannot be set",
        "handlers.run.outptu: is not known; did you mean `output`?",
        "handlers.db.url: the variable NOT_SET is not set",
        "handlers.db.upsert: only one of insert, upsert can be done with a row",
        "handlers.db.insert.table: \"a; drop table b\" is no name of a table",
        "handlers.ora.url: is no URL of a database",
        "handlers.ora.order_guard: is only for an upsert or an update",
        "handlers.ora.statement: only one of insert and statement can be done with a row",
        "handlers.ora.columns: are required with a statement",
        "handlers.own.columns: are required with a statement",
        "handlers.own.pool_size: must be a whole number from 1 to 10000",
        "handlers.sum.order_guard: would lose what the column \"n\" adds",
        "handlers.pg.columns.a.from: `[*` may name several values",
        "handlers.pg.columns.a.on_conflict: is only for an upsert",
        "handlers.pg.columns.b.from: exactly one of from, value and context is required",
        "handlers.pg.columns.c.type: \"integer\": write one of \"text\", \"int2\"",
        "handlers.pg.columns.c.colour: is not known",
        "handlers.pg.columns.d.format: is only for the types date, time",
        "handlers.pg.columns.e.time_zone: is only for the type timestamptz",
        "handlers.lite.columns: has no column \"id\", which the key names",
        "handlers.bad name: is no handler name",
        "handlers.bad name.type: \"ftp\" is no type of handler",
    ];
    let found = problems(worker(text, &[]));
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}
