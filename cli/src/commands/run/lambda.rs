//! `--lambda MODULE.FUNCTION`: a Python function of AWS Lambda, run by AWS's own runtime client in the current directory.

use tokio::process::Command;
use warifu_common::config::handlers::LambdaConfig;
use warifu_worker::handler::lambda::Lambda;

use crate::problem::Problem;

/// What runs Python.
const PYTHON: &str = "python3";
/// AWS's runtime client, as a module and as a package of pip's.
const CLIENT: &str = "awslambdaric";

/// The handler `name` that runs `function`. Fails if AWS's client is not there.
pub(super) async fn to_handler(name: &str, function: &str) -> Result<Lambda, Problem> {
    if !is_module_and_function(function) {
        return Err(Problem::new(format!("--lambda `{function}` names no function"))
            .advise("write MODULE.FUNCTION, as in app.lambda_handler for app.py"));
    }
    find_client().await?;
    let command = [PYTHON, "-m", CLIENT, function].map(str::to_owned).into();
    Ok(Lambda::new(LambdaConfig::new(name, command)))
}

fn is_module_and_function(text: &str) -> bool {
    text.rsplit_once('.').is_some_and(|(module, function)| !module.is_empty() && !function.is_empty())
}

async fn find_client() -> Result<(), Problem> {
    let import = Command::new(PYTHON).args(["-c", &format!("import {CLIENT}")]).output().await;
    match import {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            let last = said.trim().lines().last().unwrap_or_default();
            Err(Problem::new(format!("--lambda needs AWS's runtime client for Python: {last}"))
                .advise(format!("{PYTHON} -m pip install {CLIENT}")))
        }
        Err(error) => Err(Problem::new(format!("--lambda needs {PYTHON}, which cannot be started: {error}"))
            .advise(format!("install Python 3, then {PYTHON} -m pip install {CLIENT}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_function_is_named_with_its_module() {
        for wrong in ["", "app", "app.", ".handler"] {
            let problem = to_handler("lambda", wrong).await.err().expect("it names no function");
            assert!(problem.to_string().contains("names no function"), "{problem}");
        }
        assert!(is_module_and_function("app.handler") && is_module_and_function("package/app.handler"));
    }
}
