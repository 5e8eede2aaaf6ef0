//! `warifu run FILE --handler echo --output DIR` is exact: every record of the file is an item once, under its own index,
//! however the file is cut into shards and however many workers take part.

use std::time::Instant;

use crate::harness::{CsvFile, Dev, DevSettings, Random, Table, read_results, run_json, scratch, soak, text};

/// From far below a record to far above a file.
const SHARD_SIZES: [u64; 6] = [1 << 10, 3_001, 16 << 10, 100_003, 1 << 20, 8 << 20];

/// Runs `table` and compares every item with what the csv crate read.
fn run_and_compare(table: &Table, shard_size: u64, workers: u64, batch_size: u64) {
    let output = scratch();
    let (shard_size, workers, batch_size) =
        (shard_size.to_string(), workers.to_string(), batch_size.to_string());
    let arguments = [
        ["run", text(&table.path)],
        ["--handler", "echo"],
        ["--output", text(output.path())],
        ["--shard-size", &shard_size],
        ["--workers", &workers],
        ["--batch-size", &batch_size],
    ];
    let run = run_json(arguments.into_iter().flatten(), 0);
    let rows = table.rows.len() as u64;
    assert_eq!(run["state"], "SUCCEEDED");
    assert_eq!(run["itemCounts"]["total"], rows);
    assert_eq!(run["itemCounts"]["succeeded"], rows);
    assert_eq!(run["totalKnown"], true);
    read_results(output.path()).expect_echoed(&table.items());
}

#[test]
fn every_kind_of_file_is_exact_under_every_cut() {
    let started = Instant::now();
    let directory = scratch();
    let (seeds, sizes_per_file) = if soak() { (10, SHARD_SIZES.len() as u64) } else { (1, 2) };
    let mut random = Random::new(1);
    let mut runs = 0;
    for (number, kind) in CsvFile::ALL.into_iter().enumerate() {
        for seed in 1..=seeds {
            let rows = if matches!(kind, CsvFile::Huge | CsvFile::Wide) { 300 } else { 1_500 };
            let table = kind.write(&directory.path().join("in.csv"), rows, seed * 100 + number as u64);
            for turn in 0..sizes_per_file {
                // Every size is met, and each file meets a small one.
                let shard_size = SHARD_SIZES[(number + turn as usize * 3) % SHARD_SIZES.len()];
                let (workers, batch_size) = (1 + random.below(8), 1 + random.below(60));
                eprintln!(
                    "{kind:?} seed {seed}: shards of {shard_size}, {workers} workers, batches of {batch_size}"
                );
                run_and_compare(&table, shard_size, workers, batch_size);
                runs += 1;
            }
        }
    }
    eprintln!("{runs} runs were exact, in {:?}", started.elapsed());
}

#[test]
fn many_shards_and_eight_workers_give_the_same_as_one_of_each() {
    let directory = scratch();
    let table = CsvFile::Quotes.write(&directory.path().join("in.csv"), 12_000, 7);
    for (shard_size, workers) in [(2_048, 8), (8 << 20, 1)] {
        run_and_compare(&table, shard_size, workers, 25);
    }
}

#[test]
fn a_file_of_nothing_but_quotes_and_line_ends_is_exact() {
    let directory = scratch();
    let path = directory.path().join("in.csv");
    let mut random = Random::new(3);
    for _ in 0..if soak() { 300 } else { 12 } {
        let length = 200 + random.below(3_000);
        let mut content = b"a,b\n".to_vec();
        content.extend((0..length).map(|_| random.choose_byte(b"\"\",\n\rx")));
        // A quote that is left open is another story.
        while crate::bad_input::open_quote(&content) {
            content.push(b'"');
        }
        std::fs::write(&path, &content).unwrap();
        run_and_compare(&Table::read(&path, b','), 1 + random.below(200), 1 + random.below(4), 7);
    }
}

#[test]
fn results_are_the_same_compressed_and_plain() {
    let dev = Dev::start(&DevSettings { shard_size: 20_000, ..DevSettings::default() });
    let table = CsvFile::Decoys.write(&dev.directory().join("in.csv"), 2_000, 11);
    dev.s3().put("input", "in.csv", std::fs::read(&table.path).unwrap());
    for (id, compression, extension) in [("plain", "NONE", ".jsonl"), ("gzip", "GZIP", ".jsonl.gz")] {
        let job = format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
             itemProcessor: {{handler: echo}}\n\
             resultWriter: {{bucket: output, prefix: r/, writerConfig: {{compression: {compression}}}}}\n"
        );
        let run = dev.submit_and_wait(id, &job, 0);
        assert_eq!(run["itemCounts"]["resultsWritten"], table.rows.len());
        let results = read_results(&dev.download(id));
        results.expect_echoed(&table.items());
        for file in results.manifest["ResultFiles"]["SUCCEEDED"].as_array().unwrap() {
            let key = file["Key"].as_str().unwrap();
            assert!(key.ends_with(extension), "{key}");
        }
    }
    dev.stop();
}

#[test]
fn a_delimiter_a_given_header_a_number_of_items_and_a_compression_are_obeyed() {
    let directory = scratch();
    let path = directory.path().join("in.csv");
    let output = directory.path().join("out");
    std::fs::write(&path, "1;\"a;b\"\n2;c\n3;d\n").unwrap();
    let arguments = ["run", text(&path), "--handler", "echo", "--output", text(&output)];
    let flags = ["--csv-delimiter", "semicolon", "--csv-headers", "id,名前", "--max-items", "2"];
    let compressed = ["--output-compression", "gzip"];
    run_json(arguments.into_iter().chain(flags).chain(compressed), 0);
    let item = |id: &str, name: &str| serde_json::json!({"id": id, "名前": name});
    let results = read_results(&output);
    results.expect_echoed(&[item("1", "a;b"), item("2", "c")]);
    let key = results.manifest["ResultFiles"]["SUCCEEDED"][0]["Key"].as_str().unwrap();
    assert!(key.ends_with(".jsonl.gz"), "{key}");
}
