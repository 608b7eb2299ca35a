//! `--engine=ray`: the same workload on Ray.
//!
//! This program decides what is to be done (order, kills) and what is right; a Python driver does
//! it as a Python user would and tells what it saw ([`message`]). The driver's modules are part of
//! this binary and written to a temporary directory: the two ends of the pipe are always of one
//! version, and the systems that need no package of ours run without it.
//!
//! [`settings`] finds Python → [`driver`] starts it and cleans up → [`message`] is what it says →
//! [`books`] turns that into the rounds that the local engine gives, too → [`drawing`].

pub mod books;
pub mod drawing;
pub mod driver;
mod error;
pub mod message;
pub mod orphans;
pub mod settings;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use persistent_actor::Integer;

use crate::measurement::Measurement;
use crate::memory;
use crate::notes::Notes;
use crate::ray::books::{Books, Wire};
use crate::ray::driver::Driver;
use crate::ray::message::{Done, Message, Run, Started};
use crate::recorder::Recorder;
use crate::scenario::Scenario;
use crate::state_dir::StateDir;
use crate::verification::Tally;
use crate::workload::{Told, Verdict, log_kills, measurement};

pub use error::RayError;
use settings::RaySettings;

/// Runs the scenario on Ray with its states under `state_dir`.
///
/// # Errors
/// See [`RayError`]. A wrong state is no error but part of the measurement.
pub async fn run(
    scenario: &Scenario,
    settings: &RaySettings,
    state_dir: &StateDir,
    recorder: &Recorder,
    notes: &Notes,
) -> Result<Measurement, RayError> {
    let states = make(state_dir)?;
    let mut driver = Driver::start(settings)?;
    let measured = if scenario.large {
        measure::<u8>(scenario, settings, states, &mut driver, recorder, notes).await
    } else {
        measure::<Integer>(scenario, settings, states, &mut driver, recorder, notes).await
    };
    match measured {
        Ok(measurement) => driver.finish().await.map(|()| measurement),
        Err(error) => Err(error),
    }
}

/// The directory for states, made if need be, as a path that holds in every process.
fn make(state_dir: &StateDir) -> Result<PathBuf, RayError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = state_dir.path();
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| path.canonicalize())
        .map_err(|source| RayError::System { what: "make the directory for states", source })
}

async fn measure<N: Wire>(
    scenario: &Scenario,
    settings: &RaySettings,
    states: PathBuf,
    driver: &mut Driver,
    recorder: &Recorder,
    notes: &Notes,
) -> Result<Measurement, RayError> {
    let started_at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let plan = scenario.kill_plan();
    let directory = driver.directory().to_owned();
    driver.send(&Run::of(scenario, settings, &plan, &states, &directory))?;
    let (ray_version, started) = begin(scenario, driver, notes).await?;
    let mut books = Books::<N>::new(scenario, plan);
    let done = loop {
        match driver.receive().await? {
            Message::Calls { calls } => {
                for _ in 0..books.calls(calls)? {
                    notes.step_done();
                }
            }
            Message::Kill(kill) => books.kill(kill)?,
            Message::Done(done) => break done,
            other => return Err(RayError::unexpected(&other)),
        }
    };
    done.check(scenario)?;
    let actor_pss_bytes_median = memory::median_pss_bytes(done.pids.iter().copied());
    let closed = books.close(done.duration_ns)?;
    drawing::draw(&started, &closed, recorder);
    let startup_s = started.ready_ns.saturating_sub(started.begin_ns) as f64 / 1e9;
    let Done { states, restarts, .. } = done;
    let states = states.iter().map(|state| N::parse_all(state.as_deref()));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let first = vec![Some(N::one()); scenario.num_actors];
    let verdict = Verdict::of(scenario, Tally::default(), &first, &closed.rounds.seen, &states);
    log_kills(&closed.rounds.kills, &closed.recoveries_ms, notes);
    let told = Told {
        started_at_s,
        startup_s,
        resumed_at: None,
        restarts,
        retries: None,
        actor_pss_bytes_median,
        ray_version: Some(ray_version),
    };
    Ok(measurement(scenario, told, closed.rounds, verdict, closed.recoveries_ms))
}

/// Waits until the cluster and all actors are there.
async fn begin(
    scenario: &Scenario,
    driver: &mut Driver,
    notes: &Notes,
) -> Result<(String, Started), RayError> {
    let Message::Cluster { ray, python } = driver.receive_soon().await? else {
        return Err(RayError::Protocol { problem: "expected the cluster first".to_owned() });
    };
    notes.note(&format!("Ray {ray} with Python {python}; starting {} actors", scenario.num_actors));
    let Message::Started(started) = driver.receive_soon().await? else {
        return Err(RayError::Protocol { problem: "expected the actors first".to_owned() });
    };
    started.check(scenario)?;
    Ok((ray, started))
}
