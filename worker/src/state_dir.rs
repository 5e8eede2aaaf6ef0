//! A directory that one process of a worker holds at a time: whoever holds it knows that the one before is dead.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use warifu_common::model::Incarnation;

/// The lock on a state directory, until it is dropped or the process ends.
#[derive(Debug)]
pub struct StateDir {
    _lock: Flock<fs::File>,
    /// The incarnation of the process that held it before, if it wrote one.
    pub dead_incarnation: Option<Incarnation>,
}

impl StateDir {
    /// Locks `directory`, creating it if need be, and writes this process's incarnation into it.
    pub fn lock(directory: &Path, incarnation: Incarnation) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join("incarnation");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                anyhow::bail!(
                    "another process holds {}: give each worker a state_dir of its own",
                    directory.display()
                )
            }
            Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        };
        let mut text = String::new();
        lock.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
        let dead_incarnation = u128::from_str_radix(text.trim(), 16).ok().map(Incarnation);
        lock.set_len(0)?;
        lock.seek(SeekFrom::Start(0))?;
        lock.write_all(format!("{:032x}\n", incarnation.0).as_bytes())?;
        lock.sync_all()?;
        Ok(Self { _lock: lock, dead_incarnation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_holder_learns_who_is_dead_and_nobody_holds_it_twice() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDir::lock(directory.path(), Incarnation(7)).unwrap();
        assert_eq!(first.dead_incarnation, None);
        let refused = StateDir::lock(directory.path(), Incarnation(8)).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
        drop(first);
        let second = StateDir::lock(directory.path(), Incarnation(8)).unwrap();
        assert_eq!(second.dead_incarnation, Some(Incarnation(7)));
    }
}
