//! How the runtime enters the kernel: floor 0, one module that chooses the platform, and the surface that a port has to
//! offer.
//!
//! In this process libc's `read`, `poll`, `close`, `syscall` and many more may be the runtime's *hooks* (crate
//! `silken-interpose`). The runtime must never meet its own hooks, and a signal handler must not disturb the errno of
//! the code it interrupted. So nothing here enters the kernel through an interposable symbol: [`raw`] holds the
//! instruction itself, results come back as values ([`raw::Errno`]), and errno is left alone. libc serves for constants
//! and layouts, and for the few functions that nobody interposes (`clock_gettime`, `sigaction`, `mmap`).
//!
//! What a port offers, module by module:
//!
//! | module | answers |
//! |---|---|
//! | `raw` | `Errno`, and whatever the other modules enter the kernel with |
//! | `clock` | what time is it, in ns of the monotonic clock; timespec ⇄ ns |
//! | `futex` | block this *thread* until a word changes; wake such threads |
//! | `epoll` | which of many descriptors became ready, with ns timeouts; `EventFd` to interrupt that wait |
//! | `socket` | the socket calls, and what kind of socket this is |
//! | `address` | socket addresses as the kernel has them |
//! | `file` | reads, writes, close; what kind of file this is |
//! | `held` | a file of the kernel's that is read again and again |
//! | `ipc` | message queues and semaphores of System V and POSIX |
//! | `copy` | data from one descriptor to another; batches of messages |
//! | `signal` | handlers, alternate stacks, directed signals |
//! | `blocked_call` | in which call the kernel blocks a thread |
//! | `barrier` | a memory barrier on all threads of the process (`membarrier`) |
//! | `memory` | fresh pages, where malloc may be locked |
//! | `process` | is this the process that started the runtime, or a child |
//! | `set_id` | workers' threads, for the calls that the C library makes on each thread of the process |
//! | `topology` | how many workers this process may usefully run |
//! | `uring` | asynchronous calls of the kernel's |
//!
//! Above the port, and the same on every platform: [`lock`], the short thread-level lock that runtime code takes where
//! a `std::sync::Mutex` would run into the futex hook.
//!
//! Deadlines are absolute ns of the monotonic clock; timeouts are relative ns; `None` means for ever. Calls that take
//! raw pointers are `unsafe` and lend memory to the kernel (S5) for the length of the call only.

pub(crate) mod lock;

pub(crate) use lock::{FutexWord, Lock, StaticLock, Word};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
#[allow(unused_imports)]
pub(crate) use linux::{
    address, barrier, blocked_call, clock, copy, epoll, file, futex, held, ipc, memory, process, raw, set_id, signal,
    socket, topology, uring,
};

#[cfg(not(target_os = "linux"))]
compile_error!("silken has one kernel backend so far: sys/linux");

/// Writes the pieces to standard error, without allocating and without meeting a hook: for signal handlers and for
/// messages before an abort.
pub(crate) fn report(pieces: &[&str]) {
    for piece in pieces {
        // SAFETY: S5: the piece outlives the call. Nothing can be done about an error.
        let _ = unsafe { file::write(2, piece.as_ptr().cast(), piece.len()) };
    }
}

/// Sets the errno of the identity that runs.
pub(crate) fn set_errno(number: libc::c_int) {
    // SAFETY: S3: asked for at each use: no address is kept over a park.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: S3: errno of the caller, which lives as long as the caller.
    unsafe { location.write(number) };
}

/// errno of the identity that runs.
pub(crate) fn errno() -> libc::c_int {
    // SAFETY: S3: as in `set_errno`.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: S3: as in `set_errno`.
    unsafe { *location }
}

/// Lets other threads of this processor core run.
pub(crate) fn yield_thread() {
    // SAFETY: S7: sched_yield takes nothing and cannot fail.
    let _ = unsafe { raw::syscall0(libc::SYS_sched_yield) };
}

/// Asks the kernel for timers as exact as it has them: by default a thread's sleeps may be 50 µs late.
pub(crate) fn exact_timers() {
    // SAFETY: S7: PR_SET_TIMERSLACK takes a number.
    let _ = unsafe { raw::syscall2(libc::SYS_prctl, libc::PR_SET_TIMERSLACK as usize, 1) };
}
