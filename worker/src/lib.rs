//! The worker: scans shards, runs handlers on batches in its slots, writes result parts, reports outcomes.
