//! `warifu workers`: the workers with a session, and why a handler takes no work.

use warifu_common::wire::v1::{ListWorkersRequest, Worker};

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::output::Output;
use crate::table::Table;
use crate::text;

/// Workers of one page.
const PAGE: i32 = 1_000;

/// Lists workers.
pub(crate) async fn workers(global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let workers = fetch(&client).await?;
    output.list("workers", &workers, || table(&workers))?;
    Ok(Exit::Succeeded)
}

async fn fetch(client: &Client) -> anyhow::Result<Vec<Worker>> {
    let mut request = ListWorkersRequest { page_size: PAGE, ..ListWorkersRequest::default() };
    let mut workers = Vec::new();
    loop {
        let page = client.fleet().list_workers(request.clone()).await?.into_inner();
        workers.extend(page.workers);
        if page.next_page_token.is_empty() {
            return Ok(workers);
        }
        request.page_token = page.next_page_token;
    }
}

/// Workers, one per line; handlers that take no work follow with the reason.
pub(crate) fn table(workers: &[Worker]) -> String {
    let mut table =
        Table::new(["ID", "STATE", "SLOTS", "HELD", "RUNNING", "LAST HEARD", "VERSION", "HANDLERS"]);
    for worker in workers {
        table.row([
            text::id_of(&worker.name).to_owned(),
            worker.state().as_str_name().to_owned(),
            worker.slots.to_string(),
            worker.held_slots.to_string(),
            worker.running_batch_count.to_string(),
            text::moment(worker.last_heard_time.as_ref()),
            worker.version.clone(),
            handler_names(worker),
        ]);
    }
    table.render() + &unavailable_handlers(workers)
}

fn handler_names(worker: &Worker) -> String {
    let names: Vec<&str> = worker
        .handlers
        .iter()
        .filter(|handler| handler.unavailable_reason.is_empty())
        .map(|handler| handler.name.as_str())
        .collect();
    names.join(",")
}

fn unavailable_handlers(workers: &[Worker]) -> String {
    let mut lines = String::new();
    for worker in workers {
        for handler in worker.handlers.iter().filter(|handler| !handler.unavailable_reason.is_empty()) {
            let id = text::id_of(&worker.name);
            lines +=
                &format!("{id}: handler `{}` takes no work: {}\n", handler.name, handler.unavailable_reason);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{WorkerHandler, worker};

    use super::*;

    #[test]
    fn a_handler_that_takes_no_work_is_shown_with_the_reason() {
        let handler =
            |name: &str, reason: &str| WorkerHandler { name: name.into(), unavailable_reason: reason.into() };
        let worker = Worker {
            name: "workers/worker-1".into(),
            state: worker::State::Active.into(),
            slots: 8,
            held_slots: 3,
            handlers: vec![handler("echo", ""), handler("users", "table `users` does not exist")],
            version: "0.1.0".into(),
            ..Worker::default()
        };
        assert_eq!(
            table(&[worker]),
            "ID        STATE   SLOTS  HELD  RUNNING  LAST HEARD  VERSION  HANDLERS\n\
             worker-1  ACTIVE  8      3     0        -           0.1.0    echo\n\
             worker-1: handler `users` takes no work: table `users` does not exist\n"
        );
    }
}
