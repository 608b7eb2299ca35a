//! [`Options`]: how a state is to be opened. What opens it is in `opening.rs`.

use std::sync::Arc;

use crate::call::SessionId;
use crate::durability::Durability;
use crate::ledger::LedgerLimits;
use crate::store::segment::Sizes;
use crate::store::{Chain, InPlace, Member, SlotPool};
use crate::testing::Switches;

/// How to open an [`ActorState`](crate::ActorState).
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) create: bool,
    pub(crate) limits: LedgerLimits,
    pub(crate) switches: Switches,
    pub(crate) sizes: Sizes,
    pub(crate) patient: bool,
    /// Whose commits may be left to a group journal.
    pub(crate) member: Option<Member>,
    pub(crate) trusted_run: Option<u128>,
    pub(crate) chain: Option<Arc<Chain>>,
    pub(crate) ended: Vec<u64>,
    pub(crate) in_place: InPlace,
    pub(crate) session: Option<SessionId>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            create: true,
            limits: LedgerLimits::default(),
            switches: Switches::default(),
            sizes: Sizes::default(),
            patient: true,
            member: None,
            trusted_run: None,
            chain: None,
            ended: Vec::new(),
            in_place: InPlace::default(),
            session: None,
        }
    }
}

impl Options {
    /// What a commit survives. Default: [`Durability::Power`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether a state that is not there is made (the default) or an error.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How much is remembered of calls that were not acknowledged.
    #[must_use]
    pub fn ledger_limits(mut self, limits: LedgerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Leaves the sync of small commits at [`Durability::Power`] to a group journal beside the
    /// state, from the start; see [`ActorState::set_group`](crate::ActorState::set_group).
    #[must_use]
    pub fn group(mut self, member: Option<Member>) -> Self {
        self.member = member;
        self
    }

    /// The run of a group journal that is open now, and was when the state's last holder used it:
    /// what that wrote is in its files, whether it was synced or not.
    #[must_use]
    pub fn group_run(mut self, run: Option<u128>) -> Self {
        self.trusted_run = run;
        self
    }

    pub(crate) fn chain(mut self, chain: Option<Arc<Chain>>) -> Self {
        self.chain = chain;
        self
    }

    /// The incarnations that opened this state under these [epochs](crate::ActorState::epoch) have ended:
    /// their processes are gone, and can write no more. Files that they left may then be used
    /// again, if all that came after them have ended, too, which makes the first commit of a large
    /// value some milliseconds faster; the others are removed by
    /// [`maintain`](crate::ActorState::maintain), after the first calls.
    ///
    /// Only whoever has waited for the process itself (`waitpid`) can know that. Silence, a
    /// closed connection or a time that has passed prove nothing.
    #[must_use]
    pub fn ended(mut self, epochs: impl IntoIterator<Item = u64>) -> Self {
        self.ended = epochs.into_iter().collect();
        self
    }

    /// The session under which the calls of this opening come, mostly: it is never forgotten,
    /// however many [others](LedgerLimits::max_sessions) come. A session that had calls in an
    /// earlier opening, and was not named there, is not to be named.
    #[must_use]
    pub fn session(mut self, session: Option<SessionId>) -> Self {
        self.session = session;
        self
    }

    /// Lets large arrays be built where they are stored, in memory of this pool, which serves no
    /// other state: only at [`Durability::Process`]. And lets those that an earlier incarnation has
    /// stored be read there, at any level; see [`SlotPool::map_committed`].
    #[must_use]
    pub fn build_in_place(mut self, pool: Arc<dyn SlotPool>) -> Self {
        self.in_place = InPlace(Some(pool));
        self
    }

    /// Takes safety away, for tests of the tests.
    #[doc(hidden)]
    #[must_use]
    pub fn switches(mut self, switches: Switches) -> Self {
        self.switches = switches;
        self
    }

    /// Makes journal segments small, so that tests meet many checkpoints.
    #[doc(hidden)]
    #[must_use]
    pub fn small_segments(mut self) -> Self {
        self.sizes = Sizes { first: 4096, later: 8192, step: 2048 };
        self
    }

    /// Believes damage at first sight, without giving another process time to finish a write.
    #[doc(hidden)]
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }
}
