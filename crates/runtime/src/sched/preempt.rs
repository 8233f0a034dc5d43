//! How does a coroutine that computes for long give way, although it calls nothing that could yield?
//!
//! # Protocol
//! The monitor (`monitor.rs`) sees that a processor has run one coroutine for a whole slice, and that its thread is not
//! blocked. It writes a *request*, which names that very pick, and queues SIGURG for the thread, with a value that
//! marks it as the monitor's. The handler ([`on_signal`]) looks whether the interrupted code may be preempted here. If
//! so, it makes that code call [`preempted`] (`silken_context::inject` says how), which yields: the coroutine goes
//! behind all others, and continues later, maybe on another worker. If not, nothing happens, and the monitor tries
//! again at its next turn. A coroutine that was preempted while no other was ready continues with another slice.
//!
//! # Where a coroutine may be preempted
//! | the interrupted code | preempted | because |
//! |---|---|---|
//! | an isolated coroutine, in the executable's own text | yes | thread-locals are its own, so it may continue on any worker |
//! | functions of the C library that copy, fill, compare and search memory, and the library of mathematics, called by the executable | yes | they hold nothing (`silken_context::inject`) |
//! | a light coroutine | no | another coroutine on its worker would see its thread-locals half changed |
//! | the runtime (a critical section) | no | queues and the worker may be half changed |
//! | `no_preempt` | no | the program asks for it |
//! | the rest of the C library, the loader, libgcc, any other shared object | no | malloc's words stay with the worker's thread; locks there stop all others |
//! | at a system call | no | the kernel may have a record of the thread for its restart |
//! | a signal handler, on the coroutine's stack or on another one | no | its signal mask, or its return, belongs to this thread |
//! | code with little room left on its stack | no | the saved registers need room |
//! | an allocator that is part of the executable | no, if it is marked ([`Unpreempted`](crate::Unpreempted)); without a mark there is no preemption | its locks and caches are needed inside the runtime, and by the monitor |
//!
//! A signal handler is recognised by its mask: a signal is blocked while its handler runs. So code that has blocked
//! signals by `pthread_sigmask` is not preempted either, until they are open again. A handler that runs on the
//! coroutine's own stack with its signal open (SA_NODEFER, or opened by the handler) is recognised by its return
//! address on the stack.
//!
//! # A request for another coroutine
//! Example: the monitor finds that coroutine A has run too long, writes the request and sends the signal. Before the
//! signal arrives, A parks and B runs. B is not to be preempted for A's time. Each pick counts, and the request has the
//! count that the monitor saw. The handler compares it with the count of now: they differ, so nothing happens.
//!
//! # Nothing unwinds here
//! A cancelled coroutine that computes is preempted as any other is. It does not unwind from here, since the compiler
//! has no landing pads at arbitrary instructions. It unwinds at its next blocking point, or at `check_cancelled`.
//!
//! # Who owns SIGURG
//! The signal's default is to do nothing, and few programs use it: it reports urgent data of sockets (`F_SETOWN`). A
//! handler that was installed before ours gets every signal that the monitor has not sent. (If too many signals are
//! queued (`ulimit -i`), the kernel drops what came with one. Such a signal is taken for the monitor's while a request
//! is open. The kernel merges equal signals that are pending for one thread. Those for urgent data are pending for the
//! process, so they are not merged with the monitor's. One that a program sends to a worker's thread by `tgkill` may
//! be.) A handler that the program installs later replaces ours; before the monitor sends a signal it looks for that,
//! and puts ours in front again, at most three times. Each time ours is another function with its own predecessor. So a
//! program that calls, or restores, what it has replaced never makes a circle (`silken-interpose` does the same for
//! faults, and explains it). After that coroutines of this process are no longer preempted.
//!
//! # Rejected
//! *A flag that loops test*: only the compiler could insert it. *Timer signals per thread*: they cost wake-ups while
//! nothing is wrong. *A real-time signal*: each one that is not taken is queued.

use super::processor::SharedProcessor;
use super::worker::Worker;
use crate::coroutine::{Core, Critical, Kind, current_core, current_link, is_allocator_marked, is_preemptible};
use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::sys::{self, signal};
use libc::{c_int, c_void, sigaction, siginfo_t};
use silken_context::inject;
use silken_context::trap::Interrupted;
use std::sync::OnceLock;

/// The signal by which the monitor interrupts a thread.
const SIGNAL: c_int = libc::SIGURG;

/// Room for the frames of [`preempted`], which polls and switches, and of a signal handler on top of them.
const FRAMES_BYTES: usize = if cfg!(debug_assertions) { 24 * 1024 } else { 8 * 1024 };

/// Our functions, each with the action that it replaced.
const GENERATIONS: usize = 4;

static PREVIOUS: [OnceLock<sigaction>; GENERATIONS] = [const { OnceLock::new() }; GENERATIONS];

const HANDLERS: [signal::Handler; GENERATIONS] = [on_signal::<0>, on_signal::<1>, on_signal::<2>, on_signal::<3>];

/// Where the C library's handlers return to; 0 before the first signal was sent.
static RESTORER: AtomicUsize = AtomicUsize::new(0);

/// Why coroutines cannot be preempted in this process, if so. Asks the CPU, and the executable's symbols, and learns
/// where code may be interrupted.
pub(crate) fn why_not() -> Option<&'static str> {
    inject::prepare();
    if inject::bytes_needed().is_none() {
        return Some("this processor or system has no XSAVE");
    }
    if !is_allocator_marked() && !inject::is_allocator_of_std() {
        return Some("the global allocator is not known to be std's: wrap it in silken::Unpreempted");
    }
    None
}

/// Makes sure that the signal reaches us. `false`: other handlers have been put over ours too often.
pub(super) fn own_signal() -> bool {
    let Some(present) = signal::action_of(SIGNAL) else {
        return false;
    };
    if HANDLERS.iter().any(|ours| *ours as usize == present.sa_sigaction) {
        return true;
    }
    let Some(generation) = PREVIOUS.iter().position(|previous| previous.get().is_none()) else {
        return false;
    };
    // Before the handler is installed, so that it finds its predecessor.
    let _ = PREVIOUS[generation].set(present);
    let flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: S6: `on_signal` reads atomics and its own thread's cells, and rewrites saved registers.
    let is_ours = unsafe { signal::install(SIGNAL, HANDLERS[generation], flags) }.is_ok();
    match signal::restorer_of(SIGNAL) {
        // Relaxed: read by the handler, which runs after this.
        Some(restorer) if is_ours => RESTORER.store(restorer, Ordering::Relaxed),
        _ => return false,
    }
    is_ours
}

/// Interrupts the worker of this thread number. The request has been written.
pub(super) fn interrupt(thread: libc::pid_t) {
    // An error: the thread has ended.
    let _ = signal::queue(thread, SIGNAL, mark());
}

/// What tells the monitor's signals from others: an address of our own.
fn mark() -> usize {
    PREVIOUS.as_ptr().addr()
}

/// Lets the signal through to the calling thread, a worker's, whatever its creator has blocked. Returns the set of
/// signals that stay blocked.
pub(super) fn admit_signal() -> u64 {
    signal::unblock(SIGNAL)
}

/// The handler. It runs under the identity of the interrupted code, on the worker's alternate stack.
extern "C" fn on_signal<const GENERATION: usize>(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: S6: the kernel's record, valid while the handler runs.
    let is_ours = unsafe { signal::mark_of(info) } == Some(mark());
    // SAFETY: S6: the kernel's record, valid while the handler runs.
    if is_ours || unsafe { signal::has_lost_its_sender(info) } && is_asked() {
        // SAFETY: S6: the kernel's context.
        preempt(unsafe { Interrupted::new(context) });
    } else {
        // SAFETY: S6: the kernel's arguments, handed on.
        unsafe { pass_on(GENERATION, number, info, context) };
    }
}

/// Whether the monitor has asked this worker's coroutine to give way.
fn is_asked() -> bool {
    current_link().is_some_and(|link| Worker::from_link(link).processor().shared.is_preemption_asked())
}

fn preempt(mut interrupted: Interrupted) {
    let (Some(core), Some(link), Some(needed)) = (current_core(), current_link(), inject::bytes_needed()) else {
        return;
    };
    let worker = Worker::from_link(link);
    let is_right_moment = core.kind.get() == Kind::Isolated
        && is_preemptible()
        && worker.processor().is_preemption_due()
        && interrupted.blocked_signals() == worker.blocked_signals.get()
        && core.has_room_below(interrupted.stack_pointer(), needed + FRAMES_BYTES)
        && interrupted.may_inject()
        && !is_in_handler(core, &mut interrupted);
    if is_right_moment {
        worker.processor().shared.forget_preemption();
        // SAFETY: S1: the room was just checked, as was the instruction. S3: an isolated coroutine outside critical
        // sections may continue on any worker.
        unsafe { interrupted.inject(preempted) };
    }
}

/// Whether a handler of the program's runs on the coroutine's stack and has opened its signal again.
fn is_in_handler(core: &Core, interrupted: &mut Interrupted) -> bool {
    // Relaxed: written before the first signal was sent.
    let restorer = RESTORER.load(Ordering::Relaxed);
    // SAFETY: S1: the first is the stack in use, on which the pointer lies, as `has_room_below` has told.
    let mut is_below = |top| unsafe { interrupted.is_below_handler(top, restorer) };
    let in_use = core.stacks().next();
    in_use.is_some_and(|stack| is_below(stack.bottom + stack.bytes))
}

/// What the interrupted code calls. Runs as an ordinary call of the coroutine's.
extern "C" fn preempted() {
    let errno = sys::errno();
    give_way();
    sys::set_errno(errno);
}

/// Queues what events have made ready, and the coroutine last.
#[inline(never)]
fn give_way() {
    let Some(core) = current_core() else { return };
    Critical::enter_to_leave();
    match Worker::current() {
        Some(worker) => {
            SharedProcessor::count(&worker.processor().shared.preemptions);
            super::switch::yield_to_events(worker, core);
        }
        // It has lost its worker since the signal; it holds nobody up.
        None => Critical::leave(),
    }
}

/// Gives a signal that is not the monitor's to the handler that was there before.
///
/// # Safety
/// The arguments are the kernel's (S6).
unsafe fn pass_on(generation: usize, number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(previous) = PREVIOUS[generation].get() else {
        return;
    };
    // The default of this signal is to ignore it.
    // SAFETY: S6: `own_signal` keeps there what the kernel returned.
    if let Some(handler) = unsafe { signal::handler_of(previous) } {
        handler(number, info, context);
    }
}
