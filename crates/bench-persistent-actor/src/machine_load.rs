//! What else the machine did while something was measured.
//!
//! From `/proc/stat` and `/proc/self/stat` (proc(5)), which count in clock ticks of 10 ms: of short
//! measurements they say nothing. Where they cannot be read, nothing is known and nothing said.

use std::fs;
use std::time::Instant;

use serde::Serialize;

/// Shorter measurements tell nothing. Seconds.
const MIN_WALL_S: f64 = 0.5;

/// What others may use of one processor before it is worth a warning.
const BUSY_SHARE: f64 = 0.1;

/// What may be stolen by other virtual machines before it is worth a warning. Part of all
/// processors' time.
const STOLEN_SHARE: f64 = 0.01;

/// What the machine did during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MachineLoad {
    /// How long the measurement took. Seconds.
    pub wall_s: f64,
    /// How many processors the machine has, also those on which this program does not run.
    pub processors: usize,
    /// The time that other programs computed; `None` when unknown. Seconds of one processor.
    pub others_s: Option<f64>,
    /// The time that this machine would have computed, had the host not computed something
    /// else; `None` when unknown. Seconds of one processor.
    pub stolen_s: Option<f64>,
    /// How many tasks ran or waited to run before the measurement, over a minute (the load
    /// average); `None` when unknown.
    pub load_average_before: Option<f64>,
}

impl MachineLoad {
    /// What was computed by others per second; `None` when unknown or too short to tell.
    pub fn others_share(&self) -> Option<f64> {
        (self.wall_s >= MIN_WALL_S).then_some(self.others_s? / self.wall_s)
    }

    /// The part of all processors' time that was stolen; `None` when unknown or too short.
    pub fn stolen_share(&self) -> Option<f64> {
        let all_s = self.wall_s * self.processors as f64;
        (self.wall_s >= MIN_WALL_S).then_some(self.stolen_s? / all_s)
    }

    /// Whether others computed so much that times are not to be trusted.
    pub fn is_busy(&self) -> bool {
        self.others_share().is_some_and(|share| share > BUSY_SHARE)
    }

    /// Whether the host took so much that times are not to be trusted.
    pub fn is_stolen_from(&self) -> bool {
        self.stolen_share().is_some_and(|share| share > STOLEN_SHARE)
    }
}

/// A measurement under way.
#[derive(Debug)]
pub struct LoadWatch {
    begin: Instant,
    ticks: Option<Ticks>,
    load_average: Option<f64>,
}

impl LoadWatch {
    /// Begins.
    pub fn begin() -> Self {
        Self { begin: Instant::now(), ticks: Ticks::now(), load_average: load_average() }
    }

    /// Ends. The processes that were started meanwhile must have been waited for: only then they
    /// count as ours.
    pub fn end(self) -> MachineLoad {
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let passed = self.ticks.zip(Ticks::now());
        let seconds = |count: fn(&Ticks) -> u64| {
            let (before, after) = passed?;
            Some(count(&after).saturating_sub(count(&before)) as f64 / per_second)
        };
        let others = seconds(|ticks| ticks.busy).zip(seconds(|ticks| ticks.own));
        MachineLoad {
            wall_s: self.begin.elapsed().as_secs_f64(),
            processors: processors(),
            others_s: others.map(|(busy, own)| (busy - own).max(0.0)),
            stolen_s: seconds(|ticks| ticks.stolen),
            load_average_before: self.load_average,
        }
    }
}

/// Clock ticks since the machine, or the process, began.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    /// All processors: user, nice, system, irq, softirq.
    busy: u64,
    /// All processors: steal.
    stolen: u64,
    /// This process and its children that were waited for.
    own: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&machine, &process)
    }

    fn parse(machine: &str, process: &str) -> Option<Self> {
        let all = machine.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let all: Vec<u64> = all.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = all[..] else {
            return None;
        };
        // The name, in brackets, may contain anything; the state follows it, as field 3.
        let fields: Vec<&str> = process.rsplit_once(')')?.1.split_whitespace().collect();
        let own = fields.get(11..15)?.iter().map(|word| word.parse::<u64>());
        let own = own.sum::<Result<u64, _>>().ok()?;
        Some(Self { busy: user + nice + system + irq + softirq, stolen, own })
    }
}

/// How many processors the machine has: those whose time the kernel's sums contain. This program
/// may have chosen to run on one alone.
fn processors() -> usize {
    let counted = fs::read_to_string("/proc/stat").map_or(0, |machine| count_processors(&machine));
    match counted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        counted => counted,
    }
}

/// How many lines there are of single processors (`cpu0`, `cpu1` and so on).
fn count_processors(machine: &str) -> usize {
    let numbers = machine.lines().filter_map(|line| line.strip_prefix("cpu"));
    numbers.filter(|number| number.starts_with(|c: char| c.is_ascii_digit())).count()
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_kernels_lines() {
        let machine = "cpu  100 20 30 4000 5 6 7 80 9 9\ncpu0 1 2 3\n";
        let process = "12 (a) b) R 1 1 1 0 -1 4 5 6 7 8 11 22 33 44 20 0 1 0 9";
        let expected = Ticks { busy: 163, stolen: 80, own: 110 };
        assert_eq!(Ticks::parse(machine, process), Some(expected));
        assert_eq!(Ticks::parse("cpu  1 2\n", process), None);
        assert_eq!(Ticks::parse(machine, "12 (a"), None);
        assert!(Ticks::now().is_some(), "this machine has the files");
    }

    #[test]
    fn every_processor_of_the_machine_counts_and_nothing_else() {
        let machine = "cpu  9 9\ncpu0 1 2\ncpu1 1 2\ncpu17 1 2\nintr 5 cpu3\ncpuidle 4\n";
        assert_eq!(count_processors(machine), 3);
        assert_eq!(count_processors(""), 0);
    }

    #[test]
    fn a_program_that_stays_on_one_processor_still_knows_of_all() {
        let all = count_processors(&fs::read_to_string("/proc/stat").unwrap());
        // The place is that of a thread; this one ends with the test.
        let load = std::thread::spawn(|| {
            crate::processor::stay_on_one().unwrap();
            LoadWatch::begin().end()
        });
        let load = load.join().unwrap();
        assert_eq!(load.processors, all);
        let load = MachineLoad { wall_s: 1.0, stolen_s: Some(0.1), ..load };
        assert_eq!(load.stolen_share(), Some(0.1 / all as f64), "of all processors' time");
    }

    #[test]
    fn our_own_work_is_not_that_of_others() {
        let ours = Ticks { busy: 1000, stolen: 0, own: 500 };
        let watch = LoadWatch { begin: Instant::now(), ticks: Some(ours), load_average: None };
        let load = watch.end();
        assert!(load.others_s.is_some());
        let known = MachineLoad { wall_s: 10.0, processors: 2, ..load };
        let with = |others, stolen| MachineLoad {
            others_s: Some(others),
            stolen_s: Some(stolen),
            ..known
        };
        assert!(!with(0.9, 0.1).is_busy() && with(1.1, 0.1).is_busy());
        assert!(!with(0.0, 0.1).is_stolen_from() && with(0.0, 0.3).is_stolen_from());
        assert!(!MachineLoad { wall_s: 0.1, ..with(5.0, 5.0) }.is_busy(), "too short to tell");
    }
}
