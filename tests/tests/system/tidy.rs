//! What no compiler checks: the sources keep to the shape that ARCHITECTURE describes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::repository;

/// Directories of pure code, and words that would make it impure.
const PURE: [&str; 4] =
    ["coordinator/scheduler/src", "worker/session/src", "common/model/src", "common/dataset/src"];
const IMPURE_WORDS: [&str; 14] = [
    "tokio",
    "tonic",
    "prost",
    "etcd_client",
    "async_trait",
    "futures",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "async",
    "await",
    "thread_rng",
    "sleep",
];
/// Where a map is only asked for single keys, never walked through: its order cannot be seen.
const MAPS_WITHOUT_ORDER: [&str; 2] = ["common/dataset/src/columns.rs", "common/dataset/src/header.rs"];
/// The same for their manifests.
const IMPURE_PACKAGES: [&str; 8] =
    ["tokio", "tonic", "prost", "futures", "async-trait", "etcd-client", "hyper", "sqlx"];

/// What is not written anywhere.
const BANNED: [&str; 4] = ["todo!(", "unimplemented!(", "unbounded_channel", "dbg!("];

/// Lines that a file may have.
const MOST_LINES: usize = 450;
/// Longer files, each with its reason.
const LONG_FILES: [(&str, &str); 2] = [
    ("common/model/src/protocol.rs", "the messages between coordinator and workers: data, no control flow"),
    ("coordinator/scheduler/src/session.rs", "the rules S1 to S6, which are read together"),
];

#[test]
fn pure_code_names_no_runtime_no_clock_and_no_random_order() {
    let mut found = Vec::new();
    for directory in PURE {
        for file in rust_files(&repository().join(directory)) {
            let code = without_comments(&read(&file));
            let may_hash = MAPS_WITHOUT_ORDER.contains(&relative(&file).as_str());
            let is_impure =
                |word: &&str| IMPURE_WORDS.contains(word) && !(may_hash && word.starts_with("Hash"));
            for (number, line) in code.lines().enumerate() {
                for word in words(line).filter(is_impure) {
                    found.push(format!("{}:{}: {word}", relative(&file), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "pure code is not pure:\n{}", found.join("\n"));
}

#[test]
fn packages_of_pure_code_depend_on_nothing_impure() {
    for directory in PURE {
        let manifest = read(&repository().join(directory).with_file_name("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(!IMPURE_PACKAGES.contains(&name), "{directory} depends on {name}");
        }
    }
}

#[test]
fn nothing_is_left_undone_and_no_queue_is_unbounded() {
    let mut found = Vec::new();
    for file in all_rust_files() {
        // This file names them.
        if file.ends_with("tidy.rs") {
            continue;
        }
        let code = without_comments(&read(&file));
        for (number, line) in code.lines().enumerate() {
            for banned in BANNED.iter().filter(|banned| line.contains(**banned)) {
                found.push(format!("{}:{}: {banned}", relative(&file), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_reader_bears() {
    let mut long = Vec::new();
    for file in all_rust_files() {
        let (name, lines) = (relative(&file), read(&file).lines().count());
        let is_allowed = LONG_FILES.iter().any(|(allowed, _)| *allowed == name);
        if lines > MOST_LINES && !is_allowed {
            long.push(format!("{name}: {lines} lines"));
        }
        if is_allowed && lines <= MOST_LINES {
            long.push(format!("{name} is short enough now: take it off the list"));
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn every_source_file_begins_with_what_it_is() {
    let undocumented: Vec<String> = all_rust_files()
        .iter()
        .filter(|file| !read(file).lines().any(|line| line.starts_with("//!")))
        .map(|file| relative(file))
        .collect();
    assert!(undocumented.is_empty(), "no module doc in\n{}", undocumented.join("\n"));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for file in files_below(repository(), "md") {
        for link in relative_links(&read(&file)) {
            let path = link.split('#').next().unwrap_or_default();
            let base = file.parent().unwrap_or(repository());
            if !path.is_empty() && !base.join(path).exists() {
                dead.push(format!("{}: {link}", relative(&file)));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

/// Targets of `[text](target)` and `[text]: target` that are no URLs, outside of code.
fn relative_links(document: &str) -> Vec<String> {
    let mut in_code = false;
    let mut links = Vec::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let plain: String = line.split('`').step_by(2).collect();
        let inline = plain.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let reference = plain.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        let targets = inline.chain(reference.map(|(_, target)| target.trim()));
        links.extend(
            targets
                .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
                .map(str::to_owned),
        );
    }
    links
}

#[test]
fn tests_do_not_sleep() {
    let sources = rust_files(&repository().join("tests/tests"));
    for file in sources.iter().filter(|file| !file.ends_with("tidy.rs")) {
        let code = without_comments(&read(file));
        assert!(
            !code.contains("thread::sleep") && !code.contains("time::sleep"),
            "{} sleeps",
            relative(file)
        );
    }
}

/// The code without what stands in comments; lines stay where they are.
fn without_comments(source: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    source.lines().map(code).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

fn all_rust_files() -> BTreeSet<PathBuf> {
    let packages = ["common", "coordinator", "worker", "cli", "tests", "bench", "fuzz"];
    packages.iter().flat_map(|package| rust_files(&repository().join(package))).collect()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    files_below(directory, "rs")
}

fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A package that is not there yet has no files.
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !matches!(name, "target" | ".git" | "node_modules" | ".venv") {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}
