//! Shows whose process this is.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;

/// How much of an actor's name is shown as a part of the command line. Bytes.
const SHOWN_BYTES: usize = 128;

/// What a worker has on its command line instead of the name of an actor as long as it has none:
/// its name will be written over it.
pub(crate) fn no_name() -> String {
    format!("{:<SHOWN_BYTES$}", "(fork server)")
}

/// Where in memory a process keeps [`no_name`] for the kernel to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placeholder {
    address: u64,
}

impl Placeholder {
    /// That of this process; `None` if it has none, or cannot know.
    pub(crate) fn of_this_process() -> Option<Self> {
        let no_name = no_name();
        if !std::env::args_os().any(|argument| *argument == *no_name) {
            return None;
        }
        let shown = std::fs::read("/proc/self/cmdline").ok()?;
        let at = shown.windows(SHOWN_BYTES).position(|window| window == no_name.as_bytes())?;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, a name in parentheses, may hold anything. The 48th is where the command
        // line begins (proc_pid_stat(5)).
        let (_, from_third) = stat.rsplit_once(')')?;
        let begin: u64 = from_third.split_whitespace().nth(45)?.parse().ok()?;
        Some(Self { address: begin.checked_add(at.try_into().ok()?)? })
    }

    /// Writes the name in its place.
    fn fill(self, name: &str) -> io::Result<()> {
        let mut shown = [0; SHOWN_BYTES];
        let len = name.floor_char_boundary(SHOWN_BYTES);
        shown[..len].copy_from_slice(&name.as_bytes()[..len]);
        // Through the file, so that a page that is not there any more is an error.
        OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&shown, self.address)
    }
}

/// Shows the actor's name in `ps` and `top`.
pub(crate) fn show(actor: &str, placeholder: Option<Placeholder>) {
    set(actor);
    if let Some(placeholder) = placeholder {
        // Without it, the process just has another name.
        let _ = placeholder.fill(actor);
    }
}

/// Sets the short name, of which the kernel keeps 15 bytes.
pub(crate) fn set(name: &str) {
    if let Ok(name) = CString::new(name) {
        // As above.
        let _ = rustix::thread::set_name(&name);
    }
}
