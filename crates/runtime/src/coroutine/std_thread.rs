//! How does an isolated coroutine get what std gives to the threads that it makes: a name, the test harness's output
//! capture, spawn hooks?
//!
//! `thread::current().name()` and the capture of `println!` under `cargo test` lie in thread-locals. Only
//! `std::thread::Builder::spawn` fills them. So the runtime calls that function for a coroutine that is to have them.
//! std's function calls `pthread_create`, which is hooked. Within [`StdThread::make`] the hook makes no thread, and
//! keeps the routine that std wanted to run. The coroutine runs that routine first. The routine sets the thread-locals
//! in the coroutine's own identity, runs an empty closure and returns. The thread-locals stay until the coroutine ends.
//! Then the coroutine's closure runs, with no frame of std above it.
//!
//! # Which coroutines get it
//! A coroutine with a name gets it, and every coroutine of a process that runs a `#[silken::test]`
//! ([`inherit_always`]). It costs about a microsecond and a few allocations, so an unnamed coroutine of another program
//! does not get it.
//!
//! # Stages
//! | stage | in which code | what the hooks do |
//! |---|---|---|
//! | `Plain` | all other code | nothing special |
//! | `Making` | the spawner, in [`StdThread::make`] | `pthread_create` keeps the routine; `pthread_detach` of the thread that was not made succeeds |
//! | `Beginning` | the coroutine, in std's routine | `sigaltstack` says that there is an alternate stack, and `pthread_getattr_np` fails: so std makes neither a stack nor an entry for its own overflow handler |
//!
//! # Rejected
//! *Running the closure inside std's routine*: its frames take a kilobyte of the stack, and they are `extern "C"`,
//! which no cancellation may unwind. *Writing std's thread-locals directly*: they have no stable name. *Doing this for
//! every coroutine*: a plain spawn costs a tenth of it.

use crate::loom::static_atomic::{AtomicBool, Ordering};
use std::cell::Cell;
use std::ffi::c_void;

/// The routine that `pthread_create` is asked to run.
pub(crate) type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

/// A thread as std wanted to make it. Nothing of it has run. If it is never run it is leaked, since std gives no way to
/// drop it.
pub(crate) struct StdThread {
    routine: Routine,
    argument: *mut c_void,
}

// SAFETY: S7: std makes it to be run on another thread.
unsafe impl Send for StdThread {}

#[derive(Clone, Copy)]
enum Stage {
    Plain,
    Making(*const Cell<Option<StdThread>>),
    Beginning,
}

thread_local! {
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Plain) };
}

/// The stack size by which [`StdThread::make`] knows its own call of `pthread_create` from one that a spawn hook or an
/// allocator makes meanwhile. Nobody else asks for it, and no such stack is made.
const STACK_BYTES_MARK: usize = 0x5117_E000;

/// Whether `pthread_create` reaches our hook.
static HOOKS_ARE_IN_PLACE: AtomicBool = AtomicBool::new(false);

/// Whether coroutines without a name get a thread of std as well.
static ALWAYS: AtomicBool = AtomicBool::new(false);

/// Notes that the hooks are in place.
pub(crate) fn note_hooks() {
    // Relaxed: a flag that is set once. A spawner that misses it makes a coroutine that has no name for std.
    HOOKS_ARE_IN_PLACE.store(true, Ordering::Relaxed);
}

/// From now on every coroutine inherits what std's threads inherit. For tests, whose output is captured.
pub(crate) fn inherit_always() {
    // Relaxed: as in `note_hooks`.
    ALWAYS.store(true, Ordering::Relaxed);
}

/// Whether every coroutine inherits.
#[inline]
pub(crate) fn inherits_always() -> bool {
    // Relaxed: as in `note_hooks`.
    ALWAYS.load(Ordering::Relaxed)
}

/// Restores the spawner's stage, also if a spawn hook panics.
struct Restore(Stage);

impl Drop for Restore {
    fn drop(&mut self) {
        STAGE.set(self.0);
    }
}

impl StdThread {
    /// Makes a thread of this name, which has no NUL (`Builder::request` refuses that), for a coroutine that is being
    /// made. `None` where std's calls do not reach the hooks.
    #[cold]
    pub(crate) fn make(name: Option<&str>) -> Option<Self> {
        // Relaxed: as in `note_hooks`.
        if !HOOKS_ARE_IN_PLACE.load(Ordering::Relaxed) {
            return None;
        }
        let made = Cell::new(None);
        let restore = Restore(STAGE.replace(Stage::Making(&raw const made)));
        let mut builder = std::thread::Builder::new().stack_size(STACK_BYTES_MARK);
        if let Some(name) = name {
            builder = builder.name(name.to_string());
        }
        // Its handle belongs to a thread that does not exist. It is dropped here, while the hook of `pthread_detach`
        // knows that.
        drop(builder.spawn(|| ()));
        drop(restore);
        made.take()
    }

    /// Makes the running coroutine this thread, as far as std knows.
    #[cold]
    pub(crate) fn become_current(self) {
        STAGE.set(Stage::Beginning);
        (self.routine)(self.argument);
        STAGE.set(Stage::Plain);
    }
}

/// Whether the caller is in [`StdThread::become_current`].
pub(crate) fn is_beginning() -> bool {
    matches!(STAGE.get(), Stage::Beginning)
}

/// Whether this is the number of the thread that [`StdThread::make`] has not made.
pub(crate) fn is_kept(thread: libc::pthread_t) -> bool {
    thread == KEPT && matches!(STAGE.get(), Stage::Making(_))
}

/// The number that std gets for a thread that is not made. No thread has it: it is no address of a control block.
const KEPT: libc::pthread_t = 1;

/// Keeps what `pthread_create` was asked to run, if it is [`StdThread::make`] that asked; the thread's number for std.
pub(crate) fn keep(stack_bytes: usize, routine: Routine, argument: *mut c_void) -> Option<libc::pthread_t> {
    let Stage::Making(place) = STAGE.get() else { return None };
    if stack_bytes != STACK_BYTES_MARK {
        return None;
    }
    // SAFETY: S1: `make` waits for this call with the place on its frame.
    let place = unsafe { &*place };
    place.set(Some(StdThread { routine, argument }));
    Some(KEPT)
}
