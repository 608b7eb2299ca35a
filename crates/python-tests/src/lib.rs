//! Finds the Python environment in which the tests of the Python package run, so that
//! `cargo test --workspace` runs them, too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use std::{env, fs, io};

/// Names a Python interpreter with the package and the tests' tools, instead of the environment that
/// `scripts/python-env.sh` makes.
pub const VARIABLE: &str = "PERSISTENT_ACTOR_PYTHON";

/// What the tests need.
const PROBE: &str = "import sys; assert sys.version_info >= (3, 11), sys.version; \
                     import mypy, numpy, persistent_actor, pytest, ray";

/// Sources of what is installed, relative to the repository.
const SOURCES: [&str; 4] = [
    "python/persistent_actor",
    "python/src",
    "python/pyproject.toml",
    "crates/persistent-actor/src",
];

/// The repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Whether all tests have to run: in CI, which says so by `CI=true`.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The Python interpreter with the package in it.
///
/// # Errors
/// Why there is none, and what has to be done.
pub fn python() -> Result<PathBuf, String> {
    let repository = repository();
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    let is_named = named.is_some();
    let python = named.unwrap_or_else(|| environment(&repository).join("bin/python"));
    let place = if is_named { format!(" ({VARIABLE})") } else { String::new() };
    if !is_named && !python.exists() {
        let environment = environment(&repository);
        return Err(format!("there is no Python environment in {}", environment.display()));
    }
    let probe = Command::new(&python).args(["-c", PROBE]).stdin(Stdio::null()).output();
    match probe {
        Err(error) => return Err(format!("cannot run {}{place}: {error}", python.display())),
        Ok(probe) if !probe.status.success() => {
            let said = String::from_utf8_lossy(&probe.stderr);
            let said = said.lines().last().unwrap_or("it failed");
            return Err(format!("{}{place} cannot run the tests: {said}", python.display()));
        }
        Ok(_) => {}
    }
    if !is_named {
        let stamp = environment(&repository).join("installed");
        if let Some(newer) = newer_than(&repository, &stamp) {
            let newer = newer.display();
            return Err(format!("the Python environment is older than {newer}"));
        }
    }
    Ok(python)
}

/// Where `scripts/python-env.sh` makes the environment.
fn environment(repository: &Path) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    repository.join(target).join("python-env")
}

/// A source that was changed after the package was installed.
fn newer_than(repository: &Path, stamp: &Path) -> Option<PathBuf> {
    let installed = modified(stamp).unwrap_or(SystemTime::UNIX_EPOCH);
    let sources = SOURCES.iter().map(|source| repository.join(source));
    sources.into_iter().find_map(|source| find_newer(&source, installed).ok().flatten())
}

fn find_newer(path: &Path, installed: SystemTime) -> io::Result<Option<PathBuf>> {
    if !path.is_dir() {
        return Ok((modified(path)? > installed).then(|| path.to_owned()));
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let is_source = path.is_dir()
            || path.extension().is_some_and(|it| it == "rs" || it == "py" || it == "pyi");
        // Python writes its caches when it likes.
        if is_source
            && !path.ends_with("__pycache__")
            && let Some(newer) = find_newer(&path, installed)?
        {
            return Ok(Some(newer));
        }
    }
    Ok(None)
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}
