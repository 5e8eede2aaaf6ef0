//! Handlers as functions: the library for workers in Rust.
//!
//! A handler is an async function from a [`Batch`] and a [`Context`] to what became of the items. A worker is a program
//! with one or more of them:
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use warifu_worker::{Batch, BatchOutcome, Context, HandlerError, ItemError, Worker, termination};
//!
//! /// Columns of the CSV; others are passed over.
//! #[derive(Deserialize)]
//! struct User {
//!     id: String,
//!     posts: u32,
//! }
//!
//! #[derive(Serialize)]
//! struct Rated {
//!     id: String,
//!     active: bool,
//! }
//!
//! fn rate(user: &User) -> Result<Rated, ItemError> {
//!     if user.id.is_empty() {
//!         return Err(ItemError::new("User.NoId", "the id is empty"));
//!     }
//!     Ok(Rated { id: user.id.clone(), active: user.posts > 10 })
//! }
//!
//! async fn user_stats(batch: Batch<User>, context: Context) -> Result<BatchOutcome, HandlerError> {
//!     if context.attempt() > 1 {
//!         // Whatever has an effect elsewhere takes a key that stays the same until the batch is answered.
//!         println!("again: {}", context.idempotency_key());
//!     }
//!     Ok(batch.iter().map(|user| rate(user)).collect())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Worker::builder()
//!         .endpoints(["http://127.0.0.1:7400"])
//!         .handler_fn("user-stats", user_stats)
//!         .handler_fn("count", |batch: Batch<serde_json::Value>, _| async move {
//!             println!("{} items", batch.len());
//!             Ok::<(), HandlerError>(())
//!         })
//!         .run_until(termination()?)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! # Items
//!
//! Fields of CSV are texts, and are never guessed: what your type wants is what they are read as. Numbers and booleans
//! (`true`, `false`) are trimmed and parsed; an empty text is `None` to an `Option`; an enum takes its variants' names; a
//! field that the data lacks is an error unless it has `#[serde(default)]`; further fields are passed over. A map or
//! [`serde_json::Value`] gets all fields as texts. Fields below `#[serde(flatten)]` and of untagged enums are texts.
//!
//! An item that is no `T` fails alone, as BUSINESS, with the name [`ITEM_INVALID`]; the function gets the others, and is
//! not called if there are none.
//!
//! # Outcomes
//!
//! | returned | means |
//! | --- | --- |
//! | `Ok(())` | all items succeeded |
//! | `Ok(BatchOutcome)` | outputs of items, and items that failed: see [`BatchOutcome`] |
//! | `Err(error)` | the call failed, and all its items with it, as SYSTEM: see [`HandlerError`] |
//! | a panic | the same, as `Warifu.HandlerPanicked` |
//!
//! # Time, and its end
//!
//! A function runs in one slot; as many run at once as the worker has slots. Work that blocks belongs on
//! [`tokio::task::spawn_blocking`]. When the call is over (timeout, stop, loss of the lease), the context says so, by
//! [`cancelled`](Context::cancelled) and [`is_cancelled`](Context::is_cancelled). Nobody waits for the answer then, but the
//! slot is taken until the function returns; after ten seconds it is dropped where it awaits.

mod batch;
mod context;
mod error;
mod fields;
mod function;
mod outcome;

pub use batch::{Batch, Item};
pub use context::Context;
pub use error::{HandlerError, ItemError};
pub use outcome::BatchOutcome;
pub use tokio_util::sync::CancellationToken;

pub(crate) use function::handler_of;

/// How an item fails that is not of the type that the function wants.
pub const ITEM_INVALID: &str = "Warifu.ItemInvalid";
