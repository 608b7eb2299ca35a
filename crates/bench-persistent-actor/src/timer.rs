//! Sleeping precisely.
//!
//! The kernel may wake a sleeper later than asked, to wake several at once: by 50 µs for a
//! normal thread. With that slack at its least a sleep still ends 40 to 100 µs late on a virtual
//! machine, most of it the time to wake an idle processor. So the thread wakes a little early
//! and looks at the clock for the rest.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How much earlier than asked the kernel is to wake the thread.
const EARLY: Duration = Duration::from_micros(150);

thread_local! {
    static PRECISE: Cell<bool> = const { Cell::new(false) };
}

/// Sleeps for this long: never shorter, and rarely more than a microsecond longer.
pub fn sleep(duration: Duration) {
    let end = Instant::now() + duration;
    if let Some(most) = duration.checked_sub(EARLY) {
        if !PRECISE.replace(true) {
            // Refused only by exotic sandboxes; the sleep is merely less precise then.
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        }
        std::thread::sleep(most);
    }
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_never_too_short() {
        for micros in [0, 1, 149, 150, 151, 3000] {
            let begin = Instant::now();
            sleep(Duration::from_micros(micros));
            assert!(begin.elapsed() >= Duration::from_micros(micros), "{micros} µs");
        }
    }
}
