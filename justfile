# Short names for commands that work without `just`, too. Logic beyond one line lives in the tests' Rust.

# All recipes
default:
    @just --list

# Exactly what CI runs
check *steps:
    bash .ci/check {{steps}}

# Everything working, in one process, with a proof at the end
quickstart *args:
    cargo run -p warifu-cli -- quickstart {{args}}

# An hour of faults, the long variants of the other whole-system tests, large configurations of the model, and many more
# seeds of both simulations
soak first="1000000" count="20000" steps="5000": soak-faults
    cargo run --release -p warifu-simulation -- --seed {{first}} --count {{count}} --steps {{steps}}
    cargo run --release -p warifu-protocol-model -- --large
    WARIFU_SOAK=1 cargo test --release -p warifu-turmoil
    WARIFU_SOAK=1 cargo test --release -p warifu-tests -- --skip faults

# An hour of faults in a fleet of processes, from a seed; the last output is in docs/soak-faults.md
soak-faults seed="2026":
    cargo build -p warifu-cli -p warifu-coordinator -p warifu-worker
    WARIFU_SOAK=1 WARIFU_FAULT_SEED={{seed}} cargo test -p warifu-tests faults -- --nocapture

# One seed of the simulation again, with its event log
replay seed steps="5000":
    cargo run -p warifu-simulation -- --seed {{seed}} --steps {{steps}} --log target/simulation-{{seed}}.log

# One seed of the real stack under a simulated network again, with what it logs
replay-turmoil seed:
    WARIFU_TURMOIL_SEED={{seed}} cargo test -p warifu-turmoil every_seed -- --nocapture

# How long losses are felt with the default times, each so many times; what a run takes in the store; a plan of 1 TiB in etcd
measure times="20":
    WARIFU_MEASURE={{times}} cargo test -p warifu-tests recovery_times -- --nocapture
    cargo run -p warifu-simulation -- --measure-store
    cargo test -p warifu-coordinator --lib large_plan -- --nocapture

# Rows per second through the whole product: S3, scan, leases, SQL, results
measure-rows rows="2000000":
    cargo run --release -p warifu-cli -- quickstart --rows {{rows}}

# What a batch costs beside the limits of this machine, as a table with ratios in target/bench: all, scan, limit, runs, latency, ranged, cluster, sql, growth, scale, matrix, readers
bench part="all" *args:
    cargo build --release -p warifu-bench -p warifu-cli -p warifu-coordinator -p warifu-worker
    target/release/warifu-bench {{part}} {{args}}

# Parts of a batch's cost, each alone, by criterion; `micro scan` measures those with this name
micro *args:
    cargo bench -p warifu-bench --bench micro -- {{args}}

# Every string of seven and eight letters through the scan
exhaustive:
    cargo test -p warifu-dataset --test exhaustive

# The images from a release build, without a daemon, each run as production does; needs buildah and podman
images:
    bash deploy/images/stage static
    bash deploy/images/verify

# The scan on arbitrary bytes; needs a nightly compiler and cargo-fuzz
fuzz seconds="600":
    cargo +nightly fuzz run scan_and_compose -- -max_total_time={{seconds}}

# Whether the API only grew since a revision
breaking revision:
    PROTO_BASE={{revision}} bash .ci/check proto

# Licences, sources and advisories of everything that is linked; needs cargo-deny
deny:
    cargo deny check
