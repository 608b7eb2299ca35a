//! The Python driver as a child process, owned fully: started, listened to, ended with all that it
//! has started.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::ray::message::{Message, Reason, Run};
use crate::ray::settings::RaySettings;
use crate::ray::{RayError, orphans};
use crate::state_dir::StateDir;

/// The driver's modules, and the one that is run.
const MODULES: [(&str, &str); 9] = [
    ("channel.py", include_str!("../../ray/channel.py")),
    ("driver.py", include_str!("../../ray/driver.py")),
    ("kills.py", include_str!("../../ray/kills.py")),
    ("members.py", include_str!("../../ray/members.py")),
    ("orphans.py", include_str!("../../ray/orphans.py")),
    ("plain_actors.py", include_str!("../../ray/plain_actors.py")),
    ("prototype_actors.py", include_str!("../../ray/prototype_actors.py")),
    ("rounds.py", include_str!("../../ray/rounds.py")),
    ("safe_actors.py", include_str!("../../ray/safe_actors.py")),
];

/// The longest line of the driver that is read. Bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

/// How many lines may wait to be looked at.
const MAX_LINES: usize = 64;

/// How much of the driver's log is shown. Bytes.
const MAX_LOG_BYTES: u64 = 3000;

/// The longest path of Ray's temporary directory. Bytes: a socket's path has at most 107, and
/// `/session_2026-01-31_23-59-59_123456_1234567/sockets/plasma_store` takes 64 of them.
const MAX_PATH_BYTES: usize = 43;

/// How long the name of the directory is, with its separator. Bytes.
const NAME_BYTES: usize = "/bench-ray.01234567".len();

/// How long a start of Ray or of its actors may take, and a call beyond its delay.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a driver may take to shut Ray down.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// How long a driver that is told to stop may take to leave a cluster that is not ours.
const LEAVE: Duration = Duration::from_secs(10);

/// A driver that runs. When dropped, it and all that it started is killed.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Result<Message, String>>,
    settings: RaySettings,
    /// The longest time between two lines.
    patience: Duration,
    /// Removed after the processes are gone: fields are dropped in order.
    directory: StateDir,
}

impl Driver {
    /// Starts Python with the driver's modules in a directory of their own.
    ///
    /// # Errors
    /// [`RayError::NoPython`], [`RayError::Directory`], [`RayError::System`]
    pub fn start(settings: &RaySettings) -> Result<Self, RayError> {
        let root = short_root();
        let wrap = |source| RayError::Directory { root: root.clone(), source };
        let directory = StateDir::for_ray(&root).map_err(wrap)?;
        let system = |what| move |source| RayError::System { what, source };
        let log = write_modules(home(&directory)).map_err(system("write the Python driver"))?;
        orphans::inherit().map_err(system("inherit orphans"))?;
        // While the driver lives, its directory is not taken for abandoned.
        fcntl_setfd(directory.lock(), FdFlags::empty())
            .map_err(|error| system("share a lock")(error.into()))?;
        let mut child = command(settings, home(&directory), log)
            .spawn()
            .map_err(|source| RayError::NoPython { python: settings.python.clone(), source })?;
        let (sender, lines) = channel(MAX_LINES);
        let stdin = child.stdin.take();
        let listening = match child.stdout.take() {
            Some(stdout) => std::thread::Builder::new()
                .name("ray driver".to_owned())
                .spawn(move || read_lines(stdout, &sender))
                .map(|_| ()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        let settings = settings.clone();
        let driver = Self { child, stdin, lines, settings, patience: PATIENCE, directory };
        listening.map_err(system("listen to the Python driver"))?;
        Ok(driver)
    }

    /// Ray's temporary directory.
    pub fn directory(&self) -> &Path {
        home(&self.directory)
    }

    /// Tells the driver what to do.
    ///
    /// # Errors
    /// [`RayError::Died`]
    pub fn send(&mut self, run: &Run<'_>) -> Result<(), RayError> {
        let mut line = serde_json::to_vec(run)
            .map_err(|error| RayError::System { what: "describe the run", source: error.into() })?;
        line.push(b'\n');
        self.patience = PATIENCE + Duration::from_millis(run.longest_wait_ms());
        match self.stdin.as_mut().map(|stdin| stdin.write_all(&line)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.died()),
        }
    }

    /// What the driver says next, which may take as long as a call.
    ///
    /// # Errors
    /// See [`RayError`].
    pub async fn receive(&mut self) -> Result<Message, RayError> {
        self.receive_within(self.patience).await
    }

    /// What the driver says next, without any call in between.
    ///
    /// # Errors
    /// See [`RayError`].
    pub async fn receive_soon(&mut self) -> Result<Message, RayError> {
        self.receive_within(PATIENCE).await
    }

    async fn receive_within(&mut self, patience: Duration) -> Result<Message, RayError> {
        match tokio::time::timeout(patience, self.lines.recv()).await {
            Err(_) => Err(RayError::Silent { after: patience, log: self.log() }),
            Ok(None) => Err(self.died()),
            Ok(Some(Err(problem))) => Err(RayError::Protocol { problem }),
            Ok(Some(Ok(Message::Error { reason, message }))) => Err(self.error(reason, message)),
            Ok(Some(Ok(message))) => Ok(message),
        }
    }

    fn error(&self, reason: Reason, message: String) -> RayError {
        match (reason, &self.settings.address) {
            (Reason::Missing, _) => {
                RayError::NoPackage { python: self.settings.python.clone(), packages: message }
            }
            (Reason::Python, _) => {
                RayError::OldPython { python: self.settings.python.clone(), version: message }
            }
            (Reason::Connect, Some(address)) => {
                RayError::Connect { address: address.clone(), message }
            }
            _ => RayError::Failed { message, log: self.log() },
        }
    }

    /// Has the driver shut Ray down and waits for it.
    ///
    /// # Errors
    /// [`RayError::Died`]
    pub async fn finish(mut self) -> Result<(), RayError> {
        self.stdin = None;
        let end = Instant::now() + SHUTDOWN;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(_)) => return Err(self.died()),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        // It is killed when dropped; what it was to do is done.
        Ok(())
    }

    /// The driver is gone or as good as gone.
    fn died(&mut self) -> RayError {
        self.end();
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "an unknown exit status".to_owned(),
        };
        RayError::Died { status, log: self.log() }
    }

    /// The end of the driver's log, on lines of its own.
    fn log(&self) -> String {
        let text = tail(&self.directory().join("driver.log")).unwrap_or_default();
        let lines = text.lines().map(|line| format!("\n  | {}", without_colours(line)));
        lines.collect()
    }

    /// Ends the driver and all that it has started.
    fn end(&mut self) {
        self.stdin = None;
        let end = Instant::now() + self.settings.address.as_ref().map_or(Duration::ZERO, |_| LEAVE);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        orphans::end_all();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

fn home(directory: &StateDir) -> &Path {
    directory.outer().unwrap_or_else(|| directory.path())
}

/// The system's temporary directory, or `/tmp` when the sockets' paths would be too long.
fn short_root() -> PathBuf {
    let root = std::env::temp_dir();
    match root.as_os_str().as_bytes().len() + NAME_BYTES <= MAX_PATH_BYTES {
        true => root,
        false => PathBuf::from("/tmp"),
    }
}

/// Writes the modules; gives the file for the driver's log.
fn write_modules(directory: &Path) -> io::Result<File> {
    let modules = directory.join("driver");
    fs::create_dir(&modules)?;
    for (name, text) in MODULES {
        fs::write(modules.join(name), text)?;
    }
    OpenOptions::new().create_new(true).append(true).mode(0o600).open(directory.join("driver.log"))
}

fn command(settings: &RaySettings, directory: &Path, log: File) -> Command {
    let mut command = Command::new(&settings.python);
    command
        .arg(directory.join("driver").join("driver.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C is for this program, which ends the driver.
        .process_group(0)
        .env("RAY_USAGE_STATS_ENABLED", "0")
        .env("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    command
}

/// Passes the driver's lines on until it or this program has enough.
fn read_lines(stdout: impl Read, lines: &Sender<Result<Message, String>>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let message = parse(&line);
        let over = message.is_err();
        if lines.blocking_send(message).is_err() || over {
            return;
        }
    }
}

fn parse(line: &[u8]) -> Result<Message, String> {
    if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        return Err(format!("a line of more than {MAX_LINE_BYTES} bytes"));
    }
    serde_json::from_slice(line).map_err(|error| {
        let text: String = String::from_utf8_lossy(line).chars().take(200).collect();
        format!("{error}: {:?}", text.trim_end())
    })
}

/// The text without terminal escapes (`ESC [ … m`), which Ray prints anywhere.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once('m').map_or("", |(_, rest)| rest);
    }
    text
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(MAX_LOG_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut text = Vec::new();
    file.take(MAX_LOG_BYTES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    // The first line is a part of one.
    let from = if skipped > 0 { text.find('\n').map_or(0, |at| at + 1) } else { 0 };
    Ok(text[from..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_until_one_is_wrong() {
        let (sender, mut lines) = channel(MAX_LINES);
        let text = "{\"type\":\"cluster\",\"ray\":\"2\",\"python\":\"3\"}\nnonsense\n{}\n";
        read_lines(text.as_bytes(), &sender);
        drop(sender);
        assert!(matches!(lines.try_recv(), Ok(Ok(Message::Cluster { .. }))));
        let problem = lines.try_recv().unwrap().unwrap_err();
        assert!(problem.contains("nonsense"), "{problem}");
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn colours_are_taken_out_of_the_log() {
        assert_eq!(
            without_colours("\u{1b}[33m(raylet)\u{1b}[0m A worker died"),
            "(raylet) A worker died"
        );
    }

    #[test]
    fn of_a_long_log_the_last_whole_lines_are_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        fs::write(file.path(), text).unwrap();
        let tail = tail(file.path()).unwrap();
        assert!(tail.len() as u64 <= MAX_LOG_BYTES && tail.ends_with("line 999\n"));
        assert!(tail.starts_with("line "), "{tail}");
    }

    #[test]
    fn rays_directory_is_short_enough_for_its_sockets() {
        let root = short_root();
        let dir = StateDir::for_ray(&root).unwrap();
        let session = "/session_2026-01-31_23-59-59_123456_1234567/sockets/plasma_store";
        assert!(home(&dir).as_os_str().len() + session.len() <= 107);
    }
}
