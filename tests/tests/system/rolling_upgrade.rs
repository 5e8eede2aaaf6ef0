//! Each program on a host of its own, replaced one after the other as an upgrade does it, while batches run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Hosts, Process, command, eventually, python_with, scratch, skipped, text, warifu_in};

const BATCHES: usize = 400;
/// The hub has etcd, S3 and the clients.
const HUB: usize = 0;
const COORDINATORS: std::ops::RangeInclusive<usize> = 1..=2;
const WORKERS: std::ops::RangeInclusive<usize> = 3..=5;
const HOSTS: u8 = 6;

/// Far more than any step takes.
const DEADLINE: Duration = Duration::from_secs(90);
/// The longest time in which no batch may begin.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// Puts the rows where the run reads them; moto makes no difference between keys.
const PUT_ROWS: &str = "
import boto3, sys
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='a', aws_secret_access_key='b')
for bucket in ['input', 'output']:
    s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket='input', Key='in.csv', Body='id\\n' + ''.join(f'{row}\\n' for row in range(int(sys.argv[2]))))
";

const JOB: &str = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
                   itemBatcher: {maxItemsPerBatch: 1}\nitemProcessor: {handler: slow}\nmaxConcurrency: 10\n";

/// All hosts, and what runs on them.
struct Cluster {
    /// By host.
    programs: Vec<Option<Process>>,
    _services: [Process; 2],
    hosts: Hosts,
    directory: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Result<Self, String> {
        let python = python_with("moto")?;
        let hosts = Hosts::start(HOSTS)?;
        let directory = scratch();
        let in_hub = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            hosts.on(HUB, command.args(arguments).current_dir(directory.path()))
        };
        let etcd_url = format!("http://{}:2379", Hosts::address(HUB));
        let etcd =
            ["--data-dir", "etcd", "--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url];
        let etcd = Process::start(in_hub("etcd".as_ref(), &etcd));
        let moto = ["-m", "moto.server", "-H", &Hosts::address(HUB), "-p", "9000"];
        let moto = Process::start(in_hub(&python, &moto));
        let s3_url = format!("http://{}:9000", Hosts::address(HUB));
        eventually("the S3 server takes the rows", DEADLINE, || {
            let put = in_hub(&python, &["-c", PUT_ROWS, &s3_url, &BATCHES.to_string()]);
            (Process::start(put).finish().status == 0).then_some(())
        });
        let mut cluster =
            Self { programs: (0..HOSTS).map(|_| None).collect(), _services: [etcd, moto], hosts, directory };
        let s3 = format!(
            "[s3]\nendpoint_url = '{s3_url}'\nregion = 'us-east-1'\nforce_path_style = true\nsystem_bucket = 'output'\n"
        );
        for host in COORDINATORS {
            let config = format!(
                "[server]\nlisten = '0.0.0.0:7400'\nadvertise = '{}'\ninsecure = true\n\
                 [store]\ntype = 'etcd'\nendpoints = ['{etcd_url}']\n{s3}",
                endpoint(host)
            );
            cluster.write(host, &config);
            cluster.spawn(host);
        }
        let endpoints: Vec<_> = COORDINATORS.map(|host| format!("'{}'", endpoint(host))).collect();
        for host in WORKERS {
            let config = format!(
                "[coordinator]\nendpoints = [{}]\n[worker]\nslots = 4\ndrain_timeout = '20s'\nstate_dir = 'state-{host}'\n\
                 {s3}[handlers.slow]\ntype = 'exec'\ncommand = ['sh', '-c', 'date +%s%3N >>\"{}\"; sleep 0.5; cat']\n",
                endpoints.join(", "),
                text(&cluster.log()),
            );
            cluster.write(host, &config);
            cluster.spawn(host);
        }
        Ok(cluster)
    }

    fn write(&self, host: usize, config: &str) {
        std::fs::write(self.directory.path().join(format!("{host}.toml")), config).unwrap();
    }

    fn spawn(&mut self, host: usize) {
        let name = if COORDINATORS.contains(&host) { "warifu-coordinator" } else { "warifu-worker" };
        let mut program = command(name);
        program.current_dir(self.directory.path()).args(["--config", &format!("{host}.toml")]);
        program.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        self.programs[host] = Some(Process::start(self.hosts.on(host, &program)));
    }

    /// Ends what runs on a host as an operator does, starts it again, and waits until batches have begun since.
    fn replace(&mut self, host: usize) {
        let process = self.programs[host].take().unwrap();
        process.signal(Signal::SIGTERM);
        process.finish().expect(0);
        self.spawn(host);
        let before = self.begun().len();
        eventually("batches run", DEADLINE, || (self.begun().len() > before + 10).then_some(()));
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// When each batch began, in milliseconds since 1970.
    fn begun(&self) -> Vec<u64> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        // The last line may not be whole yet.
        log.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// What `warifu` says, asked on the hub.
    fn ask(&self, arguments: &[&str]) -> Option<Value> {
        let mut client = warifu_in(self.directory.path(), arguments.iter().copied());
        client.env("WARIFU_ENDPOINT", endpoint(1)).args(["-o", "json"]);
        let finished = Process::start(self.hosts.on(HUB, &client)).finish();
        (finished.status == 0).then(|| finished.json())
    }
}

fn endpoint(host: usize) -> String {
    format!("http://{}:7400", Hosts::address(host))
}

#[test]
fn an_upgrade_of_all_hosts_under_load_fails_nothing_and_leaves_no_gap() {
    let mut cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(reason) => return skipped("hosts of their own", &reason),
    };
    std::fs::write(cluster.directory.path().join("job.yaml"), JOB).unwrap();
    eventually("the run is taken", DEADLINE, || cluster.ask(&["submit", "-f", "job.yaml", "--id", "r"]));
    eventually("batches run", DEADLINE, || (cluster.begun().len() > 10).then_some(()));
    for host in COORDINATORS.chain(WORKERS) {
        cluster.replace(host);
    }
    assert!(cluster.begun().len() < BATCHES, "the run was over before everything was replaced");
    let run = cluster.ask(&["wait", "r", "--timeout", "90s"]).expect("it succeeds");
    assert_eq!(run["itemCounts"]["succeeded"], BATCHES);
    let mut begun = cluster.begun();
    assert_eq!(begun.len(), BATCHES, "each batch runs once");
    begun.sort_unstable();
    let gap = begun.windows(2).map(|pair| Duration::from_millis(pair[1] - pair[0])).max().unwrap();
    println!("the longest time in which no batch began: {gap:?}");
    assert!(gap <= LONGEST_GAP, "no batch began for {gap:?}");
}
