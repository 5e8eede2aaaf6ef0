//! Roles, and what each method needs: the one table of both.

use std::fmt;
use std::str::FromStr;

/// What a principal may do. The first three each may what the one before may; a worker may do nothing but work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Looks at runs and workers.
    Viewer,
    /// Creates runs, and acts on them.
    Submitter,
    /// Deletes runs, and acts on workers.
    Operator,
    /// Runs batches.
    Worker,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: it says nothing of anyone's data.
    Open,
    /// This role or one above it.
    Needs(Role),
    /// No role suffices.
    Denied,
}

/// A method, what it needs, and whether it changes anything.
struct Row(&'static str, Access, Effect);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Changes,
}

const VIEWER: Access = Access::Needs(Role::Viewer);
const SUBMITTER: Access = Access::Needs(Role::Submitter);
const OPERATOR: Access = Access::Needs(Role::Operator);

/// Every method there is. `docs/security.md` shows the same table.
static METHODS: [Row; 22] = [
    Row("/warifu.v1.MapRunService/GetMapRun", VIEWER, Effect::Reads),
    Row("/warifu.v1.MapRunService/ListMapRuns", VIEWER, Effect::Reads),
    Row("/warifu.v1.MapRunService/WatchMapRun", VIEWER, Effect::Reads),
    Row("/warifu.v1.MapRunService/WaitMapRun", VIEWER, Effect::Reads),
    Row("/warifu.v1.MapRunService/ListItemFailures", VIEWER, Effect::Reads),
    Row("/warifu.v1.MapRunService/ListBatches", VIEWER, Effect::Reads),
    Row("/warifu.v1.MapRunService/CreateMapRun", SUBMITTER, Effect::Changes),
    Row("/warifu.v1.MapRunService/StopMapRun", SUBMITTER, Effect::Changes),
    Row("/warifu.v1.MapRunService/UpdateMapRun", SUBMITTER, Effect::Changes),
    Row("/warifu.v1.MapRunService/RedriveMapRun", SUBMITTER, Effect::Changes),
    Row("/warifu.v1.MapRunService/DeleteMapRun", OPERATOR, Effect::Changes),
    Row("/warifu.v1.FleetService/ListWorkers", VIEWER, Effect::Reads),
    Row("/warifu.v1.FleetService/GetWorker", VIEWER, Effect::Reads),
    Row("/warifu.v1.FleetService/GetCluster", VIEWER, Effect::Reads),
    Row("/warifu.v1.FleetService/DrainWorker", OPERATOR, Effect::Changes),
    Row("/warifu.v1.FleetService/UncordonWorker", OPERATOR, Effect::Changes),
    Row("/warifu.v1.WorkerService/Connect", Access::Needs(Role::Worker), Effect::Changes),
    // Probes have no token, and what the API looks like is public.
    Row("/grpc.health.v1.Health/", Access::Open, Effect::Reads),
    Row("/grpc.reflection.v1.ServerReflection/", Access::Open, Effect::Reads),
    Row("/grpc.reflection.v1alpha.ServerReflection/", Access::Open, Effect::Reads),
    // KEDA has no token to show, and hears how many slots there is work for.
    Row("/externalscaler.ExternalScaler/", Access::Open, Effect::Reads),
    // Not gRPC: what the HTTP port asks for on behalf of `/metrics`.
    Row(METRICS, VIEWER, Effect::Reads),
];

/// `/metrics` of the HTTP port.
pub(crate) const METRICS: &str = "/metrics";

/// The row of a method: its own, or that of its service where all methods are alike (it ends in a slash).
fn row(method: &str) -> Option<&'static Row> {
    METHODS.iter().find(|Row(name, ..)| match name.strip_suffix('/') {
        Some(_) => method.starts_with(name),
        None => method == *name,
    })
}

/// What a method needs; one that nobody knows is denied.
pub(crate) fn access(method: &str) -> Access {
    row(method).map_or(Access::Denied, |Row(_, access, _)| *access)
}

/// True if a call may change something.
pub(crate) fn changes(method: &str) -> bool {
    row(method).is_some_and(|Row(.., effect)| *effect == Effect::Changes)
}

impl Role {
    /// True if this role may do what `needed` may.
    pub(crate) fn suffices_for(self, needed: Role) -> bool {
        match (self, needed) {
            (Role::Worker, needed) => needed == Role::Worker,
            (Role::Viewer | Role::Submitter | Role::Operator, Role::Worker) => false,
            (role, needed) => role >= needed,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Submitter => "submitter",
            Role::Operator => "operator",
            Role::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let roles = [Role::Viewer, Role::Submitter, Role::Operator, Role::Worker];
        roles.into_iter().find(|role| role.name() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use warifu_common::wire::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn every_method_of_the_api_has_a_row_and_nothing_else_is_let_in() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let ours = file.package().starts_with("warifu");
                    let has_row =
                        if ours { matches!(access(&path), Access::Needs(_)) } else { row(&path).is_some() };
                    assert!(has_row, "{path} has no row");
                }
            }
        }
        for unknown in ["/warifu.v1.MapRunService/Nothing", "/warifu.v1.MapRunService/", "/", ""] {
            assert_eq!(access(unknown), Access::Denied, "{unknown}");
        }
    }

    #[test]
    fn roles_include_each_other_but_workers_stand_apart() {
        let roles = [Role::Viewer, Role::Submitter, Role::Operator, Role::Worker];
        let table = roles.map(|has| roles.map(|needs| has.suffices_for(needs)));
        assert_eq!(
            table,
            [
                [true, false, false, false],
                [true, true, false, false],
                [true, true, true, false],
                [false, false, false, true],
            ]
        );
    }
}
