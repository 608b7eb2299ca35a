//! The binary; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    persistent_actor_runtime::init();
    bench_persistent_actor::app::main()
}
