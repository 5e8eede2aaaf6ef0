//! What handlers that start programs share: a process group that cannot be left behind, streams that are kept in part,
//! words for how a program ended. What a program is for, and what its output means, is each handler's own.

mod group;
mod stream;

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

pub(in crate::handler) use group::{Group, LEFTOVER_PATIENCE};
pub(in crate::handler) use stream::{Keep, Stream};

/// Says whether `program` can be found: by its path, or by name in `PATH`.
pub(in crate::handler) fn find_program(program: &OsStr, directory: Option<&Path>) -> Result<(), String> {
    let path = Path::new(program);
    let found = if path.components().count() > 1 {
        directory.map_or_else(|| path.to_owned(), |directory| directory.join(path)).exists()
    } else {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|directory| directory.join(path).exists())
    };
    if found {
        Ok(())
    } else {
        Err(format!("the program {} does not exist on this worker", program.display()))
    }
}

/// A failure's name, `PREFIX.Exit.3` or `PREFIX.Signal.9`, and what happened to `subject` in words.
pub(in crate::handler) fn describe_end(prefix: &str, subject: &str, status: ExitStatus) -> (String, String) {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            (format!("{prefix}.Signal.{signal}"), format!("{subject} was ended by signal {signal}"))
        }
        (None, code) => {
            let code = code.unwrap_or(-1);
            (format!("{prefix}.Exit.{code}"), format!("{subject} ended with status {code}"))
        }
    }
}
