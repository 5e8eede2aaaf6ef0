//! `maxItemsPerSecond` is held in the whole fleet, is reached, and holds at once where it is changed.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Dev, DevSettings, eventually, text};

const BATCH: usize = 10;
/// Items a second, at first and then.
const SLOW: f64 = 40.0;
const FAST: f64 = 100.0;
/// So many items begin at the first rate.
const SLOW_ITEMS: usize = 480;
const ITEMS: usize = 1_500;

/// When each batch began, in seconds, and its items, in the order of their beginning.
fn begun(log: &Path) -> Vec<(f64, usize)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut begun: Vec<(f64, usize)> = text
        .lines()
        .map(|line| {
            let (nanos, items) = line.split_once(' ').unwrap();
            (nanos.parse::<f64>().unwrap() / 1e9, items.trim().parse().unwrap())
        })
        .collect();
    begun.sort_by(|a, b| a.0.total_cmp(&b.0));
    begun
}

fn items(begun: &[(f64, usize)]) -> usize {
    begun.iter().map(|(_, items)| items).sum()
}

/// The most items that begin within ten seconds.
fn most_in_ten_seconds(begun: &[(f64, usize)]) -> usize {
    let from = |start: usize| {
        let end = begun[start].0 + 10.0;
        items(&begun[start..])
            - begun[start..].iter().filter(|(at, _)| *at >= end).map(|(_, n)| n).sum::<usize>()
    };
    (0..begun.len()).map(from).max().unwrap_or(0)
}

/// Items a second from the first batch to the last one.
fn rate(begun: &[(f64, usize)]) -> f64 {
    let (first, last) = (begun[0], begun[begun.len() - 1]);
    items(&begun[..begun.len() - 1]) as f64 / (last.0 - first.0)
}

#[test]
fn a_rate_is_held_and_reached_by_a_fleet_and_can_be_changed_while_the_run_goes_on() {
    let marks = tempfile::tempdir().unwrap();
    let log = marks.path().join("log");
    let config = format!(
        "[handlers.notes]\ntype = \"exec\"\noutput = \"discard\"\n\
         command = [\"sh\", \"-c\", '''echo \"$(date +%s%N) $(wc -l <\"$WARIFU_INDEXES_FILE\")\" >>{}''']\n",
        text(&log)
    );
    let dev = Dev::start(&DevSettings { worker_config: &config, ..DevSettings::default() });
    let rows: String = (0..ITEMS).map(|item| format!("{item}\n")).collect();
    dev.s3().put("input", "in.csv", format!("id\n{rows}"));
    let job = format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: {BATCH}}}\nitemProcessor: {{handler: notes}}\n\
         maxItemsPerSecond: {SLOW}\nresultWriter: {{bucket: output, prefix: r/}}\n"
    );
    dev.submit("r", &job);
    let deadline = Duration::from_secs(60);
    eventually("it is said to be limited by its rate", deadline, || {
        let run = dev.json(["get", "r"], 0);
        (run["progress"]["limitedBy"] == "RATE").then_some(())
    });
    eventually("some seconds' items are begun", deadline, || {
        (items(&begun(&log)) >= SLOW_ITEMS).then_some(())
    });
    let changed = dev.json(["update", "r", "--max-items-per-second", &FAST.to_string()], 0);
    assert_eq!(changed["spec"]["maxItemsPerSecond"], FAST);
    let run = dev.wait("r", 0);
    assert_eq!((&run["state"], &run["itemCounts"]["succeeded"]), (&"SUCCEEDED".into(), &ITEMS.into()));

    let begun = begun(&log);
    assert_eq!((items(&begun), begun.len()), (ITEMS, ITEMS / BATCH));
    let (slow, rest) = begun.split_at(SLOW_ITEMS / BATCH);
    // The change took hold somewhere behind what had begun when it was asked for.
    let fast = &rest[rest.len() / 5..];
    let (slow_rate, fast_rate) = (rate(slow), rate(fast));
    let most = (most_in_ten_seconds(slow), most_in_ten_seconds(fast));
    eprintln!("{slow_rate:.1} and {fast_rate:.1} items a second, at most {} and {} in 10 s", most.0, most.1);
    for (reached, most, wanted) in [(slow_rate, most.0, SLOW), (fast_rate, most.1, FAST)] {
        assert!(most as f64 <= wanted * 10.5 + BATCH as f64, "{most} items in 10 s at {wanted} a second");
        assert!(reached > wanted * 0.95, "{reached:.1} of {wanted} items a second");
    }
    dev.stop();
}
