//! `warifu dev`: coordinator, workers and S3 in one process, until it is asked to end.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use warifu_common::model::spec::DEFAULT_SHARD_BYTES;

use crate::all_in_one::{AllInOne, BUCKETS, Ports, S3_REGION, Settings};
use crate::data_dir::DataDir;
use crate::exit::Exit;
use crate::handlers::Handlers;
use crate::interrupts::asked_to_end;
use crate::output::Output;
use crate::problem::Problem;

/// Arguments of `dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// gRPC listens here, HTTP on the next port, S3 on the one after; 0: any free ports
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    port_base: u16,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = ".warifu")]
    data_dir: PathBuf,
    /// Workers in this process
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=64))]
    workers: u32,
    /// Batches that a worker may run at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    slots: u32,
    /// Bytes of a shard, the unit of planning
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SHARD_BYTES, hide = true)]
    shard_size: u64,
    /// Where handlers are configured; absent: ./worker.toml, if there is one
    #[arg(long, value_name = "FILE")]
    worker_config: Option<PathBuf>,
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn dev(args: DevArgs, output: &Output) -> anyhow::Result<Exit> {
    let ports = Ports::from_base(args.port_base).ok_or_else(|| {
        Problem::new(format!("--port-base {}: there is no room for 3 ports", args.port_base))
    })?;
    let handlers = Handlers::from_worker_config(args.worker_config.as_deref())?;
    let data_dir = DataDir::at(&args.data_dir)?;
    let settings = Settings {
        ports,
        s3: true,
        workers: args.workers,
        slots: args.slots,
        shard_bytes: args.shard_size,
        handlers,
    };
    let names = settings.handlers.names().join(", ");
    let process = AllInOne::start(&data_dir, settings).await?;
    let serving = serve(&process, &data_dir, &names, args.workers, output).await;
    data_dir.remove_ports();
    process.shut_down().await;
    serving.map(|()| Exit::Succeeded)
}

async fn serve(
    process: &AllInOne,
    data_dir: &DataDir,
    handlers: &str,
    workers: u32,
    output: &Output,
) -> anyhow::Result<()> {
    let places = places(process, data_dir);
    data_dir.write_ports(&places)?;
    output.value(|| places.clone(), || banner(process, data_dir, handlers, workers))?;
    asked_to_end().await?;
    eprintln!("stopping");
    Ok(())
}

/// Where everything is, for programs.
fn places(process: &AllInOne, data_dir: &DataDir) -> serde_json::Value {
    let ports = process.ports();
    let s3 = process.s3();
    json!({
        "grpc": ports.grpc,
        "http": ports.http,
        "s3": ports.s3,
        "endpoint": process.endpoint(),
        "httpEndpoint": format!("http://127.0.0.1:{}", ports.http),
        "s3Endpoint": s3.map(|s3| s3.endpoint.clone()),
        "accessKey": s3.map(|s3| s3.access_key.clone()),
        "secretKey": s3.map(|s3| s3.secret_key.clone()),
        "region": S3_REGION,
        "buckets": BUCKETS,
        "dataDir": data_dir.text(),
    })
}

fn banner(process: &AllInOne, data_dir: &DataDir, handlers: &str, workers: u32) -> String {
    let ports = process.ports();
    let Some(s3) = process.s3() else { return String::new() };
    let (endpoint, access_key, secret_key) = (&s3.endpoint, &s3.access_key, &s3.secret_key);
    let [input, output] = BUCKETS;
    let endpoint_flag =
        if ports.grpc == 7400 { String::new() } else { format!(" --endpoint {}", process.endpoint()) };
    format!(
        "Warifu {version}, everything in one process: for development, not for production\n\
         \n  gRPC      {grpc}\
         \n  HTTP      http://127.0.0.1:{http}   /metrics /healthz /readyz\
         \n  S3        {endpoint}   buckets {input} and {output}\
         \n  data      {data}\
         \n  workers   {workers}, handlers {handlers}\
         \n\nTo reach this S3 from a shell:\n\
         \n  export AWS_ENDPOINT_URL={endpoint}\
         \n  export AWS_ACCESS_KEY_ID={access_key}\
         \n  export AWS_SECRET_ACCESS_KEY={secret_key}\
         \n  export AWS_REGION={S3_REGION}\
         \n\nThen:\n\
         \n  aws s3 cp users.csv s3://{input}/\
         \n  warifu{endpoint_flag} submit -f job.yaml --watch\
         \n\nCtrl-C ends it; runs go on at the next start.\n",
        version = env!("CARGO_PKG_VERSION"),
        grpc = process.endpoint(),
        http = ports.http,
        data = data_dir.text(),
    )
}
