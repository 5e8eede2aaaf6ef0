//! The load matrix: few to many items by concurrency, as a table and a plot.

use std::fmt::Write as _;

use crate::Settings;
use crate::data::Kind;
use crate::programs;
use crate::summary::Summary;

const ITEMS: [u64; 5] = [100, 500, 1_000, 5_000, 10_000];
const CONCURRENCY: [&str; 3] = ["1", "3", "5"];
const COLORS: [&str; 3] = ["#1b6ca8", "#d1495b", "#2e8b57"];

/// What a handler takes for a batch: as long as a call of a service nearby.
const WORK: &str = "sleep 0.05; cat >/dev/null";

/// The plot's size and margins.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 60.0;

/// Measures all of them, and writes `matrix.md` and `matrix.svg`.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<()> {
    let mut table = "| items | 1 at once | 3 at once | 5 at once |\n| --- | --- | --- | --- |\n".to_owned();
    let mut series = vec![Vec::new(); CONCURRENCY.len()];
    for items in ITEMS {
        let file = Kind::Ordinary.file(&Settings { rows: items, ..settings.clone() })?;
        write!(table, "| {items} |")?;
        for (concurrency, series) in CONCURRENCY.iter().zip(&mut series) {
            let arguments = ["--exec", WORK, "--max-concurrency", *concurrency];
            let seconds =
                (0..settings.repeat).map(|_| Ok(programs::run(settings, &file, &arguments)?.seconds));
            let speed =
                Summary::of(seconds.collect::<anyhow::Result<_>>()?).map(|seconds| items as f64 / seconds);
            write!(table, " {:.0} items/s |", speed.median)?;
            series.push(speed.median);
        }
        table.push('\n');
    }
    println!("{table}");
    std::fs::write(settings.directory.join("matrix.md"), table)?;
    std::fs::write(settings.directory.join("matrix.svg"), plot(&series))?;
    Ok(())
}

/// Items per second by items, a line for each concurrency.
fn plot(series: &[Vec<f64>]) -> String {
    let most = series.iter().flatten().fold(1.0_f64, |most, value| most.max(*value));
    let x = |place: usize| MARGIN + place as f64 * (WIDTH - 2.0 * MARGIN) / (ITEMS.len() - 1) as f64;
    let y = |value: f64| HEIGHT - MARGIN - value / most * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\">items per second, by items and batches at once</text>\n\
         <line x1=\"{MARGIN}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"black\"/>\n\
         <text x=\"8\" y=\"{2}\">{most:.0}</text>\n",
        y(0.0),
        WIDTH - MARGIN,
        y(most)
    );
    for (place, items) in ITEMS.iter().enumerate() {
        svg += &format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{items}</text>\n",
            x(place),
            y(0.0) + 20.0
        );
    }
    for ((values, color), concurrency) in series.iter().zip(COLORS).zip(CONCURRENCY) {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(place, value)| format!("{:.1},{:.1}", x(place), y(*value)))
            .collect();
        svg += &format!(
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>\n",
            points.join(" ")
        );
        let last = values.last().copied().unwrap_or_default();
        svg += &format!(
            "<text x=\"{}\" y=\"{}\" fill=\"{color}\">{concurrency}</text>\n",
            WIDTH - MARGIN + 8.0,
            y(last)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_has_a_line_for_each_concurrency_within_its_frame() {
        let svg = plot(&[vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![2.0; 5], vec![0.0; 5]]);
        assert_eq!(svg.matches("<polyline").count(), CONCURRENCY.len());
        assert!(svg.contains("580.0,60.0") && !svg.contains("NaN"), "{svg}");
    }
}
