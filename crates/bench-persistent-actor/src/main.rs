//! The binary; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = bench_persistent_actor::floors::bare_process() {
        return code;
    }
    persistent_actor_runtime::init();
    bench_persistent_actor::app::main()
}
