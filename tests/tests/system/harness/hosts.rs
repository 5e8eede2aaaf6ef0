//! Hosts of their own for processes: network namespaces, on a bridge that reaches nothing but them.

use std::process::Command;

/// Network namespaces, the first of which holds the bridge between all; they end with the value.
pub(crate) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Makes so many, or says why that is not possible here.
    pub(crate) fn start(count: u8) -> Result<Self, String> {
        let mut hosts = Self { names: Vec::new() };
        let id = std::process::id();
        for number in 1..=count {
            let name = format!("warifu-{id}-{number}");
            ip(&["netns", "add", &name])?;
            hosts.names.push(name);
            let name = &hosts.names[usize::from(number) - 1];
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        let hub = &hosts.names[0];
        ip(&["-n", hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", hub, "addr", "add", &format!("{}/24", Self::address(0)), "dev", "bridge"])?;
        ip(&["-n", hub, "link", "set", "bridge", "up"])?;
        for (index, name) in hosts.names.iter().enumerate().skip(1) {
            let port = format!("port{index}");
            ip(&["-n", hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name])?;
            ip(&["-n", hub, "link", "set", &port, "master", "bridge", "up"])?;
            ip(&["-n", name, "addr", "add", &format!("{}/24", Self::address(index)), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        Ok(hosts)
    }

    /// The address of the host at `index`, which all of them reach.
    pub(crate) fn address(index: usize) -> String {
        format!("10.77.0.{}", index + 1)
    }

    /// The same command, run on the host at `index`. Signals reach the program itself.
    pub(crate) fn on(&self, index: usize, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.names[index]]).arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => there.env(variable, value),
                None => there.env_remove(variable),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            there.current_dir(directory);
        }
        there
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // Whoever runs there goes on until it is ended; the last one takes the namespace with it.
            _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("no `ip`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}`: {}", arguments.join(" "), said.trim()))
}
