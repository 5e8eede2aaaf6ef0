//! A worker whose handler `user-stats` looks at each user of a CSV, and says of each what came out.
//!
//! Columns: `id`, `logins`, `posts` (numbers), `plan` (`free` or `paid`; may be empty). Start a coordinator (`warifu dev`),
//! then this, then a job with `itemProcessor: {handler: user-stats}`:
//!
//! ```console
//! $ cargo run -p warifu-worker --example user_stats
//! ```
//!
//! `WARIFU_COORDINATOR__ENDPOINTS`, `WARIFU_S3__ENDPOINT_URL` and AWS's own variables say where everything is.

use serde::{Deserialize, Serialize};
use warifu_worker::{Batch, BatchOutcome, Context, HandlerError, ItemError, Worker, termination};

/// What is wanted of each row; a row that is not so fails alone, with the name of the field.
#[derive(Deserialize)]
struct User {
    id: String,
    logins: u32,
    posts: u32,
    /// An empty field is `None`.
    plan: Option<Plan>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plan {
    Free,
    Paid,
}

/// The job's `batchInput`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default = "ten")]
    active_from_posts: u32,
}

fn ten() -> u32 {
    10
}

/// What comes out for each user.
#[derive(Serialize)]
struct Stats {
    id: String,
    active: bool,
    paying: bool,
    posts_per_login: f64,
}

fn stats_of(user: &User, settings: &Settings) -> Result<Stats, ItemError> {
    if user.logins == 0 && user.posts > 0 {
        let posts = user.posts;
        return Err(ItemError::new("User.NeverLoggedIn", format!("{posts} posts without a login")));
    }
    Ok(Stats {
        id: user.id.clone(),
        active: user.posts >= settings.active_from_posts,
        paying: matches!(user.plan, Some(Plan::Paid)),
        posts_per_login: f64::from(user.posts) / f64::from(user.logins.max(1)),
    })
}

async fn user_stats(batch: Batch<User>, context: Context) -> Result<BatchOutcome, HandlerError> {
    // An error here fails the whole batch; the job's retry policy says what then.
    let settings: Settings = context.batch_input()?;
    // A result for each item: one that fails does not touch the others.
    Ok(batch.iter().map(|user| stats_of(user, &settings)).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    warifu_worker::log_to_stderr()?;
    Worker::builder().handler_fn("user-stats", user_stats).run_until(termination()?).await?;
    Ok(())
}
