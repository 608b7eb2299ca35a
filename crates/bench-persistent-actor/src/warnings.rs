//! Reasons to distrust what was measured, said aloud.

use std::fmt;

use crate::machine_load::MachineLoad;
use crate::measurement::median;
use crate::statistics::{self, Summary};

/// A spread beyond this is noise. Part of the median.
const NOISY_SPREAD: f64 = 0.25;

/// A first run so much slower than the others began with cold caches. Part of the median.
const SLOW_FIRST_RUN: f64 = 0.1;

/// A reason to distrust a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The program was built without optimisation.
    DebugBuild,
    /// Other programs computed meanwhile.
    Busy(MachineLoad),
    /// The host computed for other virtual machines.
    Stolen(MachineLoad),
    /// The runs differ widely.
    Noise {
        /// What was measured.
        figure: &'static str,
        /// From the smallest to the largest, as a part of the median.
        spread: f64,
    },
    /// Some runs do not belong to the others.
    Outliers {
        /// What was measured.
        figure: &'static str,
        /// Which runs, counted from 1.
        runs: Vec<usize>,
    },
    /// The first run was slow.
    SlowFirstRun {
        /// What was measured.
        figure: &'static str,
        /// By how much, as a part of the median of the others.
        by: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DebugBuild => {
                f.write_str("this is a debug build; its times mean little (use --release)")
            }
            Self::Busy(load) => {
                let percent = 100.0 * load.others_share().unwrap_or_default();
                write!(f, "other programs used {percent:.0} % of a processor meanwhile")?;
                if let Some(average) = load.load_average_before {
                    write!(f, " (load average before: {average:.2})")?;
                }
                f.write_str("; measure again on a quiet machine")
            }
            Self::Stolen(load) => {
                let percent = 100.0 * load.stolen_share().unwrap_or_default();
                write!(
                    f,
                    "the host of this virtual machine took {percent:.0} % of the processors' time \
                     for others meanwhile"
                )
            }
            Self::Noise { figure, spread } => write!(
                f,
                "{figure}: the runs differ by {:.0} % of their median; the machine is noisy",
                100.0 * spread
            ),
            Self::Outliers { figure, runs } => {
                let runs: Vec<String> = runs.iter().map(usize::to_string).collect();
                write!(
                    f,
                    "{figure}: statistical outliers in run {}; something else may have happened \
                     then",
                    runs.join(", ")
                )
            }
            Self::SlowFirstRun { figure, by } => write!(
                f,
                "{figure}: the first run was {:.0} % slower than the others; caches may have been \
                 cold",
                100.0 * by
            ),
        }
    }
}

/// What there is to say about the machine and the build.
pub fn of_machine(load: &MachineLoad) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push(Warning::DebugBuild);
    }
    if load.is_busy() {
        warnings.push(Warning::Busy(*load));
    }
    if load.is_stolen_from() {
        warnings.push(Warning::Stolen(*load));
    }
    warnings
}

/// What there is to say about repeated measurements of a time, in their order.
pub fn of_times(figure: &'static str, times: &[f64]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(summary) = Summary::of(times) else { return warnings };
    let outliers = statistics::outliers(times);
    let slow = slow_first_run(times, &outliers);
    if let Some(by) = slow {
        warnings.push(Warning::SlowFirstRun { figure, by });
    }
    let others: Vec<usize> =
        outliers.iter().filter(|&&n| n > 0 || slow.is_none()).map(|n| n + 1).collect();
    if !others.is_empty() {
        warnings.push(Warning::Outliers { figure, runs: others });
    }
    // A single run that is told of already does not make the others noisy.
    let rest: Vec<f64> =
        (0..times.len()).filter(|n| !outliers.contains(n)).map(|n| times[n]).collect();
    let spread = Summary::of(&rest).map_or(summary.relative_spread(), |s| s.relative_spread());
    if times.len() > 1 && spread > NOISY_SPREAD {
        warnings.push(Warning::Noise { figure, spread });
    }
    warnings
}

/// By how much the first run was slower than the others, if that is worth a word.
fn slow_first_run(times: &[f64], outliers: &[usize]) -> Option<f64> {
    let (first, others) = times.split_first()?;
    let by = first / median(others.to_vec())? - 1.0;
    (outliers.contains(&0) && by > SLOW_FIRST_RUN).then_some(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(times: &[f64]) -> Vec<String> {
        of_times("duration", times).iter().map(Warning::to_string).collect()
    }

    #[test]
    fn even_runs_are_worth_no_word() {
        assert!(texts(&[1.0, 1.01, 0.99, 1.0, 1.02]).is_empty());
        assert!(texts(&[1.0]).is_empty());
        assert!(texts(&[]).is_empty());
    }

    #[test]
    fn a_slow_first_run_is_told_as_such() {
        let found = texts(&[1.5, 1.0, 1.01, 0.99, 1.0, 1.02]);
        assert_eq!(
            found,
            ["duration: the first run was 50 % slower than the others; caches may have been cold"]
        );
    }

    #[test]
    fn other_outliers_are_named_by_their_number() {
        let found = texts(&[1.0, 1.01, 0.99, 4.0, 1.02, 1.0]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("outliers in run 4"), "{found:?}");
    }

    #[test]
    fn a_wide_spread_is_noise() {
        let found = texts(&[1.0, 1.3, 0.9, 1.2, 0.8]);
        assert_eq!(
            found,
            ["duration: the runs differ by 50 % of their median; the machine is noisy"]
        );
    }

    #[test]
    fn a_busy_machine_is_told_with_figures() {
        let load = MachineLoad {
            wall_s: 10.0,
            processors: 2,
            others_s: Some(5.0),
            stolen_s: Some(1.0),
            load_average_before: Some(1.25),
        };
        let texts: Vec<String> = of_machine(&load).iter().map(Warning::to_string).collect();
        assert!(texts.iter().any(|text| text.contains("used 50 % of a processor")), "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("(load average before: 1.25)")));
        assert!(texts.iter().any(|text| text.contains("took 5 % of the processors' time")));
        let quiet = MachineLoad { others_s: Some(0.1), stolen_s: Some(0.0), ..load };
        assert_eq!(of_machine(&quiet).len(), usize::from(cfg!(debug_assertions)));
    }
}
