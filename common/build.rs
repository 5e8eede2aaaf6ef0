//! Compiles `proto/` in pure Rust: no `protoc` has to be installed.
//!
//! Writes the generated messages and services, and a descriptor set with source info: server reflection shows the
//! comments of the proto files, and the job file codec knows every field's name.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const PROTO_ROOT: &str = "../proto";
const PROTO_FILES: [&str; 6] = [
    "externalscaler/externalscaler.proto",
    "warifu/v1/error_reason.proto",
    "warifu/v1/fleet_service.proto",
    "warifu/v1/map_run.proto",
    "warifu/v1/map_run_service.proto",
    "warifu/v1/worker_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in PROTO_FILES {
        println!("cargo::rerun-if-changed={PROTO_ROOT}/{file}");
    }
    let mut compiler = protox::Compiler::new([Path::new(PROTO_ROOT)])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTO_FILES)?;
    let descriptors = compiler.file_descriptor_set();

    let descriptor_path = PathBuf::from(env::var("OUT_DIR")?).join("warifu_descriptor.bin");
    fs::write(descriptor_path, descriptors.encode_to_vec())?;
    // `XClient::connect(address)` is not generated: `WorkerService` has a method of that name, and `transport` is the
    // one place that makes channels.
    let services = tonic_prost_build::configure().build_transport(false);
    let mut messages = tonic_prost_build::Config::new();
    // The codec finds a message's descriptor by its name. Ordered maps make equal messages equal bytes.
    messages.enable_type_names().btree_map(["."]);
    services.compile_fds_with_config(descriptors, messages)?;
    Ok(())
}
