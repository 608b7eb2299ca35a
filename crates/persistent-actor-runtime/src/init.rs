//! [`init`]: the fork in the road between the user's program and a worker.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::SpawnError;
use crate::fork::Company;
use crate::worker;

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Makes this program able to start workers. Call it first thing in `main`, or use `#[main]`,
/// which does.
///
/// Workers are this same executable, started again. In a worker this call runs the actor and
/// never returns; everywhere else it returns at once.
///
/// What comes before this call in `main` is not done by each worker for itself: most of them are
/// copies of one that has come this far (see
/// [`NodeBuilder::fast_restart`](crate::NodeBuilder::fast_restart)). A generator of random numbers
/// that was used before this call, say, goes on alike in all of them, and anew after each restart.
/// Where there are other threads at this point, or open files, workers are not copied, and start
/// slower.
pub fn init() {
    take_branch(Company::None);
    INITIALISED.store(true, Ordering::Relaxed);
}

/// Runs the worker, never to return, if this process, a test program, was started as one.
#[doc(hidden)]
pub fn take_worker_branch() {
    take_branch(Company::Harness);
}

fn take_branch(company: Company) {
    if let Some(worker) = worker::Worker::of_this_process(company) {
        worker.run();
    }
}

/// The test that [`worker_for_tests!`](crate::worker_for_tests) defines.
#[doc(hidden)]
pub struct TestWorker {
    path: &'static str,
}

impl TestWorker {
    /// The test at `path`, crate name included.
    pub const fn new(path: &'static str) -> Self {
        Self { path }
    }

    /// The test's name as the test harness knows it: without the crate's name.
    fn name(&self) -> &'static str {
        self.path.split_once("::").map_or(self.path, |(_, name)| name)
    }
}

inventory::collect!(TestWorker);

/// How a worker of this executable is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryPoint {
    /// Through `main`, which calls [`init`].
    Main,
    /// Through the test of this name.
    Test(&'static str),
}

impl EntryPoint {
    pub(crate) fn of_this_program() -> Result<Self, SpawnError> {
        if INITIALISED.load(Ordering::Relaxed) {
            return Ok(Self::Main);
        }
        let test = inventory::iter::<TestWorker>().next().ok_or(SpawnError::NotInitialised)?;
        Ok(Self::Test(test.name()))
    }
}

/// Lets the tests of this test binary start actors: put it once at the top of the test file.
///
/// Test binaries have no `main` of their own that could call [`init`]; this defines a test named
/// `persistent_actor_worker` which is a worker's entry point, and does nothing otherwise.
///
/// ```
/// persistent_actor_runtime::worker_for_tests!();
/// ```
#[macro_export]
macro_rules! worker_for_tests {
    () => {
        #[cfg(test)]
        $crate::__private::inventory::submit! {
            $crate::__private::TestWorker::new(
                ::core::concat!(::core::module_path!(), "::persistent_actor_worker")
            )
        }

        #[test]
        fn persistent_actor_worker() {
            $crate::__private::take_worker_branch();
        }
    };
}

/// Runs a future to its end on a single-threaded tokio runtime; what `#[main]` does.
#[doc(hidden)]
pub fn block_on<F: Future>(future: F) -> F::Output {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => worker::exit_with(&format!("cannot start the tokio runtime: {error}")),
    }
}
