//! [`Protocol`], [`State`] and [`Action`]: callers, node, workers and disk together.

use stateright::{Model, Property};

use crate::disk::Disk;
use crate::faults::Faults;
use crate::mutation::Mutation;
use crate::properties;
use crate::steps::{Effect, Step};
use crate::view::{Answer, Call, CallId, Frame};
use crate::worker::Worker;

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Death of any process: what was written counts.
    Process,
    /// Power loss as well: only what was synced counts.
    Power,
}

/// One protocol to explore: its callers, its level, its faults, and the rule it lacks, if any.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How many callers there are.
    pub callers: u8,
    /// How many calls each of them makes; it may send the next before the last is answered.
    pub calls: u8,
    /// How many calls that only read are made, by anyone, at any time, to any worker.
    pub reads: u8,
    /// How many checkpoints are made, by any worker, whenever it waits for a call.
    pub checkpoints: u8,
    /// What a commit must survive.
    pub level: Level,
    /// How much may go wrong.
    pub faults: Faults,
    /// The rule that is taken away.
    pub mutation: Option<Mutation>,
}

/// Everything: what callers have sent and learned, the processes, the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The calls that were made, in the order in which the node got them.
    pub issued: Vec<Call>,
    /// The replies that callers have, one place for each call; see [`Protocol::place`].
    pub replies: Vec<Option<u8>>,
    /// The workers that live, zombies among them, oldest first.
    pub workers: Vec<Worker>,
    /// The incarnation that the node talks to.
    pub current: Option<u8>,
    /// How many workers were started.
    pub started: u8,
    /// The disk.
    pub disk: Disk,
    /// The faults that may still strike.
    pub faults: Faults,
    /// The reads that may still be made.
    pub reads: u8,
    /// The checkpoints that may still be made.
    pub checkpoints: u8,
    /// What a caller has seen that it must never see.
    pub alarm: Option<Alarm>,
}

/// What no caller may ever see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// Two different replies to one call.
    TwoReplies(Call),
    /// The word that its call has expired, while it waits for the reply.
    ExpiredUnanswered(Call),
    /// A state without a call that had been answered before the read was made.
    StaleRead,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A caller makes its next call.
    Issue(u8),
    /// A caller asks this worker for the state.
    Read(u8),
    /// This worker begins a checkpoint.
    Checkpoint(u8),
    /// The node starts a worker and sends it all calls that are not answered.
    Start,
    /// This worker takes its next step.
    Step(u8),
    /// The reply of this zombie, which the node has given up, does not arrive.
    LoseReply(u8),
    /// Fault: the current worker dies.
    Die,
    /// Fault: the node gives its worker up, which lives on.
    Abandon,
    /// Fault: power is lost. A bit for each segment with unsynced contents: is it kept?
    LosePower(u8),
    /// Fault: a late copy of an answered call reaches the current worker.
    LateCopy(Call),
}

impl Protocol {
    /// The place of a call in [`State::replies`].
    pub fn place(&self, call: Call) -> usize {
        usize::from(call.caller) * usize::from(self.calls) + usize::from(call.number)
    }

    /// The calls that were answered, with their replies.
    pub fn answered<'a>(&self, state: &'a State) -> impl Iterator<Item = (Call, u8)> + 'a {
        let calls = self.calls;
        state.replies.iter().enumerate().filter_map(move |(place, reply)| {
            let place = place as u8;
            Some((Call { caller: place / calls, number: place % calls }, (*reply)?))
        })
    }

    /// The answered calls as a bit set over their places.
    pub fn answered_set(&self, state: &State) -> u16 {
        self.answered(state).fold(0, |set, (call, _)| set | 1 << self.place(call))
    }

    fn frame(&self, state: &State, call: Call, attempt: u8) -> Frame {
        let first = self.place(Call { number: 0, ..call });
        let replies = &state.replies[first..first + usize::from(self.calls)];
        let acked_below = replies.iter().take_while(|reply| reply.is_some()).count() as u8;
        Frame { id: CallId { call, attempt }, acked_below }
    }

    fn issue(&self, state: &mut State, caller: u8) {
        let number = state.issued.iter().filter(|call| call.caller == caller).count() as u8;
        let call = Call { caller, number };
        state.issued.push(call);
        self.send(state, call);
    }

    fn send(&self, state: &mut State, call: Call) {
        let frame = self.frame(state, call, 0);
        if let Some(worker) = state.current_worker() {
            worker.inbox.push(frame);
        }
    }

    fn start(&self, state: &mut State) {
        let attempt = match self.mutation {
            Some(Mutation::ResendWithNewIds) => state.started,
            _ => 0,
        };
        state.started += 1;
        let unanswered =
            state.issued.iter().filter(|call| state.replies[self.place(**call)].is_none());
        let mut inbox: Vec<_> = unanswered.map(|call| self.frame(state, *call, attempt)).collect();
        match self.mutation {
            Some(Mutation::ResendOutOfOrder) => inbox.reverse(),
            Some(Mutation::NoResend) if state.started > 1 => inbox.clear(),
            _ => {}
        }
        state.workers.push(Worker::start(state.started, inbox));
        state.current = Some(state.started);
    }

    fn step(&self, state: &mut State, incarnation: u8, arrives: bool) {
        let Some(at) = state.workers.iter().position(|w| w.incarnation == incarnation) else {
            return;
        };
        let worker = &mut state.workers[at];
        let (sync, mutation) = (self.level == Level::Power, self.mutation);
        match (Step { worker, disk: &mut state.disk, sync, mutation }).take() {
            Effect::None => {}
            Effect::Exited => state.end(incarnation),
            Effect::Answered(id, answer) if arrives => self.receive(state, id.call, answer),
            Effect::Answered(..) => {}
            Effect::Read(answered) => {
                let seen = &state.workers[at].view.history;
                let seen = seen.iter().fold(0u16, |set, call| set | 1 << self.place(*call));
                if answered & !seen != 0 {
                    state.alarm = Some(Alarm::StaleRead);
                }
            }
        }
    }

    fn receive(&self, state: &mut State, call: Call, answer: Answer) {
        let known = &mut state.replies[self.place(call)];
        match (*known, answer) {
            (None, Answer::Reply(reply)) => *known = Some(reply),
            (None, Answer::Expired) => state.alarm = Some(Alarm::ExpiredUnanswered(call)),
            (Some(first), Answer::Reply(reply)) if first != reply => {
                state.alarm = Some(Alarm::TwoReplies(call));
            }
            _ => {}
        }
    }

    /// Every step except those of zombies and faults: what goes on when nothing fails any more.
    pub fn steps_of_the_living(&self, state: &State, actions: &mut Vec<Action>) {
        for caller in 0..self.callers {
            let issued = state.issued.iter().filter(|call| call.caller == caller).count();
            if issued < usize::from(self.calls) {
                actions.push(Action::Issue(caller));
            }
            // Callers are alike: those who have not called yet are tried in one order only.
            if issued == 0 {
                break;
            }
        }
        match state.current {
            None => actions.push(Action::Start),
            Some(current) => {
                let worker = state.workers.iter().find(|worker| worker.incarnation == current);
                if worker.is_some_and(Worker::is_busy) {
                    actions.push(Action::Step(current));
                }
            }
        }
    }

    fn steps_of_zombies(&self, state: &State, actions: &mut Vec<Action>) {
        let zombies = state.workers.iter().filter(|w| Some(w.incarnation) != state.current);
        for zombie in zombies.filter(|worker| worker.is_busy()) {
            actions.push(Action::Step(zombie.incarnation));
            if zombie.is_answering() {
                actions.push(Action::LoseReply(zombie.incarnation));
            }
        }
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        if state.faults.deaths > 0 && state.current.is_some() {
            actions.push(Action::Die);
        }
        if state.faults.zombies > 0 && state.current.is_some() {
            actions.push(Action::Abandon);
        }
        if state.faults.power_losses > 0 {
            let outcomes = 1 << state.disk.unsynced_segments();
            actions.extend((0..outcomes).map(Action::LosePower));
        }
        if state.faults.late_copies > 0 && state.current.is_some() {
            actions.extend(self.answered(state).map(|(call, _)| Action::LateCopy(call)));
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            issued: Vec::new(),
            replies: vec![None; usize::from(self.callers) * usize::from(self.calls)],
            workers: Vec::new(),
            current: None,
            started: 0,
            disk: Disk::default(),
            faults: self.faults,
            reads: self.reads,
            checkpoints: self.checkpoints,
            alarm: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.steps_of_the_living(state, actions);
        self.steps_of_zombies(state, actions);
        for worker in state.workers.iter().filter(|worker| worker.is_idle()) {
            if state.reads > 0 {
                actions.push(Action::Read(worker.incarnation));
            }
            if state.checkpoints > 0 {
                actions.push(Action::Checkpoint(worker.incarnation));
            }
        }
        self.faults(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Issue(caller) => self.issue(&mut state, caller),
            Action::Read(incarnation) => {
                state.reads -= 1;
                let answered = self.answered_set(&state);
                state.worker(incarnation)?.begin_read(answered);
            }
            Action::Checkpoint(incarnation) => {
                state.checkpoints -= 1;
                state.worker(incarnation)?.begin_checkpoint();
            }
            Action::Start => self.start(&mut state),
            Action::Step(incarnation) => self.step(&mut state, incarnation, true),
            Action::LoseReply(incarnation) => self.step(&mut state, incarnation, false),
            Action::Die => {
                state.faults.deaths -= 1;
                state.end(state.current?);
            }
            Action::Abandon => {
                state.faults.zombies -= 1;
                state.current = None;
            }
            Action::LosePower(kept) => {
                state.faults.power_losses -= 1;
                state.workers.clear();
                state.current = None;
                state.disk.lose_power(kept);
            }
            Action::LateCopy(call) => {
                state.faults.late_copies -= 1;
                let frame = Frame { id: CallId { call, attempt: 0 }, acked_below: 0 };
                state.current_worker()?.inbox.push(frame);
            }
        }
        // Whatever happens raises the rank: no run goes round in a circle, so every run ends.
        assert!(
            self.mutation.is_some() || self.rank(&state) > self.rank(last),
            "{action:?} does not lead on from {last:?}"
        );
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    /// A number that every action raises.
    fn rank(&self, state: &State) -> u32 {
        let workers: u32 = state.workers.iter().map(Worker::rank).sum();
        let started = u32::from(state.started);
        let ended = started - state.workers.len() as u32;
        let faults = u32::from(self.faults.total() - state.faults.total());
        let reads = u32::from(self.reads - state.reads);
        let checkpoints = u32::from(self.checkpoints - state.checkpoints);
        let issued = state.issued.len() as u32;
        let events = started + ended + faults + reads + checkpoints + issued;
        events * 2 * Worker::MAX_RANK + workers
    }
}

impl State {
    /// A worker that lives.
    pub fn worker(&mut self, incarnation: u8) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.incarnation == incarnation)
    }

    fn current_worker(&mut self) -> Option<&mut Worker> {
        self.current.and_then(|current| self.worker(current))
    }

    /// A worker is gone; the node sees it if it was the current one.
    fn end(&mut self, incarnation: u8) {
        self.workers.retain(|worker| worker.incarnation != incarnation);
        if self.current == Some(incarnation) {
            self.current = None;
        }
    }
}
