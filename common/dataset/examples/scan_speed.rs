//! Measures the scan against counting line feeds, over generated CSV in memory.
//!
//! `cargo run --release -p warifu-dataset --example scan_speed -- [megabytes]`

#![allow(clippy::print_stdout, reason = "it reports to the terminal")]

use std::time::Instant;

use warifu_dataset::{
    ByteRange, Composed, Composer, CutRules, HeaderLocation, Limits, RecordFormat, ScanRequest, ShardPlan,
    ShardScan, probe, scan,
};

const SHARD_BYTES: u64 = 8 << 20;
const REPEATS: usize = 5;

fn main() {
    let megabytes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(256_usize);
    let kinds =
        [("plain", 5, plain_row as fn(u64) -> String), ("quoted", 4, quoted_row), ("wide", 3, wide_row)];
    for (name, columns, row) in kinds {
        measure(name, &generate(megabytes << 20, columns, row));
    }
}

fn plain_row(number: u64) -> String {
    format!("{number},user{number},user{number}@example.com,{},2024-05-{:02}\n", number % 97, number % 28 + 1)
}

fn quoted_row(number: u64) -> String {
    format!("{number},\"user, {number}\",\"said \"\"hello\"\"\r\non line {number}\",{}\r\n", number % 97)
}

fn wide_row(number: u64) -> String {
    format!("{number},{},{}\n", "lorem ipsum dolor sit amet ".repeat(10), "consectetur ".repeat(20))
}

fn generate(bytes: usize, columns: usize, row: fn(u64) -> String) -> Vec<u8> {
    let mut object =
        (0..columns).map(|column| format!("c{column}")).collect::<Vec<_>>().join(",").into_bytes();
    object.push(b'\n');
    let mut number = 0;
    while object.len() < bytes {
        object.extend_from_slice(row(number).as_bytes());
        number += 1;
    }
    object
}

fn measure(name: &str, object: &[u8]) {
    let (plan, rules) = prepare(object);
    let counting = best_seconds(|| memchr::memchr_iter(b'\n', object).count());
    let scanning = best_seconds(|| scan_all(object, &plan, &rules).len());
    let (items, rescans) = compose(object, &plan, &rules);
    let speed = |seconds: f64| object.len() as f64 / seconds / 1e9;
    println!(
        "{name}: count newlines {:.2} GB/s, scan {:.2} GB/s, ratio {:.2}; {items} items, {rescans} rescans of {} shards",
        speed(counting),
        speed(scanning),
        scanning / counting,
        plan.shard_count()
    );
}

fn prepare(object: &[u8]) -> (ShardPlan, CutRules) {
    let (format, limits) = (RecordFormat::default(), Limits::default());
    let probe = probe(object, true, format, &HeaderLocation::FirstRow, &limits).expect("the header is right");
    let plan = ShardPlan::whole(probe.data_start, object.len() as u64, SHARD_BYTES);
    let rules = CutRules {
        max_items: 25,
        max_input_bytes: 262_144,
        envelope_bytes: 28,
        header: probe.header,
        format,
        max_record_bytes: limits.max_record_bytes,
        shape: None,
    };
    (plan, rules)
}

fn scan_all(object: &[u8], plan: &ShardPlan, rules: &CutRules) -> Vec<ShardScan> {
    (0..plan.shard_count()).map(|shard| scan(&request(object, plan, rules, shard))).collect()
}

fn request<'a>(object: &'a [u8], plan: &ShardPlan, rules: &'a CutRules, shard: u32) -> ScanRequest<'a> {
    let range = plan.range(shard);
    ScanRequest {
        bytes: slice(object, range),
        range,
        previous: (shard > 0).then(|| slice(object, ByteRange::new(range.start - 1, range.start))[0]),
        entry: None,
        ends_object: plan.ends_object(shard),
        item_limit: None,
        rules,
    }
}

fn slice(object: &[u8], range: ByteRange) -> &[u8] {
    let index = |offset: u64| usize::try_from(offset).expect("the object lies in memory");
    &object[index(range.start)..index(range.end)]
}

fn compose(object: &[u8], plan: &ShardPlan, rules: &CutRules) -> (u64, u32) {
    let mut composer = Composer::new(plan, None, rules.format, &Limits::default());
    let mut rescans = 0;
    for (shard, first) in (0..).zip(&scan_all(object, plan, rules)) {
        let mut composed = composer.compose(first);
        if let Composed::Rescan { entry, item_limit } = composed {
            rescans += 1;
            let again = ScanRequest { entry: Some(entry), item_limit, ..request(object, plan, rules, shard) };
            composed = composer.compose(&scan(&again));
        }
        assert!(matches!(composed, Composed::Shard(_)), "generated data is right");
    }
    (composer.items(), rescans)
}

fn best_seconds<T>(mut work: impl FnMut() -> T) -> f64 {
    let seconds = |work: &mut dyn FnMut() -> T| {
        let begin = Instant::now();
        std::hint::black_box(work());
        begin.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| seconds(&mut work)).fold(f64::INFINITY, f64::min)
}
