//! `warifu man`: manual pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this directory, which must exist: `warifu.1`, `warifu-submit.1`, …
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the page of `warifu`, or writes all pages.
pub(crate) fn man(args: &ManArgs, output: &Output) -> anyhow::Result<Exit> {
    let command = Cli::command().name("warifu");
    if let Some(dir) = &args.dir {
        clap_mangen::generate_to(command, dir)
            .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    } else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        output.bytes(&page)?;
    }
    Ok(Exit::Succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;

    #[test]
    fn every_command_has_a_page_that_names_its_options() {
        let directory = tempfile::tempdir().unwrap();
        let args = ManArgs { dir: Some(directory.path().to_owned()) };
        man(&args, &Output::new(Format::Table)).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = directory.path().join(format!("warifu-{}.1", command.get_name()));
            let page = std::fs::read_to_string(page).unwrap();
            let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
            for option in shown.filter_map(clap::Arg::get_long) {
                let written = option.replace('-', "\\-");
                assert!(page.contains(&format!("\\-\\-{written}")), "{}: {option}", command.get_name());
            }
        }
        let missing = ManArgs { dir: Some(directory.path().join("missing")) };
        let error = man(&missing, &Output::new(Format::Table)).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
