//! `floors`, `long-run` and `scaling`: they measure on real processes and say what they found.
//! Whether it is quick depends on the machine and is not asserted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Bench, stderr, stdout};
use serde_json::Value;

/// Rows that a quick run leaves out: seconds by themselves.
const NOT_QUICK: [&str; 5] =
    ["change-1g-told", "change-1g-found", "start-1000", "start-1000-power", "memory-1000"];

fn json(bench: &Bench, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(bench.path(name)).unwrap()).unwrap()
}

#[test]
fn the_table_has_a_row_for_every_target_in_text_json_and_csv() {
    let bench = Bench::new();
    let flags = ["floors", "--quick", "--repeat=1", "--json=out.json", "--csv=out.csv"];
    let output = bench.run(&flags);
    assert!(output.status.success(), "{}", stderr(&output));
    let json = json(&bench, "out.json");
    let rows = json["rows"].as_array().unwrap();
    let measured = json["measured"].as_array().unwrap();
    let csv = std::fs::read_to_string(bench.path("out.csv")).unwrap();
    let text = stdout(&output);
    for key in ["small-none", "large-power", "change-64m-told", "recovery-large-power", "start-20"]
    {
        assert!(rows.iter().any(|row| row["key"] == key), "{key}");
    }
    for key in ["memory-20", "many-syncs", "many-tail", "store-many", "long-pauses-power"] {
        assert!(rows.iter().any(|row| row["key"] == key), "{key}");
    }
    for key in NOT_QUICK {
        assert!(!rows.iter().any(|row| row["key"] == key), "{key}");
    }
    for row in rows {
        let ratio = row["ratio"]["median"].as_f64().unwrap();
        assert!(ratio.is_finite() && ratio > 0.0, "{row}");
        assert!(text.contains(row["work"].as_str().unwrap()), "{row}");
        assert!(csv.contains(&format!("\n{},", row["key"].as_str().unwrap())), "{row}");
        let product = row["product"]["median"].as_f64().unwrap();
        let floors = row["floors"].as_array().unwrap();
        let floor: f64 = floors.iter().map(|floor| floor["median"].as_f64().unwrap()).sum();
        let of_medians = if floors.is_empty() { product } else { product / floor };
        // What took turns has the median of the turns' ratios.
        let in_turns = measured.iter().find(|one| one["key"] == row["key"]);
        let expected = in_turns.map_or(of_medians, |one| one["median"].as_f64().unwrap());
        assert!((ratio / expected - 1.0).abs() < 1e-6, "{row}");
    }
    assert_eq!(csv.lines().count(), 1 + rows.len());
    bench.assert_clean();
}

#[test]
fn only_the_wanted_rows_are_measured_and_each_run_is_told() {
    let bench = Bench::new();
    let flags = ["floors", "--quick", "--repeat=3", "--only=start-20", "--json=out.json"];
    let output = bench.run(&flags);
    assert!(output.status.success(), "{}", stderr(&output));
    let json = json(&bench, "out.json");
    let keys: Vec<&str> =
        json["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["start-20", "start-20-power"]);
    assert_eq!(json["rows"][0]["ratios"].as_array().unwrap().len(), 3);
    assert_eq!(json["repeat"], 3);
    assert!(stdout(&output).contains("medians of 3 runs"), "{}", stdout(&output));
    bench.assert_clean();
}

#[test]
fn a_long_run_gives_a_row_for_each_tenth() {
    let bench = Bench::new();
    for level in ["--durability=process", "--durability=power"] {
        let output = bench.run(&["long-run", "--calls=500", level]);
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert!(lines[0].starts_with("calls,level,median_us,"), "{text}");
        assert!(lines[1].starts_with("50,") && lines[10].starts_with("500,"), "{text}");
        let columns = lines[0].split(',').count();
        for line in &lines[1..] {
            let figures = line.split(',').skip(2);
            assert_eq!(line.split(',').count(), columns);
            assert!(figures.map(|f| f.parse::<f64>().unwrap()).all(|f| f > 0.0), "{line}");
        }
    }
    bench.assert_clean();
}

#[test]
fn calls_by_number_of_actors_are_measured_and_drawn_and_can_be_drawn_again() {
    let bench = Bench::new();
    let flags = ["scaling", "--quick", "--only=actors", "--output-dir=."];
    let output = bench.run(&flags);
    assert!(output.status.success(), "{}", stderr(&output));
    let csv = std::fs::read_to_string(bench.path("scaling-actors.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 4 * 3, "{csv}");
    let plots = ["scaling-actors-throughput", "scaling-actors-latency"];
    for plot in plots {
        assert!(bench.path(&format!("{plot}.svg")).exists());
        std::fs::remove_file(bench.path(&format!("{plot}.png"))).unwrap();
    }
    assert!(bench.run(&["plot", "scaling-actors.csv"]).status.success());
    assert!(plots.iter().all(|plot| bench.path(&format!("{plot}.png")).exists()));
    bench.assert_clean();
}
