//! `warifu cluster`: who leads, who else is there, and the state store.

use warifu_common::wire::v1::{Cluster, GetClusterRequest};

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::output::Output;
use crate::text;

/// Shows the cluster.
pub(crate) async fn cluster(global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let cluster = client.fleet().get_cluster(GetClusterRequest {}).await?.into_inner();
    output.message(&cluster, || describe(&cluster))?;
    Ok(Exit::Succeeded)
}

fn describe(cluster: &Cluster) -> String {
    let leader = cluster.leader.clone().unwrap_or_default();
    let store = cluster.store.clone().unwrap_or_default();
    let mut lines = vec![
        format!("leader     {} (version {}, term {})", leader.endpoint, leader.version, cluster.term),
        format!(
            "workers    {} · {} of {} slots held",
            cluster.worker_count, cluster.held_slot_count, cluster.slot_count
        ),
        format!("map runs   {} active", cluster.active_map_run_count),
        format!("store      {}, {}", store.r#type, text::size(store.size_bytes)),
    ];
    if !store.problem.is_empty() {
        lines.push(format!("problem    {}", store.problem));
    }
    let others = cluster.members.iter().filter(|member| Some(*member) != cluster.leader.as_ref());
    lines.extend(others.map(|member| format!("follower   {} (version {})", member.endpoint, member.version)));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{ClusterMember, StateStore};

    use super::*;

    #[test]
    fn leader_fleet_and_store_are_shown() {
        let leader = ClusterMember { endpoint: "http://127.0.0.1:7400".into(), version: "0.1.0".into() };
        let cluster = Cluster {
            leader: Some(leader.clone()),
            term: 3,
            members: vec![leader],
            store: Some(StateStore { r#type: "sqlite".into(), size_bytes: 4_096, problem: String::new() }),
            worker_count: 2,
            slot_count: 16,
            held_slot_count: 5,
            active_map_run_count: 1,
        };
        assert_eq!(
            describe(&cluster),
            "leader     http://127.0.0.1:7400 (version 0.1.0, term 3)\n\
             workers    2 · 5 of 16 slots held\n\
             map runs   1 active\n\
             store      sqlite, 4.0 KiB\n"
        );
    }
}
