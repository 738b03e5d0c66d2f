//! Cost and latency against the number of receivers, as an SVG of two charts.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use super::figures::{Figures, Runs, median_of};

/// The size of the picture in pixels.
const SIZE: (u32, u32) = (1000, 440);

/// Room above the highest point, for the legend, as a factor on a logarithmic axis.
const HEADROOM: f64 = 10.0;

/// A line of a chart: its name, its colour and its points.
type Line = (String, RGBAColor, Vec<(f64, f64)>);

/// Draws what was measured for each number of receivers, in ascending order.
pub fn draw(path: &Path, measured: &[(usize, Runs)]) -> anyhow::Result<()> {
    let targets: Vec<&'static str> = match measured.first().and_then(|(_, runs)| runs.first()) {
        Some(pair) => pair.iter().map(|figures| figures.target).collect(),
        None => return Ok(()),
    };
    let line = |target: &str, figure: &dyn Fn(&Figures) -> f64| -> Vec<(f64, f64)> {
        measured.iter().map(|(receivers, runs)| (*receivers as f64, median_of(runs, target, figure))).collect()
    };
    let (mut costs, mut latencies): (Vec<Line>, Vec<Line>) = Default::default();
    for (index, target) in targets.into_iter().enumerate() {
        let color = |opacity| Palette99::pick(index).mix(opacity);
        costs.push((target.to_owned(), color(1.0), line(target, &Figures::cost_us)));
        for (name, opacity, percentile) in [("p99", 0.5, 1), ("p50", 1.0, 0)] {
            let points = line(target, &|figures| figures.latency_us()[percentile]);
            latencies.push((format!("{target}, {name}"), color(opacity), points));
        }
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let halves = root.split_evenly((1, 2));
    chart(&halves[0], "server CPU per delivery, us", &costs)?;
    chart(&halves[1], "latency, us", &latencies)?;
    root.present()?;
    Ok(())
}

fn chart(area: &DrawingArea<SVGBackend<'_>, Shift>, title: &str, lines: &[Line]) -> anyhow::Result<()> {
    let points = || lines.iter().flat_map(|(_, _, line)| line.iter().copied());
    let least = |values: &mut dyn Iterator<Item = f64>| values.filter(|v| *v > 0.0).fold(f64::MAX, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.filter(|v| v.is_finite()).fold(1.0, f64::max);
    let (xs, ys) = (|| points().map(|(x, _)| x), || points().map(|(_, y)| y));
    // Both span three orders of magnitude.
    let x_axis = (least(&mut xs()) * 0.9..most(&mut xs()) * 1.1).log_scale();
    let y_axis = (least(&mut ys()) * 0.5..most(&mut ys()) * HEADROOM).log_scale();
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(x_axis, y_axis)?;
    chart
        .configure_mesh()
        .x_desc("receivers")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (name, color, line) in lines {
        let style = color.stroke_width(2);
        let series = LineSeries::new(line.iter().copied(), style).point_size(3);
        chart
            .draw_series(series)?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}
