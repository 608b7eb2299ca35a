//! PNG from SVG, with a font of our own: the same picture on every machine.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Roboto (Apache-2.0, see assets/LICENSE-Roboto.txt).
const FONTS: [&[u8]; 2] = [
    include_bytes!("../../assets/Roboto-Regular.ttf"),
    include_bytes!("../../assets/Roboto-Medium.ttf"),
];

/// Pixels of the PNG per pixel of the SVG.
const ZOOM: f32 = 2.0;

/// Draws the picture; the error is for people.
///
/// # Errors
/// If the text is no SVG, or there is no memory for the picture.
pub fn render(svg: &str) -> Result<Vec<u8>, String> {
    let mut fonts = fontdb::Database::new();
    for font in FONTS {
        fonts.load_font_data(font.to_vec());
    }
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size().to_int_size().scale_by(ZOOM).ok_or("the picture has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("the picture is too large")?;
    resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::svg::{Anchor, Font, Svg};

    #[test]
    fn text_is_drawn_without_any_font_of_the_system() {
        let font = Font { size: 20.0, weight: 500, colour: "#000000", anchor: Anchor::Start };
        let picture = |text: &str| {
            let mut svg = Svg::new(100.0, 40.0);
            svg.text((5.0, 30.0), font, 0.0, text);
            render(&svg.finish()).unwrap()
        };
        assert_ne!(picture("text"), picture(""), "the database holds our fonts alone");
        assert_eq!(picture("text")[1..4], *b"PNG");
    }
}
