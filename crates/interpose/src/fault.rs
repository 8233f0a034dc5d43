//! Who gets SIGSEGV and SIGBUS, and in which order? First the dependent's fault handler, then the handlers that were
//! there before.
//!
//! **Why before `main`.** std installs its own handler when its runtime starts, but only over the default action. Once
//! it has done so, it maps an alternate stack and calls `sigaltstack` on every thread that it starts, and again when
//! that thread ends. That would disable the alternate stack of a worker from inside a coroutine. We are there first
//! (`start.rs`), so std never installs its handler. The price: an OS thread that is no worker and overflows dies
//! without std's message, because it has no stack on which to print it. For the main thread we print the message.
//!
//! **Generations.** A *generation* is one trampoline function together with the action that it replaced (its *previous*
//! action). The previous action is written before the trampoline is installed, and never changes. Generation 0 replaces
//! the default action. When a program installs its own handler, [`rearm_fault_handler`] puts the next generation in
//! front of it. A foreign handler usually gives up in one of two ways: it calls the action that it replaced, or it
//! restores that action and returns. With one trampoline whose previous action changed, both ways would be loops: the
//! trampoline would pass the fault to the handler that has just given it back. With generations, both ways reach an
//! older generation, and generation 0 ends in the default action. The chain is finite because each generation only
//! names an action that was installed before it.
//!
//! **A fault that no handler handles** gets the default action back, and the trampoline returns. The instruction runs
//! again, and the process dies with the true signal, address and core. A signal that was *sent* does not come again by
//! itself, so it is sent again. std's handler swallows such a signal.
//!
//! **Flags.** SA_ONSTACK is set, since a handler cannot run on an overflowed stack. SA_NODEFER is not set: a fault
//! inside the handler then kills the process at once, instead of recursing down the alternate stack. A handler that
//! leaves by switching stacks instead of returning must therefore unblock the signal itself.
//!
//! Everything from the trampoline on is async-signal-safe (S6): atomics, `sigaction`, raw system calls.

use core::cell::UnsafeCell;
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use libc::{c_int, c_void, sigaction, siginfo_t};

use crate::{main_stack, raw};

/// Looks at a fault, given the signal, its `siginfo_t` and its `ucontext_t`. Returns true if the interrupted code may
/// go on.
///
/// It runs in a signal handler, on the alternate stack if the thread has one, with the signal blocked. It may also not
/// return at all; then it must unblock the signal for the thread.
pub type FaultHandler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void) -> bool;

type Trampoline = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
type PlainHandler = unsafe extern "C" fn(c_int);

/// The number of generations: the one of start-up, and one for each handler that a program later installs over it. More
/// than one such handler is rare, so this is a generous guess.
const GENERATION_COUNT_MAX: usize = 4;

static TRAMPOLINES: [Trampoline; GENERATION_COUNT_MAX] =
    [trampoline::<0>, trampoline::<1>, trampoline::<2>, trampoline::<3>];

/// The previous action of one generation, written once.
struct Previous(UnsafeCell<MaybeUninit<sigaction>>);

// SAFETY: S6: written by the one thread that holds `REARMING` (or before threads exist) while no trampoline of this
// generation is installed, read only after it was, by trampolines and by the holder of `REARMING`.
unsafe impl Sync for Previous {}

/// The state of one of the two signals.
struct Chain {
    signal: c_int,
    /// Generations in use. Written under `REARMING`.
    generation_count: AtomicUsize,
    previous: [Previous; GENERATION_COUNT_MAX],
}

impl Chain {
    const fn new(signal: c_int) -> Chain {
        Chain {
            signal,
            generation_count: AtomicUsize::new(0),
            previous: [const { Previous(UnsafeCell::new(MaybeUninit::uninit())) }; GENERATION_COUNT_MAX],
        }
    }

    /// The previous action of `generation`, which is below `generation_count` or whose trampoline is running.
    fn previous(&self, generation: usize) -> sigaction {
        let place = self.previous[generation].0.get();
        // SAFETY: S6: a generation that is counted or that runs was written before.
        let place = unsafe { &*place };
        // SAFETY: S6: the same; never written again.
        unsafe { place.assume_init() }
    }

    /// Puts a generation in front of the action `present`. Returns false if no generation is left, or if the kernel
    /// refuses.
    fn arm_over(&self, present: &sigaction) -> bool {
        // Relaxed: only the holder of `REARMING` reads and writes the count; the lock orders it.
        let count = self.generation_count.load(Ordering::Relaxed);
        // A generation in front of a handler is never used twice: that handler may have replaced this very generation
        // since.
        let known = matches!(present.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
            .then(|| (0..count).find(|&generation| self.previous(generation).sa_sigaction == present.sa_sigaction))
            .flatten();
        let generation = known.unwrap_or(count);
        if generation >= GENERATION_COUNT_MAX {
            return false;
        }
        if known.is_none() {
            let place = self.previous[generation].0.get();
            // SAFETY: S6: this generation is not installed yet, and we hold `REARMING`.
            unsafe { place.write(MaybeUninit::new(*present)) };
        }
        let mut action = *present;
        action.sa_sigaction = TRAMPOLINES[generation] as *const c_void as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (present.sa_flags & libc::SA_RESTART);
        let armed = set_action(self.signal, &action);
        if armed && known.is_none() {
            self.generation_count.store(count + 1, Ordering::Relaxed);
        }
        armed
    }
}

static CHAINS: [Chain; 2] = [Chain::new(libc::SIGSEGV), Chain::new(libc::SIGBUS)];

/// Held while generations are added. Never taken by a trampoline.
static REARMING: AtomicBool = AtomicBool::new(false);

/// A [`FaultHandler`], or null.
static HANDLER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Sets the handler that sees memory faults first. With `None` there is no such handler.
pub fn set_fault_handler(handler: Option<FaultHandler>) {
    let address = handler.map_or(ptr::null_mut(), |handler| handler as *mut c_void);
    // Release: pairs with the Acquire in `handle`: the handler sees what the dependent prepared for it.
    HANDLER.store(address, Ordering::Release);
}

/// Told of a fault that no handler handles, given the signal and its `siginfo_t`, just before the default action ends
/// the process. It runs in a signal handler, as a [`FaultHandler`] does.
pub type FatalFaultHandler = unsafe extern "C" fn(c_int, *mut siginfo_t);

/// A [`FatalFaultHandler`], or null.
static FATAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Sets the handler that is told of faults which end the process. With `None` there is no such handler.
pub fn set_fatal_fault_handler(handler: Option<FatalFaultHandler>) {
    let address = handler.map_or(ptr::null_mut(), |handler| handler as *mut c_void);
    // Release: pairs with the Acquire in `pass_on`: the handler sees what the dependent prepared for it.
    FATAL.store(address, Ordering::Release);
}

/// Puts us back in front of a handler that the program installed for SIGSEGV or SIGBUS. From then on that handler gets
/// the faults that ours does not handle. Does nothing for a signal where we are in front already. Returns false on
/// failure: foreign handlers have been installed over ours four times already, or another thread is making this call.
///
/// Must not be called from a signal handler.
pub fn rearm_fault_handler() -> bool {
    // Acquire: pairs with the Release below: the counts and previous actions of the last holder are seen.
    if REARMING.swap(true, Ordering::Acquire) {
        return false;
    }
    let mut armed = true;
    for chain in &CHAINS {
        let present = present_action(chain.signal);
        armed &= present.is_some_and(|present| is_ours(&present) || chain.arm_over(&present));
    }
    // Release: pairs with the Acquire above.
    REARMING.store(false, Ordering::Release);
    armed
}

/// Takes both signals at start-up, each only if it has the default action: an earlier handler was installed on purpose.
pub(crate) fn arm_at_start() {
    for chain in &CHAINS {
        if let Some(present) = present_action(chain.signal)
            && present.sa_sigaction == libc::SIG_DFL
        {
            chain.arm_over(&present);
        }
    }
}

fn is_ours(action: &sigaction) -> bool {
    TRAMPOLINES
        .iter()
        .any(|&trampoline| trampoline as *const c_void as usize == action.sa_sigaction)
}

fn present_action(signal: c_int) -> Option<sigaction> {
    let mut action = MaybeUninit::<sigaction>::uninit();
    // SAFETY: S6: asks only; the place is valid.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: S6: filled in when the call succeeded.
    (result == 0).then(|| unsafe { action.assume_init() })
}

fn set_action(signal: c_int, action: &sigaction) -> bool {
    // SAFETY: S6: a valid action, whose handler is a trampoline or the kernel's default.
    unsafe { libc::sigaction(signal, action, ptr::null_mut()) == 0 }
}

/// The function that the kernel calls. The generation tells where a fault goes if the handler does not handle it.
unsafe extern "C" fn trampoline<const GENERATION: usize>(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = raw::errno();
    // SAFETY: S6: the arguments are the kernel's, handed on unchanged.
    let handled = unsafe { handle(signal, info, context) };
    if !handled {
        // SAFETY: S6: the arguments are the kernel's, handed on unchanged.
        unsafe { pass_on(GENERATION, signal, info, context) };
    }
    raw::set_errno(errno);
}

unsafe fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) -> bool {
    // Acquire: pairs with the Release in `set_fault_handler`.
    let address = HANDLER.load(Ordering::Acquire);
    if address.is_null() {
        return false;
    }
    // SAFETY: S6: only `set_fault_handler` stores here, and it stores such a function.
    let handler = unsafe { mem::transmute::<*mut c_void, FaultHandler>(address) };
    // SAFETY: S6: the arguments are the kernel's.
    unsafe { handler(signal, info, context) }
}

unsafe fn pass_on(generation: usize, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(chain) = CHAINS.iter().find(|chain| chain.signal == signal) else {
        return;
    };
    // SAFETY: S6: the kernel's siginfo, valid while the handler runs.
    let info_seen = unsafe { &*info };
    let was_sent = info_seen.si_code <= 0;
    let previous = chain.previous(generation);
    match previous.sa_sigaction {
        // An ignored fault would come again for ever. The kernel forces the default action for it, and so do we.
        libc::SIG_IGN if was_sent => {}
        libc::SIG_IGN | libc::SIG_DFL => {
            // SAFETY: S6: SIGSEGV and SIGBUS that were not sent carry an address.
            let address = unsafe { info_seen.si_addr() } as usize;
            if !was_sent && main_stack::is_main_stack_overflow(address) {
                report_overflow();
            } else {
                // Acquire: pairs with the Release in `set_fatal_fault_handler`.
                let fatal = FATAL.load(Ordering::Acquire);
                if !fatal.is_null() {
                    // SAFETY: S6: only `set_fatal_fault_handler` stores here, and it stores such a function.
                    let told = unsafe { mem::transmute::<*mut c_void, FatalFaultHandler>(fatal) };
                    // SAFETY: S6: the kernel's arguments.
                    unsafe { told(signal, info) };
                }
            }
            die_by_default(signal, was_sent);
        }
        // SAFETY: S6: a handler that the program installed for this signal, with the arguments it would have had.
        _ => unsafe { call_previous(&previous, signal, info, context) },
    }
}

unsafe fn call_previous(previous: &sigaction, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if previous.sa_flags & libc::SA_NODEFER != 0 {
        unblock(signal);
    }
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: S6: SA_SIGINFO says that the word is a three-argument handler.
        let handler = unsafe { mem::transmute::<usize, Trampoline>(previous.sa_sigaction) };
        // SAFETY: S6: the kernel's arguments.
        unsafe { handler(signal, info, context) };
    } else {
        // SAFETY: S6: no SA_SIGINFO, neither default nor ignore: a one-argument handler.
        let handler = unsafe { mem::transmute::<usize, PlainHandler>(previous.sa_sigaction) };
        // SAFETY: S6: the kernel's argument.
        unsafe { handler(signal) };
    }
}

/// A foreign handler that asked for SA_NODEFER may leave by longjmp, and expects the signal to be unblocked.
fn unblock(signal: c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: S6: initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: S6: initialised above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: S6: async-signal-safe, opens one signal for this thread.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut()) };
}

fn die_by_default(signal: c_int, was_sent: bool) {
    // SAFETY: S6: all zero is a valid action: SIG_DFL, no flags, empty mask.
    let default = unsafe { MaybeUninit::<sigaction>::zeroed().assume_init() };
    set_action(signal, &default);
    if was_sent {
        // The signal is blocked until we return, then it arrives. The call is raw, since our caller may have a borrowed
        // identity.
        let thread = raw::gettid();
        // SAFETY: S6: sends a signal to the calling thread.
        unsafe { raw::system_call(libc::SYS_tgkill, [raw::getpid(), thread, signal as usize, 0, 0, 0]) };
    }
}

fn report_overflow() {
    const MESSAGE: &[u8] = b"\nthread 'main' has overflowed its stack\n";
    let arguments = [2, MESSAGE.as_ptr() as usize, MESSAGE.len(), 0, 0, 0];
    // SAFETY: S6: a raw write of a static, async-signal-safe and past every hook.
    unsafe { raw::system_call(libc::SYS_write, arguments) };
}
