//! What befalls the calls of a chain, decided by the seed.

use persistent_actor_runtime::KillPoint;
use rand::RngExt;
use rand::rngs::StdRng;

/// How many calls of 100 meet a fault while there are faults left.
const FAULTS_PERCENT: u32 = 80;

/// What happens to the actor that is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// SIGKILL after this part of a call's time; then, if there is a second number, again after
    /// this part of a recovery's time.
    Kill(f64, Option<f64>),
    /// SIGKILL at this point of the call.
    KillAt(KillPoint),
    /// SIGSTOP after this part of a call's time.
    Zombie(f64),
}

/// The part of `all` that falls to one of several.
pub fn share(all: u64, parts: usize, number: usize) -> u64 {
    let (parts, number) = (parts as u64, number as u64);
    all / parts + u64::from(number < all % parts)
}

/// The faults that one chain still has to meet.
pub struct Faults {
    random: StdRng,
    kills: u64,
    zombies: u64,
}

impl Faults {
    /// So many kills and zombies.
    pub fn new(random: StdRng, kills: u64, zombies: u64) -> Self {
        Self { random, kills, zombies }
    }

    /// How many there are still to come.
    pub fn left(&self) -> u64 {
        self.kills + self.zombies
    }

    /// What happens to the next call.
    pub fn draw(&mut self) -> Fault {
        if self.left() == 0 || !self.random.random_ratio(FAULTS_PERCENT, 100) {
            return Fault::None;
        }
        // A little beyond the call's end: between two calls, too.
        let instant = self.random.random_range(0.0..1.3);
        if self.random.random_range(0..self.left()) < self.zombies {
            self.zombies -= 1;
            return Fault::Zombie(instant);
        }
        self.kills -= 1;
        match self.random.random_range(0..10) {
            0..3 => Fault::KillAt(self.point()),
            3..6 if self.kills > 0 => {
                self.kills -= 1;
                Fault::Kill(instant, Some(self.random.random()))
            }
            _ => Fault::Kill(instant, None),
        }
    }

    fn point(&mut self) -> KillPoint {
        match self.random.random_range(0..4) {
            0 => KillPoint::BeforeRun,
            1 => KillPoint::BeforeCommit,
            _ => KillPoint::AfterCommit,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn faults(seed: u64) -> Vec<Fault> {
        let random = StdRng::seed_from_u64(seed);
        let mut faults = Faults::new(random, 100, 10);
        let mut all = Vec::new();
        while faults.left() > 0 {
            all.push(faults.draw());
        }
        all
    }

    #[test]
    fn the_seed_decides_the_faults_and_there_are_as_many_as_were_asked_for() {
        assert_eq!(faults(5), faults(5));
        assert_ne!(faults(5), faults(6));
        let mut kills = 0;
        let mut zombies = 0;
        for fault in faults(7) {
            match fault {
                Fault::None => {}
                Fault::Kill(_, again) => kills += 1 + u64::from(again.is_some()),
                Fault::KillAt(_) => kills += 1,
                Fault::Zombie(_) => zombies += 1,
            }
        }
        assert_eq!((kills, zombies), (100, 10));
    }

    #[test]
    fn the_shares_of_all_chains_are_the_whole() {
        for all in [0, 1, 7, 200] {
            assert_eq!((0..4).map(|number| share(all, 4, number)).sum::<u64>(), all);
        }
    }
}
