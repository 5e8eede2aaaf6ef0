//! Wall clocks that a test can step, each process's its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's `libfaketime` lies, below the directory of the machine's architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The library that shows processes another time, if it is installed.
pub(crate) fn library() -> Option<PathBuf> {
    let directories = std::fs::read_dir("/usr/lib").ok()?;
    directories.flatten().map(|directory| directory.path().join(LIBRARY)).find(|library| library.is_file())
}

/// Lets a process see the wall clock of `file`. Clocks that only go forward stay true: nobody can step those.
pub(crate) fn give(command: &mut Command, file: &Path) {
    let Some(library) = library() else { return };
    step(file, 0);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
}

/// From now on the clock of `file` is off by so many seconds.
pub(crate) fn step(file: &Path, seconds: i64) {
    std::fs::write(file, format!("{seconds:+}\n")).unwrap();
}
