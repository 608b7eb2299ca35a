//! Several states over one group journal: a run of which each step is known, and how what is
//! found after a crash is judged.

use std::collections::BTreeMap;
use std::path::Path;

use persistent_actor::store::{FileStore, GroupJournal, Member, Store, Ticket, View};
use persistent_actor::testing::{Op, SimDisk};
use persistent_actor::{OpenError, Options};

use super::{Content, Random, Step, Verdict, history, judge_view, limits};

pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// What each of the states goes through.
pub fn steps(actor: usize) -> Vec<Step> {
    use Content::{Blob, Number, Text, Touched};
    use Step::{Answer, Call, Reopen};
    let mut steps = vec![
        Call(vec![(0, Number(1))]),
        Call(vec![(1, Text(300))]),
        Call(vec![(0, Number(2)), (1, Text(20))]),
        Call(vec![(1, Text(900))]),
    ];
    if actor == 0 {
        steps.extend([
            Call(vec![(2, Blob(66_000))]),
            Call(vec![(0, Number(3))]),
            Call(vec![(2, Touched(5))]),
            Call(vec![(2, Number(9))]),
            Call(vec![(2, Blob(66_000))]),
            Answer(65_600),
            Call(vec![(0, Number(4))]),
            Call(vec![(0, Number(5))]),
            Call(vec![(2, Blob(65_700))]),
        ]);
    }
    for round in 0..6 {
        steps.push(Call(vec![(0, Number(round))]));
        steps.push(Call(vec![(1, Text(100 + 130 * actor + 90 * round as usize))]));
        if round as usize == 1 + actor || round == 4 {
            steps.push(Reopen);
        }
    }
    // Small, so that the last ones go to a journal that has some already.
    steps.extend([Call(vec![(0, Number(8))]), Call(vec![(0, Number(9))])]);
    steps
}

/// Options of a state, and of the group journal.
pub fn group_options(options: &Options) -> Options {
    options.clone()
}

/// A commit of an actor in the log of the disk.
const ACTOR: u64 = 1 << 32;

/// A state that is open in a group.
pub struct Live {
    pub store: FileStore,
    pub view: View,
    pub member: Member,
}

pub fn open(
    disk: &SimDisk,
    group: &GroupJournal,
    name: &str,
    options: &Options,
) -> Result<Live, OpenError> {
    let member = group.join(name);
    let options = options.clone().group(Some(member)).group_run(Some(group.run()));
    let (store, view) = FileStore::open_on(disk.dir(name), Path::new(name), &options)?;
    Ok(Live { store, view, member })
}

/// Runs all steps of all states in an order given by the seed. Commits that are answered are
/// marked in the disk's log. An error ends it.
pub fn run(disk: &SimDisk, options: &Options, seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let group = GroupJournal::open_on(disk.root(), options, None).map_err(|e| e.to_string())?;
    let all: Vec<Vec<Step>> = (0..NAMES.len()).map(steps).collect();
    let mut next = [0; NAMES.len()];
    let mut live: Vec<Option<Live>> = (0..NAMES.len()).map(|_| None).collect();
    let mut waiting: Vec<(Ticket, u64)> = Vec::new();
    while (0..NAMES.len()).any(|actor| next[actor] < all[actor].len()) {
        let actor = random.below(NAMES.len() as u64) as usize;
        match all[actor].get(next[actor]) {
            None => {}
            Some(Step::Reopen) => {
                next[actor] += 1;
                let Some(mut old) = live[actor].take() else { continue };
                let (member, epoch) = (old.member, old.store.epoch());
                match random.below(3) {
                    0 => {
                        old.store.close().map_err(|e| e.to_string())?;
                        group.leave(member);
                        continue;
                    }
                    // It was killed, and who opens it next comes later.
                    1 => {
                        drop(old);
                        group.forsake(member, epoch);
                        continue;
                    }
                    // The same, but at once; what was not answered may be seen by its successor.
                    _ => drop(old),
                }
                let successor = open(disk, &group, NAMES[actor], options);
                live[actor] = Some(successor.map_err(|e| e.to_string())?);
                group.leave(member);
            }
            Some(step) => {
                next[actor] += 1;
                if live[actor].is_none() {
                    let opened = open(disk, &group, NAMES[actor], options);
                    live[actor] = Some(opened.map_err(|e| e.to_string())?);
                }
                let Some(current) = &mut live[actor] else { continue };
                let record = step.record(&current.view).unwrap();
                let is_last = next[actor] == all[actor].len();
                if random.below(if is_last { 2 } else { 8 }) == 0 {
                    let member = (random.below(2) == 0 && !is_last).then_some(current.member);
                    current.store.set_group(member).map_err(|e| e.to_string())?;
                }
                current.store.commit(&record, &current.view).map_err(|e| e.to_string())?;
                current.view.apply(record, &limits());
                let ticket = match current.store.take_written() {
                    Some(written) => group.submit(current.member, &written),
                    None => Ok(group.ticket()),
                };
                let answer = actor as u64 * ACTOR + current.view.sequence;
                waiting.push((ticket.map_err(|e| e.to_string())?, answer));
                current.store.maintain(&mut current.view).map_err(|e| e.to_string())?;
            }
        }
        match random.below(12) {
            0..=3 => {
                let durable = group.flush().map_err(|e| e.to_string())?;
                let (done, rest) = waiting.drain(..).partition(|(ticket, _)| *ticket <= durable);
                waiting = rest;
                let done: Vec<(Ticket, u64)> = done;
                done.into_iter().for_each(|(_, answer)| disk.mark(answer));
            }
            4 => group.maintain().map_err(|e| e.to_string())?,
            _ => {}
        }
    }
    // Some are closed, some die before their program or with it.
    for (actor, last) in live.iter_mut().enumerate() {
        let Some(mut last) = last.take_if(|_| actor == 0 || random.below(2) == 0) else { continue };
        if actor == 0 || random.below(2) == 0 {
            last.store.close().map_err(|e| e.to_string())?;
            group.leave(last.member);
        } else {
            group.forsake(last.member, last.store.epoch());
        }
    }
    if seed.is_multiple_of(2) {
        drop(live);
        while random.below(2) == 0 {
            group.maintain().map_err(|e| e.to_string())?;
        }
        group.close().map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The last answered commit of each state within the first `count` operations.
pub fn answered(log: &[Op], count: usize) -> [u64; NAMES.len()] {
    let mut answered = [0; NAMES.len()];
    for op in &log[..count] {
        if let Op::Mark(note) = op {
            answered[(note / ACTOR) as usize] = note % ACTOR;
        }
    }
    answered
}

/// Opens all states on the disk; each must be one of its history and not older than what was
/// answered. Gives the commits found.
pub fn judge(
    disk: &SimDisk,
    options: &Options,
    histories: &[Vec<View>],
    answered: &[u64],
) -> Result<BTreeMap<usize, u64>, String> {
    let mut found = BTreeMap::new();
    for (actor, name) in NAMES.iter().enumerate() {
        let opened = FileStore::open_on(disk.dir(name), Path::new(name), options);
        let (_, view) = opened.map_err(|error| format!("{name} cannot be opened: {error}"))?;
        let verdict: Verdict = judge_view(&view, &histories[actor], answered[actor]);
        verdict.map_err(|broken| format!("{name}: {broken}"))?;
        found.insert(actor, view.sequence);
    }
    Ok(found)
}

pub fn histories() -> Vec<Vec<View>> {
    (0..NAMES.len()).map(|actor| history(&steps(actor))).collect()
}
