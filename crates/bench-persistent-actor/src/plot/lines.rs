//! Lines over two logarithmic axes, for anything.

use crate::plot::chart::{FAINT, GRID, INK, Marker, Style, font, marker, stroke};
use crate::plot::scale::{LogScale, range, ticks};
use crate::plot::svg::{Anchor, Svg};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 28.0;
const BOTTOM: f64 = 62.0;

/// Where the legend begins, and the height of a line of it.
const LEGEND: (f64, f64) = (76.0, 23.0);

/// The width of a column of the legend.
const COLUMN: f64 = 330.0;

/// Colours after Okabe and Ito, as in the other figure. Floors are grey and dashed, without
/// markers that catch the eye.
const STYLES: [Style; 5] = [
    Style { colour: "#0072B2", dashes: "", marker: Marker::Disc },
    Style { colour: "#D55E00", dashes: "", marker: Marker::Square },
    Style { colour: "#009E73", dashes: "", marker: Marker::Triangle },
    Style { colour: "#CC79A7", dashes: "", marker: Marker::Disc },
    Style { colour: "#E69F00", dashes: "", marker: Marker::Square },
];

const FLOORS: [(&str, &str); 3] = [("#777777", "7 4"), ("#777777", "2 4"), ("#777777", "10 3 2 3")];

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// In a colour of its own, its points marked.
    Own,
    /// What nothing can be better than: grey and dashed.
    Floor,
    /// In the colour of the line at this place, dashed.
    Like(usize),
}

/// What is drawn as one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    /// What is shown.
    pub title: &'a str,
    /// How it was measured.
    pub subtitle: String,
    /// The name of the x axis, and how its values are written.
    pub x: (&'a str, fn(f64) -> String),
    /// The name of the y axis, and how its values are written.
    pub y: (&'a str, fn(f64) -> String),
    /// The values of x that have a tick.
    pub x_ticks: Vec<f64>,
    /// In the order of the legend.
    pub lines: Vec<Line>,
}

/// The figure as SVG.
pub fn draw(figure: &Lines<'_>) -> String {
    let rows = figure.lines.len().div_ceil(2);
    let top = LEGEND.0 + LEGEND.1 * rows as f64 + 8.0;
    let values = |pick: fn(&(f64, f64)) -> f64| {
        figure.lines.iter().flat_map(move |line| line.points.iter().map(pick))
    };
    let x_range = range(values(|point| point.0), 1.15, (f64::INFINITY, 0.0));
    let y_range = range(values(|point| point.1), 1.3, (f64::INFINITY, 0.0));
    let x = LogScale::new(x_range, (LEFT, WIDTH - RIGHT));
    let y = LogScale::new(y_range, (HEIGHT - BOTTOM, top));
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text((LEFT, 30.0), font(18.0, 500, INK, Anchor::Start), 0.0, figure.title);
    svg.text((LEFT, 50.0), font(13.0, 400, FAINT, Anchor::Start), 0.0, &figure.subtitle);
    axes(&mut svg, figure, (&x, &y), top, y_range);
    let styles = styles(&figure.lines);
    for (line, style) in figure.lines.iter().zip(&styles).rev() {
        let points: Vec<(f64, f64)> =
            line.points.iter().map(|&(at, value)| (x.position(at), y.position(value))).collect();
        draw_line(&mut svg, line, style, &points);
    }
    for (index, (line, style)) in figure.lines.iter().zip(&styles).enumerate() {
        // Down the first column, then the second.
        let at = LEFT + COLUMN * (index / rows) as f64;
        let height = LEGEND.0 + LEGEND.1 * (index % rows) as f64;
        key(&mut svg, line, style, (at, height));
    }
    svg.finish()
}

fn styles(lines: &[Line]) -> Vec<Style> {
    let mut own = STYLES.iter().cycle();
    let mut floors = FLOORS.iter().cycle();
    let mut styles: Vec<Style> = Vec::new();
    for line in lines {
        let dashed = |colour, dashes| Style { colour, dashes, marker: Marker::Disc };
        let style = match line.look {
            Look::Own => own.next().map(|style| Style { ..*style }),
            Look::Floor => floors.next().map(|&(colour, dashes)| dashed(colour, dashes)),
            Look::Like(place) => styles.get(place).map(|style| dashed(style.colour, "3 4")),
        };
        styles.extend(style.or(Some(dashed(INK, ""))));
    }
    styles
}

fn draw_line(svg: &mut Svg, line: &Line, style: &Style, points: &[(f64, f64)]) {
    svg.polyline(points, &stroke(style));
    if line.look == Look::Own {
        points.iter().for_each(|&point| marker(svg, point, style));
    }
}

/// A line of the legend.
fn key(svg: &mut Svg, line: &Line, style: &Style, (x, y): (f64, f64)) {
    svg.polyline(&[(x, y), (x + 36.0, y)], &stroke(style));
    if line.look == Look::Own {
        marker(svg, (x + 18.0, y), style);
    }
    svg.text((x + 46.0, y + 4.5), font(13.0, 400, INK, Anchor::Start), 0.0, &line.name);
}

fn axes(
    svg: &mut Svg,
    figure: &Lines<'_>,
    (x, y): (&LogScale, &LogScale),
    top: f64,
    y_range: (f64, f64),
) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let grid = format!(r#"stroke="{GRID}" stroke-width="1""#);
    for &tick in figure.x_ticks.iter().filter(|tick| x.contains(**tick)) {
        let at = x.position(tick);
        svg.line((at, top), (at, bottom), &grid);
        let text = (figure.x.1)(tick);
        svg.text((at, bottom + 20.0), font(13.0, 400, INK, Anchor::Middle), 0.0, &text);
    }
    for tick in y_ticks(y_range) {
        let at = y.position(tick);
        svg.line((LEFT, at), (right, at), &grid);
        let text = (figure.y.1)(tick);
        svg.text((LEFT - 9.0, at + 4.5), font(13.0, 400, INK, Anchor::End), 0.0, &text);
    }
    let frame = format!(r#"stroke="{INK}" stroke-width="1""#);
    svg.line((LEFT, bottom), (right, bottom), &frame);
    svg.line((LEFT, top), (LEFT, bottom), &frame);
    let names = font(14.0, 400, INK, Anchor::Middle);
    svg.text(((LEFT + right) / 2.0, HEIGHT - 16.0), names, 0.0, figure.x.0);
    svg.text((22.0, (top + bottom) / 2.0), names, -90.0, figure.y.0);
}

/// Powers of ten over a wide range, more over a narrow one.
fn y_ticks((low, high): (f64, f64)) -> Vec<f64> {
    if high / low > 200.0 { powers_of_ten((low, high)) } else { ticks(low, high) }
}

fn powers_of_ten((low, high): (f64, f64)) -> Vec<f64> {
    let exponents = low.log10().ceil() as i32..=high.log10().floor() as i32;
    exponents.map(|exponent| 10f64.powi(exponent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(lines: Vec<Line>) -> Lines<'static> {
        Lines {
            title: "A title",
            subtitle: "two <cores>".to_owned(),
            x: ("size", |x| format!("{x}")),
            y: ("time", |y| format!("{y} µs")),
            x_ticks: vec![1.0, 10.0, 100.0],
            lines,
        }
    }

    fn line(name: &str, look: Look, points: &[(f64, f64)]) -> Line {
        Line { name: name.to_owned(), look, points: points.to_vec() }
    }

    #[test]
    fn every_line_is_drawn_and_named() {
        let svg = draw(&figure(vec![
            line("ours", Look::Own, &[(1.0, 10.0), (10.0, 20.0), (100.0, 400.0)]),
            line("floor", Look::Floor, &[(1.0, 5.0), (100.0, 200.0)]),
        ]));
        assert_eq!(svg.matches("<polyline").count(), 4, "two lines, two keys");
        assert_eq!(svg.matches("<circle").count(), 4, "three points and a key");
        for text in ["ours", "floor", "A title", "two &lt;cores&gt;", "10 µs", "100 µs"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn ticks_are_powers_of_ten_within_the_range() {
        assert_eq!(powers_of_ten((5.0, 2000.0)), [10.0, 100.0, 1000.0]);
        assert_eq!(powers_of_ten((11.0, 90.0)), [0.0; 0]);
    }
}
