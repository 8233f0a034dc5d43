//! When a coroutine overflows its stack, can it end alone while the others continue?
//!
//! # Protocol
//! An overflow touches the guard below the stack. The kernel calls [`on_fault`] on the worker's alternate stack, under
//! the identity of the interrupted coroutine. The handler names the coroutine on standard error. It rewrites the saved
//! registers, so that the return from the signal enters [`landing`] on the worker's own stack, just below the frames
//! that wait there in `run_from_base`. The kernel's return restores the signal mask. The FS base is not a saved
//! register, so `landing` still has the coroutine's identity. It continues the worker's context, which moves malloc's
//! words to the worker's identity and finishes the coroutine (`switch.rs`, `loss.rs`).
//!
//! # Why this is sound, and where it would not be
//! For all other code it is as if the coroutine slept for ever at the call that overflowed. Nothing is unwound and no
//! destructor runs. The stack and the thread-locals stay where they are and are never used again. Code must already
//! tolerate that from a thread. The only new effect is that joiners are told. So each rule below asks: may code
//! continue that relied on that call to return?
//!
//! | the process ends instead, when | because |
//! |---|---|
//! | the coroutine *borrows* (a scope's child, the closure of `Runtime::run`) | its frames may have lent to others (`std::thread::scope`, rayon) what the parent owns; the parent would continue and free it |
//! | it had a scope open | its children read its control block (cancellations, closed channels), and that block is given to another coroutine |
//! | it was inside the runtime: in a critical section, or the innermost function that is not of Rust's own library is the runtime's | queues of the worker may be half changed; another coroutine may be taken out of a wait list and not be queued yet |
//! | it was panicking | the panic hook, standard error and the unwinder have locks of the whole process |
//! | its result was stored already | it runs thread-local destructors; in a thread no failure there is survived either |
//! | a frame between the fault and the coroutine's entry lies outside the executable's text | a C library may hold a lock that all need: malloc's arena; the loader's, around a callback of `dl_iterate_phdr`. memcpy holds none and is not told apart |
//! | such a frame belongs to a function of the executable that is not Rust's by its name | C that was linked in (a static jemalloc, a `cc` build script) has locks too. A `#[no_mangle]` function of Rust is not told apart |
//! | the executable has no symbol table (`strip = true`) | the frames cannot be told apart |
//! | the chain of frames cannot be followed to the entry | code without unwind tables may be part of it; or libgcc would need the loader's lock to follow it (built for a glibc before 2.35) |
//! | a call had blocked it for so long that its worker has another thread | there is no worker's context to go to |
//! | the policy says so | [`OverflowPolicy`] |
//!
//! So a coroutine that is lost was in Rust code of this program, and nowhere else. The chain of frames is checked last,
//! since that costs most: libgcc's unwinder walks it in the handler, and the names come from the executable's file
//! (`silken_context::frames`).
//!
//! Two effects remain. A lock of safe code that the coroutine held is held for ever, as by a thread that hangs. A light
//! coroutine that is lost in the middle of code that keeps a thread-local consistent leaves it inconsistent for its
//! worker.
//!
//! The switch saves registers on the outgoing stack when the identity is the successor's already. If it overflows the
//! stack there, the identity names another coroutine than the one that overflowed. Then the process ends, as with any
//! overflow inside the runtime, and the report contains no name.
//!
//! # Segments
//! A coroutine may run on a segment (`coroutine/segment.rs`). Then the stack that overflows is the segment, and
//! everything here holds of it: its guard, its size in the report. The chain of frames is followed over all stacks of
//! the coroutine. If the coroutine is lost, all its segments are lost with its stack. A segment's record is linked a
//! few instructions before the stack pointer moves there. So the older stacks are looked at too, if the stack pointer
//! is there. An OS thread that overflows a segment ends the process, as one that overflows its stack does; the report
//! names the thread.
//!
//! # What is an overflow
//! Three kinds of fault are an overflow.
//! - An access to the guard while the stack pointer is in the guard, below it, or at most a page above it. Rust probes
//!   each page of a frame as it moves the pointer.
//! - Any fault while the stack pointer is *in* the guard. A C frame without probes moves the pointer there by hundreds
//!   of KiB before it touches anything.
//! - A signal whose handler has no SA_ONSTACK and whose frame does not fit above the guard. The kernel then forces
//!   SIGSEGV without an address. The process ends with the coroutine's name in the report, since the signal is lost.
//!
//! A fault elsewhere, or in the guard while the stack pointer is well above it, is memory corruption. It goes to the
//! handler that was installed before. If there is none the process dies, with a line that names the coroutine
//! (`last_words.rs`).
//!
//! # Reads that may fault
//! The futex hook compares words of foreign code, and `io/memory.rs` reads records of its callers, at addresses that
//! may be invalid (`trap::read_word_or_fault`). The handler checks first whether the program counter is at that load,
//! on workers as on other threads. If so, the call answers EFAULT.
//!
//! # Rejected
//! *Unwinding the overflowed stack*: not every call can unwind, and destructors need stack. *longjmp from the handler*:
//! it skips the kernel's return, so the signal stays blocked and the alternate stack in use. *Continuing on a larger
//! stack*: frames contain addresses of the stack.

use super::last_words::{Line, SI_KERNEL, on_fatal_fault};
use super::switch::leak;
use super::worker::Worker;
use crate::coroutine::{Core, Critical, StackBounds, current_core, current_link, segments_of_thread};
use crate::loom::static_atomic::{AtomicBool, Ordering};
use crate::sys::signal;
use libc::{c_int, c_void, siginfo_t};
use silken_context::frames::{self, Frames};
use silken_context::stack::locate;
use silken_context::trap::Interrupted;
use std::ptr;
use std::sync::OnceLock;

/// What happens when a coroutine overflows its stack. There is one policy for the process: the runtime that was built
/// last with a policy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverflowPolicy {
    /// The coroutine ends with [`JoinError::StackOverflow`](crate::JoinError::StackOverflow) and the others continue,
    /// where that is sound. Its frames are not unwound: what they hold, locks included, is held for ever.
    ///
    /// The process ends instead when the coroutine may borrow (a scope's child, the closure of
    /// [`Runtime::run`](crate::Runtime::run)), has a scope open, was panicking, had stored its result, was inside the
    /// runtime (in a function of silken's), or had not waited since a call that had blocked its worker. It also ends
    /// when there is anything but Rust code of this program on the stack, or when that cannot be ruled out: a shared
    /// library, linked C, an executable without symbols (`strip = true`), a stack that cannot be walked (glibc before
    /// 2.35, libgcc before GCC 12).
    #[default]
    Contain,
    /// The process ends, as it does when a thread overflows its stack.
    Abort,
}

static ABORTS: AtomicBool = AtomicBool::new(false);

/// The distance that is left free below the worker's suspended frames: more than any red zone.
const LANDING_DISTANCE_BYTES: usize = 512;

/// A stack pointer that is at most this far above the guard belongs to an overflow. A `call` or `push` faults while the
/// pointer is still above the guard; a leaf function may use its red zone. A page also leaves room for frames that are
/// touched before the pointer is moved.
const NEAR_BYTES: usize = 4096;

/// Installs the handler for the signals. Each scheduler that starts calls this, so that a handler that was installed
/// since the last call comes after ours.
pub(super) fn install(policy: Option<OverflowPolicy>) {
    if let Some(policy) = policy {
        // Relaxed: a flag of its own.
        ABORTS.store(policy == OverflowPolicy::Abort, Ordering::Relaxed);
    }
    // Learns now where the executable lies and how stacks are walked, since the handler must not do that.
    frames::prepare();
    signals::take();
}

/// Installs the handler in a process without a scheduler, before an OS thread runs on a segment. What it needs to look
/// at the frames of a coroutine is not learnt: there is none.
pub(crate) fn expect_on_threads() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(signals::take);
}

#[cfg(feature = "interpose")]
mod signals {
    /// The interposed symbols took the signals before `main`. If the chain of foreign handlers is full, overflows go to
    /// those handlers.
    pub(super) fn take() {
        silken_interpose::set_fault_handler(Some(super::on_fault));
        silken_interpose::set_fatal_fault_handler(Some(super::on_fatal_fault));
        let _ = silken_interpose::rearm_fault_handler();
    }
}

/// Without interposed symbols our handler replaces the one that is installed when the first scheduler starts: as a rule
/// std's.
#[cfg(not(feature = "interpose"))]
mod signals {
    use crate::sys::signal;
    use libc::{c_int, c_void, sigaction, siginfo_t};
    use std::sync::OnceLock;

    static PREVIOUS: [(c_int, OnceLock<sigaction>); 2] =
        [(libc::SIGSEGV, OnceLock::new()), (libc::SIGBUS, OnceLock::new())];

    pub(super) fn take() {
        for (number, previous) in &PREVIOUS {
            previous.get_or_init(|| {
                // SAFETY: S6: `trampoline` keeps to what a handler may do.
                let before = unsafe { signal::install(*number, trampoline, libc::SA_ONSTACK) };
                // SAFETY: S6: all zeros is the default action.
                before.unwrap_or_else(|_| unsafe { std::mem::zeroed() })
            });
        }
    }

    extern "C" fn trampoline(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: S6: the kernel's arguments, handed on.
        if !unsafe { super::on_fault(number, info, context) } {
            // SAFETY: S6: the kernel's arguments, handed on.
            unsafe { pass_on(number, info, context) };
        }
    }

    /// # Safety
    /// The arguments are the kernel's (S6).
    unsafe fn pass_on(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // A fault between `install` and the store of the previous action finds none, and so takes the default action.
        let previous = PREVIOUS
            .iter()
            .find(|(of, _)| *of == number)
            .and_then(|(_, previous)| previous.get());
        // SAFETY: S6: `take` keeps there what the kernel returned, or zeros.
        match previous.and_then(|previous| unsafe { signal::handler_of(previous) }) {
            Some(handler) => handler(number, info, context),
            None => {
                // SAFETY: S6: the kernel's arguments.
                unsafe { super::on_fatal_fault(number, info) };
                // SAFETY: S6: all zeros is the default action; the instruction faults again under it.
                let default: sigaction = unsafe { std::mem::zeroed() };
                // SAFETY: S6: as above. An error would repeat the fault, and come here again.
                let _ = unsafe { signal::restore(number, &default) };
            }
        }
    }
}

/// Handles a fault. `true`: it is dealt with. Either it was a read that may fault, or an overflow that could be
/// contained: then the return from the signal enters the worker's context.
///
/// # Safety
/// The arguments are those of a SIGSEGV or SIGBUS handler (S6).
unsafe extern "C" fn on_fault(_signal: c_int, info: *mut siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: S6: the kernel's record, valid while the handler runs.
    let info = unsafe { &*info };
    // SAFETY: S6: the kernel's context.
    let mut interrupted = unsafe { Interrupted::new(context) };
    if info.si_code > 0 && interrupted.recover_read() {
        return true;
    }
    let Some(core) = current_core() else {
        // SAFETY: S6: as below.
        let address = unsafe { info.si_addr() } as usize;
        return info.si_code > 0 && on_thread_fault(address, interrupted.stack_pointer());
    };
    // SAFETY: S6: a fault's record has an address; one that was sent is refused by the code.
    let address = unsafe { info.si_addr() } as usize;
    if info.si_code > 0 && is_in_switch(core, address) {
        crate::sys::report(&[
            "silken: a coroutine has overflowed its stack while it left it; the process ends with it\n",
        ]);
        std::process::abort();
    }
    if info.si_code == SI_KERNEL
        && let Some(stack) = whose_frame_was_refused(core, &mut interrupted)
    {
        report(core, &stack);
        end_process("a signal's frame did not fit", &stack);
    }
    let Some(stack) = overflowed(core.stacks(), address, interrupted.stack_pointer()) else {
        return false;
    };
    if info.si_code <= 0 {
        return false;
    }
    let was_inside = Critical::is_entered();
    // From here on the coroutine is in a critical section: hooks pass straight through, and the worker keeps its thread
    // although the reports may block (`late.rs`).
    Critical::enter_to_leave();
    report(core, &stack);
    if let Some(reason) = why_not(core, &stack, interrupted.program_counter(), was_inside) {
        end_process(reason, &stack);
    }
    crate::sys::report(&[more(&stack), REMEDY, "\n"]);
    let landing_pointer = Worker::of(core).link.base.stack_pointer() - LANDING_DISTANCE_BYTES;
    // SAFETY: S1: the coroutine is never continued; below the worker's suspended frames its stack is free.
    unsafe { interrupted.enter(landing_pointer, landing, ptr::from_ref(core) as usize) };
    true
}

/// Tells the reader of the report how to get a larger stack.
const MORE: &str = "; more: Builder::stack_size, #[silken::main(stack_size = \"4m\")] or SILKEN_STACK_SIZE=4m";

/// The same for a segment.
const MORE_OF_SEGMENT: &str = "; more: a larger red zone or stack size in maybe_grow";

fn more(stack: &StackBounds) -> &'static str {
    if stack.is_segment { MORE_OF_SEGMENT } else { MORE }
}

/// Tells the reader of the report which effect remains.
const REMEDY: &str = "; locks that it held stay held";

/// Ends the line that [`report`] has begun, and then the process.
fn end_process(reason: &str, stack: &StackBounds) -> ! {
    crate::sys::report(&["; the process ends with it: ", reason, more(stack), "\n"]);
    std::process::abort();
}

/// Handles a fault of an OS thread: if it has overflowed a segment, the process ends.
fn on_thread_fault(address: usize, stack_pointer: usize) -> bool {
    let Some(stack) = overflowed(segments_of_thread(), address, stack_pointer) else {
        return false;
    };
    let mut line = Line::new();
    line.text("silken: thread '");
    line.text(signal::thread_name(&mut [0; signal::THREAD_NAME_BYTES]));
    line.text("'");
    line.size(&stack);
    line.write();
    end_process("it is an OS thread", &stack);
}

/// The stack that has overflowed, if one has: see "What is an overflow". The first one is the stack in use.
fn overflowed(stacks: impl Iterator<Item = StackBounds>, address: usize, stack_pointer: usize) -> Option<StackBounds> {
    let is_overflow = |stack: &StackBounds| {
        let guard = stack.guard();
        guard.contains(&stack_pointer) || guard.contains(&address) && stack_pointer < guard.end + NEAR_BYTES
    };
    let mut stacks = stacks.enumerate();
    let found = stacks.find(|(age, stack)| is_overflow(stack) && (*age == 0 || stack.whole().contains(&stack_pointer)));
    found.map(|(_, stack)| stack)
}

/// The stack on which the frame of another signal's handler did not fit, so that the kernel forced this signal.
fn whose_frame_was_refused(core: &Core, interrupted: &mut Interrupted) -> Option<StackBounds> {
    // SAFETY: S6: reads the auxiliary vector, which is constant.
    let frame_bytes = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize + NEAR_BYTES;
    let stack_pointer = interrupted.stack_pointer();
    let is_at_end = |stack: &StackBounds| {
        let guard = stack.guard();
        (guard.start..guard.end + frame_bytes).contains(&stack_pointer)
    };
    if interrupted.is_protection_fault() {
        return None;
    }
    core.stacks().find(is_at_end)
}

/// Whether a push of the switch hit the guard of the outgoing stack. At that moment the identity is the successor's.
/// The successor is in a critical section, as every suspended coroutine is, and has other stacks.
fn is_in_switch(core: &Core, address: usize) -> bool {
    let guarded = locate(address).is_some_and(|located| located.in_guard);
    guarded && Critical::is_entered() && core.stacks().all(|stack| !stack.guard().contains(&address))
}

/// Why the overflow cannot be contained, if so: the table in the head of the file.
fn why_not(core: &Core, stack: &StackBounds, program_counter: usize, was_inside: bool) -> Option<&'static str> {
    // Relaxed: a flag of its own.
    if ABORTS.load(Ordering::Relaxed) {
        return Some("the overflow policy is to abort");
    }
    if was_inside {
        return Some("it was inside the runtime");
    }
    if current_link().is_none() {
        return Some("a call had blocked it for so long that another thread has its worker");
    }
    if std::thread::panicking() {
        return Some("it was panicking");
    }
    if core.lifecycle.has_result() {
        return Some("it was running destructors after its end");
    }
    if core.borrows() {
        return Some("it may have lent to others what its parent owns");
    }
    if core.has_open_scope() {
        return Some("it had a scope open, whose children rely on it");
    }
    // From the one that has overflowed on.
    let mut stacks = core.stacks().skip_while(|other| other != stack);
    match frames::look(program_counter, &mut stacks.by_ref().map(|stack| stack.whole())) {
        Frames::Rust => None,
        Frames::Runtime => Some("it was inside the runtime"),
        Frames::Library => Some("it was inside a shared library, which may hold a lock"),
        Frames::Foreign => Some("it was inside a function that is not known to be Rust, which may hold a lock"),
        Frames::NoSymbols => {
            Some("the executable has no symbols (strip) to tell whether it was inside C, which may hold a lock")
        }
        Frames::Unknown => Some("its stack cannot be walked to tell whether it was inside C, which may hold a lock"),
    }
}

/// Entered by the return from the signal. Runs on the worker's own stack, still under the coroutine's identity.
unsafe extern "C" fn landing(core: usize) -> ! {
    // SAFETY: S2: `on_fault` passed a core; cores are type-stable.
    let core: &'static Core = unsafe { &*ptr::with_exposed_provenance::<Core>(core) };
    // SAFETY: S1: this is the worker's stack below its suspended context, and the coroutine is never continued.
    unsafe { leak(Worker::of(core), core) }
}

/// Begins a line on standard error, before any work that could fail. Whether the coroutine is contained is known only
/// after a walk over the stack.
fn report(core: &Core, stack: &StackBounds) {
    let mut line = Line::of_coroutine(core);
    line.size(stack);
    line.write();
}

impl Line {
    /// Says which stack has overflowed.
    fn size(&mut self, stack: &StackBounds) {
        self.text(if stack.is_segment {
            " has overflowed a stack segment of "
        } else {
            " has overflowed its stack of "
        });
        self.number(stack.bytes as u64);
        self.text(" bytes");
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::PooledStack;

    /// A coroutine with a stack, and an address in the guard of that stack.
    fn with_a_stack() -> (Core, usize) {
        let pooled = PooledStack::of_own_arena();
        let in_guard = pooled.stack.guard_range().end - 8;
        let core = Core::free();
        // SAFETY: S1: nobody runs this core.
        unsafe { *core.stack.get() = Some(pooled) };
        (core, in_guard)
    }

    fn overflows(core: &Core, address: usize, stack_pointer: usize) -> bool {
        overflowed(core.stacks(), address, stack_pointer).is_some()
    }

    #[test]
    fn an_older_stack_overflows_only_where_the_stack_pointer_is() {
        let (newest, older) = (bounds(100), bounds(900));
        let find = |address, stack_pointer| overflowed([newest, older].into_iter(), address, stack_pointer);
        assert_eq!(find(newest.bottom - 8, newest.bottom + 8), Some(newest));
        assert_eq!(find(older.bottom - 8, older.bottom + 8), Some(older));
        assert_eq!(find(older.bottom - 8, newest.bottom + 8), None, "a wild write");
        assert_eq!(
            find(newest.bottom - 8, newest.guard().start - 8),
            Some(newest),
            "one huge frame"
        );
    }

    fn bounds(megabytes: usize) -> StackBounds {
        StackBounds {
            bottom: megabytes << 20,
            bytes: 1 << 20,
            guard_bytes: 64 << 10,
            is_segment: true,
        }
    }

    #[test]
    fn a_push_of_the_switch_is_told_from_an_overflow_of_the_one_who_goes_on() {
        let (goes_on, own_guard) = with_a_stack();
        let (_leaves, other_guard) = with_a_stack();
        assert!(
            !is_in_switch(&goes_on, other_guard),
            "its own code writes where it likes"
        );
        let _critical = Critical::enter();
        assert!(is_in_switch(&goes_on, other_guard));
        assert!(!is_in_switch(&goes_on, own_guard));
        assert!(overflows(&goes_on, own_guard, own_guard + 8));
        assert!(!is_in_switch(&goes_on, &raw const goes_on as usize), "no guard at all");
    }

    /// A C frame without probes moves the pointer far down before it touches anything.
    #[test]
    fn a_stack_pointer_in_the_guard_is_an_overflow_whatever_was_touched() {
        let (core, own_guard) = with_a_stack();
        let guard = core.stacks().next().expect("it has a stack").guard();
        assert!(overflows(&core, own_guard, guard.start + 8));
        assert!(overflows(&core, 8, guard.start + 8));
        assert!(overflows(&core, own_guard, guard.end + 8));
        assert!(!overflows(&core, 8, guard.end + 8), "a null pointer near the end");
        assert!(!overflows(&core, own_guard, guard.end + 2 * NEAR_BYTES), "a wild write");
    }
}
