//! Where the binaries under test are, and what the repository holds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Packages whose binaries are run, and those.
const PACKAGES: [&str; 4] = ["warifu-cli", "warifu-coordinator", "warifu-worker", "warifu-test-lambda"];
const BINARIES: [&str; 4] = ["warifu", "warifu-coordinator", "warifu-worker", "warifu-test-lambda"];

/// Examples that are run, and their package.
const EXAMPLES: [&str; 2] = ["user_stats", "geocode"];
const EXAMPLES_PACKAGE: &str = "warifu-worker";

/// What they are made of.
const SOURCES: [&str; 7] =
    ["common", "coordinator", "worker", "cli", "proto", "tests/lambda_function", "Cargo.lock"];

/// The path of a binary, built if need be: cargo does not build another package's binaries for a test, and an old one
/// would be judged in place of the code that is there. One that `cargo build --workspace` has just made is taken as it is.
pub(crate) fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let path = DIRECTORY.get_or_init(binary_directory).join(name);
    assert!(path.is_file(), "there is no binary {}", path.display());
    path
}

/// The path of an example of the worker's library, built if need be like [`binary`].
pub(super) fn example(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let path = DIRECTORY.get_or_init(example_directory).join(name);
    assert!(path.is_file(), "there is no example {}", path.display());
    path
}

fn example_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("WARIFU_BIN_DIR") {
        return Path::new(&directory).join("examples");
    }
    let directory = build_directory();
    if !is_current(&EXAMPLES.map(|name| directory.join("examples").join(name))) {
        build(&directory, &["-p", EXAMPLES_PACKAGE, "--examples"]);
    }
    directory.join("examples")
}

fn binary_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("WARIFU_BIN_DIR") {
        return directory.into();
    }
    let directory = build_directory();
    if !is_current(&BINARIES.map(|name| directory.join(name))) {
        let packages: Vec<&str> = PACKAGES.iter().flat_map(|package| ["-p", package]).collect();
        build(&directory, &packages);
    }
    directory
}

/// TARGET/PROFILE: the test itself is TARGET/PROFILE/deps/system-HASH.
fn build_directory() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).expect("a test lies in TARGET/PROFILE/deps").to_owned()
}

/// Builds what is to be in `directory`.
fn build(directory: &Path, what: &[&str]) {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(repository()).args(["build", "--quiet"]).args(what);
    if directory.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "{what:?} cannot be built");
}

/// Whether all of these are there and no source is newer.
fn is_current(programs: &[PathBuf]) -> bool {
    let built = programs.iter().map(|program| modified(program)).min().flatten();
    let changed = SOURCES.iter().map(|source| newest(&repository().join(source))).max().flatten();
    built.is_some_and(|built| changed.is_some_and(|changed| built >= changed))
}

fn newest(path: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    // A directory's own time says when a file of it went away.
    entries.map(|entry| newest(&entry.path())).chain([modified(path)]).max().flatten()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a directory of the repository")
}

/// Material beside the repository that not every checkout has.
pub(crate) fn shared_directory(name: &str) -> Option<PathBuf> {
    let directory = repository().parent()?.join("shared").join(name);
    directory.is_dir().then_some(directory)
}

/// Whether the long variants were asked for.
pub(crate) fn soak() -> bool {
    std::env::var_os("WARIFU_SOAK").is_some_and(|value| value != "0" && !value.is_empty())
}
