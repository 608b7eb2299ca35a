//! The figure: task duration against relative run time, both logarithmic.

use crate::plot::data::{BASELINE, LOCAL, Series};
use crate::plot::scale::{LogScale, label, range, ticks};
use crate::plot::svg::{Anchor, Font, Svg};
use crate::plot::table;

const WIDTH: f64 = 720.0;
/// The height of a figure whose legend has no rows.
const HEIGHT: f64 = 414.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
/// Where the first row of the legend lies; the picture begins below the last.
const LEGEND: f64 = 72.0;
const LEGEND_ROW: f64 = 23.0;
const LEGEND_COLUMNS: usize = 2;
const BOTTOM: f64 = 58.0;

pub(super) const INK: &str = "#222222";
pub(super) const FAINT: &str = "#666666";
pub(super) const GRID: &str = "#e4e4e4";

/// Below this range the noise of a run would fill the picture.
const LEAST_RANGE: (f64, f64) = (0.9, 1.12);

/// From so many different delays on, their ticks are round numbers instead of the delays.
const MAX_DELAY_TICKS: usize = 9;

/// How a series looks. Colours after Okabe and Ito ("Color Universal Design", 2008), which
/// people with any colour vision can tell apart; marker and dashes differ as well. Markers are
/// of different sizes, so that equal points show as one inside the other.
pub(super) struct Style {
    pub(super) colour: &'static str,
    pub(super) dashes: &'static str,
    pub(super) marker: Marker,
}

#[derive(Clone, Copy)]
pub(super) enum Marker {
    Disc,
    Ring,
    Square,
    Diamond,
    Triangle,
    OpenTriangle,
    Cross,
    OpenSquare,
    SmallDisc,
    LargeRing,
}

const STYLES: [Style; 10] = [
    Style { colour: "#0072B2", dashes: "", marker: Marker::Disc },
    Style { colour: "#56B4E9", dashes: "7 4", marker: Marker::Ring },
    Style { colour: "#D55E00", dashes: "", marker: Marker::Square },
    Style { colour: "#E69F00", dashes: "7 4", marker: Marker::Diamond },
    Style { colour: "#009E73", dashes: "", marker: Marker::Triangle },
    Style { colour: "#009E73", dashes: "7 4", marker: Marker::OpenTriangle },
    Style { colour: "#CC79A7", dashes: "", marker: Marker::Cross },
    Style { colour: "#CC79A7", dashes: "7 4", marker: Marker::OpenSquare },
    Style { colour: "#222222", dashes: "", marker: Marker::SmallDisc },
    Style { colour: "#222222", dashes: "7 4", marker: Marker::LargeRing },
];

pub(super) fn font(size: f64, weight: u32, colour: &'static str, anchor: Anchor) -> Font {
    Font { size, weight, colour, anchor }
}

/// The figure of one size of state, as SVG.
pub fn relative_times(series: &[Series], large: bool, subtitle: &str) -> String {
    let delays = delays(series);
    let values = series.iter().flat_map(|s| s.points.iter().map(|point| point.relative));
    let y_range = range(values, 1.06, LEAST_RANGE);
    let x_range = range(delays.iter().copied(), 1.25, (f64::INFINITY, 0.0));
    let frame = Frame::below_legend_of(series.len());
    let x = LogScale::new(x_range, (LEFT, WIDTH - RIGHT));
    let y = LogScale::new(y_range, (frame.bottom(), frame.top));
    let mut svg = Svg::new(WIDTH, frame.height);
    title(&mut svg, large, subtitle, &baseline(series));
    axes(&mut svg, frame, &x, &y, &x_ticks(&delays, x_range), &y_ticks(y_range));
    // The first have the smallest markers and come on top.
    let styled: Vec<_> = series.iter().zip(STYLES.iter().cycle()).collect();
    for (series, style) in styled.into_iter().rev() {
        draw_series(&mut svg, series, style, &x, &y);
    }
    legend(&mut svg, series);
    svg.finish()
}

/// Where the picture lies in the figure.
#[derive(Clone, Copy)]
struct Frame {
    top: f64,
    height: f64,
}

impl Frame {
    fn below_legend_of(series: usize) -> Self {
        let legend = LEGEND_ROW * legend_rows(series) as f64;
        Self { top: LEGEND + legend, height: HEIGHT + legend }
    }

    fn bottom(self) -> f64 {
        self.height - BOTTOM
    }
}

fn legend_rows(series: usize) -> usize {
    series.div_ceil(LEGEND_COLUMNS).max(2)
}

/// The name of that to which all is related.
fn baseline(series: &[Series]) -> String {
    let baselines = series.iter().filter(|series| series.system == BASELINE && !series.failure);
    let engine = baselines.min_by_key(|series| series.engine != LOCAL);
    format!("{BASELINE}{}", engine.map_or_else(String::new, |series| table::on(&series.engine)))
}

fn delays(series: &[Series]) -> Vec<f64> {
    let all = series.iter().flat_map(|s| s.points.iter().map(|point| point.delay_ms));
    let mut delays: Vec<f64> = all.filter(|delay| *delay > 0.0).collect();
    delays.sort_by(f64::total_cmp);
    delays.dedup();
    delays
}

fn x_ticks(delays: &[f64], (low, high): (f64, f64)) -> Vec<f64> {
    if delays.len() <= MAX_DELAY_TICKS { delays.to_vec() } else { ticks(low, high) }
}

/// Round numbers, and 1 in any case: that is what all is compared with.
fn y_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let mut ticks = ticks(low, high);
    if !ticks.iter().any(|tick| (tick - 1.0).abs() < 1e-9) {
        ticks.push(1.0);
    }
    ticks
}

fn title(svg: &mut Svg, large: bool, subtitle: &str, baseline: &str) {
    let size = if large { "Large actor state" } else { "Small actor state" };
    svg.text((LEFT, 30.0), font(18.0, 500, INK, Anchor::Start), 0.0, size);
    let what = format!("Run time relative to {baseline} without failure");
    let what = match subtitle {
        "" => what,
        subtitle => format!("{what} · {subtitle}"),
    };
    svg.text((LEFT, 50.0), font(13.0, 400, FAINT, Anchor::Start), 0.0, &what);
}

fn axes(svg: &mut Svg, frame: Frame, x: &LogScale, y: &LogScale, x_ticks: &[f64], y_ticks: &[f64]) {
    let (top, bottom, right) = (frame.top, frame.bottom(), WIDTH - RIGHT);
    let grid = format!(r#"stroke="{GRID}" stroke-width="1""#);
    for &tick in x_ticks.iter().filter(|tick| x.contains(**tick)) {
        let at = x.position(tick);
        svg.line((at, top), (at, bottom), &grid);
        svg.text((at, bottom + 20.0), font(13.0, 400, INK, Anchor::Middle), 0.0, &label(tick));
    }
    for &tick in y_ticks.iter().filter(|tick| y.contains(**tick)) {
        let at = y.position(tick);
        svg.line((LEFT, at), (right, at), &grid);
        svg.text((LEFT - 9.0, at + 4.5), font(13.0, 400, INK, Anchor::End), 0.0, &label(tick));
    }
    let one = y.position(1.0);
    let dotted = format!(r#"stroke="{INK}" stroke-width="1.3" stroke-dasharray="1.5 4""#);
    svg.line((LEFT, one), (right, one), &dotted);
    let frame = format!(r#"stroke="{INK}" stroke-width="1""#);
    svg.line((LEFT, bottom), (right, bottom), &frame);
    svg.line((LEFT, top), (LEFT, bottom), &frame);
    let names = font(14.0, 400, INK, Anchor::Middle);
    svg.text(((LEFT + right) / 2.0, bottom + BOTTOM - 14.0), names, 0.0, "Task duration (ms)");
    svg.text((22.0, (top + bottom) / 2.0), names, -90.0, "Relative run time");
}

fn draw_series(svg: &mut Svg, series: &Series, style: &Style, x: &LogScale, y: &LogScale) {
    let on_axis = series.points.iter().filter(|point| point.delay_ms > 0.0);
    let points: Vec<(f64, f64)> =
        on_axis.map(|point| (x.position(point.delay_ms), y.position(point.relative))).collect();
    svg.polyline(&points, &stroke(style));
    for point in points {
        marker(svg, point, style);
    }
}

pub(super) fn stroke(style: &Style) -> String {
    let dashes = match style.dashes {
        "" => String::new(),
        dashes => format!(r#" stroke-dasharray="{dashes}""#),
    };
    format!(r#"stroke="{}" stroke-width="2.2" stroke-linejoin="round"{dashes}"#, style.colour)
}

pub(super) fn marker(svg: &mut Svg, (x, y): (f64, f64), style: &Style) {
    let colour = style.colour;
    let filled = format!(r##"fill="{colour}" stroke="#ffffff" stroke-width="1""##);
    let outlined = format!(r#"fill="none" stroke="{colour}" stroke-width="2""#);
    let polygon = |corners: &[(f64, f64)], paint: &str| {
        let corners: Vec<String> =
            corners.iter().map(|(dx, dy)| format!("{:.2},{:.2}", x + dx, y + dy)).collect();
        format!(r#"<polygon points="{}" {paint}/>"#, corners.join(" "))
    };
    let shape = match style.marker {
        Marker::Disc => format!(r#"<circle cx="{x:.2}" cy="{y:.2}" r="3.8" {filled}/>"#),
        Marker::Ring => format!(r#"<circle cx="{x:.2}" cy="{y:.2}" r="7.5" {outlined}/>"#),
        Marker::Square => polygon(&[(-5.4, -5.4), (5.4, -5.4), (5.4, 5.4), (-5.4, 5.4)], &filled),
        Marker::Diamond => {
            polygon(&[(0.0, -11.0), (11.0, 0.0), (0.0, 11.0), (-11.0, 0.0)], &outlined)
        }
        Marker::Triangle => polygon(&[(0.0, -6.2), (5.8, 4.4), (-5.8, 4.4)], &filled),
        Marker::OpenTriangle => polygon(&[(0.0, -12.0), (11.0, 8.0), (-11.0, 8.0)], &outlined),
        Marker::Cross => {
            format!(r#"<path d="M{:.2},{:.2}l10,10m0,-10l-10,10" {outlined}/>"#, x - 5.0, y - 5.0)
        }
        Marker::OpenSquare => {
            polygon(&[(-9.0, -9.0), (9.0, -9.0), (9.0, 9.0), (-9.0, 9.0)], &outlined)
        }
        Marker::SmallDisc => format!(r#"<circle cx="{x:.2}" cy="{y:.2}" r="3.2" {filled}/>"#),
        Marker::LargeRing => format!(r#"<circle cx="{x:.2}" cy="{y:.2}" r="9.5" {outlined}/>"#),
    };
    svg.element(&shape);
}

/// Two columns above the picture, where no line can run through it.
fn legend(svg: &mut Svg, series: &[Series]) {
    let rows = legend_rows(series.len());
    let width = (WIDTH - RIGHT - LEFT) / LEGEND_COLUMNS as f64;
    for (index, (series, style)) in series.iter().zip(STYLES.iter().cycle()).enumerate() {
        let x = LEFT + width * (index / rows) as f64;
        let y = LEGEND + LEGEND_ROW * (index % rows) as f64;
        svg.polyline(&[(x, y), (x + 36.0, y)], &stroke(style));
        marker(svg, (x + 18.0, y), style);
        let at = (x + 45.0, y + 4.5);
        svg.text(at, font(13.0, 400, INK, Anchor::Start), 0.0, &table::name(series));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::data::Point;

    fn series(system: &str, failure: bool, relative: &[f64]) -> Series {
        let delays = [10.0, 50.0, 100.0, 500.0, 1000.0];
        let point = |(&relative, delay_ms)| Point { delay_ms, duration_s: 1.0, relative };
        Series {
            engine: LOCAL.to_owned(),
            system: system.to_owned(),
            failure,
            wrong: None,
            points: relative.iter().zip(delays).map(point).collect(),
        }
    }

    #[test]
    fn every_series_is_drawn_and_named_and_stays_inside() {
        let all = [
            series("default", false, &[0.9, 0.95, 0.99, 1.0, 1.0]),
            series("default", true, &[1.2, 1.1, 1.0, 1.0, 1.0]),
            series("safe_actor", false, &[1.0; 5]),
            series("safe_actor", true, &[40.0, 3.0, 2.0, 1.1, 1.0]),
        ];
        let svg = relative_times(&all, false, "two cores");
        assert_eq!(svg.matches("<polyline").count(), 2 * all.len());
        for text in ["Small actor state", "safe_actor, failure", "two cores", "Task duration (ms)"]
        {
            assert!(svg.contains(text), "{text}");
        }
        let numbers = svg.split(r#"<circle cx=""#).skip(1);
        for circle in numbers {
            let x: f64 = circle.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
    }

    #[test]
    fn ten_series_of_two_engines_have_ten_looks_and_the_axis_a_one() {
        let mut all = Vec::new();
        for engine in [LOCAL, "ray"] {
            for system in ["default", "prototype", "safe_actor"] {
                for failure in [false, true] {
                    let one = series(system, failure, &[0.6, 2.0, 3.0, 5.0, 8.0]);
                    all.push(Series { engine: engine.to_owned(), ..one });
                }
            }
        }
        all.retain(|series| series.engine != LOCAL || series.system != "prototype");
        let looks: std::collections::HashSet<String> =
            STYLES.iter().map(|style| format!("{}{}", style.colour, style.marker as u8)).collect();
        assert_eq!((looks.len(), all.len()), (10, 10));
        let svg = relative_times(&all, false, "");
        assert!(svg.contains("safe_actor on Ray, failure") && svg.contains(">1</text>"));
    }

    #[test]
    fn a_delay_of_zero_is_left_out_instead_of_breaking_the_axis() {
        let mut one = series("safe_actor", false, &[1.0; 5]);
        one.points[0].delay_ms = 0.0;
        let svg = relative_times(&[one], true, "");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
