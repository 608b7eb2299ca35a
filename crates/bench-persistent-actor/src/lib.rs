//! `bench-persistent-actor`: what persistent actors cost, and what a crash does to them.
//!
//! The modules are a pipeline: [`cli`] (what was typed) → [`scenario`] (what is meant) →
//! [`workload`] (runs it on the actors of [`actors`], killed by [`faults`], judged by [`chain`] or
//! [`parallel`] and [`verification`]) → [`measurement`] (what was found) → [`export`], [`output`],
//! [`plot`]; several runs are put together by [`repeat`]. [`chaos`] kills everything and compares
//! with the right answer; [`floors`] measures what the machine allows, [`long_run`] whether a long
//! life costs anything; [`reopened`] looks at what a run has left on disk; [`ray`] runs the same workload on Ray.

pub mod actors;
pub mod app;
pub mod block;
pub mod chain;
pub mod chaos;
pub mod cli;
pub mod crowd;
pub mod export;
pub mod faults;
pub mod floors;
pub mod long_run;
pub mod machine_load;
pub mod measurement;
pub mod member;
pub mod memory;
pub mod notes;
pub mod output;
pub mod parallel;
pub mod plot;
pub mod processor;
pub mod progress;
pub mod ray;
pub mod recorder;
pub mod reopened;
pub mod repeat;
pub mod resume;
pub mod run_file;
pub mod scenario;
pub mod signals;
pub mod start;
pub mod state_dir;
pub mod statistics;
pub mod timer;
pub mod verification;
pub mod warnings;
pub mod workload;
