//! `plot` and `table`: run time relative to `safe_actor` without failure.
//!
//! Works on any CSV file with the columns system, large, delay_ms, duration and failure, those
//! of the prototype included.

pub mod chart;
pub mod data;
pub mod engines;
pub mod lines;
pub mod png;
pub mod scale;
pub mod scaling;
pub mod svg;
pub mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::cli::{EnginesArgs, PlotArgs, TableArgs};
use crate::notes;
use crate::plot::data::{Comparison, DataError};

/// A plot or table cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The CSV file cannot be used.
    #[error("{}: {source}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DataError,
    },
    /// `--output-dir` cannot be used.
    #[error(
        "--output-dir={}: cannot write to this directory: {source}; expected an existing directory \
         that you can write",
        path.display()
    )]
    OutputDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A plot cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The picture cannot be drawn.
    #[error("cannot draw {}: {reason}", path.display())]
    Draw {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Stdout(#[source] io::Error),
}

impl PlotError {
    /// Whether what was typed is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::OutputDir { .. })
    }
}

/// Draws each CSV file as `NAME-small.svg`, `NAME-small.png`, `NAME-large.svg` and
/// `NAME-large.png`, as far as it has such runs.
///
/// # Errors
/// See [`PlotError`].
pub fn draw_all(args: &PlotArgs) -> Result<(), PlotError> {
    if let Some(dir) = &args.output_dir {
        check_output_dir(dir)?;
    }
    for path in &args.csv {
        if let Some(charts) = scaling::charts(path, args.subtitle.as_deref().unwrap_or_default()) {
            let charts = charts.map_err(|source| PlotError::Data { path: path.clone(), source })?;
            for (name, svg) in charts {
                draw_svg(&svg, &plot_path(args, path, name, "svg"))?;
            }
            continue;
        }
        let comparison = read(path)?;
        for large in [false, true] {
            draw(args, path, &comparison, large)?;
        }
    }
    Ok(())
}

/// Finds out before the first plot whether there is a place for them.
fn check_output_dir(path: &Path) -> Result<(), PlotError> {
    let found = match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(Errno::NOTDIR.into()),
        Ok(_) => access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    found.map_err(|source| PlotError::OutputDir { path: path.to_owned(), source })
}

fn draw(args: &PlotArgs, csv: &Path, data: &Comparison, large: bool) -> Result<(), PlotError> {
    let series = data.series(large);
    if series.iter().all(|series| series.points.iter().all(|point| point.delay_ms <= 0.0)) {
        return Ok(());
    }
    let subtitle = args.subtitle.as_deref().unwrap_or_default();
    let svg = chart::relative_times(&series, large, subtitle);
    let size = if large { "-large" } else { "-small" };
    draw_svg(&svg, &plot_path(args, csv, size, "svg"))
}

/// Writes a picture as it is, and beside it as PNG.
fn draw_svg(svg: &str, path: &Path) -> Result<(), PlotError> {
    write(path, svg.as_bytes())?;
    let png_path = path.with_extension("png");
    let png =
        png::render(svg).map_err(|reason| PlotError::Draw { path: png_path.clone(), reason })?;
    write(&png_path, &png)?;
    notes::print(&format!("drew {} and .png", path.display()));
    Ok(())
}

fn plot_path(args: &PlotArgs, csv: &Path, suffix: &str, extension: &str) -> PathBuf {
    let stem = csv.file_stem().unwrap_or_default().to_string_lossy();
    let dir = args.output_dir.as_deref().or(csv.parent()).unwrap_or(Path::new(""));
    dir.join(format!("{stem}{suffix}.{extension}"))
}

fn write(path: &Path, content: &[u8]) -> Result<(), PlotError> {
    fs::write(path, content).map_err(|source| PlotError::Write { path: path.to_owned(), source })
}

/// Prints engines and systems side by side.
///
/// # Errors
/// See [`PlotError`].
pub fn print_engines(args: &EnginesArgs) -> Result<(), PlotError> {
    let wrap = |source| PlotError::Data { path: args.csv.clone(), source };
    print(&engines::render(&engines::read(&args.csv).map_err(wrap)?))
}

/// Prints the table of relative run times.
///
/// # Errors
/// See [`PlotError`].
pub fn print_table(args: &TableArgs) -> Result<(), PlotError> {
    print(&table::render(&read(&args.csv)?))
}

fn print(text: &str) -> Result<(), PlotError> {
    use std::io::Write;
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(PlotError::Stdout(error)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Comparison, PlotError> {
    let wrap = |source| PlotError::Data { path: path.to_owned(), source };
    let runs = data::read(path).map_err(wrap)?;
    let comparison = Comparison::of(&runs).map_err(wrap)?;
    for note in &comparison.notes {
        notes::print(&format!("note: {}: {note}", path.display()));
    }
    Ok(comparison)
}
