//! CBOR for people: diagnostic notation (RFC 8949, section 8), with long contents cut.

use std::fmt::Write;

use super::{Item, bignum};

/// How a value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On one line, cut to about this many characters.
    Line(usize),
    /// Over as many lines as it takes, up to [`MAX_LINES`].
    Tree,
}

/// What fits beside each other in a tree. Characters.
const WIDTH: usize = 80;
/// The most lines of a tree.
const MAX_LINES: usize = 1000;
/// The most entries of an array or map in a tree.
const MAX_ENTRIES: usize = 100;
/// What is shown of a text. Characters.
const MAX_TEXT: usize = 1000;
/// Byte strings up to this length are shown whole. Bytes.
const MAX_BYTES: usize = 32;
/// What is shown of a longer byte string. Bytes.
const HEAD_BYTES: usize = 16;

/// Shows a value.
pub(crate) fn render(item: &Item<'_>, layout: Layout) -> String {
    match layout {
        Layout::Line(width) => {
            let mut line = Line { text: String::new(), left: width };
            let whole = line.item(item).is_ok();
            if whole { line.text } else { line.text + "…" }
        }
        Layout::Tree => {
            let mut tree = Tree { text: String::new(), lines: 1 };
            tree.item(item, 0);
            tree.text
        }
    }
}

/// There is no room for more.
struct Full;

struct Line {
    text: String,
    left: usize,
}

impl Line {
    fn put(&mut self, text: &str) -> Result<(), Full> {
        for character in text.chars() {
            if self.left == 0 {
                return Err(Full);
            }
            self.text.push(character);
            self.left -= 1;
        }
        Ok(())
    }

    fn item(&mut self, item: &Item<'_>) -> Result<(), Full> {
        match item {
            Item::Array(items) => {
                self.put("[")?;
                for (index, item) in items.iter().enumerate() {
                    self.put(if index == 0 { "" } else { ", " })?;
                    self.item(item)?;
                }
                self.put("]")
            }
            Item::Map(entries) => {
                self.put("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.put(if index == 0 { "" } else { ", " })?;
                    self.item(key)?;
                    self.put(": ")?;
                    self.item(value)?;
                }
                self.put("}")
            }
            Item::Tag(tag, content) if bignum(*tag, content).is_none() => {
                self.put(&format!("{tag}("))?;
                self.item(content)?;
                self.put(")")
            }
            scalar => self.put(&show_scalar(scalar)),
        }
    }
}

struct Tree {
    text: String,
    lines: usize,
}

impl Tree {
    fn item(&mut self, item: &Item<'_>, indent: usize) {
        let mut line = Line { text: String::new(), left: WIDTH.saturating_sub(indent) };
        if line.item(item).is_ok() {
            self.text += &line.text;
            return;
        }
        match item {
            Item::Array(items) => self.entries(['[', ']'], items, indent, |tree, item, indent| {
                tree.item(item, indent);
            }),
            Item::Map(entries) => {
                self.entries(['{', '}'], entries, indent, |tree, (key, value), indent| {
                    tree.item(key, indent);
                    tree.text += ": ";
                    tree.item(value, indent);
                });
            }
            Item::Tag(tag, content) if bignum(*tag, content).is_none() => {
                let _ = write!(self.text, "{tag}(");
                self.item(content, indent);
                self.text.push(')');
            }
            scalar => self.text += &show_scalar(scalar),
        }
    }

    fn entries<T>(
        &mut self,
        brackets: [char; 2],
        entries: &[T],
        indent: usize,
        show: impl Fn(&mut Self, &T, usize),
    ) {
        self.text.push(brackets[0]);
        for (index, entry) in entries.iter().enumerate() {
            self.new_line(indent + 2);
            if index == MAX_ENTRIES || self.lines > MAX_LINES {
                let _ = write!(self.text, "… {} more", entries.len() - index);
                break;
            }
            show(self, entry, indent + 2);
            self.text += if index + 1 < entries.len() { "," } else { "" };
        }
        self.new_line(indent);
        self.text.push(brackets[1]);
    }

    fn new_line(&mut self, indent: usize) {
        self.lines += 1;
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', indent));
    }
}

fn show_scalar(item: &Item<'_>) -> String {
    match item {
        Item::Integer(number) => number.to_string(),
        Item::Bytes(bytes) => show_bytes(bytes),
        Item::Text(text) => show_text(text),
        Item::Tag(tag, content) => {
            bignum(*tag, content).map(|number| number.to_string()).unwrap_or_default()
        }
        Item::Float(number) if number.is_nan() => "NaN".to_owned(),
        Item::Float(number) if number.is_infinite() => {
            if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Item::Float(number) => format!("{number:?}"),
        Item::Simple(20) => "false".to_owned(),
        Item::Simple(21) => "true".to_owned(),
        Item::Simple(22) => "null".to_owned(),
        Item::Simple(23) => "undefined".to_owned(),
        Item::Simple(number) => format!("simple({number})"),
        Item::Array(_) | Item::Map(_) => String::new(),
    }
}

/// A byte string; a long one by its length and its beginning.
fn show_bytes(bytes: &[u8]) -> String {
    if bytes.len() <= MAX_BYTES {
        return format!("h'{}'", hex(bytes));
    }
    let len = bytes.len();
    match bytes.iter().all(|byte| *byte == bytes[0]) {
        true => format!("<{len} bytes, all {:02x}>", bytes[0]),
        false => format!("<{len} bytes, first {}>", hex(&bytes[..HEAD_BYTES])),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text in quotes. What a terminal would obey instead of showing is escaped.
fn show_text(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use persistent_actor::{Bytes, Integer, codec};

    use super::super::parse;
    use super::*;

    fn line<T: serde::Serialize>(value: &T) -> String {
        let value = codec::encode(value).unwrap();
        render(&parse(&value).unwrap(), Layout::Line(200))
    }

    #[test]
    fn values_are_shown_in_diagnostic_notation() {
        assert_eq!(
            line(&(1, -2, 1.5, true, (), "a\u{1b}[31m")),
            r#"[1, -2, 1.5, true, null, "a\u{1b}[31m"]"#
        );
        assert_eq!(line(&Bytes::from(vec![1, 2, 255])), "h'0102ff'");
        assert_eq!(line(&Bytes::from(vec![1; 10 << 20])), "<10485760 bytes, all 01>");
        let counted = Bytes::from((0..=255).collect::<Vec<u8>>());
        assert_eq!(line(&counted), "<256 bytes, first 000102030405060708090a0b0c0d0e0f>");
        assert_eq!(line(&f64::NAN), "NaN");
    }

    #[test]
    fn integers_of_every_size_are_numbers() {
        for text in [
            "18446744073709551616",
            "-18446744073709551617",
            "-170141183460469231731687303715884105729",
            "-340282366920938463463374607431768211456",
            "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        ] {
            assert_eq!(line(&text.parse::<Integer>().unwrap()), text);
        }
    }

    #[test]
    fn a_long_value_is_cut_to_one_line_or_laid_out_over_several() {
        let value = codec::encode(&(0..1000).collect::<Vec<u32>>()).unwrap();
        let item = parse(&value).unwrap();
        assert_eq!(render(&item, Layout::Line(10)), "[0, 1, 2, …");
        let tree = render(&item, Layout::Tree);
        assert!(tree.starts_with("[\n  0,\n  1,\n"), "{tree}");
        assert!(tree.ends_with("\n  99,\n  … 900 more\n]"), "{tree}");
    }

    #[test]
    fn nested_values_do_not_run_away() {
        let wide = vec![vec![vec![0u64; 120]; 120]; 120];
        let value = codec::encode(&wide).unwrap();
        let tree = render(&parse(&value).unwrap(), Layout::Tree);
        assert!(tree.lines().count() < 2 * MAX_LINES, "{} lines", tree.lines().count());
    }
}
