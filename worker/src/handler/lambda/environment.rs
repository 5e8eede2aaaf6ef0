//! The variables that a function finds, as on AWS.

use std::net::SocketAddr;
use std::path::PathBuf;

use uuid::Uuid;
use warifu_common::config::handlers::{LambdaConfig, is_reserved_for_runtime};

/// Where nothing else is said.
const DEFAULT_REGION: &str = "us-east-1";
/// There is one version of the code.
const VERSION: &str = "$LATEST";
/// No account: nobody's.
const ACCOUNT: &str = "000000000000";

/// The variables of one process besides the worker's own.
pub(super) fn variables(config: &LambdaConfig, api: SocketAddr) -> Vec<(String, String)> {
    let name = &config.function_name;
    let region = region(config);
    let stream = Uuid::from_u128(rand::random()).simple();
    let mut variables: Vec<(String, String)> = [
        ("_HANDLER", handler(config)),
        ("LAMBDA_TASK_ROOT", task_root(config).display().to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", VERSION.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", config.memory_mb.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", format!("[{VERSION}]{stream}")),
        ("AWS_LAMBDA_LOG_FORMAT", "Text".to_owned()),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("TZ", ":UTC".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    variables.extend(config.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
    variables.push(("AWS_LAMBDA_RUNTIME_API".to_owned(), api.to_string()));
    variables
}

/// Variables of the worker that a function must not see: a worker may itself run in such a place.
pub(super) fn is_hidden(variable: &str) -> bool {
    is_reserved_for_runtime(variable) || variable == "AWS_EXECUTION_ENV"
}

/// What the function is told that it is.
pub(super) fn function_arn(config: &LambdaConfig) -> String {
    format!("arn:aws:lambda:{}:{ACCOUNT}:function:{}", region(config), config.function_name)
}

/// The header that carries a trace: a root of its own, sampled by nobody.
pub(super) fn trace_id(epoch_seconds: i64) -> String {
    let (unique, parent): (u128, u64) = rand::random();
    format!("Root=1-{epoch_seconds:08x}-{:024x};Parent={parent:016x};Sampled=0", unique >> 32)
}

/// As runtime clients are called, the function's place in the code comes last.
fn handler(config: &LambdaConfig) -> String {
    config.command.get(1..).and_then(<[String]>::last).unwrap_or(&config.function_name).clone()
}

fn task_root(config: &LambdaConfig) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    config.workdir.as_ref().map_or(here.clone(), |workdir| here.join(workdir))
}

fn region(config: &LambdaConfig) -> String {
    let configured = |name: &str| config.env.get(name).map(|value| value.expose().to_owned());
    let inherited = |name: &str| std::env::var(name).ok();
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find_map(configured)
        .or_else(|| ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(inherited))
        .filter(|region| !region.is_empty())
        .unwrap_or_else(|| DEFAULT_REGION.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_the_form_of_x_ray() {
        let trace = trace_id(0x5759_e988);
        let parts: Vec<&str> = trace.split(';').collect();
        let [root, parent, "Sampled=0"] = parts[..] else { panic!("{trace}") };
        assert!(root.starts_with("Root=1-5759e988-") && root.len() == "Root=1-".len() + 8 + 1 + 24, "{root}");
        assert_eq!(parent.len(), "Parent=".len() + 16);
    }

    #[test]
    fn the_configuration_counts_over_what_is_set_anyway() {
        let toml = "[handlers.f]\ntype = 'lambda'\ncommand = ['python3', '-m', 'awslambdaric', 'app.handler']\n\
                    env = { AWS_REGION = 'ap-northeast-1', TZ = 'Asia/Tokyo' }\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let worker = warifu_common::config::WorkerConfig::load(Some(file.path()), Vec::new()).unwrap();
        let config = worker.handlers.values().find_map(|handler| match &handler.handler {
            warifu_common::config::HandlerConfig::Lambda(config) => Some(config.clone()),
            _ => None,
        });
        let config = config.unwrap();
        let all = variables(&config, "127.0.0.1:9001".parse().unwrap());
        // The last one counts.
        let value = |name: &str| all.iter().rfind(|(found, _)| found == name).unwrap().1.as_str();
        assert_eq!(value("AWS_LAMBDA_RUNTIME_API"), "127.0.0.1:9001");
        assert_eq!((value("_HANDLER"), value("AWS_LAMBDA_FUNCTION_NAME")), ("app.handler", "f"));
        assert_eq!((value("TZ"), value("AWS_DEFAULT_REGION")), ("Asia/Tokyo", "ap-northeast-1"));
        assert_eq!(function_arn(&config), "arn:aws:lambda:ap-northeast-1:000000000000:function:f");
    }
}
