//! Medians.

/// The median, the least and the most of some measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Summary {
    /// Of at least one measurement.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }

    /// The same in another unit.
    pub(crate) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let mut ends = [change(self.least), change(self.most)];
        ends.sort_by(f64::total_cmp);
        Self { median: change(self.median), least: ends[0], most: ends[1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle_whatever_the_order() {
        let summary = Summary::of(vec![5.0, 1.0, 4.0]);
        assert_eq!(summary, Summary { median: 4.0, least: 1.0, most: 5.0 });
        assert_eq!(summary.map(|value| 1.0 / value), Summary { median: 0.25, least: 0.2, most: 1.0 });
    }
}
