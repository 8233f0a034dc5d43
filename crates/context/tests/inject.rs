//! Does interrupted code find all its registers as they were, after it has been made to call a function?

use silken_context::inject;
use silken_context::trap::{Interrupted, in_executable};
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

static INJECTED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// One test at a time has the signal.
static TURN: Mutex<()> = Mutex::new(());

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: S6: the kernel's context.
    let mut interrupted = unsafe { Interrupted::new(context) };
    if !ACTIVE.load(SeqCst) || !interrupted.may_inject() {
        REFUSED.fetch_add(1, SeqCst);
        return;
    }
    // SAFETY: S1: the test's thread has megabytes of stack. S3: it stays on its thread.
    unsafe { interrupted.inject(disturbs) };
}

/// Uses every register that it can, and the stack.
extern "C" fn disturbs() {
    INJECTED.fetch_add(1, SeqCst);
    let floats: f64 = (0..64).map(|k| black_box(f64::from(k)).sqrt()).sum();
    let words: u64 = black_box(vec![7_u64; 128]).iter().sum();
    assert!(floats > 0.0 && words == 7 * 128);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: S7: declared as clobbered.
    unsafe {
        std::arch::asm!(
            "mov rax, -1", "mov rcx, -1", "mov rdx, -1", "mov rsi, -1", "mov rdi, -1", "mov r8, -1", "mov r9, -1",
            "mov r10, -1", "mov r11, -1", "pcmpeqd xmm0, xmm0", "pcmpeqd xmm7, xmm7", "pcmpeqd xmm15, xmm15", "std",
            "cld", "stc",
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _, out("xmm0") _, out("xmm7") _, out("xmm15") _,
        );
    }
}

/// Gives the calling thread a stack for its handlers, as workers have one.
fn take_handlers_elsewhere() {
    let memory = Vec::leak(vec![0_u8; 256 * 1024]);
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: S6: memory of this thread's own, for ever.
    assert_eq!(unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) }, 0);
}

/// Interrupts the caller every 50 µs or so while `computes` runs.
fn interrupted<R>(computes: impl FnOnce() -> R) -> R {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let result = interrupted_by(on_signal, Duration::from_micros(50), || {
        ACTIVE.store(true, SeqCst);
        let result = computes();
        ACTIVE.store(false, SeqCst);
        result
    });
    assert!(INJECTED.swap(0, SeqCst) > 10, "hardly any call was injected");
    result
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void);

/// Interrupts the caller with `handler` after each `pause` while `computes` runs. The caller has the turn.
fn interrupted_by<R>(handler: Handler, pause: Duration, computes: impl FnOnce() -> R) -> R {
    assert!(inject::bytes_needed().is_some(), "this processor has XSAVE");
    in_executable(0);
    take_handlers_elsewhere();
    // SAFETY: S6: all zeros is an action with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: S6: the handlers of this file use atomics and rewrite saved registers.
    let installed = unsafe { libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
    // SAFETY: S7: asks for a number.
    let (process, thread) = (std::process::id(), unsafe { libc::syscall(libc::SYS_gettid) });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                // SAFETY: S7: numbers only; the thread lives as long as the scope.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG) };
                std::thread::sleep(pause);
            }
        });
        let result = computes();
        over.store(true, SeqCst);
        result
    })
}

fn mix(rounds: u64) -> (u64, u64, u128) {
    let (mut a, mut b, mut wide, mut float) = (1_u64, 2_u64, 3_u128, 1.0_f64);
    for k in 0..rounds {
        a = a.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ k;
        b = if a & 1 == 0 {
            b.wrapping_add(a)
        } else {
            b ^ a.swap_bytes()
        };
        wide = wide.wrapping_mul(u128::from(a | 1)).wrapping_add(u128::from(b));
        float = float.mul_add(0.99, (a as u32) as f64);
    }
    (a ^ b, float.to_bits(), wide)
}

#[test]
fn registers_flags_and_floats() {
    let right = mix(30_000_000);
    assert_eq!(interrupted(|| mix(black_box(30_000_000))), right);
}

/// A leaf function keeps its variables in the red zone, below the stack pointer.
#[test]
fn the_red_zone() {
    #[inline(never)]
    fn leaf(words: &[u64; 16]) -> u64 {
        let mut copy = *words;
        for round in 0..8 {
            for k in 0..16 {
                copy[k] = copy[k].rotate_left(round) ^ copy[(k + 1) & 15];
            }
        }
        copy.iter().fold(0, |sum, word| sum ^ word)
    }
    let words: [u64; 16] = std::array::from_fn(|k| (k as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let right = leaf(&words);
    interrupted(|| (0..3_000_000).for_each(|_| assert_eq!(leaf(black_box(&words)), right)));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn wide_vectors() {
    #[target_feature(enable = "avx2")]
    fn with(rounds: i64) -> i64 {
        use std::arch::x86_64::*;
        let mut all: [__m256i; 12] =
            std::array::from_fn(|k| _mm256_set1_epi64x(0x1234_5678_9ABC_DEF1_i64.wrapping_mul(k as i64 + 1)));
        for k in 0..rounds {
            for each in &mut all {
                *each = _mm256_xor_si256(
                    _mm256_add_epi64(*each, _mm256_set1_epi64x(k)),
                    _mm256_slli_epi64::<7>(*each),
                );
            }
        }
        all.iter().fold(1, |sum: i64, each| {
            sum.rotate_left(5) ^ _mm256_extract_epi64::<3>(*each) ^ _mm256_extract_epi64::<0>(*each).rotate_left(9)
        })
    }
    if !is_x86_feature_detected!("avx2") {
        return;
    }
    // SAFETY: S7: the processor has the feature.
    let computes = |rounds| unsafe { with(rounds) };
    let right = computes(5_000_000);
    assert_eq!(interrupted(|| computes(black_box(5_000_000))), right);
}

#[inline(never)]
fn the_interrupted_function() -> u64 {
    let mut word = 1_u64;
    for k in 0..200_000_000_u64 {
        word = black_box(word.rotate_left(3) ^ k);
        if k % 1_000_000 == 0 && INJECTED.load(SeqCst) > 3 {
            break;
        }
    }
    word
}

/// A function that asks for a backtrace from inside an injected call sees through it.
#[test]
fn unwinders_pass_through() {
    static SEEN: Mutex<String> = Mutex::new(String::new());

    extern "C" fn looks() {
        // Not within itself: the capture takes a lock.
        static RUNS: AtomicBool = AtomicBool::new(false);
        if RUNS.swap(true, SeqCst) {
            return;
        }
        INJECTED.fetch_add(1, SeqCst);
        let text = std::backtrace::Backtrace::force_capture().to_string();
        if let Ok(mut seen) = SEEN.try_lock()
            && !seen.contains("the_interrupted_function")
        {
            *seen = text;
        }
        RUNS.store(false, SeqCst);
    }

    extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: S6: the kernel's context.
        let mut interrupted = unsafe { Interrupted::new(context) };
        if interrupted.may_inject() {
            // SAFETY: S1: the test's thread has megabytes of stack. S3: it stays on its thread.
            unsafe { interrupted.inject(looks) };
        }
    }

    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    INJECTED.store(0, SeqCst);
    interrupted_by(on_signal, Duration::from_millis(3), || {
        black_box(the_interrupted_function())
    });
    INJECTED.store(0, SeqCst);
    let seen = SEEN.lock().unwrap();
    assert!(seen.contains("the_interrupted_function"), "{seen}");
}
