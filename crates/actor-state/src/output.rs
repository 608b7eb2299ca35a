//! Standard output: text, tables, JSON, colours.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::error::Error;

/// Something is fine.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Something is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is not the data itself.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Standard output.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    colours: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { colours: wanted && stdout.is_terminal(), out: BufWriter::new(stdout.lock()) }
    }

    /// The text in this style, if colours are used.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Error> {
        writeln!(self.out, "{text}").map_err(Error::Output)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Output)
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).map_err(|error| error.into());
        self.line(&text.map_err(Error::Output)?)
    }

    /// A table; a column is aligned to the right if `right` says so.
    pub(crate) fn table<const N: usize>(
        &mut self,
        heads: [&str; N],
        right: [bool; N],
        rows: &[[Cell; N]],
    ) -> Result<(), Error> {
        let heads = heads.map(|head| Cell::from(head.to_owned()).styled(FAINT));
        let width = |column: usize| {
            let cells = rows.iter().chain(std::iter::once(&heads));
            cells.map(|row| row[column].text.chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        for row in std::iter::once(&heads).chain(rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let fill = " ".repeat(widths[column] - cell.text.chars().count());
                let text = self.paint(cell.style, &cell.text);
                line += if column == 0 { "" } else { "  " };
                line += &if right[column] { fill + &text } else { text + &fill };
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Makes sure that everything has been written.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Output)
    }
}

/// A cell of a table.
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), style: Style::new() }
    }
}

/// A name as it is shown: in quotes and escaped, unless it is of the plain kind. What a terminal
/// would obey never reaches it.
pub(crate) fn show_name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '%' | ':');
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_reach_the_terminal_as_commands() {
        assert_eq!(show_name("counter-1"), "counter-1");
        assert_eq!(show_name("größe"), "größe");
        assert_eq!(show_name("a b"), "\"a b\"");
        assert_eq!(show_name("\u{1b}[2J\n"), r#""\u{1b}[2J\n""#);
        assert_eq!(show_name("\u{202e}x"), r#""\u{202e}x""#);
        assert_eq!(show_name(""), "\"\"");
    }
}
