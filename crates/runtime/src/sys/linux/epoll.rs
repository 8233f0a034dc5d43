//! How to wait for many descriptors: `epoll(7)`, with nanosecond timeouts, and the `eventfd(2)` that interrupts a wait.
//!
//! Timeouts go through `epoll_pwait2` (Linux 5.11). Older kernels answer ENOSYS, and old container filters EPERM. From
//! then on `epoll_pwait` serves, with the timeout rounded *up* to milliseconds: a timer may then fire one millisecond
//! late, but a wait that ended early would spin until its deadline.
//!
//! `data` is the caller's and comes back unread. The interest bits are the kernel's (`EPOLLIN | EPOLLOUT | EPOLLRDHUP |
//! EPOLLET`): the driver chooses edge or level.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, epoll_event};

use super::clock;
use super::file::{self, Descriptor};
use super::raw::{self, Errno};
use crate::loom::static_atomic::{AtomicBool, Ordering};

/// The size of the kernel's `sigset_t` in bytes, which differs from libc's. The kernel looks at it only if a mask is
/// given.
const SIGNAL_SET_BYTES: usize = 8;

const NS_PER_MILLISECOND: u64 = 1_000_000;

/// Set once the kernel has refused `epoll_pwait2`. Relaxed throughout: a thread that sees the flag late asks once more.
static PWAIT2_REFUSED: AtomicBool = AtomicBool::new(false);

/// An epoll set.
#[derive(Debug)]
pub(crate) struct Epoll(Descriptor);

impl Epoll {
    /// Makes an empty set. Its descriptor is closed on exec.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: S5: the kernel touches no memory of ours.
        let fd = unsafe { raw::syscall1(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC as usize) }?;
        Ok(Self(Descriptor::new(fd as RawFd)))
    }

    /// The set's own descriptor, itself pollable.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// Starts watching `fd`. EEXIST: `fd` is watched already; EPERM: its kind of file cannot be watched (a regular
    /// file).
    pub(crate) fn add(&self, fd: RawFd, interest: u32, data: u64) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, data)
    }

    /// Changes interest and data; re-arms an edge or one-shot registration.
    pub(crate) fn modify(&self, fd: RawFd, interest: u32, data: u64) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, data)
    }

    /// Stops watching `fd`. Events that a `wait` on another thread has already fetched may still be delivered.
    pub(crate) fn delete(&self, fd: RawFd) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: c_int, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
        let mut event = epoll_event { events, u64: data };
        // SAFETY: S5: `event` is a live local, which the kernel copies.
        unsafe {
            raw::syscall4(
                libc::SYS_epoll_ctl,
                self.fd() as usize,
                operation as usize,
                fd as usize,
                ptr::from_mut(&mut event) as usize,
            )
        }
        .map(drop)
    }

    /// Waits for events, at most `timeout_ns` (0: only looks; `None`: for ever), and writes them to the head of
    /// `events`, which is not empty.
    ///
    /// The caller handles EINTR: it may have to look at a clock first.
    pub(crate) fn wait(&self, events: &mut [epoll_event], timeout_ns: Option<u64>) -> Result<usize, Errno> {
        // Relaxed: see the static.
        if PWAIT2_REFUSED.load(Ordering::Relaxed) {
            return self.wait_milliseconds(events, timeout_ns);
        }
        match self.wait_nanoseconds(events, timeout_ns) {
            Err(Errno::NOSYS | Errno::PERM) => {
                // Relaxed: see the static.
                PWAIT2_REFUSED.store(true, Ordering::Relaxed);
                self.wait_milliseconds(events, timeout_ns)
            }
            result => result,
        }
    }

    fn wait_nanoseconds(&self, events: &mut [epoll_event], timeout_ns: Option<u64>) -> Result<usize, Errno> {
        let timeout = timeout_ns.map(clock::ns_to_timespec);
        let timeout: *const libc::timespec = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: S5: events and timeout outlive the call, and the kernel writes at most `len` events.
        unsafe {
            raw::syscall6(
                libc::SYS_epoll_pwait2,
                self.fd() as usize,
                events.as_mut_ptr() as usize,
                events.len().min(c_int::MAX as usize),
                timeout as usize,
                0,
                SIGNAL_SET_BYTES,
            )
        }
    }

    #[cold]
    fn wait_milliseconds(&self, events: &mut [epoll_event], timeout_ns: Option<u64>) -> Result<usize, Errno> {
        // SAFETY: S5: events outlive the call, and the kernel writes at most `len` of them.
        unsafe {
            raw::syscall6(
                libc::SYS_epoll_pwait,
                self.fd() as usize,
                events.as_mut_ptr() as usize,
                events.len().min(c_int::MAX as usize),
                timeout_milliseconds(timeout_ns) as usize,
                0,
                SIGNAL_SET_BYTES,
            )
        }
    }
}

fn timeout_milliseconds(timeout_ns: Option<u64>) -> c_int {
    timeout_ns.map_or(-1, |ns| {
        c_int::try_from(ns.div_ceil(NS_PER_MILLISECOND)).unwrap_or(c_int::MAX)
    })
}

/// A counter in the kernel that makes its descriptor readable while it is not zero.
#[derive(Debug)]
pub(crate) struct EventFd(Descriptor);

impl EventFd {
    /// Makes a counter at zero, non-blocking. Its descriptor is closed on exec.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::EFD_NONBLOCK | libc::EFD_CLOEXEC;
        // SAFETY: S5: the kernel touches no memory of ours.
        let fd = unsafe { raw::syscall2(libc::SYS_eventfd2, 0, flags as usize) }?;
        Ok(Self(Descriptor::new(fd as RawFd)))
    }

    /// The descriptor, to be watched for `EPOLLIN`.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// Makes the descriptor readable; each call is a new edge. May be called in a signal handler.
    pub(crate) fn notify(&self) {
        let one = 1u64;
        // SAFETY: S5: `one` is a live local of eight bytes.
        let written = unsafe { file::write(self.fd(), ptr::from_ref(&one).cast(), 8) };
        // EAGAIN: the counter is at its maximum, so the descriptor is readable already.
        debug_assert!(matches!(written, Ok(8) | Err(Errno::AGAIN)), "{written:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    const EMPTY: epoll_event = epoll_event { events: 0, u64: 0 };
    const READABLE: u32 = libc::EPOLLIN as u32;
    const WRITABLE: u32 = libc::EPOLLOUT as u32;
    const EDGE: u32 = libc::EPOLLET as u32;

    #[test]
    fn events_carry_their_data_until_deleted() {
        let epoll = Epoll::new().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut events = [EMPTY; 4];
        epoll.add(reader.as_raw_fd(), READABLE, u64::MAX - 5).unwrap();
        assert_eq!(epoll.add(reader.as_raw_fd(), READABLE, 0), Err(Errno::EXIST));
        assert_eq!(epoll.wait(&mut events, Some(0)), Ok(0));
        writer.write_all(b"x").unwrap();
        assert_eq!(epoll.wait(&mut events, None), Ok(1));
        assert_eq!(({ events[0].u64 }, { events[0].events }), (u64::MAX - 5, READABLE));
        epoll.modify(reader.as_raw_fd(), READABLE | EDGE, 9).unwrap();
        assert_eq!(epoll.wait(&mut events, Some(u64::MAX)), Ok(1));
        assert_eq!({ events[0].u64 }, 9);
        // The kernel reports an edge once.
        assert_eq!(epoll.wait(&mut events, Some(0)), Ok(0));
        epoll.delete(reader.as_raw_fd()).unwrap();
        assert_eq!(epoll.delete(reader.as_raw_fd()), Err(Errno(libc::ENOENT)));
    }

    #[test]
    fn both_directions_arrive_in_one_event() {
        let epoll = Epoll::new().unwrap();
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        epoll.add(far.as_raw_fd(), READABLE | WRITABLE | EDGE, 1).unwrap();
        let mut events = [EMPTY; 4];
        assert_eq!(epoll.wait(&mut events, None), Ok(1));
        assert_eq!({ events[0].events }, READABLE | WRITABLE);
    }

    #[test]
    fn timeouts_do_not_end_early_in_either_form() {
        let epoll = Epoll::new().unwrap();
        let mut events = [EMPTY; 1];
        for wait in [Epoll::wait, Epoll::wait_milliseconds] {
            let start = clock::now_ns();
            assert_eq!(wait(&epoll, &mut events, Some(1_300_000)), Ok(0));
            let waited = clock::now_ns() - start;
            assert!(waited >= 1_300_000, "{waited} ns");
        }
        assert_eq!(epoll.wait(&mut [], Some(0)), Err(Errno::INVAL));
    }

    #[test]
    fn milliseconds_round_up_and_saturate() {
        assert_eq!(timeout_milliseconds(None), -1);
        assert_eq!(timeout_milliseconds(Some(0)), 0);
        assert_eq!(timeout_milliseconds(Some(1)), 1);
        assert_eq!(timeout_milliseconds(Some(1_000_000)), 1);
        assert_eq!(timeout_milliseconds(Some(1_000_001)), 2);
        assert_eq!(timeout_milliseconds(Some(u64::MAX)), c_int::MAX);
    }

    #[test]
    fn an_event_fd_interrupts_a_wait_from_another_thread() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        epoll.add(event.fd(), READABLE | EDGE, 3).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| event.notify());
            let mut events = [EMPTY; 2];
            assert_eq!(epoll.wait(&mut events, None), Ok(1));
            assert_eq!({ events[0].u64 }, 3);
        });
        // Each call is an edge, even if nobody has read the counter since the last call.
        event.notify();
        let mut events = [EMPTY; 2];
        assert_eq!(epoll.wait(&mut events, Some(0)), Ok(1));
        assert_eq!(epoll.wait(&mut events, Some(0)), Ok(0));
    }

    #[test]
    fn dropping_closes() {
        let epoll = Epoll::new().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        // Another set that watches this set shows the close: the registration vanishes with the last reference.
        let outer = Epoll::new().unwrap();
        outer.add(epoll.fd(), READABLE, 0).unwrap();
        epoll.add(reader.as_raw_fd(), READABLE | WRITABLE, 0).unwrap();
        drop(_writer);
        let mut events = [EMPTY; 1];
        assert_eq!(outer.wait(&mut events, Some(0)), Ok(1));
        drop(epoll);
        assert_eq!(outer.wait(&mut events, Some(0)), Ok(0));
    }
}
