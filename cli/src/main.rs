//! The `warifu` command. Everything lies in the library beside it, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    warifu_cli::main()
}
