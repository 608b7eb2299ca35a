//! `--repeat`: the whole workload several times over, and what the runs say together.
//!
//! Every run begins anew: fresh processes, and fresh states in a temporary directory of their
//! own. So the runs are independent of each other, each has the same right answer, and each is
//! compared with it.

use serde::{Serialize, Serializer};

use crate::machine_load::MachineLoad;
use crate::measurement::Measurement;
use crate::statistics::Summary;
use crate::warnings::{self, Warning};

/// Several runs of one scenario; `--json` writes exactly these fields.
#[derive(Clone, Debug, Serialize)]
pub struct Repeated {
    /// The runs, in their order; never empty.
    pub runs: Vec<Measurement>,
    /// The runs together.
    pub statistics: Statistics,
    /// What the machine did meanwhile.
    pub machine: MachineLoad,
    /// Reasons to distrust the figures, as sentences.
    #[serde(serialize_with = "as_texts")]
    pub warnings: Vec<Warning>,
}

/// One summary for each figure; `None` where no run has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Of [`Measurement::duration_s`].
    pub duration_s: Option<Summary>,
    /// Of [`Measurement::overhead_s`].
    pub overhead_s: Option<Summary>,
    /// Of the median call of each run.
    pub call_us_median: Option<Summary>,
    /// Of the 99 % call of each run.
    pub call_us_p99: Option<Summary>,
    /// Of [`Measurement::throughput_per_s`].
    pub throughput_per_s: Option<Summary>,
    /// Of [`Measurement::recovery_ms_median`].
    pub recovery_ms_median: Option<Summary>,
}

fn as_texts<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(Warning::to_string))
}

impl Repeated {
    /// The runs together.
    pub fn new(runs: Vec<Measurement>, machine: MachineLoad) -> Self {
        let values = |figure: fn(&Measurement) -> Option<f64>| -> Vec<f64> {
            runs.iter().filter_map(figure).collect()
        };
        let summary = |figure| Summary::of(&values(figure));
        let statistics = Statistics {
            duration_s: summary(|run| Some(run.duration_s)),
            overhead_s: summary(|run| Some(run.overhead_s)),
            call_us_median: summary(|run| run.call_us.map(|call| call.median)),
            call_us_p99: summary(|run| run.call_us.map(|call| call.p99)),
            throughput_per_s: summary(|run| run.throughput_per_s),
            recovery_ms_median: summary(|run| run.recovery_ms_median),
        };
        let mut warnings = warnings::of_machine(&machine);
        warnings.extend(warnings::of_times("duration", &values(|run| Some(run.duration_s))));
        let recoveries = values(|run| run.recovery_ms_median);
        warnings.extend(warnings::of_times("kill to next reply", &recoveries));
        Self { runs, statistics, machine, warnings }
    }

    /// How many runs ended with the exact state.
    pub fn exact(&self) -> usize {
        self.runs.iter().filter(|run| run.verified).count()
    }
}

#[cfg(test)]
pub(crate) fn example() -> Repeated {
    let run = crate::measurement::example();
    let runs = [3.812, 3.83, 3.82].map(|duration_s| Measurement {
        duration_s,
        overhead_s: duration_s - run.floor_s,
        ..run.clone()
    });
    let machine = MachineLoad {
        wall_s: 11.5,
        processors: 2,
        others_s: Some(0.0),
        stolen_s: Some(0.0),
        load_average_before: Some(0.0),
    };
    Repeated::new(runs.to_vec(), machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_runs_and_their_statistics_are_in_the_json() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["runs"].as_array().unwrap().len(), 3);
        assert_eq!(json["runs"][1]["duration_s"], 3.83);
        assert_eq!(json["statistics"]["duration_s"]["median"], 3.82);
        assert!(json["statistics"]["duration_s"]["median_interval"].is_null(), "three are too few");
        assert!(json["warnings"].as_array().is_some());
        assert_eq!(json["machine"]["processors"], 2);
    }

    #[test]
    fn figures_that_no_run_has_have_no_summary() {
        let mut run = crate::measurement::example();
        run.recovery_ms_median = None;
        let machine = example().machine;
        let repeated = Repeated::new(vec![run.clone(), run], machine);
        assert_eq!(repeated.statistics.recovery_ms_median, None);
        assert_eq!(repeated.exact(), 2);
    }
}
