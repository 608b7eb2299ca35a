//! What the ledger remembers of a state in a Redis server, before and after it is opened again:
//! `cargo test -p persistent-actor --features redis --test redis`.
//!
//! Needs `redis-server`. Without it the tests are skipped; in CI (`CI=true`) that is a failure.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use persistent_actor::{
    ActorState, Admission, CallId, Durability, LedgerLimits, Reply, ReplyStatus, SessionId, codec,
};
use tempfile::TempDir;

/// After so many commits, what the ledger has forgotten is removed from the server.
const CLEANUP: u64 = 256;
const DIGEST: u64 = 7;

struct Server {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    /// `None` if no server is installed.
    fn start() -> Option<Self> {
        for _ in 0..5 {
            // Somebody else may take the port before the server does.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let directory = tempfile::tempdir().unwrap();
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.arg("--dir").arg(directory.path()).stdout(Stdio::null());
            let process = match command.spawn() {
                Ok(process) => process,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return skip(),
                Err(error) => panic!("redis-server: {error}"),
            };
            let mut server = Self { process, port, _directory: directory };
            if server.answers() {
                return Some(server);
            }
        }
        panic!("redis-server does not answer");
    }

    /// Waits until it answers; `false` if it has ended.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if ping(self.port).is_ok_and(|answer| answer == *b"+PONG\r\n") {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }

    fn open(&self, max_calls: usize) -> ActorState {
        let limits = LedgerLimits { max_calls, ..LedgerLimits::default() };
        let options = ActorState::options().durability(Durability::Process).ledger_limits(limits);
        options.open(format!("redis://127.0.0.1:{}/?name=x", self.port)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ping(port: u16) -> io::Result<[u8; 7]> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    connection.read_exact(&mut answer)?;
    Ok(answer)
}

/// Says that a test does not run; in CI that is a failure.
fn skip<T>() -> Option<T> {
    let message = "SKIPPED: redis-server is not installed: apt-get install redis-server";
    let is_ci =
        std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    assert!(!is_ci, "{message}");
    // Past the test harness, too.
    let _ = writeln!(io::stderr(), "\n{message}\n");
    None
}

fn id(sequence: u64) -> CallId {
    CallId { session: SessionId(1000 << 80), sequence }
}

fn reply(sequence: u64) -> Reply {
    Reply { status: ReplyStatus::Returned, value: codec::encode(&sequence).unwrap() }
}

fn commit(state: &mut ActorState, sequence: u64, acked_below: u64) {
    state.commit_call(id(sequence), acked_below, DIGEST, reply(sequence), Vec::new()).unwrap();
    state.maintain().unwrap();
}

fn admit(state: &ActorState, sequence: u64) -> Admission {
    state.admit(id(sequence), DIGEST)
}

/// Commits without a call, until the next of them removes from the server what was forgotten.
fn clean_up(state: &mut ActorState) {
    for number in 0..CLEANUP {
        state.set("number", &number).unwrap();
    }
}

#[test]
fn a_call_that_was_forgotten_unacknowledged_does_not_run_again() {
    let Some(server) = Server::start() else { return };
    let mut state = server.open(4);
    // Call 0 is open all the time.
    for sequence in 1..=CLEANUP + 50 {
        commit(&mut state, sequence, 1);
    }
    let last = CLEANUP + 50;
    for state in [state, server.open(4), server.open(1000)] {
        for sequence in [1, 5, 100, CLEANUP - 10] {
            assert_eq!(admit(&state, sequence), Admission::Expired, "call {sequence}");
        }
        assert_eq!(admit(&state, last), Admission::Replay(reply(last)));
        assert_eq!(admit(&state, last + 1), Admission::Fresh);
    }
}

#[test]
fn a_call_that_is_remembered_is_answered_even_if_a_later_one_was_forgotten() {
    let Some(server) = Server::start() else { return };
    let mut state = server.open(1);
    commit(&mut state, 1, 0);
    commit(&mut state, 0, 0);
    clean_up(&mut state);
    for state in [state, server.open(1)] {
        assert_eq!(admit(&state, 1), Admission::Expired);
        assert_eq!(admit(&state, 0), Admission::Replay(reply(0)));
    }
}

#[test]
fn acknowledged_calls_leave_the_server_at_once() {
    let Some(server) = Server::start() else { return };
    let mut state = server.open(1000);
    for sequence in 0..10 {
        commit(&mut state, sequence, sequence.saturating_sub(2));
    }
    for state in [state, server.open(1000)] {
        assert_eq!(admit(&state, 6), Admission::Expired);
        for sequence in 7..10 {
            assert_eq!(admit(&state, sequence), Admission::Replay(reply(sequence)));
        }
    }
}
