//! `repair`: from a damaged state to one that can be opened, and what that costs.

use std::path::{Path, PathBuf};

use persistent_actor::store::{Salvage, View, salvage};
use persistent_actor::{CallId, OpenError};

use super::verify::{Finding, damage, findings};
use crate::cli::RepairArgs;
use crate::confirm::confirm;
use crate::error::{Error, FOUND};
use crate::locate::state_path;
use crate::output::{Output, show_name};
use crate::place::{Draft, copy_state};
use crate::reading::{Reading, refuse_if_held};
use crate::units::{count, now_ms, show_utc};

/// How many calls or attributes are named one by one.
const MAX_NAMED: usize = 20;

pub(crate) fn run(args: &RepairArgs) -> Result<u8, Error> {
    let path = state_path(&args.state, &args.root)?;
    let shown = show_name(&path.to_string_lossy());
    let mut out = Output::new();
    let error = match Reading::of(&path) {
        Ok(_) => {
            out.line(&format!("{shown}: ok, there is nothing to repair"))?;
            out.finish()?;
            return Ok(0);
        }
        Err(error) => error,
    };
    let damage = repairable(&path, error)?;
    refuse_if_held(&path, "stop it first")?;
    let salvage = salvage(&path)?;
    out.line(&format!("{shown}: damaged"))?;
    for line in damage.iter().map(Finding::show) {
        out.line(&format!("  {line}"))?;
    }
    let Some(plan) = plan(&salvage, args.drop_unreadable) else {
        out.finish()?;
        return Ok(refuse(&salvage, &shown));
    };
    out.line(&format!("kept: {}", plan.kept))?;
    for loss in &plan.lost {
        out.line(&format!("lost: {loss}"))?;
    }
    out.finish()?;
    write(args, &path, &plan, &salvage)
}

/// All that is wrong with a state whose reading ended with `error`; that error if a repair does not
/// help.
fn repairable(path: &Path, error: Error) -> Result<Vec<Finding>, Error> {
    match &error {
        // The state's own files may be in order. But the rest is not to be had, and what they hold
        // may be all that is left.
        Error::Open(OpenError::GroupJournalMissing { .. }) => Ok(findings(&salvage(path)?)),
        _ => damage(path, &error).map_err(|_| error),
    }
}

/// What a repair would make.
struct Plan<'a> {
    view: &'a View,
    kept: String,
    lost: Vec<String>,
}

fn plan(salvage: &Salvage, drop_unreadable: bool) -> Option<Plan<'_>> {
    let view = if drop_unreadable { &salvage.partial } else { &salvage.committed };
    let view = view.as_ref()?;
    let dropped = salvage.unreadable_attributes.len() + salvage.unreadable_replies.len();
    let what = match drop_unreadable && dropped > 0 {
        true => "what can be read of the state",
        false => "the whole state",
    };
    let attributes = count(view.named_attributes().count(), "attribute");
    let kept = format!("{what} after commit {} ({attributes})", view.sequence);
    let mut lost = lost_commits(salvage, view.sequence);
    if drop_unreadable {
        lost.extend(named("attribute", salvage.unreadable_attributes.iter().map(|n| show_name(n))));
        let replies = salvage.unreadable_replies.iter().map(CallId::to_string);
        lost.extend(named("the reply to call", replies));
    } else {
        let calls = salvage.later_calls.iter().map(CallId::to_string);
        lost.extend(named("the effect of call", calls));
    }
    Some(Plan { view, kept, lost })
}

/// Which commits after `kept` are lost, in words.
fn lost_commits(salvage: &Salvage, kept: u64) -> Vec<String> {
    let mut lost = Vec::new();
    let last = salvage.last_record.unwrap_or(kept);
    if last > kept {
        let commits = commits(kept + 1, last);
        lost.push(format!("{commits}: they need large values that cannot be read"));
    }
    if !salvage.cut {
        return lost;
    }
    let first = last + 1;
    lost.push(match salvage.behind.as_ref().map(|behind| *behind.end()) {
        Some(end) if end > first => format!(
            "{}: commit {first} cannot be read, and without it the later ones mean nothing",
            commits(first, end)
        ),
        Some(_) => format!("commit {first}: it cannot be read"),
        None => format!("commit {first} and later ones, if there were any"),
    });
    lost
}

fn commits(first: u64, last: u64) -> String {
    if first == last { format!("commit {first}") } else { format!("commits {first} to {last}") }
}

/// One line for each, up to a bound.
fn named(what: &str, names: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = names.len().saturating_sub(MAX_NAMED);
    let mut lines: Vec<String> =
        names.take(MAX_NAMED).map(|name| format!("{what} {name}")).collect();
    if more > 0 {
        lines.push(format!("the same for {more} more"));
    }
    lines
}

/// Says why nothing is repaired.
fn refuse(salvage: &Salvage, shown: &str) -> u8 {
    let reason = match &salvage.hopeless {
        Some(reason) => reason.clone(),
        None => "no commit of its journal can be read as a whole; --drop-unreadable keeps the \
                 newest without what cannot be read"
            .to_owned(),
    };
    crate::app::note(&format!("error: {shown} cannot be repaired: {reason}"));
    FOUND
}

fn write(args: &RepairArgs, path: &Path, plan: &Plan<'_>, salvage: &Salvage) -> Result<u8, Error> {
    let make =
        |draft: &Draft| draft.make_state(path, plan.view, salvage.highest_epoch, salvage.state_id);
    if let Some(output) = &args.output {
        let draft = Draft::of_new(output)?;
        make(&draft)?;
        draft.publish()?;
        let output = show_name(&output.to_string_lossy());
        crate::app::note(&format!("the repaired state is in {output}"));
        return Ok(0);
    }
    let backup = backup_path(path);
    let shown = (show_name(&path.to_string_lossy()), show_name(&backup.to_string_lossy()));
    confirm(&format!("Repair {} (a copy of it goes to {})?", shown.0, shown.1), &args.yes)?;
    copy_state(path, &backup)?;
    let draft = Draft::beside(path)?;
    make(&draft)?;
    draft.replace()?;
    crate::app::note(&format!("repaired {}; as it was before: {}", shown.0, shown.1));
    Ok(0)
}

/// `<state>.backup-<time>`.
fn backup_path(path: &Path) -> PathBuf {
    let mut backup = path.as_os_str().to_owned();
    backup.push(format!(".backup-{}", show_utc(now_ms())));
    PathBuf::from(backup)
}
