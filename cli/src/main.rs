//! The `warifu` command. Everything lies in the library beside it, where tests reach it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    warifu_cli::main()
}
