//! The tests of the Python package (`python/tests`), if there is a Python to run them with.

use std::io::{self, Write};
use std::process::Command;

use python_tests::{is_ci, python, repository};

#[test]
fn the_tests_of_the_python_package_pass() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => return skip(&reason),
    };
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "python", "--color=no"]).current_dir(repository());
    // Pytest's words go past the test harness, which shows them only when a test fails.
    let status = command.status().expect("python was just run");
    assert!(status.success(), "pytest: {status}; its output is above");
}

/// Says that the tests do not run; in CI that is a failure.
fn skip(reason: &str) {
    let message = format!(
        "SKIPPED: the tests of the Python package did not run: {reason}; \
         run scripts/python-env.sh (it needs Python 3.11 or newer)"
    );
    assert!(!is_ci(), "{message}");
    // Past the test harness, too.
    let _ = writeln!(io::stderr(), "\n{message}\n");
}
