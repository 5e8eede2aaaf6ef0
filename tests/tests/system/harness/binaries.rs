//! Where the binaries under test are, and what the repository holds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// A package whose binaries or examples are run, and what they are made of: cargo leaves alone what has not changed, so each
/// is only as new as that.
struct Built {
    package: &'static str,
    /// Below TARGET/PROFILE.
    programs: &'static [&'static str],
    sources: &'static [&'static str],
}

const BINARIES: [Built; 4] = [
    Built {
        package: "warifu-cli",
        programs: &["warifu"],
        sources: &["common", "coordinator", "worker", "cli", "proto", "Cargo.lock"],
    },
    Built {
        package: "warifu-coordinator",
        programs: &["warifu-coordinator"],
        sources: &["common", "coordinator", "proto", "Cargo.lock"],
    },
    Built {
        package: "warifu-worker",
        programs: &["warifu-worker"],
        sources: &["common", "worker", "proto", "Cargo.lock"],
    },
    Built {
        package: "warifu-test-lambda",
        programs: &["warifu-test-lambda"],
        sources: &["tests/lambda_function/src", "Cargo.lock"],
    },
];

const EXAMPLES: Built = Built {
    package: "warifu-worker",
    programs: &["examples/user_stats", "examples/geocode"],
    sources: &["common", "worker", "proto", "Cargo.lock"],
};

/// The path of a binary, built if need be: cargo does not build another package's binaries for a test, and an old one
/// would be judged in place of the code that is there. One that `cargo build --workspace` has just made is taken as it is.
pub(crate) fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let path = DIRECTORY.get_or_init(|| directory_with(&BINARIES, &[])).join(name);
    assert!(path.is_file(), "there is no binary {}", path.display());
    path
}

/// The path of an example of the worker's library, built if need be like [`binary`].
pub(super) fn example(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let path =
        DIRECTORY.get_or_init(|| directory_with(&[EXAMPLES], &["--examples"])).join("examples").join(name);
    assert!(path.is_file(), "there is no example {}", path.display());
    path
}

/// Where they are, once they are new enough.
fn directory_with(all: &[Built], more: &[&str]) -> PathBuf {
    if let Some(directory) = std::env::var_os("WARIFU_BIN_DIR") {
        return directory.into();
    }
    let directory = build_directory();
    if !all.iter().all(|built| built.is_current(&directory)) {
        let packages = all.iter().flat_map(|built| ["-p", built.package]);
        build(&directory, &packages.chain(more.iter().copied()).collect::<Vec<_>>());
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

impl Built {
    /// Whether all is there and no source is newer.
    fn is_current(&self, directory: &Path) -> bool {
        let built = self.programs.iter().map(|program| modified(&directory.join(program))).min().flatten();
        let changed = self.sources.iter().map(|source| newest(&repository().join(source))).max().flatten();
        built.is_some_and(|built| changed.is_some_and(|changed| built >= changed))
    }
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
