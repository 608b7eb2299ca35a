//! What was typed: the command line as clap parses it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use persistent_actor::CallId;

/// Looks after the states of persistent actors.
///
/// A state is a directory, or a single file where a program wanted it so; a state root is a
/// directory with one state per actor. Commands that read change no byte and never hold up a
/// running actor: what they show is some committed state.
#[derive(Debug, Parser)]
#[command(
    name = "actor-state",
    version,
    term_width = 100,
    infer_subcommands = true,
    infer_long_args = true,
    after_help = "Exit codes: 0 done, nothing wrong; 1 damage or a difference was found, or the \
                  call was not committed; 2 the command could not be carried out, or nobody read \
                  what it printed; 3 whether the call was committed has been forgotten.\n\nData goes to standard output, \
                  everything else to standard error. Colours are used on a terminal unless \
                  NO_COLOR is set.",
    after_long_help = AFTER_LONG_HELP
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_LONG_HELP: &str = "\
Exit codes:
  0  done, nothing wrong
  1  damage or a difference was found, or the call was not committed
  2  the command could not be carried out, or nobody read what it printed
  3  whether the call was committed has been forgotten

Data goes to standard output, everything else to standard error. Colours are used on a terminal
unless NO_COLOR is set.

JSON: sizes are in bytes (fields that end in _bytes), times in milliseconds of Unix time (_ms),
ids and digests are hexadecimal text; what is not known is null. The value of an attribute:
  integer of any size       number, all digits
  text, boolean, null       the same
  float                     number; {\"$float\": \"NaN\"}, \"Infinity\", \"-Infinity\"
  byte string               {\"$bytes\": \"base64\"}
  array                     array
  map with text keys        object; any other map, and one whose keys begin with $ or come
                            twice: {\"$map\": [[key, value], ...]}
  CBOR tag                  {\"$tag\": number, \"$value\": ...}
  other simple values       {\"$simple\": number}; undefined is 23";

const LIST_JSON: &str = "\
JSON: an array of {name, path, verdict, reason, epoch, sequence, disk_bytes, attributes, calls,
holder: {pid, alive}}. The verdict is ok, damaged, unreadable, or empty (nothing was ever saved).";

const SHOW_JSON: &str = "\
JSON: {path, format_version, state_id, epoch, claimed_epoch, sequence, holder: {pid, alive},
attributes: [{name, size_bytes, type}], ledger: {sessions, calls, size_bytes, forgotten_before_ms},
journal: {file, used_bytes, torn_tail}, files: [{name, size_bytes}], disk_bytes}.";

const DIFF_JSON: &str = "\
JSON: {same, added: [{name, size_bytes, type}], removed: [the same], changed: [{name,
before: {size_bytes, type}, after: {the same}, different_bytes, first_difference}]}; the last two
compare byte arrays and are null for other values. Exit code 1 if anything differs.";

const VERIFY_JSON: &str = "\
JSON: an array of {path, verdict, reason, damage: [{file, offset, reason}], sequence, attributes,
calls, checked_bytes}. The verdict is ok, damaged, unreadable, or empty (nothing was ever saved).
An offset is null if the file is intact and a value in it is no CBOR.";

const CALLS_JSON: &str = "\
JSON: an array of {call, commit, committed_ms, status, reply_bytes, digest}, by commit: the
sequence number. The status is returned, failed or panicked. Behind them, calls that the actor
died of: {call, method, status, deaths, last_death, noted_ms}; the status is tried (it runs when
its caller sends it again), parked (it does not, until `retry`), or dropped (it never does).";

const OUTCOME_JSON: &str = "\
JSON: {call, outcome, commit, committed_ms, status, reply}. The outcome is committed (exit code 0),
not committed or parked (1), or forgotten (3).";

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the actors under a state root.
    #[command(after_help = LIST_JSON)]
    List(ListArgs),
    /// Show what a state holds: attributes, epoch, ledger, files.
    #[command(after_help = SHOW_JSON)]
    Show(ReadArgs),
    /// Print the value of an attribute.
    Get(GetArgs),
    /// Compare the attributes of two states.
    #[command(after_help = DIFF_JSON)]
    Diff(DiffArgs),
    /// Check every byte that matters of a state, or of all states under a state root.
    #[command(after_help = VERIFY_JSON)]
    Verify(VerifyArgs),
    /// Make a damaged state readable again; says what is lost.
    Repair(RepairArgs),
    /// Write a state to one portable file.
    Export(ExportArgs),
    /// Make a state from an exported file.
    Import(ImportArgs),
    /// Make a new actor from the attributes of another.
    Fork(ForkArgs),
    /// Rewrite a state without what it does not need any more.
    Compact(CompactArgs),
    /// List the calls that a state remembers.
    #[command(after_help = CALLS_JSON)]
    Calls(ReadArgs),
    /// Let a call that was parked run again when its caller sends it again.
    Retry(ParkedArgs),
    /// Decide that a call that was parked never runs again.
    Drop(ParkedArgs),
    /// Tell whether a call was committed, and what it answered.
    #[command(after_help = OUTCOME_JSON)]
    Outcome(OutcomeArgs),
    /// Delete a state.
    Delete(DeleteArgs),
}

/// `--root`: name an actor instead of a directory.
#[derive(Debug, Args)]
pub(crate) struct RootArg {
    /// Name states by their actors under this state root, instead of by their paths.
    #[arg(long, value_name = "ROOT")]
    pub(crate) root: Option<PathBuf>,
}

/// One state, to be read.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The state root: the directory that a node was opened with.
    pub(crate) root: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    /// The attribute.
    pub(crate) attribute: String,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Print the bytes themselves: the content of a byte array, the CBOR of any other value.
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
    /// Print JSON, complete; without this the value is shown in CBOR diagnostic notation, long
    /// contents cut.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print to a terminal what does not belong there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first state.
    pub(crate) before: PathBuf,
    /// The second state.
    pub(crate) after: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The path of a state or of a state root; with --root, the actor's name.
    #[arg(value_name = "STATE|ROOT")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--yes`: do it without asking.
#[derive(Debug, Args)]
pub(crate) struct YesArg {
    /// Do it without asking; needed where standard input is no terminal.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Leave the state as it is and make the repaired one here, where nothing is yet; without this
    /// the state is replaced, after a copy of it was made beside it.
    #[arg(long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Keep the newest commit and drop attributes that cannot be read, instead of going back to
    /// the newest commit that can be read as a whole.
    #[arg(long)]
    pub(crate) drop_unreadable: bool,
    #[command(flatten)]
    pub(crate) yes: YesArg,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    /// The file to make, where nothing is yet; - is standard output.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The exported file; - is standard input.
    pub(crate) file: PathBuf,
    /// The state to make, where nothing is yet; with --root, the actor's name.
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
}

#[derive(Debug, Args)]
#[command(after_help = "The new actor has the attributes of the other as they are now, and none \
                        of its remembered calls: it is a different actor, so a retry of a call to \
                        the other is a new call here.")]
pub(crate) struct ForkArgs {
    /// The state to copy from.
    pub(crate) state: PathBuf,
    /// The state to make, where nothing is yet; with --root, the new actor's name.
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
}

#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Take the state over from a process that is still running: that one is fenced and must
    /// open it again.
    #[arg(long)]
    pub(crate) take_over: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OutcomeArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    /// The call: its session (32 hexadecimal digits), a colon, its number.
    pub(crate) call: CallId,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One parked call.
#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    /// The call: its session (32 hexadecimal digits), a colon, its number; `calls` lists them.
    pub(crate) call: CallId,
    #[command(flatten)]
    pub(crate) root: RootArg,
    /// Take the state over from a process that is still running: that one is fenced and must
    /// open it again.
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) yes: YesArg,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The state's path; with --root, the actor's name.
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArg,
    #[command(flatten)]
    pub(crate) yes: YesArg,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unambiguous_prefix_is_accepted() {
        let cli = Cli::parse_from(["actor-state", "sh", "x", "--js"]);
        assert!(matches!(cli.command, Command::Show(ReadArgs { json: true, .. })));
        assert!(Cli::try_parse_from(["actor-state", "d", "x"]).is_err(), "diff or delete");
    }
}
