//! How do the threads of a program that knows nothing of silken become coroutines? The dynamic linker loads this
//! library first (`LD_PRELOAD`), so its symbols answer the program's calls, and a runtime adopts its threads.
//!
//! # Protocol
//! The linker calls `begin` before the program's own code. It takes this library out of `LD_PRELOAD`, so that
//! children run as they are, starts a runtime from the environment's variables (`SILKEN_WORKERS`, …), and lets it
//! adopt threads. The program's main thread stays a thread; those that it makes are coroutines. The runtime lives as
//! long as the process.
//!
//! If coroutines cannot have thread-locals of their own in the process, one line on standard error says why, and the
//! program runs as without this library.
//!
//! # What is not interrupted
//! A program's own allocator and its other libraries are unknown here, so computing coroutines are not preempted. A
//! call that blocks a worker unseen gets it another thread, as in every runtime.

use std::io::Write;
use std::sync::OnceLock;

/// The runtime, and the process that it belongs to.
static SERVING: OnceLock<(u32, silken::Runtime)> = OnceLock::new();

/// Takes this library out of the variable by which the linker was told of it.
#[expect(
    clippy::disallowed_methods,
    reason = "no thread of the program could read the environment meanwhile"
)]
fn leave_children_alone() {
    const VARIABLE: &str = "LD_PRELOAD";
    let Some(given) = std::env::var_os(VARIABLE) else {
        return;
    };
    let given = given.to_string_lossy().into_owned();
    let rest: Vec<_> = given
        .split([':', ' '])
        .filter(|path| !path.is_empty() && !path.ends_with("libsilken_preload.so"))
        .collect();
    if rest.is_empty() {
        // SAFETY: S7: the program's own code has not begun, and has no threads.
        unsafe { std::env::remove_var(VARIABLE) };
    } else {
        // SAFETY: S7: the program's own code has not begun, and has no threads.
        unsafe { std::env::set_var(VARIABLE, rest.join(":")) };
    }
}

/// Called when the process ends. A child of a fork, which has no workers, says nothing.
extern "C" fn report() {
    if let Some((process, runtime)) = SERVING.get()
        && *process == std::process::id()
    {
        // The end of a process is no place to complain of a full disk.
        let _ = write!(
            std::io::stderr(),
            "silken: report (SILKEN_REPORT):\n{}",
            runtime.report()
        );
    }
}

/// Called by the dynamic linker before the program's own code.
extern "C" fn begin() {
    leave_children_alone();
    let runtime = silken::Runtime::builder().build();
    match runtime.and_then(|runtime| runtime.adopt_threads().map(|()| runtime)) {
        Ok(runtime) => {
            if std::env::var_os("SILKEN_VERBOSE").is_some() {
                eprintln!("silken: {}", runtime.describe());
            }
            let reports = std::env::var_os("SILKEN_REPORT").is_some_and(|value| value == "1");
            // It serves until the process ends.
            let is_first = SERVING.set((std::process::id(), runtime)).is_ok();
            debug_assert!(is_first, "the linker calls this once");
            if reports {
                // SAFETY: S7: a function of this library, which is never unloaded. If there is no room for it, there is
                // no report.
                let _ = unsafe { libc::atexit(report) };
            }
        }
        Err(error) => eprintln!("silken: threads stay threads: {error}"),
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;
