//! Runs one case: alone, under a watchdog, with deliberate panics kept quiet.
//!
//! *Alone*: cases measure time, open file descriptors by number and start thousands of units, so a process-wide lock
//! lets one in at a time, whatever `--test-threads` says.
//!
//! *Watchdog*: the typical failure of a park is a hang. An OS thread sleeps in short steps and aborts the process
//! with the case's name after the limit. It shares one atomic with the case and nothing else: a channel or a condition
//! variable would trust the very futex hooks under test. It writes with write(2) because the print macros could wait
//! for a lock that the hung case holds.
//!
//! *Child*: a case that must change its process (file limit, stdout) runs itself again by name with
//! [`run_in_child`] and does its work there.

use crate::{Executor, Kind, raw};
use std::panic;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const CHILD: &str = "SILKEN_CONFORMANCE_CHILD";
const DELIBERATE: &str = "deliberate";

/// How many expect panics at this moment.
static QUIET: AtomicUsize = AtomicUsize::new(0);
static ALONE: Mutex<()> = Mutex::new(());
static CURRENT: Mutex<String> = Mutex::new(String::new());

/// Runs `case` on `kind`; `path` is the module path of the test, for the watchdog and for children.
pub fn run(kind: Kind, path: &str, case: fn(&dyn Executor)) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    quiet_deliberate_panics();
    let name = path.split_once("::").map_or(path, |(_crate, rest)| rest);
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = name.to_owned();
    let watchdog = Watchdog::start(format!("{kind:?} {name}"));
    let outcome = run_on(kind, case);
    drop(watchdog);
    drop(alone);
    if let Err(payload) = outcome {
        panic::resume_unwind(payload);
    }
}

fn run_on(kind: Kind, case: fn(&dyn Executor)) -> thread::Result<()> {
    match kind {
        Kind::Threads => panic::catch_unwind(|| case(&crate::executor::threads::Threads)),
        #[cfg(feature = "coroutines")]
        _ => crate::executor::coroutine::run(kind, case),
        #[cfg(not(feature = "coroutines"))]
        _ => panic!("{kind:?} needs the feature `coroutines`"),
    }
}

/// Panics with a payload that the panic hook keeps quiet.
pub fn deliberate_panic() -> ! {
    panic::panic_any(DELIBERATE);
}

/// Runs `f` with the panic hook quiet, for panics that silken itself raises and `f` expects.
pub fn quietly<T>(f: impl FnOnce() -> T) -> T {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            // Relaxed: see below.
            QUIET.fetch_sub(1, Ordering::Relaxed);
        }
    }
    // Relaxed: nobody's correctness depends on the message; one case runs at a time.
    QUIET.fetch_add(1, Ordering::Relaxed);
    let _loud = Loud;
    f()
}

fn quiet_deliberate_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            let is_deliberate = text.is_some_and(|text| text.starts_with(DELIBERATE));
            if !is_deliberate && QUIET.load(Ordering::Relaxed) == 0 {
                next(info);
            }
        }));
    });
}

/// Whether this process was started by [`run_in_child`] for `role`.
pub fn is_child(role: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|value| value == role)
}

/// Runs the current case again in a process of its own, where [`is_child`] holds for `role`.
pub fn run_in_child(role: &str) -> Output {
    run_in_child_with(role, |_command| ())
}

/// The same, with a command that `prepare` may change.
pub fn run_in_child_with(role: &str, prepare: impl FnOnce(&mut Command)) -> Output {
    let name = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let executable = std::env::current_exe().expect("the test binary has a path");
    let mut command = Command::new(executable);
    command
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CHILD, role);
    prepare(&mut command);
    let output = command.output().expect("the child runs");
    // A name that matches nothing is a success to the test harness, and would be one to the case.
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    assert!(ran, "the child did not find the case {name}");
    output
}

struct Watchdog {
    done: Arc<AtomicBool>,
}

impl Watchdog {
    fn start(name: String) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let deadline = Instant::now() + LIMIT;
        thread::spawn(move || {
            // Relaxed: the flag is the whole message.
            while !seen.load(Ordering::Relaxed) {
                if Instant::now() >= deadline {
                    raw::write_to_stderr(format!("\nconformance: {name} hangs ({LIMIT:?} passed)\n").as_bytes());
                    std::process::abort();
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Watchdog { done }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Relaxed: the flag is the whole message.
        self.done.store(true, Ordering::Relaxed);
    }
}
