//! Bytes change and files lose their ends while nobody looks. What is found is an error or the
//! very same state: never a panic, never silently less.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Content, Open, Step, options, run, small_workload};
use persistent_actor::store::View;
use persistent_actor::testing::{SimDisk, Switches};
use persistent_actor::{Durability, OpenError, Options};

type Files = Vec<(String, Vec<u8>)>;

fn written(steps: &[Step]) -> (Files, View) {
    let disk = SimDisk::default();
    let options = options(Durability::Process, Switches::default());
    run(&disk, &options, steps).unwrap();
    let files = disk.files();
    (files, Open::on(&disk, &options).unwrap().view)
}

/// Steps whose last commit is long and full of zeros, which look as if they had not been written.
fn with_zeros() -> Vec<Step> {
    let mut steps = small_workload();
    steps.push(Step::Call(vec![(1, Content::Zeros(1700))]));
    steps
}

/// How a damaged state was received.
#[derive(Debug, PartialEq)]
enum Received {
    Same,
    Refused,
}

fn receive(files: &Files, options: &Options, expected: &View) -> Result<Received, String> {
    match Open::on(&SimDisk::with_files(files.clone()), options) {
        Ok(open) if open.view == *expected => Ok(Received::Same),
        Ok(open) => Err(format!("a state of commit {} was accepted", open.view.sequence)),
        Err(
            OpenError::Damaged { .. } | OpenError::NewerVersion { .. } | OpenError::NotFound { .. },
        ) => Ok(Received::Refused),
        Err(other) => Err(format!("an unexpected error: {other}")),
    }
}

/// Changes bytes, one at a time; says how often it was refused, or what went wrong.
fn flip(steps: &[Step], switches: Switches, step: usize) -> Result<(usize, usize), String> {
    let (files, view) = written(steps);
    let options = options(Durability::Process, switches).create(false);
    let (mut refused, mut same) = (0, 0);
    for file in 0..files.len() {
        for place in (0..files[file].1.len()).step_by(step) {
            let byte = files[file].1[place];
            for value in [byte ^ 1, byte ^ 0x80, 0, 0xff] {
                if value == byte {
                    continue;
                }
                let mut damaged = files.clone();
                damaged[file].1[place] = value;
                let received = receive(&damaged, &options, &view).map_err(|wrong| {
                    format!("{}, byte {place} became {value}: {wrong}", files[file].0)
                })?;
                match received {
                    Received::Same => same += 1,
                    Received::Refused => refused += 1,
                }
            }
        }
    }
    Ok((refused, same))
}

#[test]
fn a_changed_byte_is_refused_or_without_effect() {
    for steps in [small_workload(), with_zeros()] {
        let (refused, same) = flip(&steps, Switches::default(), 1).unwrap();
        println!("{refused} refused, {same} the same");
        assert!(refused > same);
    }
}

#[test]
fn a_changed_byte_in_a_large_value_is_refused() {
    let steps = [Step::Call(vec![(2, Content::Blob(70_000)), (3, Content::Text(66_000))])];
    let (refused, same) = flip(&steps, Switches::default(), 1009).unwrap();
    println!("{refused} refused, {same} the same");
}

#[test]
fn without_checksums_changed_bytes_are_accepted() {
    let switches = Switches { checksum: false, ..Switches::default() };
    println!("found: {}", flip(&small_workload(), switches, 1).unwrap_err());
    let blob = [Step::Call(vec![(2, Content::Blob(70_000))])];
    println!("found: {}", flip(&blob, switches, 1009).unwrap_err());
}

#[test]
fn a_file_that_lost_its_end_is_refused() {
    let mut steps = small_workload();
    steps.push(Step::Call(vec![(2, Content::Blob(70_000))]));
    let (files, view) = written(&steps);
    let options = options(Durability::Process, Switches::default()).create(false);
    let mut refused = 0;
    for file in 0..files.len() {
        let len = files[file].1.len();
        let cuts = (0..len).filter(|cut| *cut < 5000 || cut % 997 == 0 || len - cut < 100);
        for cut in cuts {
            let mut damaged = files.clone();
            damaged[file].1.truncate(cut);
            match receive(&damaged, &options, &view) {
                Ok(Received::Refused) => refused += 1,
                // A claim's content is for people, and a segment that waits to be used again is
                // never read.
                Ok(Received::Same)
                    if ["epoch-", "temporary-"]
                        .iter()
                        .any(|kind| files[file].0.starts_with(kind)) => {}
                other => panic!("{} cut off at {cut}: {other:?}", files[file].0),
            }
        }
    }
    println!("{refused} refused");
}

#[test]
fn a_missing_file_is_refused_or_not_needed() {
    let mut steps = small_workload();
    steps.push(Step::Call(vec![(2, Content::Blob(70_000))]));
    let (files, view) = written(&steps);
    let options = options(Durability::Process, Switches::default());
    for (missing, (name, _)) in files.iter().enumerate() {
        let mut damaged = files.clone();
        damaged.remove(missing);
        let received = receive(&damaged, &options, &view);
        let needed = name.starts_with("journal-") || name.starts_with("slot-");
        let expected = if needed { Received::Refused } else { Received::Same };
        assert_eq!(received, Ok(expected), "without {name}");
    }
}
