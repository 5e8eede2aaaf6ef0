//! The services over real gRPC on loopback, on the memory store and a directory of objects.

mod fleet;
mod following;
mod harness;
mod http;
mod json;
mod map_runs;
mod scaler;
mod sessions;
