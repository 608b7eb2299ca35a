//! The results: tables and their rows, as they go to JSON and CSV.

use serde::Serialize;

use crate::catalogue::{Level, Role};
use crate::stats::Spread;

/// A table: rows that do the same work at the same durability.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) workload: &'static str,
    pub(crate) level: Level,
    /// The length of the state, or of a writer's record. Bytes.
    pub(crate) value_bytes: usize,
    /// How much of it changes with a commit. Bytes.
    pub(crate) changed_bytes: usize,
    pub(crate) writers: usize,
    /// The row that the ratios refer to.
    pub(crate) floor: Option<&'static str>,
    /// Best first.
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// Sorts the rows and relates them to the best row whose role is floor.
    pub(crate) fn relate(&mut self) {
        self.rows.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        let Some(floor) = self.rows.iter().find(|row| row.role == Role::Floor) else { return };
        self.floor = Some(floor.engine);
        let cost = floor.cost();
        for row in &mut self.rows {
            row.ratio_to_floor = Some(row.cost() / cost);
        }
    }

    /// A row by its name.
    pub(crate) fn row(&self, engine: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.engine == engine)
    }
}

/// One engine in one table. Times in microseconds; what was not measured is `None`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) engine: &'static str,
    pub(crate) role: Role,
    /// What its commits survive: `process`, `power`, `nothing`; `-` for a part of the work.
    pub(crate) survives: &'static str,
    pub(crate) about: &'static str,
    pub(crate) rounds: usize,
    /// Timed commits in all rounds; for `reopen`, the kills.
    pub(crate) count: u64,
    /// Median latency of a commit, over the rounds; for `reopen`, of opening and loading together.
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Option<f64>,
    pub(crate) max_us: Option<f64>,
    /// Mean of a commit with the upkeep that may wait until the reply has left.
    pub(crate) mean_with_upkeep_us: Option<f64>,
    pub(crate) commits_per_second: Option<Spread>,
    pub(crate) commits_per_batch: Option<f64>,
    pub(crate) open_us: Option<f64>,
    pub(crate) load_us: Option<f64>,
    /// The most acknowledged commits that one kill lost.
    pub(crate) lost_commits: Option<u64>,
    /// How many times the floor's cost.
    pub(crate) ratio_to_floor: Option<f64>,
}

impl Row {
    /// What the rows of a table are compared by: time, or time per commit of all writers.
    pub(crate) fn cost(&self) -> f64 {
        match self.commits_per_second {
            Some(rate) => 1e6 / rate.median.max(f64::MIN_POSITIVE),
            None => self.p50_us.median,
        }
    }
}
