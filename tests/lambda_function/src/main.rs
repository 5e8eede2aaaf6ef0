//! The AWS Lambda function that tests host, in Rust. `app.py` and `app.mjs` beside it do exactly the same.
//!
//! Each item is a user with two counts. Items that make no sense fail by themselves, with the name of the error; what is
//! wrong around them fails the call. The function knows both kinds of events: a batch with its indexes, and AWS's own
//! `{"BatchInput", "Items"}`, to which it answers a summary.

use lambda_runtime::{Diagnostic, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

/// The user at whom the function itself breaks.
const BREAKS: &str = "U-BREAKS";

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let LambdaEvent { payload, context } = event;
    let own = payload.get("items").is_some();
    let items = payload[if own { "items" } else { "Items" }].as_array().cloned().unwrap_or_default();
    println!("{} items for {}", items.len(), context.request_id);
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for (position, item) in items.iter().enumerate() {
        match process_item(item)? {
            Ok(result) => results.push(result),
            Err((error_type, message)) => {
                if own {
                    results.push(Value::Null);
                }
                let index = &payload["batch"]["indexes"][position];
                failures.push(failure(own, item, index, error_type, &message));
            }
        }
    }
    if own {
        return Ok(json!({"results": results, "batchItemFailures": failures}));
    }
    Ok(json!({
        "batchId": payload["BatchInput"]["batchId"],
        "processedCount": results.len(),
        "errorCount": failures.len(),
        "results": results,
        "errors": failures,
    }))
}

fn failure(own: bool, item: &Value, index: &Value, error_type: &str, message: &str) -> Value {
    if own {
        json!({"itemIdentifier": index, "errorType": error_type, "errorMessage": message})
    } else {
        json!({"item": item, "errorType": error_type, "error": message})
    }
}

type Checked = Result<Value, (&'static str, String)>;

fn process_item(item: &Value) -> Result<Checked, Diagnostic> {
    let user = item["ユーザーID"].as_str().unwrap_or_default();
    if user == BREAKS {
        let error_message = "the user database does not answer".to_owned();
        return Err(Diagnostic { error_type: "DatabaseError".to_owned(), error_message });
    }
    Ok(check_user(user, item))
}

fn check_user(user: &str, item: &Value) -> Checked {
    if user.is_empty() {
        return Err(("ValidationError", "ユーザーID is empty".to_owned()));
    }
    let (logins, posts) = (count(item, "ログイン回数")?, count(item, "投稿回数")?);
    Ok(json!({"userId": user, "loginCount": logins, "postCount": posts, "status": "SUCCESS"}))
}

fn count(item: &Value, field: &str) -> Result<u64, (&'static str, String)> {
    let text = item[field].as_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| ("ValueError", format!("{field} is no count: {text}")))
}
