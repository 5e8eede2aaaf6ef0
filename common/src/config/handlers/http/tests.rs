//! What a section may say, what is wrong with it, and that no secret of it is printed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use warifu_model::HandlerName;

use super::*;
use crate::config::{ConfigError, HandlerConfig, Source, WorkerConfig};

fn worker(text: &str) -> Result<WorkerConfig, ConfigError> {
    let environment = BTreeMap::from([("SECRET".to_owned(), "hunter2".to_owned())]);
    WorkerConfig::from_source(Source::new(None, text, environment, Vec::new())?)
}

fn http<'a>(config: &'a WorkerConfig, name: &str) -> &'a HttpConfig {
    match &config.handlers[&HandlerName::new(name).unwrap()].handler {
        HandlerConfig::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

const GOOD: &str = r#"
[handlers.hook]
type = "http"
url = "https://me:${SECRET}@host.example/hook?key=${SECRET}"
headers = { X-Key = "${file:FILE}", User-Agent = "mine" }
business_errors = ["Acme.*"]
[handlers.fn]
type = "http"
url = "http://127.0.0.1:9000/2015-03-31/functions/function/invocations"
protocol = "lambda"
partial_failures = true
connect_timeout = "1s"
request_timeout = "1m"
max_response_bytes = 2048
retries = 0
"#;

#[test]
fn a_section_is_read_and_its_secrets_are_not_shown() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter3\n").unwrap();
    let config = worker(&GOOD.replace("FILE", file.path().to_str().unwrap())).unwrap();
    let hook = http(&config, "hook");
    assert_eq!(hook.url.uri(), "https://host.example/hook?key=hunter2");
    assert_eq!((hook.protocol, hook.event_format), (HttpProtocol::Plain, EventFormat::Warifu));
    assert_eq!((hook.headers["x-key"].expose(), hook.headers.len()), ("hunter3", 2));
    assert_eq!((hook.connect_timeout, hook.request_timeout), (Duration::from_secs(5), None));
    assert_eq!((hook.max_response_bytes, hook.retries), (16_777_216, 2));
    let emulator = http(&config, "fn");
    assert_eq!(emulator.event_format, EventFormat::States { partial_failures: true });
    assert_eq!(emulator.request_timeout, Some(Duration::from_secs(60)));
    let printed = config.to_redacted_toml();
    for shown in [printed.clone(), format!("{config:?}")] {
        assert!(!["hunter2", "hunter3", "me:"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
    for expected in [
        "url = \"https://***@host.example/hook?key=***\"",
        "x-key = \"***\"",
        "business_errors = [\"Acme.*\"]",
        "event_format = \"states\"\npartial_failures = true",
    ] {
        assert!(printed.contains(expected), "{printed}");
    }
}

const BAD: &str = r#"
[handlers.hook]
type = "http"
url = "ftp://hunter2@host"
protocol = "grpc"
partial_failures = true
connect_timeout = "2m"
request_timeout = "0s"
max_response_bytes = 10
retries = 11
redirects = true
business_errors = ["Http.404", "Acme*"]
system_errors = ["Http.404", "States.ALL"]
[handlers.hook.headers]
Host = "hunter2"
"a b" = "hunter2"
X-Two = "1"
x-two = "2"
X-Break = "hunter2\nhunter2"
[handlers.plain]
type = "http"
url = "http://me:hunter2@host"
headers = { Authorization = "hunter2" }
ca_file = "/ca.pem"
[handlers.text]
type = "http"
headers = "Authorization: hunter2"
"#;

#[test]
fn every_problem_of_a_section_is_reported_without_a_secret() {
    let expected = [
        "handlers.hook.url: is no http:// or https:// URL",
        "handlers.hook.protocol: \"grpc\": write one of \"plain\", \"lambda\"",
        "handlers.hook.partial_failures: is only for event_format = \"states\"",
        "handlers.hook.connect_timeout: must be from 1ms to 60s",
        "handlers.hook.request_timeout: must be from 1ms to 86400s",
        "handlers.hook.max_response_bytes: must be a whole number from 1024",
        "handlers.hook.retries: must be a whole number from 0 to 10",
        "handlers.hook.redirects: is not known",
        "handlers.hook.business_errors: \"Acme*\": write a failure's name, or Prefix.*",
        "handlers.hook.system_errors: \"Http.404\" is in business_errors, too",
        "handlers.hook.system_errors: \"States.ALL\" is no failure's own name",
        "handlers.hook.headers: \"Host\" cannot be set",
        "handlers.hook.headers: \"a b\" is no name of a header",
        "handlers.hook.headers: names x-two twice",
        "handlers.hook.headers: \"X-Break\" has a value with other characters",
        "handlers.plain.headers: has an Authorization, and the url names a user",
        "handlers.plain.ca_file: is only for an https:// url",
        "handlers.text.url: is required",
        "handlers.text.headers: wants a table, not a string",
    ];
    let problems = worker(BAD).unwrap_err().problems;
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.iter().any(|problem| problem.contains("hunter2")), "{found:#?}");
}
