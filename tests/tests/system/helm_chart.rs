//! The Helm chart: what it renders is valid, is what our programs accept, and keeps what docs/kubernetes.md says.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Finished, Process, command, python_with, repository, scratch, skipped, text, tool};

/// Values files under `ci/`.
const VARIANTS: [&str; 5] = ["default", "minimal", "ha", "tls", "keda"];
/// The oldest release that the chart allows, the first with a hook that sleeps, and the newest whose schema is known.
const KUBERNETES: [&str; 3] = ["1.27", "1.30", "1.37"];

struct Chart {
    helm: PathBuf,
    helm_3: PathBuf,
    python: PathBuf,
    directory: PathBuf,
}

impl Chart {
    fn find() -> Result<Self, String> {
        Ok(Self {
            helm: tool("helm/helm4")?,
            helm_3: tool("helm/helm3")?,
            python: python_with("kubernetes_validate")?,
            directory: repository().join("deploy/helm/warifu"),
        })
    }

    fn template(&self, helm: &Path, kubernetes: &str, arguments: &[&str]) -> Finished {
        let mut command = Command::new(helm);
        command.args(["template", "fleet", text(&self.directory), "--namespace", "data"]);
        command.args(["--kube-version", &format!("{kubernetes}.0")]).args(arguments);
        Process::start(command).finish()
    }

    fn variant(&self, helm: &Path, kubernetes: &str, variant: &str) -> String {
        let values = self.directory.join(format!("ci/{variant}-values.yaml"));
        self.template(helm, kubernetes, &["--values", text(&values)]).expect(0).stdout
    }

    /// The objects of a variant.
    fn objects(&self, variant: &str) -> Vec<Value> {
        let to_json =
            "import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(sys.stdin) if d]))";
        let mut process = Process::start(self.python(&["-c", to_json]));
        let rendered = self.variant(&self.helm, KUBERNETES[1], variant);
        process.stdin().write_all(rendered.as_bytes()).unwrap();
        serde_json::from_value(process.finish().expect(0).json()).unwrap()
    }

    fn python(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.args(arguments);
        command
    }
}

/// The chart, unless its tools cannot be had here.
fn chart(story: &str) -> Option<Chart> {
    Chart::find().map_err(|reason| skipped(story, &reason)).ok()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The pods that a variant makes, with the name of what makes them.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let pod = |object: &Value| match object["kind"].as_str().unwrap() {
        "StatefulSet" | "Deployment" => Some("/spec/template/spec"),
        "Pod" => Some("/spec"),
        _ => None,
    };
    objects.iter().filter_map(|object| Some((name(object), object.pointer(pod(object)?).unwrap()))).collect()
}

#[test]
fn every_variant_is_valid_for_kubernetes_old_and_new_whichever_helm_renders_it() {
    let Some(chart) = chart("Helm's variants") else { return };
    let directory = scratch();
    for helm in [&chart.helm, &chart.helm_3] {
        let mut lint = Command::new(helm);
        lint.args(["lint", "--strict", "--quiet", text(&chart.directory)]);
        Process::start(lint).finish().expect(0);
    }
    for kubernetes in KUBERNETES {
        for variant in VARIANTS {
            let rendered = chart.variant(&chart.helm, kubernetes, variant);
            let by_helm_3 = chart.variant(&chart.helm_3, kubernetes, variant);
            assert!(rendered == by_helm_3, "{variant} differs between Helm 3 and 4");
            let file = directory.path().join(format!("{variant}-{kubernetes}.yaml"));
            std::fs::write(&file, rendered).unwrap();
            let validator = chart.python.with_file_name("kubernetes-validate");
            let mut validate = Command::new(validator);
            validate.args(["-k", kubernetes, "--strict", "--quiet", "--no-warn", text(&file)]);
            Process::start(validate).finish().expect(0);
        }
    }
}

#[test]
fn programs_accept_the_configuration_that_the_chart_writes() {
    let Some(chart) = chart("Helm's configuration") else { return };
    let directory = scratch();
    for variant in VARIANTS {
        let objects = chart.objects(variant);
        let programs = [("warifu-coordinator", "coordinator.toml"), ("warifu-worker", "worker.toml")];
        for (program, name) in programs {
            let data = of_kind(&objects, "ConfigMap").into_iter().find_map(|map| map["data"][name].as_str());
            let file = directory.path().join(format!("{variant}-{name}"));
            std::fs::write(&file, data.expect("both are enabled")).unwrap();
            let mut check = command(program);
            check.args(["--config", text(&file), "--check-config"]);
            check.env("DATABASE_URL", "sqlite:///users.db");
            if program == "warifu-coordinator" {
                let scheme = if variant == "tls" { "https" } else { "http" };
                check.env("WARIFU_SERVER__ADVERTISE", format!("{scheme}://fleet-warifu-coordinator-0:7400"));
                if variant == "ha" {
                    check.env("WARIFU_STORE__USER", "warifu");
                }
            }
            Process::start(check).finish().expect(0);
        }
    }
}

#[test]
fn pods_have_no_rights_that_they_do_not_need_and_time_to_drain() {
    let Some(chart) = chart("Helm's pods") else { return };
    for variant in VARIANTS {
        let objects = chart.objects(variant);
        let pods = pods(&objects);
        assert_eq!(pods.len(), 3, "coordinators, workers and the test of {variant}");
        for (name, pod) in pods {
            let case = format!("{variant}: {name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{case}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{case}");
            assert_eq!(pod["automountServiceAccountToken"], false, "{case}");
            let container = &pod["containers"][0];
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{case}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{case}");
            assert_eq!(context["capabilities"]["drop"][0], "ALL", "{case}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{case}");
            mounts_are_of_volumes(&case, pod);
        }
        let workers = of_kind(&objects, "Deployment")[0];
        let grace = workers["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        let maps = of_kind(&objects, "ConfigMap");
        let config = maps.iter().find_map(|map| map["data"]["worker.toml"].as_str()).unwrap();
        let drain = config.split("drain_timeout = \"").nth(1).unwrap().split("s\"").next().unwrap();
        assert!(grace >= drain.parse::<u64>().unwrap() + 10, "{variant}: {drain} s within {grace} s");
    }
}

/// Volumes of claims are made by the StatefulSet.
fn mounts_are_of_volumes(case: &str, pod: &Value) {
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|volume| volume["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut volumes = names(&pod["volumes"]);
    volumes.push("state".to_owned());
    for mount in names(&pod["containers"][0]["volumeMounts"]) {
        assert!(volumes.contains(&mount), "{case} mounts {mount}, of {volumes:?}");
    }
}

#[test]
fn keda_asks_a_service_that_is_there_and_nobody_else_counts_replicas() {
    let Some(chart) = chart("Helm's scaler") else { return };
    for variant in ["keda", "tls"] {
        let objects = chart.objects(variant);
        let deployment = of_kind(&objects, "Deployment")[0];
        assert!(deployment["spec"]["replicas"].is_null(), "{variant}");
        let scaled = of_kind(&objects, "ScaledObject")[0];
        assert_eq!(scaled["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
        let trigger = &scaled["spec"]["triggers"][0];
        let address = trigger["metadata"]["scalerAddress"].as_str().unwrap();
        let service = address.split('.').next().unwrap();
        let services = of_kind(&objects, "Service");
        assert!(services.iter().any(|found| found["metadata"]["name"] == service), "{variant}: {address}");
        assert!(address.ends_with(".data.svc.cluster.local:7400"), "{variant}: {address}");
        let config = of_kind(&objects, "ConfigMap");
        let config = config.iter().find_map(|map| map["data"]["worker.toml"].as_str()).unwrap();
        let slots = trigger["metadata"]["slotsPerWorker"].as_str().unwrap();
        assert!(config.contains(&format!("slots = {slots}\n")), "{variant}: {slots}");
    }
    let objects = chart.objects("keda");
    let trigger = &of_kind(&objects, "ScaledObject")[0]["spec"]["triggers"][0];
    assert_eq!(trigger["metadata"]["handler"], "clean,user-stats");
}

#[test]
fn values_that_cannot_work_are_refused_with_what_to_do() {
    let Some(chart) = chart("Helm's refusals") else { return };
    let cases = [
        ("worker.slots=0", "slots"),
        ("worker.slot=4", "slot"),
        ("store.type=sqlite", "coordinator.replicas to 1"),
        ("tls.enabled=true", "needs tls.secret"),
        ("worker.terminationGracePeriodSeconds=100", "at least 10 s more"),
        ("store.etcd.tls.secret=etcd", "must be https"),
        ("worker.keda.enabled=true,worker.autoscaling.enabled=true", "exclude each other"),
        ("coordinator.enabled=false", "needs worker.endpoints"),
    ];
    for (values, advice) in cases {
        let refused = chart.template(&chart.helm, KUBERNETES[1], &["--set", values]);
        assert_ne!(refused.status, 0, "{values} is taken");
        assert!(refused.stderr.contains(advice), "{values}: no {advice:?} in\n{}", refused.stderr);
    }
    let elsewhere =
        "coordinator.enabled=false,worker.endpoints={http://warifu.other:7400},worker.keda.enabled=true";
    let rendered = chart.template(&chart.helm, KUBERNETES[1], &["--set", elsewhere]).expect(0).stdout;
    assert!(rendered.contains("scalerAddress: \"warifu.other:7400\""), "{rendered}");
}
