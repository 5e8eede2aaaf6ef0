//! Which command lines `run` takes, and what they mean.

use clap::Parser as _;

use super::*;
use crate::args::{Cli, Command};

fn parse(line: &[&str]) -> Result<RunArgs, clap::Error> {
    let words = ["warifu", "run"].iter().chain(line);
    match Cli::try_parse_from(words)?.command {
        Command::Run(args) => Ok(*args),
        other => panic!("not run: {other:?}"),
    }
}

#[test]
fn exactly_one_kind_of_handler_is_named() {
    for line in [
        &["a.csv"][..],
        &["a.csv", "--handler", "echo", "--exec", "cat"],
        &["a.csv", "--exec", "cat", "--lambda", "app.handler"],
        &["a.csv", "--sql", "sqlite://u.db"],
        &["a.csv", "--sql", "sqlite://u.db", "--table", "users"],
        &["a.csv", "--handler", "echo", "--table", "users"],
        &["a.csv", "--handler", "echo", "--workers", "0"],
    ] {
        assert!(parse(line).is_err(), "{line:?}");
    }
    for line in [
        &["a.csv", "--handler", "echo"][..],
        &["a.csv", "--lambda", "app.handler"],
        &["s3://input/a.csv", "--exec", "cat", "--worker-config", "w.toml"],
        &["a.csv", "--sql", "sqlite://u.db", "--table", "users", "--key", "id"],
    ] {
        assert!(parse(line).is_ok(), "{line:?}: {:?}", parse(line).err());
    }
}

#[test]
fn key_is_a_column_here_and_a_file_elsewhere() {
    let line = ["a.csv", "--sql", "sqlite://u.db", "--table", "users", "--key", "id", "--key", "day"];
    assert_eq!(parse(&line).unwrap().handler.sql.key_columns, ["id", "day"]);
    let cli = Cli::try_parse_from(["warifu", "list", "--key", "client.pem"]).unwrap();
    assert_eq!(cli.global.key, ["client.pem"]);
}

#[test]
fn slots_follow_the_concurrency_unless_they_are_named() {
    let slots = |line: &[&str]| {
        let line: Vec<&str> = ["a.csv", "--handler", "noop"].iter().chain(line).copied().collect();
        parse(&line).unwrap().slots()
    };
    assert_eq!(slots(&[]), 8);
    assert_eq!(slots(&["--max-concurrency", "5"]), 8);
    assert_eq!(slots(&["--max-concurrency", "101"]), 51);
    assert_eq!(slots(&["--max-concurrency", "101", "--slots", "1"]), 1);
    assert_eq!(slots(&["--max-concurrency", "100000"]), 256);
}

#[test]
fn a_directory_keeps_its_run() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = DataDir::at(temporary.path()).unwrap();
    let line = ["a.csv", "--handler", "noop"];
    let first = create_request(&parse(&line).unwrap(), &directory, MapRunSpec::default()).unwrap();
    let again = create_request(&parse(&line).unwrap(), &directory, MapRunSpec::default()).unwrap();
    assert_eq!(first.map_run_id, again.map_run_id);
    let other = ["a.csv", "--handler", "noop", "--id", "other"];
    let error = create_request(&parse(&other).unwrap(), &directory, MapRunSpec::default()).unwrap_err();
    assert!(error.to_string().contains("not `other`"), "{error}");
}
