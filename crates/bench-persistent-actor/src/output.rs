//! What a run prints on standard output: data first, then a summary for people.

use std::io::{self, Write};

use crate::cli::Workload;
use crate::measurement::Measurement;
use crate::scenario::System;

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
