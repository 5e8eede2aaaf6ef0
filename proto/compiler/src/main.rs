//! Stands for `protoc` in the build scripts of dependencies: takes the arguments that `prost-build` passes, and writes the
//! descriptor set that it reads.
//!
//! Whatever else `protoc` can do is refused, so that nothing is left out silently.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

/// What is to be compiled, and where to.
#[derive(Debug, Default)]
struct Arguments {
    includes: Vec<PathBuf>,
    files: Vec<PathBuf>,
    output: Option<PathBuf>,
    with_imports: bool,
    with_source_info: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(env::args().skip(1))?;
    let output = arguments.output.ok_or("no -o: nowhere to write the descriptor set to")?;
    let mut compiler = protox::Compiler::new(&arguments.includes)?;
    compiler.include_imports(arguments.with_imports).include_source_info(arguments.with_source_info);
    compiler.open_files(&arguments.files)?;
    fs::write(output, compiler.file_descriptor_set().encode_to_vec())?;
    Ok(())
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut parsed = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--include_imports" => parsed.with_imports = true,
                "--include_source_info" => parsed.with_source_info = true,
                // What it allowed is allowed since long.
                "--experimental_allow_proto3_optional" => {}
                "-I" => parsed.includes.push(words.next().ok_or("-I without a directory")?.into()),
                "-o" => parsed.output = Some(words.next().ok_or("-o without a file")?.into()),
                option if option.starts_with('-') => {
                    return Err(
                        format!("{option} is not known here: set PROTOC to a protoc that knows it").into()
                    );
                }
                file => parsed.files.push(file.into()),
            }
        }
        Ok(parsed)
    }
}
