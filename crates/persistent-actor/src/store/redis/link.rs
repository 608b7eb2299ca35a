//! [`Link`]: a connection that is made again when it breaks.

use std::fmt;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::address::PASSWORD_VARIABLE;
use redis::{
    Client, Cmd, Connection, ConnectionInfo, ConnectionLike, RedisError, ServerErrorKind, Value,
};

/// How long one attempt may take: to connect, and between two packets of an answer.
const ATTEMPT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why a command did not get its answer.
pub(super) enum Trouble {
    /// The server was not there all the time.
    Unreachable { waited: Duration, last: String },
    /// The server refused the command.
    Refused(String),
    /// The server does not know us.
    Denied(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { waited, last } => {
                write!(f, "the server could not be reached for {} s ({last})", waited.as_secs())
            }
            Self::Refused(answer) => write!(f, "the server refused it: {answer}"),
            Self::Denied(answer) => write!(
                f,
                "the server wants another user or password: {answer}; they are in the URL \
                 (redis://user:password@host) or, a password alone, in {PASSWORD_VARIABLE}"
            ),
        }
    }
}

/// A connection to a server.
pub(super) struct Link {
    address: ConnectionInfo,
    patience: Duration,
    connection: Option<Connection>,
}

impl Link {
    pub(super) fn new(address: ConnectionInfo, patience: Duration) -> Self {
        Self { address, patience, connection: None }
    }

    /// Runs a command that may be run again: when the connection breaks, it is.
    pub(super) fn run(&mut self, command: &Cmd) -> Result<Value, Trouble> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.attempt(command) {
                Ok(Value::ServerError(error)) => RedisError::from(error),
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_denial(&error) {
                return Err(Trouble::Denied(error.to_string()));
            }
            if !is_passing(&error) {
                return Err(Trouble::Refused(error.to_string()));
            }
            self.connection = None;
            if start.elapsed() > self.patience {
                let waited = self.patience;
                return Err(Trouble::Unreachable { waited, last: error.to_string() });
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn attempt(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let client = Client::open(self.address.clone())?;
                let connection = client.get_connection_with_timeout(ATTEMPT)?;
                connection.set_read_timeout(Some(ATTEMPT))?;
                connection.set_write_timeout(Some(ATTEMPT))?;
                self.connection.insert(connection)
            }
        };
        connection.req_command(command)
    }

    /// Makes sure that the server keeps what it confirms.
    pub(super) fn check_settings(&mut self) -> io::Result<()> {
        // What is wrong with the connection itself is told as that.
        self.run(&redis::cmd("PING"))?;
        let hint = "set it in the server's configuration, or open the state with durability \
                    `process`, which does not survive the server's machine";
        let wanted: [(&str, &[&str]); 3] = [
            ("appendonly", &["yes"]),
            ("appendfsync", &["always"]),
            ("maxmemory-policy", &["noeviction"]),
        ];
        for (setting, accepted) in wanted {
            let mut command = redis::cmd("CONFIG");
            command.arg("GET").arg(setting);
            let answer = match self.run(&command) {
                Ok(answer) => answer,
                Err(Trouble::Refused(answer)) => {
                    let message = format!(
                        "whether the server syncs before it answers cannot be checked ({answer}); \
                         allow CONFIG GET, or open the state with durability `process`"
                    );
                    return Err(io::Error::other(message));
                }
                Err(trouble) => return Err(trouble.into()),
            };
            let found: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
            let found = found.get(1).map_or("unknown", String::as_str);
            if !accepted.contains(&found) {
                let expected = accepted.join(" or ");
                let message = format!("its setting {setting} is {found}, not {expected}: {hint}");
                return Err(io::Error::other(message));
            }
        }
        Ok(())
    }
}

/// Whether the password is wrong or missing.
fn is_denial(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// Whether it makes sense to try again: the network, or a server that is starting.
fn is_passing(error: &RedisError) -> bool {
    let starting = matches!(
        error.kind(),
        redis::ErrorKind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::MasterDown
        )
    );
    starting || error.is_io_error() || error.is_connection_dropped() || error.is_timeout()
}
