//! A signal handler may unwind at every instruction of a switch, and of a call on a segment, as sampling profilers do.
//!
//! The processor's trap flag raises SIGTRAP after each instruction; the handler walks the stack that it has interrupted
//! with libgcc's unwinder. Each walk must end, and where the registers of the function around the switch can be known,
//! it must reach that function's caller.

#![cfg(target_arch = "x86_64")]

use silken_context::segment::call_on;
use silken_context::stack::{Arena, ArenaConfig, Stack};
use silken_context::switch::{self, Context, Handoff, prepare, switch, switch_final, switch_saving_all};
use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// The signal's action and the counters belong to the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

static STEPS: AtomicU64 = AtomicU64::new(0);
/// Steps at which the walk did not come out of the handler.
static LOST: AtomicU64 = AtomicU64::new(0);
/// Steps at which the walk found `outer` or the coroutine's entry.
static COMPLETE: AtomicU64 = AtomicU64::new(0);
static OUTER: AtomicUsize = AtomicUsize::new(0);

struct Walk {
    interrupted: usize,
    frames: u64,
    has_begun: bool,
    is_complete: bool,
}

unsafe extern "C" fn visit(context: *mut c_void, walk: *mut c_void) -> c_int {
    const FRAMES_MAX: u64 = 200;
    // SAFETY: S7: the walk that the handler passed.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: S7: libgcc's context, during its callback.
    let program_counter = unsafe { _Unwind_GetIP(context) };
    walk.frames += 1;
    walk.has_begun |= program_counter == walk.interrupted;
    let outer = OUTER.load(Relaxed);
    const OUTER_BYTES_AT_MOST: usize = 1024;
    walk.is_complete |= walk.has_begun && (outer..outer + OUTER_BYTES_AT_MOST).contains(&program_counter);
    if walk.frames > FRAMES_MAX { 4 } else { 0 }
}

unsafe extern "C" fn step(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: S6: the kernel's context.
    let interrupted = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
    let mut walk = Walk {
        interrupted: interrupted as usize,
        frames: 0,
        has_begun: false,
        is_complete: false,
    };
    // SAFETY: S6: what is tested: the interrupted code is stepped through outside every lock.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    STEPS.fetch_add(1, Relaxed);
    LOST.fetch_add(u64::from(!walk.has_begun), Relaxed);
    COMPLETE.fetch_add(u64::from(walk.is_complete), Relaxed);
}

fn trap_flag(on: bool) {
    const TRAP_FLAG: u64 = 1 << 8;
    let (set, keep) = if on { (TRAP_FLAG, u64::MAX) } else { (0, !TRAP_FLAG) };
    // SAFETY: S6: the flag raises a signal whose handler is installed.
    unsafe {
        asm!(
            // The compiler does not know of the push, as in the switch.
            ".cfi_remember_state",
            ".cfi_undefined rip",
            "pushfq",
            "and qword ptr [rsp], {keep}",
            "or qword ptr [rsp], {set}",
            "popfq",
            ".cfi_restore_state",
            set = in(reg) set,
            keep = in(reg) keep,
        );
    };
}

/// Two contexts that switch to each other. The main one's stack is the test thread's.
struct Pair {
    main: Context,
    other: Context,
    saves_all: bool,
}

const NOTHING: Handoff = Handoff { left: 0, by: 0 };

#[inline(never)]
fn hop(from: &Context, to: &Context, saves_all: bool) {
    if saves_all {
        // SAFETY: S1, S2: the other context is suspended, and both are this thread's.
        unsafe { switch_saving_all(from, to, NOTHING) };
    } else {
        // SAFETY: S1, S2: as for the other switch.
        unsafe { switch(from, to, NOTHING) };
    }
}

unsafe extern "C" fn entry(_own: *const Context, pair: usize, _by: usize, _identity: usize) -> ! {
    // SAFETY: S1: the pair lives until the last switch.
    let pair = unsafe { &*std::ptr::with_exposed_provenance::<Pair>(pair) };
    for _ in 0..3 {
        hop(&pair.other, &pair.main, pair.saves_all);
    }
    // SAFETY: S1: the main context is suspended in `outer`.
    unsafe { switch_final(&pair.main, NOTHING) }
}

#[inline(never)]
fn outer(pair: &Pair) {
    let first = Handoff {
        left: std::ptr::from_ref(pair).expose_provenance(),
        by: 0,
    };
    trap_flag(true);
    // SAFETY: S1: the other context has been prepared.
    unsafe { switch(&pair.main, &pair.other, first) };
    for _ in 0..3 {
        hop(&pair.main, &pair.other, pair.saves_all);
    }
    trap_flag(false);
}

/// Steps through `work`, which sets the trap flag in a function that begins at `outermost`. Returns how many
/// instructions there were, and at how many the walk was complete.
fn step_through(flags: c_int, outermost: usize, work: impl FnOnce()) -> (u64, u64) {
    // libgcc prepares itself at its first call.
    assert!(!std::backtrace::Backtrace::force_capture().to_string().is_empty());
    // SAFETY: S6: all zeros is an action with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = step as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | flags;
    // SAFETY: S6: the handler does what it may.
    let error = unsafe { libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut()) };
    assert_eq!(error, 0);
    for counter in [&STEPS, &LOST, &COMPLETE] {
        counter.store(0, Relaxed);
    }
    OUTER.store(outermost, Relaxed);
    work();
    let (steps, lost, complete) = (STEPS.load(Relaxed), LOST.load(Relaxed), COMPLETE.load(Relaxed));
    println!("{steps} instructions, {complete} complete walks");
    assert_eq!(lost, 0);
    (steps, complete)
}

fn every_instruction(flags: c_int, saves_all: bool) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let arena: &'static Arena = Box::leak(Box::new(Arena::new(ArenaConfig::default()).expect("an arena")));
    let stack = arena.take().expect("a stack");
    let pair = Pair {
        main: Context::new(),
        other: Context::new(),
        saves_all,
    };
    pair.main.set_identity(switch::identity_base());
    pair.other.set_identity(switch::identity_base());
    // SAFETY: S1: the stack is ours, and `entry` never returns.
    unsafe { prepare(&pair.other, stack.top(), entry) };
    let (steps, complete) = step_through(flags, outer as *const () as usize, || outer(&pair));
    assert!(steps > 100, "{steps} steps");
    assert!(complete * 10 > steps, "{complete} of {steps} walks reached `outer`");
    arena.give(stack);
}

#[inline(never)]
fn outer_of_calls(stack: &Stack) {
    trap_flag(true);
    for round in 0..3 {
        // SAFETY: S1: the stack is ours, and has a guard.
        unsafe { call_on(stack.top().wrapping_sub(64), || black_box(round)) };
    }
    trap_flag(false);
}

/// A call on a segment is described at each instruction, so each walk gets to the caller.
#[test]
fn every_instruction_of_a_call_on_a_segment() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let arena: &'static Arena = Box::leak(Box::new(Arena::new(ArenaConfig::default()).expect("an arena")));
    let stack = arena.take().expect("a stack");
    for flags in [0, libc::SA_ONSTACK] {
        let outermost = outer_of_calls as *const () as usize;
        let (steps, complete) = step_through(flags, outermost, || outer_of_calls(&stack));
        assert!(steps > 30, "{steps} steps");
        // But for the two in which the test itself changes the flag.
        assert!(complete + 8 > steps, "{complete} of {steps} walks reached the caller");
    }
    arena.give(stack);
}

/// std gives each thread an alternate stack, so SA_ONSTACK is a real difference.
#[test]
fn every_instruction_on_the_interrupted_stack() {
    every_instruction(0, false);
    every_instruction(0, true);
}

#[test]
fn every_instruction_on_the_alternate_stack() {
    every_instruction(libc::SA_ONSTACK, false);
    every_instruction(libc::SA_ONSTACK, true);
}
