//! Images and the fleet by compose, as far as they can be judged without building any: files that are named exist, our
//! programs accept the configuration, nobody waits for what has no health check.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Process, command, python_with, repository, skipped, text};

fn directory() -> PathBuf {
    repository().join("deploy/compose")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// The services of the compose file, with what `<<` merges.
fn services() -> Result<Value, String> {
    let mut python = Command::new(python_with("kubernetes_validate")?);
    python.args(["-c", "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"]);
    let mut process = Process::start(python);
    process.stdin().write_all(read("deploy/compose/compose.yaml").as_bytes()).unwrap();
    Ok(process.finish().expect(0).json()["services"].clone())
}

/// Names of the Dockerfile's stages, in order, each with what it is made from.
fn stages(dockerfile: &str) -> Vec<(&str, &str)> {
    let froms = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    froms.map(|from| from.split_once(" AS ").map(|(base, name)| (name, base)).unwrap()).collect()
}

#[test]
fn every_image_has_its_program_alone_and_ends_as_an_unprivileged_user() {
    let dockerfile = read("deploy/images/Dockerfile");
    let stages = stages(&dockerfile);
    for (target, program) in
        [("coordinator", "warifu-coordinator"), ("worker", "warifu-worker"), ("cli", "warifu")]
    {
        assert!(stages.contains(&(target, "base")), "{stages:?}");
        let stage = dockerfile.split(&format!("FROM base AS {target}\n")).nth(1).unwrap();
        let stage = stage.split("\nFROM ").next().unwrap();
        assert!(
            stage.contains(&format!("COPY --from=binaries /out/{program} /usr/local/bin/{program}")),
            "{stage}"
        );
        assert!(stage.contains(&format!("ENTRYPOINT [\"/usr/local/bin/{program}\"]")), "{stage}");
        assert!(!stage.contains("USER") && !stage.contains("RUN"), "{stage}");
    }
    let base = dockerfile.split("FROM ${BASE} AS base\n").nth(1).unwrap().split("\nFROM ").next().unwrap();
    assert!(base.contains("USER 65532:65532") && !base.contains("RUN"), "{base}");
    let mut parse = Command::new("bash");
    parse.args(["-n", text(&repository().join("deploy/images/stage"))]);
    Process::start(parse).finish().expect(0);
    let nonsense = Process::start({
        let mut stage = Command::new("bash");
        stage.args([text(&repository().join("deploy/images/stage")), "quickly"]);
        stage
    });
    nonsense.finish().expect(2).says(&["write static, musl or dynamic"]);
}

#[test]
fn the_fleet_by_compose_names_only_what_is_there() {
    let services = match services() {
        Ok(services) => services,
        Err(reason) => return skipped("the fleet by compose", &reason),
    };
    let services = services.as_object().unwrap();
    let dockerfile = read("deploy/images/Dockerfile");
    let targets: BTreeSet<&str> = stages(&dockerfile).into_iter().map(|(name, _)| name).collect();
    let mut ours = 0;
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit(':').next().unwrap();
        assert!(!image.ends_with(":latest") && tag != image, "{name}: {image} is not pinned");
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let is_file = source.starts_with("./");
            assert!(!is_file || directory().join(source).is_file(), "{name} mounts {source}");
        }
        for dependency in service["depends_on"].as_object().into_iter().flatten() {
            let (wanted, condition) = (dependency.0, &dependency.1["condition"]);
            assert_eq!(condition, "service_healthy", "{name} waits for {wanted}");
            assert!(services[wanted]["healthcheck"]["test"].is_array(), "{wanted} has no health check");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to others: {port}");
        }
        let Some(target) = service["build"]["target"].as_str() else { continue };
        ours += 1;
        assert!(targets.contains(target), "{name}: the Dockerfile has no {target}");
        assert!(service["read_only"] == true && service["cap_drop"][0] == "ALL", "{name}");
        assert!(directory().join(service["build"]["context"].as_str().unwrap()).join("Cargo.toml").is_file());
    }
    assert_eq!(ours, 3, "two coordinators and the workers");
}

#[test]
fn programs_accept_the_configuration_of_the_fleet_by_compose() {
    for (program, file) in [("warifu-coordinator", "coordinator.toml"), ("warifu-worker", "worker.toml")] {
        let mut check = command(program);
        check.args(["--config", text(&directory().join(file)), "--check-config"]);
        if program == "warifu-coordinator" {
            check.env("WARIFU_SERVER__ADVERTISE", "http://coordinator-1:7400");
        }
        check.env("DATABASE_URL", "postgres://warifu:example@postgres:5432/warifu");
        Process::start(check).finish().expect(0);
    }
    let mut print = command("warifu");
    print.args(["submit", "-f", text(&directory().join("job.yaml")), "--print-request"]);
    let request = Process::start(print).finish().expect(0).json();
    assert_eq!(request["mapRun"]["spec"]["itemProcessor"]["handler"], "user-stats");
}
