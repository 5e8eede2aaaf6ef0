//! `warifu failures`: failed items with place and reason; as CSV, their records byte for byte, to fix and submit.

mod follow;
mod rejected;

use clap::Args;
use warifu_common::wire::v1::{
    ItemFailure, ListItemFailuresRequest, ListItemFailuresResponse, MapRun, csv_delimiter, item_failure_view,
};

use crate::args::{Format, GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::commands::get;
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Problem;
use crate::table::Table;
use crate::text;
use rejected::RejectedRecords;

/// Failures of one page; the server shortens pages of the FULL view by itself.
const PAGE: i32 = 1_000;
/// Characters of a cause in the table.
const CAUSE_LIMIT: usize = 120;

/// Arguments of `failures`.
#[derive(Debug, Args)]
pub(crate) struct FailuresArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// With -o csv: two more columns, the error's name and its cause
    #[arg(long)]
    with_errors: bool,
    /// Only failures of this name, such as Sql.23505
    #[arg(long, value_name = "NAME", default_value = "")]
    error: String,
    /// Show at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print each failure once, as it comes, until the run has ended; JSON and YAML: a document for each
    #[arg(long)]
    follow: bool,
}

impl FailuresArgs {
    fn wanted(&self, view: item_failure_view::Type) -> Wanted<'_> {
        Wanted { run: &self.name, error: &self.error, view, limit: self.limit }
    }
}

/// Lists failed items.
pub(crate) async fn failures(
    args: FailuresArgs,
    global: &GlobalArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let wants_csv = output.format() == Format::Csv;
    if args.with_errors && !wants_csv {
        return Err(Problem::new("--with-errors adds columns to CSV").advise("add -o csv").into());
    }
    let client = Client::connect(global).await?;
    let run = get::fetch(&client, &args.name).await?;
    let (exit, truncated) = if args.follow {
        follow::follow(&client, &args, output).await?
    } else if wants_csv {
        (Exit::Succeeded, write_rejected(&client, &args, &run, output).await?)
    } else {
        (Exit::Succeeded, show(&client, &args, output).await?)
    };
    if truncated {
        eprintln!(
            "the run has more failures than are kept; all are in its FAILED files: `warifu results {}`",
            text::id_of(&args.name)
        );
    }
    Ok(exit)
}

/// How much of each failure the output needs.
fn wanted_view(output: &Output) -> item_failure_view::Type {
    match output.format() {
        Format::Csv => item_failure_view::Type::Full,
        Format::Table | Format::Json | Format::Yaml => item_failure_view::Type::Basic,
    }
}

/// Prints failures as table, JSON or YAML; true if the run has more than are kept.
async fn show(client: &Client, args: &FailuresArgs, output: &Output) -> anyhow::Result<bool> {
    let mut pages = Pages::new(client, &args.wanted(wanted_view(output)));
    let mut failures = Vec::new();
    while let Some(page) = pages.next().await? {
        failures.extend(page.item_failures);
    }
    failures.sort_by_key(|failure| failure.index);
    output.list("itemFailures", &failures, || table(&failures))?;
    Ok(pages.truncated)
}

/// Prints header and rejected records; true if the run has more than are kept.
async fn write_rejected(
    client: &Client,
    args: &FailuresArgs,
    run: &MapRun,
    output: &Output,
) -> anyhow::Result<bool> {
    let mut pages = Pages::new(client, &args.wanted(wanted_view(output)));
    let mut rejected = RejectedRecords::new(delimiter_of(run), args.with_errors);
    while let Some(page) = pages.next().await? {
        output.bytes(&rejected.page(&page.header, &page.item_failures))?;
    }
    Ok(pages.truncated)
}

fn delimiter_of(run: &MapRun) -> u8 {
    let config = run.spec.as_ref().and_then(|spec| spec.item_reader.as_ref());
    let config = config.and_then(|reader| reader.reader_config.as_ref());
    match config.map(|config| config.csv_delimiter()).unwrap_or_default() {
        csv_delimiter::Type::Unspecified | csv_delimiter::Type::Comma => b',',
        csv_delimiter::Type::Pipe => b'|',
        csv_delimiter::Type::Semicolon => b';',
        csv_delimiter::Type::Space => b' ',
        csv_delimiter::Type::Tab => b'\t',
    }
}

/// Which failures are asked for.
pub(crate) struct Wanted<'a> {
    /// Resource name of the run.
    pub(crate) run: &'a str,
    /// Only those of this name; empty: all.
    pub(crate) error: &'a str,
    /// With their records or without.
    pub(crate) view: item_failure_view::Type,
    /// At most so many.
    pub(crate) limit: Option<usize>,
}

/// Pages of failures, up to the limit that was asked for.
pub(crate) struct Pages<'a> {
    client: &'a Client,
    request: Option<ListItemFailuresRequest>,
    remaining: usize,
    truncated: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(client: &'a Client, wanted: &Wanted<'_>) -> Self {
        let request = ListItemFailuresRequest {
            parent: wanted.run.to_owned(),
            page_size: PAGE,
            view: wanted.view.into(),
            error: wanted.error.to_owned(),
            ..ListItemFailuresRequest::default()
        };
        Self {
            client,
            request: Some(request),
            remaining: wanted.limit.unwrap_or(usize::MAX),
            truncated: false,
        }
    }

    /// The next page; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<ListItemFailuresResponse>, tonic::Status> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        let mut page = self.client.map_runs().list_item_failures(request.clone()).await?.into_inner();
        page.item_failures.truncate(self.remaining);
        self.remaining -= page.item_failures.len();
        self.truncated |= page.truncated;
        if !page.next_page_token.is_empty() && self.remaining > 0 {
            request.page_token.clone_from(&page.next_page_token);
            self.request = Some(request);
        }
        Ok(Some(page))
    }

    /// Whether the run has more failures than are kept.
    pub(crate) fn truncated(&self) -> bool {
        self.truncated
    }
}

/// Failures, one per line.
pub(crate) fn table(failures: &[ItemFailure]) -> String {
    let mut table = Table::new(["ITEM", "LINE", "BYTE", "KIND", "ATTEMPTS", "ERROR", "CAUSE"]);
    for failure in failures {
        let source = failure.source.clone().unwrap_or_default();
        table.row([
            failure.index.to_string(),
            source.line.to_string(),
            source.byte_offset.to_string(),
            failure.kind().as_str_name().to_owned(),
            failure.attempts.to_string(),
            failure.error.clone(),
            text::one_line(&failure.cause, CAUSE_LIMIT),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{ItemSource, failure_kind};

    use super::*;

    #[test]
    fn failures_are_shown_with_place_and_reason() {
        let failure = ItemFailure {
            index: 7,
            source: Some(ItemSource { line: 9, byte_offset: 123, ..ItemSource::default() }),
            kind: failure_kind::Type::Business.into(),
            error: "Sql.22P02".into(),
            cause: "login_count: `many` is no int8".into(),
            attempts: 1,
            ..ItemFailure::default()
        };
        assert_eq!(
            table(&[failure]),
            "ITEM  LINE  BYTE  KIND      ATTEMPTS  ERROR      CAUSE\n\
             7     9     123   BUSINESS  1         Sql.22P02  login_count: `many` is no int8\n"
        );
    }
}
