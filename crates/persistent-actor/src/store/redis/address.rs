//! [`Address`]: where a state is, without its password.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};

/// The environment variable that holds a password which the URL does not.
pub(super) const PASSWORD_VARIABLE: &str = "PERSISTENT_ACTOR_REDIS_PASSWORD";

const EXPECTED: &str = "expected redis://[user:password@]host[:port][/database]?name=NAME\
                        [&timeout=SECONDS] (rediss:// for TLS)";
/// How long a server that cannot be reached is waited for, unless the URL says otherwise.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);
const MAX_PATIENCE_SECONDS: u64 = 24 * 60 * 60;

/// A state in a Redis server. Prints without user and password.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) connection: ConnectionInfo,
    pub(super) name: String,
    /// How long a server that cannot be reached is waited for.
    pub(super) patience: Duration,
    shown: String,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it; never its password.
    pub(super) fn parse(url: &str) -> io::Result<Self> {
        let wrong = |what: &str| {
            let message = format!("{what}; {EXPECTED}");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let (server, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut name, mut patience) = (None, DEFAULT_PATIENCE);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("name", value)) if !value.is_empty() => name = Some(value.to_owned()),
                Some(("timeout", value)) => {
                    let seconds = value.parse().ok().filter(|it| *it <= MAX_PATIENCE_SECONDS);
                    let seconds = seconds.ok_or_else(|| {
                        wrong(&format!("timeout={value} is not a number of seconds up to a day"))
                    })?;
                    patience = Duration::from_secs(seconds);
                }
                _ => return Err(wrong("the only parameters are name and timeout")),
            }
        }
        let name = name.ok_or_else(|| wrong("the state has no name"))?;
        if name.contains(['{', '}']) || name.len() > 512 {
            return Err(wrong("a name has at most 512 bytes and no braces"));
        }
        let mut connection = server
            .into_connection_info()
            .map_err(|_| wrong("the address of the server cannot be read"))?;
        let settings = connection.redis_settings();
        if settings.password().is_none()
            && let Ok(password) = std::env::var(PASSWORD_VARIABLE)
        {
            let settings = settings.clone().set_password(password);
            connection = connection.set_redis_settings(settings);
        }
        let (scheme, rest) = server.split_once("://").unwrap_or(("redis", server));
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let shown = format!("{scheme}://{place}?name={name}");
        Ok(Self { connection, name, patience, shown })
    }

    /// As errors show it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.shown)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_used_and_never_shown() {
        let address = Address::parse("redis://me:secret@host:7000/3?name=visits").unwrap();
        assert_eq!(address.to_string(), "redis://host:7000/3?name=visits");
        assert_eq!(address.connection.redis_settings().password(), Some("secret"));
        let odd = Address::parse("redis://me:se@cret@host?name=x").map(|found| found.to_string());
        assert!(!format!("{odd:?}").contains("cret@"), "{odd:?}");
    }

    #[test]
    fn a_url_that_is_wrong_is_refused_without_its_password() {
        for url in [
            "redis://:secret@h",
            "redis://:secret@h?name=",
            "redis://:secret@h?nam=x",
            "redis://?name=x/{",
            "redis://:secret@h?name=x&timeout=soon",
            "redis://:secret@h?name=x&timeout=99999999",
        ] {
            let error = Address::parse(url).err().unwrap().to_string();
            assert!(error.contains("expected redis://") && !error.contains("secret"), "{error}");
        }
    }
}
