//! Is this the process that started the runtime?
//!
//! A child has a copy of the runtime's memory (`fork`), or for a while the very same memory (`vfork`, `clone` with
//! CLONE_VM), but none of its workers. It shares the epoll instances, and a change that it makes there is a change in
//! the parent. A lock that another thread held at the fork is never released in the copy. So code that changes shared
//! state asks here first.
//!
//! | child of | told by |
//! |---|---|
//! | `fork` | [`set_forked`], from the handler of `pthread_atfork` |
//! | `_Fork`; `fork`, `clone`, `clone3` by `syscall` without CLONE_VM: through their hooks | [`set_forked`] |
//! | `vfork`, `clone` with CLONE_VM, inline system calls | its process number, which [`is_foreign`] compares |
//!
//! [`is_forked`] is one load and serves where a system call would cost too much. [`is_foreign`] asks the kernel for the
//! process number, so it is used on slow paths only. Both may be called in a signal handler.
//!
//! Not recognised: a child in a PID namespace of its own (CLONE_NEWPID without `fork`) that has the parent's number
//! there, 1.
//!
//! Rejected: a page that the kernel wipes in a child (MADV_WIPEONFORK). It says nothing about a child that shares the
//! memory.

use super::file;
use super::held::HeldFile;
use super::raw;
use crate::loom::static_atomic::{AtomicBool, AtomicI32, Ordering};
use libc::pid_t;
use std::ffi::CStr;
use std::io::Write;

/// The process of the first runtime; 0 before there is one.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Whether this process is the child of a fork: the workers are in the parent.
static FORKED: AtomicBool = AtomicBool::new(false);

fn getpid() -> pid_t {
    // SAFETY: S5: names no memory. It cannot fail.
    unsafe { raw::syscall0(libc::SYS_getpid) }.unwrap_or(0) as pid_t
}

/// Notes that a runtime starts in this process. The first call decides.
pub(crate) fn remember() {
    // Relaxed: a child is made later, by the thread that stored this, or by a thread that was told of the runtime.
    let _ = OWNER.compare_exchange(0, getpid(), Ordering::Relaxed, Ordering::Relaxed);
}

/// Notes that the caller is in the child of a fork, where there is no other thread.
pub(crate) fn set_forked() {
    // Relaxed: this is the only thread.
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether the process is known to be a fork's child.
#[inline(always)]
pub(crate) fn is_forked() -> bool {
    // Relaxed: set before the child's only thread could load it.
    FORKED.load(Ordering::Relaxed)
}

/// Tells the kernel, in the child of a fork, to forget an area of restartable sequences. The C library has registered
/// it for the thread that was a worker's in the parent. In the child it takes that thread for gone, and gives its stack
/// with the area away; the kernel would end the child when it next writes there.
pub(crate) fn forget_rseq(area: usize) {
    const UNREGISTER: usize = 1;
    /// RSEQ_SIG on x86-64.
    const SIGNATURE: usize = 0x5305_3053;
    // The length must be the one that was registered: glibc's, which was 32 at first and follows the kernel's since.
    for bytes in (32..=256).step_by(32) {
        // SAFETY: S5: the kernel forgets memory, and touches none.
        if unsafe { raw::syscall4(libc::SYS_rseq, area, bytes, UNREGISTER, SIGNATURE) }.is_ok() {
            return;
        }
    }
}

/// Ends the process as the end of its last thread does.
#[cold]
pub(crate) fn exit() -> ! {
    // SAFETY: S7: any thread may call it.
    unsafe { libc::exit(0) }
}

/// Whether the runtime belongs to another process. Makes a system call.
pub(crate) fn is_foreign() -> bool {
    if is_forked() {
        return true;
    }
    // Relaxed: as in `remember`.
    let owner = OWNER.load(Ordering::Relaxed);
    owner != 0 && owner != getpid()
}

/// Tells whether one thread sleeps in the kernel.
#[derive(Debug)]
pub(crate) struct ThreadState(HeldFile);

impl ThreadState {
    /// The state of the calling thread, for others to ask. `None`: there is no free descriptor, or no `/proc`.
    pub(crate) fn of_caller() -> Option<Self> {
        HeldFile::open(c"/proc/thread-self/stat").ok().map(Self)
    }

    /// Whether the thread sleeps in the kernel. `None`: it has ended, or its state cannot be read.
    pub(crate) fn is_blocked(&self) -> Option<bool> {
        let mut text = [0; 256];
        let length = self.0.read(&mut text).ok()?;
        // "number (name) state …", and a name may contain anything.
        let after_name = text[..length].iter().rposition(|byte| *byte == b')')?;
        text.get(after_name + 2).map(|state| matches!(state, b'S' | b'D'))
    }
}

/// The memory of the process that is in use, in bytes, and the most that it was; 0 where the kernel does not tell.
pub(crate) fn resident_bytes() -> (usize, usize) {
    const PAGE: usize = 4096;
    let now = HeldFile::open(c"/proc/self/statm").and_then(|file| file.read_all());
    // The size, and what of it is resident.
    let pages = now.ok().and_then(|text| {
        let text = String::from_utf8(text).ok()?;
        text.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: S5: a live place for what the kernel says.
    let asked = unsafe {
        raw::syscall2(
            libc::SYS_getrusage,
            libc::RUSAGE_SELF as usize,
            usage.as_mut_ptr() as usize,
        )
    };
    // SAFETY: S5: the call succeeded, so the kernel wrote all of it.
    let most_kib = asked.map_or(0, |_| unsafe { usage.assume_init() }.ru_maxrss);
    (pages.unwrap_or(0) * PAGE, most_kib as usize * 1024)
}

/// Whether a process runs the program of this one, as a child does that has not executed another yet. Takes no
/// descriptor.
pub(crate) fn runs_own_program(pid: pid_t) -> bool {
    let mut path = [0; 32];
    // A number has at most ten digits.
    let written = write!(&mut path[..], "/proc/{pid}/exe\0");
    let theirs = CStr::from_bytes_until_nul(&path).ok().filter(|_| written.is_ok());
    let own = file::id_of_path(c"/proc/self/exe");
    own.is_ok() && theirs.is_some_and(|path| file::id_of_path(path) == own)
}

/// Whether this process has children, including ended children that nobody has waited for.
pub(crate) fn has_children() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: S5: no place for what it would say.
    let asked = unsafe { raw::syscall5(libc::SYS_waitid, libc::P_ALL as usize, 0, 0, options as usize, 0) };
    asked.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit status of a child that shares no memory and of which no handler is told.
    fn in_a_child(look: impl FnOnce() -> bool) -> bool {
        // SAFETY: S5: fork names no memory.
        match unsafe { raw::syscall0(libc::SYS_fork) }.unwrap() as pid_t {
            0 => {
                let status = usize::from(look());
                // SAFETY: S5: ends the child at once.
                let _ = unsafe { raw::syscall1(libc::SYS_exit_group, status) };
                unreachable!("exit_group does not return")
            }
            child => {
                let mut status = 0;
                let place = (&raw mut status) as usize;
                // SAFETY: S5: a live place for the status.
                unsafe { raw::syscall4(libc::SYS_wait4, child as usize, place, 0, 0) }.unwrap();
                assert!(libc::WIFEXITED(status));
                libc::WEXITSTATUS(status) == 1
            }
        }
    }

    #[test]
    fn a_child_is_foreign_and_the_parent_is_not() {
        remember();
        assert!(!is_foreign());
        assert!(in_a_child(|| !is_forked() && is_foreign()));
        assert!(in_a_child(|| {
            set_forked();
            is_forked() && is_foreign()
        }));
        assert!(!is_forked() && !is_foreign());
    }

    #[test]
    fn a_thread_that_sleeps_is_blocked_and_one_that_runs_is_not() {
        assert_eq!(ThreadState::of_caller().unwrap().is_blocked(), Some(false));
        let (told, state) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            told.send(ThreadState::of_caller().unwrap()).unwrap();
            let _ = ends.recv();
        });
        let state = state.recv().unwrap();
        while state.is_blocked() != Some(true) {
            std::thread::yield_now();
        }
        drop(end);
        thread.join().unwrap();
        // The kernel may still be about to take the thread out of the process.
        while state.is_blocked().is_some() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_runs_another_program_once_it_has_executed_it() {
        assert!(runs_own_program(getpid()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!runs_own_program(child.id() as pid_t));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!runs_own_program(child.id() as pid_t));
    }
}
