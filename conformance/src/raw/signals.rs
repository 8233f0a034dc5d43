//! Signals that a program waits for. They are blocked in the whole process, so that nobody else takes them.

use super::{check_int, owned, timespec};
use libc::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;
use std::time::Duration;

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Signals(libc::sigset_t);

impl Signals {
    /// A set of these.
    pub fn of(signals: &[c_int]) -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: S7: a place for a set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: S7: sigemptyset has initialised it.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: S7: a set and a signal's number.
            assert_eq!(unsafe { libc::sigaddset(&mut set, *signal) }, 0);
        }
        Self(set)
    }

    /// Blocks them on this thread, and in what it starts or executes.
    pub fn block(&self) {
        // SAFETY: S5: the set is read during the call; a null old set is allowed.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &self.0, ptr::null_mut()) };
    }

    /// sigwait(3); the error number is the error.
    pub fn wait(&self) -> Result<c_int, c_int> {
        let mut signal = 0;
        // SAFETY: S5: the set is read, the signal written during the call.
        match unsafe { libc::sigwait(&self.0, &mut signal) } {
            0 => Ok(signal),
            error => Err(error),
        }
    }

    /// sigwaitinfo(2): the signal and what sigqueue(3) gave along.
    pub fn wait_info(&self) -> io::Result<(c_int, usize)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: S5: the set is read, the information written during the call.
        let signal = check_int(unsafe { libc::sigwaitinfo(&self.0, info.as_mut_ptr()) })?;
        Ok((signal as c_int, value(info)))
    }

    /// sigtimedwait(2): the signal and what sigqueue(3) gave along.
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<(c_int, usize)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let timeout = timespec(timeout);
        // SAFETY: S5: set and time are read, the information written during the call.
        let signal = check_int(unsafe { libc::sigtimedwait(&self.0, info.as_mut_ptr(), &timeout) })?;
        Ok((signal as c_int, value(info)))
    }

    /// signalfd(2)
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: S5: the set is read during the call.
        check_int(unsafe { libc::signalfd(-1, &self.0, libc::SFD_CLOEXEC) }).map(owned)
    }
}

fn value(info: MaybeUninit<libc::siginfo_t>) -> usize {
    // SAFETY: S7: zeroes at first, which are an empty record, then the kernel's.
    let info = unsafe { info.assume_init() };
    // SAFETY: S7: the records of sigqueue and kill have the member, or zeroes there.
    unsafe { info.si_value() }.sival_ptr.addr()
}

/// kill(2) to this process
pub fn kill_self(signal: c_int) {
    let process = std::process::id() as libc::pid_t;
    // SAFETY: S7: integer arguments.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

/// sigqueue(3) to this process
pub fn queue_to_self(signal: c_int, value: usize) {
    let process = std::process::id() as libc::pid_t;
    let value = libc::sigval {
        sival_ptr: ptr::without_provenance_mut(value),
    };
    // SAFETY: S7: integer arguments, and a value that nobody follows.
    assert_eq!(unsafe { libc::sigqueue(process, signal, value) }, 0);
}
