//! What a run prints on standard output: data first, then a summary for people.

use std::io::{self, Write};

use crate::cli::Workload;
use crate::measurement::Measurement;
use crate::repeat::Repeated;
use crate::scenario::System;
use crate::statistics::Summary;

/// Prints the final states, the duration and, unless `quiet`, the summary.
///
/// # Errors
/// What the system said.
pub fn print(out: &mut impl Write, m: &Measurement, quiet: bool) -> io::Result<()> {
    writeln!(out, "Final state: {}", m.final_states.join(" "))?;
    writeln!(out, "Task delay {} ms. Duration {:.3}", m.delay_ms, m.duration_s)?;
    if !quiet {
        write!(out, "{}", summary(m))?;
    }
    out.flush()
}

/// The same for several runs: the final states once if all runs agree, the median duration, and
/// what the runs say together.
///
/// # Errors
/// What the system said.
pub fn print_repeated(out: &mut impl Write, found: &Repeated, quiet: bool) -> io::Result<()> {
    let (Some(first), Some(duration_s)) = (found.runs.first(), found.statistics.duration_s) else {
        return Ok(());
    };
    let agree = found.runs.iter().all(|run| run.final_states == first.final_states);
    let shown = if agree { &found.runs[..1] } else { &found.runs[..] };
    for run in shown {
        writeln!(out, "Final state: {}", run.final_states.join(" "))?;
    }
    writeln!(out, "Task delay {} ms. Duration {:.3}", first.delay_ms, duration_s.median)?;
    if !quiet {
        write!(out, "{}", summary_of_runs(found, first, duration_s))?;
    }
    out.flush()
}

fn summary_of_runs(found: &Repeated, first: &Measurement, duration_s: Summary) -> String {
    let statistics = &found.statistics;
    let durations: Vec<String> =
        found.runs.iter().take(20).map(|run| format!("{:.3}", run.duration_s)).collect();
    let more = if found.runs.len() > 20 { " …" } else { "" };
    let mut lines = vec![
        line("system", system(first)),
        line("floor", floor(first)),
        line("runs", format!("{} ({}{more} s)", found.runs.len(), durations.join(" "))),
        line("duration", together(duration_s, |s| format!("{s:.3} s"))),
    ];
    let mut more = |name, summary: Option<Summary>, show: fn(f64) -> String| {
        lines.extend(summary.map(|summary| line(name, together(summary, show))));
    };
    more("overhead", statistics.overhead_s, |s| format!("{s:.3} s"));
    more("median call", statistics.call_us_median, time);
    more("99 % call", statistics.call_us_p99, time);
    more("throughput", statistics.throughput_per_s, |rate| format!("{rate:.0} calls a second"));
    more("kill to next reply", statistics.recovery_ms_median, |ms| format!("{ms:.2} ms"));
    lines.push(line("updates", updates_of_runs(&found.runs)));
    lines.push(line("state", state_of_runs(found)));
    lines.concat()
}

/// Median, spread, and how sure the median is.
fn together(summary: Summary, show: impl Fn(f64) -> String) -> String {
    let Summary { median, min, max, median_interval, .. } = summary;
    let interval = match median_interval {
        None => String::new(),
        Some(interval) => format!(
            "; true median {} to {} ({:.1} % sure)",
            show(interval.low),
            show(interval.high),
            100.0 * interval.confidence
        ),
    };
    format!("median {}, runs {} to {}{interval}", show(median), show(min), show(max))
}

fn updates_of_runs(runs: &[Measurement]) -> String {
    let sum = |count: fn(&Measurement) -> u64| runs.iter().map(count).sum::<u64>();
    format!("{} lost, {} doubled", sum(|run| run.updates.lost), sum(|run| run.updates.doubled))
}

fn state_of_runs(found: &Repeated) -> String {
    match found.runs.iter().find(|run| !run.verified) {
        None => format!("exact in all {} runs", found.runs.len()),
        Some(wrong) => {
            format!("exact in {} of {} runs; {}", found.exact(), found.runs.len(), state(wrong))
        }
    }
}

fn summary(m: &Measurement) -> String {
    let mut lines = vec![line("system", system(m))];
    if let Some(calls) = m.resumed_at_call {
        lines.push(line("resumed", format!("after {calls} calls that were committed before")));
    }
    lines.extend([
        line("floor", floor(m)),
        line("overhead", overhead(m)),
        line("calls", calls(m)),
        line("throughput", throughput(m)),
        line("restarts", restarts(m)),
    ]);
    if m.failure {
        lines.push(line("recovery", recovery(m)));
    }
    lines.push(line("updates", updates(m)));
    lines.push(line("state", state(m)));
    lines.concat()
}

fn line(name: &str, value: String) -> String {
    format!("{name}: {value}\n")
}

fn system(m: &Measurement) -> String {
    let state = if m.large { "10 MiB each" } else { "one integer each" };
    let engine = match &m.ray_version {
        None => String::new(),
        Some(version) => format!(" on Ray {version}"),
    };
    let (system, durability) = (m.system.name(), m.durability);
    format!("{system}{engine}, durability {durability}, {} actors, {state}", m.num_actors)
}

fn restarts(m: &Measurement) -> String {
    match m.retries {
        Some(retries) => format!("{}, {retries} calls sent again", m.restarts),
        None => m.restarts.to_string(),
    }
}

fn floor(m: &Measurement) -> String {
    let calls = match m.workload {
        Workload::Chain => m.calls,
        Workload::Parallel => m.num_rounds,
    };
    format!("{:.3} s ({calls} calls of {} ms in turn)", m.floor_s, m.delay_ms)
}

fn overhead(m: &Measurement) -> String {
    let percent = match m.floor_s > 0.0 {
        true => format!(" ({:+.2} % of the floor)", 100.0 * m.overhead_s / m.floor_s),
        false => String::new(),
    };
    let each = match m.calls {
        0 => String::new(),
        calls => format!(", {:.1} µs a call", 1e6 * m.overhead_s / calls as f64),
    };
    format!("{:.3} s{percent}{each}", m.overhead_s)
}

fn calls(m: &Measurement) -> String {
    match m.call_us {
        None => "0".to_owned(),
        Some(us) => format!(
            "{}, median {}, 99 % within {}, 99.9 % within {}, longest {}",
            m.calls,
            time(us.median),
            time(us.p99),
            time(us.p999),
            time(us.max)
        ),
    }
}

fn throughput(m: &Measurement) -> String {
    let rate = match m.throughput_per_s {
        None => "no calls".to_owned(),
        Some(rate) => format!("{rate:.0} calls a second"),
    };
    match m.in_flight {
        None => format!("{rate}, one call at a time"),
        Some(calls) => format!("{rate}, {calls} in flight at each of {} actors", m.num_actors),
    }
}

fn time(us: f64) -> String {
    if us < 1000.0 { format!("{us:.1} µs") } else { format!("{:.3} ms", us / 1000.0) }
}

fn recovery(m: &Measurement) -> String {
    let times: Vec<String> = m
        .kills
        .iter()
        .take(20)
        .map(|kill| kill.recovery_ms.map_or_else(|| "none".to_owned(), |ms| format!("{ms:.2}")))
        .collect();
    match m.recovery_ms_median {
        None => "nobody was killed".to_owned(),
        Some(median) => {
            let more = if m.kills.len() > 20 { " …" } else { "" };
            format!(
                "{} kills, kill to next reply: median {median:.2} ms ({}{more})",
                m.kills.len(),
                times.join(" ")
            )
        }
    }
}

fn updates(m: &Measurement) -> String {
    let unexplained = match m.updates.unexplained {
        0 => String::new(),
        n => format!(", {n} unexplained"),
    };
    format!("{} lost, {} doubled{unexplained}", m.updates.lost, m.updates.doubled)
}

fn state(m: &Measurement) -> String {
    if m.verified {
        return "exact".to_owned();
    }
    let verdict = match (m.system, m.failure) {
        (System::Default, true) => "expected without --safe-state when actors are killed",
        (System::Prototype, true) => "expected of the prototype's method when actors are killed",
        _ => "FAILURE: every update should have taken effect exactly once",
    };
    format!("{} of {} actors diverge ({verdict})", m.diverged, m.num_actors)
}

/// Whether the run kept its promise: exact, or under failure a system that promises nothing.
pub fn is_as_promised(m: &Measurement) -> bool {
    m.verified || (m.system != System::SafeActor && m.failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::example;
    use crate::verification::Tally;

    fn printed(m: &Measurement, quiet: bool) -> String {
        let mut out = Vec::new();
        print(&mut out, m, quiet).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quiet_leaves_the_final_state_and_the_duration() {
        let text = printed(&example(), true);
        assert_eq!(text, "Final state: 1 2\nTask delay 10 ms. Duration 3.812\n");
    }

    #[test]
    fn the_summary_says_what_happened() {
        let expected = "\
Final state: 1 2
Task delay 10 ms. Duration 3.812
system: safe_actor, durability power, 20 actors, one integer each
floor: 3.800 s (380 calls of 10 ms in turn)
overhead: 0.012 s (+0.32 % of the floor), 31.6 µs a call
calls: 380, median 10.040 ms, 99 % within 10.197 ms, 99.9 % within 10.200 ms, longest 10.200 ms
throughput: 100 calls a second, one call at a time
restarts: 3, 1 calls sent again
recovery: 3 kills, kill to next reply: median 1.50 ms (1.50 1.50 1.50)
updates: 0 lost, 0 doubled
state: exact
";
        assert_eq!(printed(&example(), false), expected);
    }

    #[test]
    fn a_run_on_ray_says_so_and_nothing_that_ray_does_not_tell() {
        let mut m = example();
        (m.ray_version, m.retries) = (Some("2.60.0".to_owned()), None);
        let text = printed(&m, false);
        assert!(text.contains("system: safe_actor on Ray 2.60.0, durability power"), "{text}");
        assert!(text.contains("restarts: 3\n"), "{text}");
    }

    #[test]
    fn several_runs_are_told_together() {
        let mut out = Vec::new();
        print_repeated(&mut out, &crate::repeat::example(), false).unwrap();
        let expected = "\
Final state: 1 2
Task delay 10 ms. Duration 3.820
system: safe_actor, durability power, 20 actors, one integer each
floor: 3.800 s (380 calls of 10 ms in turn)
runs: 3 (3.812 3.830 3.820 s)
duration: median 3.820 s, runs 3.812 s to 3.830 s
overhead: median 0.020 s, runs 0.012 s to 0.030 s
median call: median 10.040 ms, runs 10.040 ms to 10.040 ms
99 % call: median 10.197 ms, runs 10.197 ms to 10.197 ms
throughput: median 100 calls a second, runs 100 calls a second to 100 calls a second
kill to next reply: median 1.50 ms, runs 1.50 ms to 1.50 ms
updates: 0 lost, 0 doubled
state: exact in all 3 runs
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn runs_that_end_differently_show_all_their_states() {
        let mut found = crate::repeat::example();
        found.runs[1].final_states = vec!["1".to_owned(), "3".to_owned()];
        found.runs[1].verified = false;
        found.runs[1].diverged = 1;
        let mut out = Vec::new();
        print_repeated(&mut out, &found, false).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("Final state: ").count(), 3);
        assert!(text.contains("exact in 2 of 3 runs; 1 of 20 actors diverge (FAILURE"), "{text}");
    }

    #[test]
    fn a_wrong_state_is_a_failure_unless_it_was_to_be_expected() {
        let mut m = example();
        m.verified = false;
        m.diverged = 20;
        m.updates = Tally { lost: 3, doubled: 1, unexplained: 0 };
        assert!(!is_as_promised(&m));
        assert!(printed(&m, false).contains("state: 20 of 20 actors diverge (FAILURE"));
        m.system = System::Default;
        assert!(is_as_promised(&m));
        assert!(
            printed(&m, false)
                .contains("updates: 3 lost, 1 doubled\nstate: 20 of 20 actors diverge (expected")
        );
        m.system = System::Prototype;
        assert!(is_as_promised(&m) && printed(&m, false).contains("(expected of the prototype's"));
        m.failure = false;
        assert!(!is_as_promised(&m), "without kills the default system must be right, too");
    }
}
