//! Just enough SVG.

use std::fmt::Write;

/// The fonts of all text; the first is the one that is built in for PNG.
const FONTS: &str = "Roboto, 'Helvetica Neue', Arial, sans-serif";

/// Where a text is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At its left end.
    Start,
    /// In its middle.
    Middle,
    /// At its right end.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub struct Font {
    /// The size in pixels.
    pub size: f64,
    /// 400 is regular, 500 medium.
    pub weight: u32,
    /// The colour.
    pub colour: &'static str,
    /// Where the text is held.
    pub anchor: Anchor,
}

/// A picture being drawn; later things cover earlier ones.
#[derive(Debug)]
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// An empty white picture; sizes in pixels.
    pub fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { body: String::new(), width, height };
        svg.element(&format!(r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##));
        svg
    }

    /// Adds an element as it is.
    pub fn element(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// A straight line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), style: &str) {
        self.element(&format!(
            r#"<line x1="{x1:.2}" y1="{y1:.2}" x2="{x2:.2}" y2="{y2:.2}" {style}/>"#
        ));
    }

    /// Lines through the points.
    pub fn polyline(&mut self, points: &[(f64, f64)], style: &str) {
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{x:.2},{y:.2} ");
        }
        self.element(&format!(r#"<polyline points="{}" fill="none" {style}/>"#, list.trim_end()));
    }

    /// A text, `turned` by so many degrees around its anchor.
    pub fn text(&mut self, (x, y): (f64, f64), font: Font, turned: f64, text: &str) {
        let anchor = match font.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = match turned {
            0.0 => String::new(),
            degrees => format!(r#" transform="rotate({degrees} {x:.2} {y:.2})""#),
        };
        self.element(&format!(
            r#"<text x="{x:.2}" y="{y:.2}" font-size="{}" font-weight="{}" fill="{}" text-anchor="{anchor}"{turn}>{}</text>"#,
            font.size,
            font.weight,
            font.colour,
            escape(text),
        ));
    }

    /// The finished document.
    pub fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{FONTS}\">\n{body}</svg>\n"
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let font = Font { size: 10.0, weight: 400, colour: "#000", anchor: Anchor::Start };
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((0.0, 0.0), font, 0.0, "<script>&</script>");
        let document = svg.finish();
        assert!(document.contains("&lt;script&gt;&amp;&lt;/script&gt;"), "{document}");
        assert!(!document.contains("<script>"));
    }
}
