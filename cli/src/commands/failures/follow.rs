//! `warifu failures --follow`: each failure once, as it comes, until the run has ended.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;
use tonic::Status;
use warifu_common::wire::codec;
use warifu_common::wire::v1::{ItemFailure, ListItemFailuresRequest, ListItemFailuresResponse};

use super::rejected::RejectedRecords;
use super::{FailuresArgs, PAGE, Wanted, delimiter_of, wanted_view};
use crate::args::Format;
use crate::client::Client;
use crate::commands::get;
use crate::exit::Exit;
use crate::follow::{Patience, is_terminal};
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::text;

/// How often the coordinator is asked for new failures.
const INTERVAL: Duration = Duration::from_secs(1);
/// Characters of a cause on a line.
const CAUSE_LIMIT: usize = 200;

/// Prints failures as they come; also says whether the run has more than are kept.
pub(super) async fn follow(
    client: &Client,
    args: &FailuresArgs,
    output: &Output,
) -> anyhow::Result<(Exit, bool)> {
    let mut interrupts = Interrupts::listen()?;
    let mut follower = Follower::new(args, output);
    tokio::select! {
        followed = follower.follow(client, &args.name) => followed.map(|truncated| (Exit::Succeeded, truncated)),
        () = interrupts.next() => Ok((Exit::Interrupted, false)),
    }
}

/// What was printed so far, and where to go on.
struct Follower<'a> {
    /// Asks for the page that the last failures came from: it may have grown.
    request: ListItemFailuresRequest,
    /// Items that were printed: the coordinator keeps at most 10,000 failures.
    seen: BTreeSet<u64>,
    remaining: usize,
    rejected: Option<RejectedRecords>,
    with_errors: bool,
    output: &'a Output,
}

impl<'a> Follower<'a> {
    fn new(args: &FailuresArgs, output: &'a Output) -> Self {
        let Wanted { run, error, view, limit } = args.wanted(wanted_view(output));
        let request = ListItemFailuresRequest {
            parent: run.to_owned(),
            page_size: PAGE,
            view: view.into(),
            error: error.to_owned(),
            ..ListItemFailuresRequest::default()
        };
        Self {
            request,
            seen: BTreeSet::new(),
            remaining: limit.unwrap_or(usize::MAX),
            rejected: None,
            with_errors: args.with_errors,
            output,
        }
    }

    /// Follows the run to its end. A run that has ended before its failures are listed has no more of them.
    async fn follow(&mut self, client: &Client, name: &str) -> anyhow::Result<bool> {
        let mut patience = Patience::default();
        loop {
            match self.look(client, name).await {
                Ok(Some(truncated)) => return Ok(truncated),
                Ok(None) => patience.renew(),
                Err(error) => patience.bear(error)?,
            }
            sleep(INTERVAL).await;
        }
    }

    /// Prints what is new; at the end also says whether the run has more failures than are kept.
    async fn look(&mut self, client: &Client, name: &str) -> anyhow::Result<Option<bool>> {
        let run = get::fetch(client, name).await?;
        if self.output.format() == Format::Csv && self.rejected.is_none() {
            self.rejected = Some(RejectedRecords::new(delimiter_of(&run), self.with_errors));
        }
        loop {
            let page = self.fetch(client).await?;
            let truncated = page.truncated;
            let next = page.next_page_token.clone();
            self.print(page)?;
            if self.remaining == 0 {
                return Ok(Some(false));
            }
            if next.is_empty() {
                return Ok(is_terminal(&run).then_some(truncated));
            }
            self.request.page_token = next;
        }
    }

    async fn fetch(&self, client: &Client) -> Result<ListItemFailuresResponse, Status> {
        Ok(client.map_runs().list_item_failures(self.request.clone()).await?.into_inner())
    }

    fn print(&mut self, page: ListItemFailuresResponse) -> anyhow::Result<()> {
        let new: Vec<ItemFailure> = unseen(&mut self.seen, page.item_failures, self.remaining);
        self.remaining -= new.len();
        if let Some(rejected) = &mut self.rejected {
            return Ok(self.output.bytes(&rejected.page(&page.header, &new))?);
        }
        let lines: String = new.iter().map(|failure| line(failure, self.output.format())).collect();
        Ok(self.output.text(&lines)?)
    }
}

/// Those that were not printed yet, at most so many.
fn unseen(seen: &mut BTreeSet<u64>, failures: Vec<ItemFailure>, most: usize) -> Vec<ItemFailure> {
    let mut new = Vec::new();
    for failure in failures {
        if new.len() < most && seen.insert(failure.index) {
            new.push(failure);
        }
    }
    new
}

/// A failure as it is printed when it comes.
fn line(failure: &ItemFailure, format: Format) -> String {
    match format {
        Format::Json => format!("{}\n", codec::to_json(failure)),
        Format::Yaml => format!("---\n{}", codec::to_yaml(failure)),
        Format::Table | Format::Csv => {
            let source = failure.source.clone().unwrap_or_default();
            let (kind, cause) = (failure.kind().as_str_name(), text::one_line(&failure.cause, CAUSE_LIMIT));
            format!(
                "item {} (line {}, byte {}): {} ({kind}): {cause}\n",
                failure.index, source.line, source.byte_offset, failure.error
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(indexes: &[u64]) -> Vec<ItemFailure> {
        indexes.iter().map(|index| ItemFailure { index: *index, ..ItemFailure::default() }).collect()
    }

    #[test]
    fn a_page_that_has_grown_gives_only_what_is_new() {
        let mut seen = BTreeSet::new();
        let mut indexes = |page: &[u64], most| -> Vec<u64> {
            unseen(&mut seen, failures(page), most).into_iter().map(|failure| failure.index).collect()
        };
        assert_eq!(indexes(&[3, 1], 10), [3, 1]);
        assert_eq!(indexes(&[3, 1, 7, 2], 1), [7]);
        assert_eq!(indexes(&[3, 1, 7, 2], 10), [2]);
        assert_eq!(indexes(&[3, 1, 7, 2], 10), [] as [u64; 0]);
    }

    #[test]
    fn a_failure_is_a_line_for_people_and_for_programs() {
        let failure = ItemFailure {
            index: 7,
            error: "Sql.22P02".into(),
            cause: "no int8\nat 3".into(),
            kind: warifu_common::wire::v1::failure_kind::Type::Business.into(),
            ..ItemFailure::default()
        };
        assert_eq!(line(&failure, Format::Table), "item 7 (line 0, byte 0): Sql.22P02 (BUSINESS): no int8\n");
        let json = line(&failure, Format::Json);
        assert!(json.ends_with("}\n") && json.matches('\n').count() == 1, "{json}");
    }
}
