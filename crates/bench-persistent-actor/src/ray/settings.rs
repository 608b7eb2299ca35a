//! Which Python, which cluster.

use std::env;
use std::path::{Path, PathBuf};

use crate::cli::RunArgs;

/// The variable that names the interpreter.
pub const VARIABLE: &str = "PERSISTENT_ACTOR_PYTHON";

/// Where `scripts/python-env.sh` puts the interpreter, in the project's directory.
const ENVIRONMENT: &str = "target/python-env/bin/python";

/// How a run reaches Ray.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaySettings {
    /// The interpreter.
    pub python: PathBuf,
    /// The cluster to join; `None` to start one.
    pub address: Option<String>,
}

/// A setting of Ray cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RaySettingsError {
    /// The address has another form.
    #[error(
        "--ray-address={address}: expected HOST:PORT, with a port from 1 to 65535, or \"auto\"{}",
        if address.starts_with("ray://") {
            "; Ray's client protocol (ray://) is not supported"
        } else {
            ""
        }
    )]
    Address {
        /// What was given.
        address: String,
    },
}

impl RaySettings {
    /// The settings that the flags ask for; nothing is started or looked at but paths.
    ///
    /// # Errors
    /// See [`RaySettingsError`].
    pub fn of(args: &RunArgs) -> Result<Self, RaySettingsError> {
        let address = args.ray_address.clone();
        if let Some(address) = address.clone().filter(|address| !is_address(address)) {
            return Err(RaySettingsError::Address { address });
        }
        Ok(Self { python: args.python.clone().unwrap_or_else(default_python), address })
    }
}

fn is_address(text: &str) -> bool {
    if text == "auto" {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The interpreter when none is named: that of the variable, else the project's environment,
/// seen from this executable (`target/release/…`) or the current directory, else `python3`.
pub fn default_python() -> PathBuf {
    if let Some(python) = env::var_os(VARIABLE).filter(|python| !python.is_empty()) {
        return python.into();
    }
    let executable = env::current_exe().unwrap_or_default();
    let beside = executable.ancestors().skip(1).map(|dir| dir.join(ENVIRONMENT));
    let here = env::current_dir().unwrap_or_default().join(ENVIRONMENT);
    let found = beside.chain([here]).find(|python| python.exists());
    found.unwrap_or_else(|| Path::new("python3").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_auto() {
        for right in ["auto", "127.0.0.1:6379", "head:1", "[::1]:6379"] {
            assert!(is_address(right), "{right}");
        }
        for wrong in ["", "local", "head", "head:", ":6379", "head:0", "head:65536", "ray://h:1"] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
