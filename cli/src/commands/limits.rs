//! The limits of a run that `update` and `redrive` may change.

use std::str::FromStr;

use clap::Args;
use prost_types::FieldMask;
use warifu_common::wire::v1::MapRunSpec;

/// New limits; `none` lifts one.
#[derive(Debug, Default, Args)]
pub(crate) struct LimitArgs {
    /// Batches in progress at once in the whole fleet; `none`: no limit
    #[arg(long, value_name = "N", value_parser = parse_limit::<u32>)]
    max_concurrency: Option<Limit<u32>>,
    /// The run fails when more items than this failed; `none`: no limit of this kind
    #[arg(long, value_name = "N", value_parser = parse_limit::<u64>)]
    tolerated_failure_count: Option<Limit<u64>>,
    /// The run fails when more than this percentage of items failed; `none`: no limit of this kind
    #[arg(long, value_name = "PERCENT", value_parser = parse_limit::<f64>)]
    tolerated_failure_percentage: Option<Limit<f64>>,
    /// Items started in a second; `none`: no limit
    #[arg(long, value_name = "N", value_parser = parse_limit::<f64>)]
    max_items_per_second: Option<Limit<f64>>,
}

/// A limit as written: a number, or `none`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit<T>(Option<T>);

fn parse_limit<T: FromStr>(text: &str) -> Result<Limit<T>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    text.parse().map(|limit| Limit(Some(limit))).map_err(|_| "write a number, or `none`".to_owned())
}

impl LimitArgs {
    /// The new values, and which they are; `None` if nothing is to change.
    pub(crate) fn to_update(&self) -> Option<(MapRunSpec, FieldMask)> {
        let mut spec = MapRunSpec::default();
        let mut paths = Vec::new();
        if let Some(Limit(limit)) = self.max_concurrency {
            spec.max_concurrency = limit.unwrap_or(0);
            paths.push("spec.max_concurrency".to_owned());
        }
        if let Some(Limit(limit)) = self.tolerated_failure_count {
            spec.tolerated_failure_count = limit;
            paths.push("spec.tolerated_failure_count".to_owned());
        }
        if let Some(Limit(limit)) = self.tolerated_failure_percentage {
            spec.tolerated_failure_percentage = limit;
            paths.push("spec.tolerated_failure_percentage".to_owned());
        }
        if let Some(Limit(limit)) = self.max_items_per_second {
            spec.max_items_per_second = limit.unwrap_or(0.0);
            paths.push("spec.max_items_per_second".to_owned());
        }
        (!paths.is_empty()).then_some((spec, FieldMask { paths }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_that_are_named_change() {
        assert!(LimitArgs::default().to_update().is_none());
        let args = LimitArgs {
            max_concurrency: Some(Limit(Some(8))),
            tolerated_failure_count: Some(Limit(None)),
            ..LimitArgs::default()
        };
        let (spec, mask) = args.to_update().expect("two limits change");
        assert_eq!(mask.paths, ["spec.max_concurrency", "spec.tolerated_failure_count"]);
        assert_eq!((spec.max_concurrency, spec.tolerated_failure_count), (8, None));
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(parse_limit::<u32>("5"), Ok(Limit(Some(5))));
        assert_eq!(parse_limit::<u32>("none"), Ok(Limit(None)));
        assert!(parse_limit::<u32>("-1").is_err());
    }
}
