//! Sleeping precisely.
//!
//! The kernel may wake a sleeper later than asked, to wake several at once: by 50 µs for a
//! normal thread. With that slack at its least a 10 ms sleep ends 30 to 40 µs late. Spinning
//! over the rest would end sooner, and would take the processor from the other actors.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static PRECISE: Cell<bool> = const { Cell::new(false) };
}

/// Sleeps for this long, at most some 40 µs longer.
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return;
    }
    if !PRECISE.replace(true) {
        // Refused only by exotic sandboxes; the sleep is merely less precise then.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_sleep_is_never_too_short() {
        let begin = Instant::now();
        sleep(Duration::from_millis(3));
        assert!(begin.elapsed() >= Duration::from_millis(3));
    }
}
