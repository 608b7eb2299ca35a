//! The worker: receive a call, look it up, run it, commit, reply.
//!
//! One thread, blocking. The calls themselves are the business of the core's [`Instance`].

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use persistent_actor::{
    Answer, Attempt, Call, CallOutcome, Encoded, Instance, OpenError, Rejection, Reply,
    ReplyStatus, Stage, StoreError, codec,
};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::actor_type::{ActorType, Remote};
use crate::assignment::Assignment;
use crate::buffers::use_shared_memory;
use crate::connection::{Connection, EXIT_FAILED, EXIT_FENCED, First, Request, encoded_text};
use crate::event::now_ns;
use crate::fork::{Company, Side, fork, is_want_of_room};
use crate::handle::KillPoint;
use crate::mapping::mapped_bytes;
use crate::memory_holder;
use crate::process::kill_this_process;
use crate::process_name::{self, Placeholder};
use crate::slot_buffers::slot_buffers;
use crate::spawner::{INHERITED_VARIABLE, WORKER_VARIABLE};
use crate::wire::{Frame, Stamps, Status, WireError};

/// A process that was started as a worker, or made by one.
pub(crate) struct Worker {
    node: i32,
    company: Company,
    /// The descriptors that it has from its node, if it was started to make others.
    inherited: Option<Vec<RawFd>>,
    /// Where the name of the actor goes.
    placeholder: Option<Placeholder>,
    connection: Connection,
}

impl Worker {
    /// The worker that this process is; `None` if it is none.
    pub(crate) fn of_this_process(company: Company) -> Option<Self> {
        let node: i32 = std::env::var(WORKER_VARIABLE).ok()?.parse().ok()?;
        let stdin = rustix::stdio::stdin();
        // The variable reaches programs that a worker starts, too. Only a worker has a socket
        // there, and one that its node made.
        let maker = rustix::net::sockopt::socket_peercred(stdin).ok()?;
        if maker.pid.as_raw_nonzero().get() != node {
            return None;
        }
        tie_to(node);
        match take_socket() {
            Ok(socket) => {
                let connection = Connection::new(socket);
                let placeholder = Placeholder::of_this_process();
                let inherited = std::env::var(INHERITED_VARIABLE).ok().map(|list| numbers(&list));
                Some(Self { node, company, inherited, placeholder, connection })
            }
            Err(error) => exit_with(&format!("a worker cannot take its socket: {error}")),
        }
    }

    pub(crate) fn run(mut self) -> ! {
        use_shared_memory();
        if self.inherited.is_some() {
            process_name::set("fork-server");
            if let Err(error) = self.connection.send(&Frame::Waits) {
                self.connection.fail(&error);
            }
        }
        loop {
            match self.connection.receive_first() {
                Ok(Some(First::Start(assignment, initial))) => self.serve(&assignment, initial),
                Ok(Some(First::Fork(socket))) => self.fork(socket),
                Ok(None) => std::process::exit(0),
                Err(error) => self.connection.fail(&error),
            }
        }
    }

    /// Makes another process like this one, which has that socket.
    fn fork(&mut self, socket: OwnedFd) {
        let mut known = vec![self.connection.socket.as_raw_fd(), socket.as_raw_fd()];
        known.extend(self.inherited.iter().flatten());
        let answer = match fork(self.company, &known) {
            Ok(Side::New) => {
                tie_to(self.node);
                self.connection = Connection::new(socket);
                return;
            }
            Ok(Side::Old(pid)) => Frame::Forked { pid },
            Err(error) => Frame::NotForked { ever: is_want_of_room(&error) },
        };
        // First: the node notices the death of the copy when nobody has its socket any more.
        drop(socket);
        if let Err(error) = self.connection.send(&answer) {
            self.connection.fail(&error);
        }
    }

    fn serve(mut self, assignment: &Assignment, initial: Encoded) -> ! {
        process_name::show(&assignment.actor, self.placeholder);
        match ActorType::find(&assignment.type_name) {
            Some(entry) => (entry.serve)(self.connection, assignment, initial),
            None => {
                let reason = format!("this executable has no actor {}", assignment.type_name);
                self.connection.fail(&WireError(reason))
            }
        }
    }
}

/// Lets this process end with its node.
fn tie_to(node: i32) {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        exit_with(&format!("cannot tie a worker to its node: {error}"));
    }
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != node) {
        // The node died before the line above.
        std::process::exit(0);
    }
}

/// What a variable lists.
fn numbers(list: &str) -> Vec<RawFd> {
    list.split(',').filter_map(|number| number.parse().ok()).collect()
}

/// Moves the socket away from stdin, where what the user's code reads or starts would get it.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// Ends a process that cannot go on and has nobody else to tell.
pub(crate) fn exit_with(message: &str) -> ! {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {message}");
    std::process::exit(EXIT_FAILED)
}

/// Runs one actor of type `A` until its node closes the connection.
pub(crate) fn serve<A: Remote>(
    mut connection: Connection,
    assignment: &Assignment,
    initial: Encoded,
) -> ! {
    let mut instance = match open::<A>(assignment, initial) {
        Ok(instance) => instance,
        Err(error) => connection.fail(&error),
    };
    match serve_requests(&mut connection, &mut instance, assignment) {
        Ok(()) => match instance.close() {
            Ok(()) => std::process::exit(0),
            Err(error) => connection.fail(&error),
        },
        Err(Stop::Store(error @ StoreError::Fenced { .. })) => {
            connection.fail_with(EXIT_FENCED, &error)
        }
        Err(Stop::Store(error)) => connection.fail(&error),
        Err(Stop::Connection(error)) => connection.fail(&error),
    }
}

fn open<A: Remote>(assignment: &Assignment, initial: Encoded) -> Result<Instance<A>, OpenError> {
    let options = assignment.options().build_in_place(slot_buffers().clone());
    let path = Path::new(OsStr::from_bytes(&assignment.path));
    Instance::open_at(options, path, move || codec::decode::<A>(&initial))
}

/// Why a worker stops serving.
enum Stop {
    Store(StoreError),
    Connection(io::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

fn serve_requests<A: Remote>(
    connection: &mut Connection,
    instance: &mut Instance<A>,
    assignment: &Assignment,
) -> Result<(), Stop> {
    let run = assignment.run;
    let mut holds_memory = !assignment.holds_memory;
    let state = instance.state();
    connection.send(&Frame::Ready { epoch: state.epoch(), sequence: state.sequence() })?;
    while let Some(request) = connection.receive_request(run)? {
        match request {
            Request::Call { sequence, call, kill_at, attempt } => {
                let mut stamps = Stamps::default();
                let observe = &mut |stage| observe(stage, kill_at, &mut stamps);
                let answer = answer(instance, &call, attempt, observe)?;
                // The arguments go first, so that their release travels with the reply.
                drop(call);
                let replayed = matches!(answer, Answer::Replayed(_));
                if let Some(written) = instance.take_written() {
                    connection.push_written(written);
                }
                connection.reply(sequence, replayed, sent(answer), stamps)?;
            }
            Request::Outcome { sequence, id } => {
                // An answer from memory, which is old if somebody else has taken over.
                let outcome = instance.outcome(id)?;
                connection.reply(sequence, false, told(outcome), Stamps::default())?;
            }
            Request::Group(member) => instance.set_group(member)?,
        }
        instance.maintain()?;
        connection.release()?;
        if !holds_memory && mapped_bytes() >= memory_holder::MIN_BYTES {
            holds_memory = true;
            // Without it, a death is noticed later.
            let _ = memory_holder::start(connection.socket.as_fd());
        }
    }
    Ok(())
}

/// Runs a call, unless the actor died of it too often.
fn answer<A: Remote>(
    instance: &mut Instance<A>,
    call: &Call,
    attempt: Option<Attempt>,
    observe: &mut dyn FnMut(Stage),
) -> Result<Answer, StoreError> {
    if let Some(attempt) = attempt
        && let Some(rejection) = instance.attempt(call, &attempt)?
    {
        return Ok(Answer::Rejected(rejection));
    }
    instance.call(call, observe)
}

/// Notes when a call reached a stage, and kills the worker there if that was asked for.
fn observe(stage: Stage, kill_at: Option<KillPoint>, stamps: &mut Stamps) {
    let now = now_ns();
    match stage {
        Stage::Run => {
            stamps.run_started_ns = now;
            kill_if(kill_at == Some(KillPoint::BeforeRun));
        }
        Stage::Commit => {
            stamps.run_ended_ns = now;
            kill_if(kill_at == Some(KillPoint::BeforeCommit));
        }
        Stage::Reply if stamps.run_ended_ns != 0 => {
            stamps.committed_ns = now;
            kill_if(kill_at == Some(KillPoint::AfterCommit));
        }
        // A call that leaves no record has no commit: both points after the run are here.
        Stage::Reply => {
            stamps.run_ended_ns = now;
            kill_if(matches!(kill_at, Some(KillPoint::BeforeCommit | KillPoint::AfterCommit)));
        }
    }
}

fn kill_if(here: bool) {
    if here {
        kill_this_process();
    }
}

/// What is sent of the outcome of a call.
fn told(outcome: CallOutcome) -> (Status, Encoded) {
    match outcome {
        CallOutcome::Committed(reply) => sent(Answer::Replayed(reply)),
        CallOutcome::Parked { deaths, last } => (Status::Poison, encoded_deaths(deaths, &last)),
        CallOutcome::NotCommitted => (Status::NotCommitted, Encoded::default()),
        CallOutcome::Expired => (Status::Expired, Encoded::default()),
    }
}

/// What is sent of an answer.
fn sent(answer: Answer) -> (Status, Encoded) {
    match answer {
        Answer::Ran(Reply { status, value }) | Answer::Replayed(Reply { status, value }) => {
            let status = match status {
                ReplyStatus::Returned => Status::Returned,
                ReplyStatus::Failed => Status::Failed,
                ReplyStatus::Panicked => Status::Panicked,
            };
            (status, value)
        }
        Answer::Rejected(Rejection::Poison { deaths, last, .. }) => {
            (Status::Poison, encoded_deaths(deaths, &last))
        }
        Answer::Rejected(rejection) => {
            let status = match rejection {
                Rejection::LedgerExpired(_) => Status::Expired,
                _ => Status::Rejected,
            };
            (status, encoded_text(&rejection.to_string()))
        }
    }
}

fn encoded_deaths(deaths: u32, last: &str) -> Encoded {
    // A number and a text always encode.
    codec::encode(&(deaths, last)).unwrap_or_default()
}
