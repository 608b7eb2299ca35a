//! What our store should cost at most, as ratios to floors of the same run.

use serde::Serialize;

use crate::catalogue::Level;
use crate::row::{Row, Table};

const MIB: usize = 1 << 20;
const OURS: &str = "persistent-actor";
const PAGES: &str = "persistent-actor-pages";
const GROUP: &str = "persistent-actor-group";

/// A target and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) measured: f64,
    /// The bound; see `at_least`.
    pub(crate) bound: f64,
    /// Whether the measured value should be at least the bound, instead of at most.
    pub(crate) at_least: bool,
}

impl Target {
    pub(crate) fn is_met(&self) -> bool {
        if self.at_least { self.measured >= self.bound } else { self.measured <= self.bound }
    }
}

/// The targets whose rows were measured.
pub(crate) fn check(tables: &[Table]) -> Vec<Target> {
    let mut targets = Vec::new();
    for table in tables {
        let ours = table.row(if table.workload == "writers" { GROUP } else { OURS });
        let Some(ours) = ours else { continue };
        match table.workload {
            "commit" => targets.extend(commit(table, ours)),
            "change" => targets.extend(change(table, ours, tables)),
            "writers" if table.writers == 256 => targets.extend(writers(table, ours)),
            _ => {}
        }
    }
    targets
}

fn at_most(what: String, ours: f64, floor: f64, bound: f64) -> Target {
    Target { what, measured: ours / floor, bound, at_least: false }
}

fn commit(table: &Table, ours: &Row) -> Option<Target> {
    if table.level != Level::Power || table.value_bytes != 10 * MIB {
        return None;
    }
    let floor = table.row("pwrite-sync")?.cost();
    let what = "10 MiB, power: our commit / pwrite + fdatasync into prewritten space";
    Some(at_most(what.to_owned(), ours.cost(), floor, 1.2))
}

fn change(table: &Table, ours: &Row, tables: &[Table]) -> Vec<Target> {
    let size = crate::report::bytes(table.value_bytes);
    let mut targets = Vec::new();
    if let (Some(compare), Some(told)) = (table.row("compare"), table.row("change-told")) {
        let what = format!(
            "4 KiB of {size}, power, found by comparison: our commit / (comparing the state + \
             commit of 4 KiB in slots)"
        );
        targets.push(at_most(what, ours.cost(), compare.cost() + told.cost(), 1.3));
    }
    let small = tables.iter().find(|table| {
        table.workload == "commit" && table.level == Level::Power && table.value_bytes == 4096
    });
    if let (Some(small), Some(pages)) = (small.and_then(|table| table.row(OURS)), table.row(PAGES))
    {
        let what = format!(
            "4 KiB of {size}, power, told which bytes change: our commit / our commit of a 4 KiB \
             state"
        );
        targets.push(at_most(what, pages.cost(), small.cost(), 2.0));
    }
    targets
}

fn writers(table: &Table, ours: &Row) -> Option<Target> {
    let rate = |row: &Row| row.commits_per_second.map(|rate| rate.median);
    let what = "256 writers, power: our commits per second / a bare group-commit journal's";
    let measured = rate(ours)? / rate(table.row("group-journal")?)?;
    Some(Target { what: what.to_owned(), measured, bound: 0.75, at_least: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Role;
    use crate::stats::Spread;

    fn row(engine: &'static str, role: Role, per_second: f64) -> Row {
        let spread = |value| Spread::of([value]).unwrap();
        Row {
            engine,
            role,
            survives: "power",
            about: "",
            rounds: 1,
            count: 1,
            p50_us: spread(1.0),
            p99_us: None,
            max_us: None,
            mean_with_upkeep_us: None,
            commits_per_second: Some(spread(per_second)),
            commits_per_batch: None,
            open_us: None,
            load_us: None,
            lost_commits: None,
            ratio_to_floor: None,
        }
    }

    #[test]
    fn many_writers_are_measured_as_a_node_runs_them() {
        let rows = vec![
            row("group-journal", Role::Floor, 1000.0),
            row(OURS, Role::Product, 10.0),
            row(GROUP, Role::Product, 800.0),
        ];
        let table = Table {
            workload: "writers",
            level: Level::Power,
            value_bytes: 64,
            changed_bytes: 64,
            writers: 256,
            floor: None,
            rows,
        };
        let targets = check(&[table]);
        assert_eq!(targets.len(), 1);
        assert!((targets[0].measured - 0.8).abs() < 1e-9 && targets[0].is_met());
    }

    #[test]
    fn the_row_of_the_target_is_in_the_table() {
        let rows = crate::workload::writers::rows();
        let row = rows.iter().find(|row| row.name == GROUP).unwrap();
        assert_eq!(row.role, Role::Product);
    }
}
