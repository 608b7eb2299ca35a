//! `scaling`: what a commit costs against the size of the state, and what calls cost against the
//! number of actors; as CSV files, with plots.

mod actors;
mod size;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::runtime::Runtime;

use super::{Context, Effort, FloorsError, system};
use crate::cli::{Figure, ScalingArgs};
use crate::export::OutputFile;
use crate::machine_load::LoadWatch;
use crate::notes::{self, Notes};
use crate::plot;
use crate::scenario;
use crate::warnings;

/// Rows of a CSV file.
type Records = Vec<Vec<String>>;

/// Something that is measured point after point.
struct Sweep {
    figure: Figure,
    /// The columns of the CSV file.
    columns: &'static [&'static str],
    points: fn(Effort) -> Vec<usize>,
    /// The rows of one point.
    measure: fn(&Context<'_>, usize) -> Result<Records, FloorsError>,
}

const SWEEPS: [Sweep; 2] = [
    Sweep {
        figure: Figure::Size,
        columns: &plot::scaling::SIZE_COLUMNS,
        points: size::points,
        measure: size::measure,
    },
    Sweep {
        figure: Figure::Actors,
        columns: &plot::scaling::ACTORS_COLUMNS,
        points: actors::points,
        measure: actors::measure,
    },
];

/// Measures, writes and draws.
///
/// # Errors
/// See [`FloorsError`].
pub fn main(args: &ScalingArgs) -> Result<(), FloorsError> {
    let sweeps: Vec<&Sweep> =
        SWEEPS.iter().filter(|sweep| args.only.is_none_or(|only| only == sweep.figure)).collect();
    // Before any file: where this fails, nothing is left.
    let dir = scenario::temporary_dir("--dir", args.dir.as_deref())?;
    // All files are open before the first measurement.
    let mut files = Vec::new();
    for sweep in &sweeps {
        let path = args.output_dir.join(sweep.figure.file_name());
        files.push((super::open("--output-dir", &path)?, path));
    }
    std::fs::create_dir(dir.path()).map_err(system("make a directory"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.map_err(system("start the runtime"))?);
    let effort = if args.quick { Effort::Quick } else { Effort::Normal };
    for (sweep, (file, path)) in sweeps.into_iter().zip(files) {
        let watch = LoadWatch::begin();
        write(sweep, &runtime, dir.path(), effort, file)?;
        for warning in warnings::of_machine(&watch.end()) {
            notes::print(&format!("warning: {}: {warning}", path.display()));
        }
        draw(&path, args)?;
    }
    Ok(())
}

fn write(
    sweep: &Sweep,
    runtime: &Rc<Runtime>,
    dir: &Path,
    effort: Effort,
    file: OutputFile,
) -> Result<(), FloorsError> {
    let failed = |error: csv::Error| FloorsError::System("write CSV", error.into());
    let file = file.begin().map_err(system("write CSV"))?;
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(sweep.columns).map_err(failed)?;
    let points = (sweep.points)(effort);
    let notes = Notes::new(points.len() as u64, "points", false);
    for point in points {
        let place = dir.join(format!("{:?}-{point}", sweep.figure));
        std::fs::create_dir(&place).map_err(system("make a directory"))?;
        let context = Context { runtime, dir: &place, effort, only: &[], quiet: false };
        let rows = (sweep.measure)(&context, point);
        if rows.is_err() {
            notes.end();
        }
        for row in rows? {
            writer.write_record(row).map_err(failed)?;
        }
        writer.flush().map_err(system("write CSV"))?;
        std::fs::remove_dir_all(&place).map_err(system("remove a directory"))?;
        notes.step_done();
    }
    notes.end();
    Ok(())
}

fn draw(csv: &Path, args: &ScalingArgs) -> Result<(), FloorsError> {
    let plot = crate::cli::PlotArgs {
        csv: vec![csv.to_owned()],
        output_dir: None,
        subtitle: args.subtitle.clone(),
    };
    plot::draw_all(&plot).map_err(|source| FloorsError::Plot(Box::new(source)))
}

impl Figure {
    /// The name of its CSV file.
    fn file_name(self) -> PathBuf {
        match self {
            Self::Size => "scaling-size.csv".into(),
            Self::Actors => "scaling-actors.csv".into(),
        }
    }
}
