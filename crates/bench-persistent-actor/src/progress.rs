//! The progress bar: on a terminal only, on standard error, gone at the end.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar that nothing moves is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A bar over so many steps of this name, with the time that is left; hidden off a terminal and
/// when quiet.
pub fn bar(steps: u64, unit: &str, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filled = if colour { "{bar:40.cyan/dim}" } else { "{bar:40}" };
    let template = format!("{filled} {{pos}}/{{len}} {unit}, {{eta}} left {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
