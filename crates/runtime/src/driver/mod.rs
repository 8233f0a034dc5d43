//! How does an event outside of the runtime make a coroutine ready: an event of a descriptor, a deadline, a wake-up by
//! another thread?
//!
//! Each processor has a driver. The processor's worker polls the driver, between coroutines and while it sleeps. A poll
//! *returns* the coroutines that have become ready and queues none of them, so events travel in batches and the
//! scheduler runs at its own pace. Any thread may poll any driver without waiting. A watcher, or a worker's round, does
//! so for a processor that stands still (`sched/watch.rs`); a worker on which a coroutine has connected or was
//! preempted does so for the others (`sched/worker.rs`). A searching worker polls its own driver only. Outside of a
//! poll, a change of a descriptor that raises no event (a close, a shutdown) unparks the waiters itself
//! ([`readiness`]).
//!
//! # Whose driver
//! A driver belongs to one runtime at a time, its *owner*. Only the owner's coroutines register descriptors and arm
//! deadlines there. A driver and its epoll and eventfd are never freed or closed. A late waker may still write to the
//! eventfd; if the eventfd were closed, its number might be another file's. When the owner has ended, the driver
//! [retires](Driver::retire): it gives up its registrations, has no deadline left (all coroutines that could have one
//! have ended), and lies idle until the next runtime takes it. So a process has as many drivers as it ever had workers
//! at one time.
//!
//! # The races
//! *A visitor takes the wake-up*: a worker is woken through its eventfd, and another thread that polls the driver just
//! then fetches that event. The kernel reports the edge once, so the visitor writes the eventfd again. *A deadline that
//! a thread without the worker arms*: a late coroutine arms a deadline in its last worker's driver, in which the
//! worker's new thread may sleep until a later one. So it wakes the driver after arming.
//!
//! # The files
//! | file | what |
//! |---|---|
//! | [`readiness`] | which waiters wait for which descriptor |
//! | [`fd_table`] | what is known of each descriptor |
//! | [`ring`] | asynchronous calls of the kernel's |
//! | [`timers`] | the deadlines |
//!
//! How a caller waits for any of these is the next floor's question (`wait/mod.rs`).

pub(crate) mod fd_table;
pub(crate) mod readiness;
pub(crate) mod ring;
mod timers;

#[cfg(all(test, loom))]
mod loom_tests;

use crate::coroutine::{Critical, Ready, WorkerLink};
use crate::loom::static_atomic::{AtomicUsize, Ordering};
use crate::sys::epoll::{Epoll, EventFd};
use crate::sys::{Lock, StaticLock, clock};
use ring::DriverRing;
use std::io;
pub(crate) use timers::TimerNode;
use timers::Timers;

/// By which interface of the kernel a runtime waits: see [`RuntimeBuilder::driver`](crate::RuntimeBuilder::driver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoDriver {
    /// `epoll(7)` alone. Where a call on a file waits for a disk, a thread of a pool makes it.
    Epoll,
    /// `io_uring(7)` for calls on files that wait for a disk, beside epoll for descriptors that become ready.
    IoUring,
}

/// How long a poll may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Not at all: the poll only looks.
    Not,
    /// Until something happens, or the monotonic clock shows this time in ns.
    Until(u64),
    /// Until something happens.
    Forever,
}

/// The event data of the wake-up descriptor; descriptors' data never has it (`readiness`).
const WAKE_DATA: u64 = u64::MAX;

/// The event data of the ring; descriptors' data never has it either.
const RING_DATA: u64 = u64::MAX - 1;

/// The most events taken from the kernel at once: enough that many requests of a busy server share one call, few enough
/// to stay in the first-level cache.
const EVENTS_MAX: usize = 256;

/// The fewest events taken at once. Even a caller without room takes a few; otherwise the coroutines that keep its
/// queue full would starve those that wait for events.
const EVENTS_MIN: usize = 16;

type Events = Box<[libc::epoll_event; EVENTS_MAX]>;

/// The owner of an idle driver: no runtime.
const NOBODY: usize = 0;

/// Drivers whose runtimes have ended; the next runtime takes them.
static IDLE: StaticLock<Vec<&'static Driver>> = StaticLock::new(Vec::new());

/// See the file's head. A driver lives for ever once it is made.
pub(crate) struct Driver {
    /// The number of the runtime that owns the driver.
    owner: AtomicUsize,
    epoll: Epoll,
    wake: EventFd,
    ring: DriverRing,
    timers: Timers,
    /// The number of registrations made here. It only grows until the driver retires; zero means that an idle look at
    /// the kernel is not worth its cost.
    registered: AtomicUsize,
    /// The buffer of the polling thread. A second poller that does not wait finds it taken and returns.
    events: Lock<Events>,
}

impl Driver {
    /// Takes an idle driver, or makes one, for the runtime with this number, which is not zero.
    pub(crate) fn take(owner: usize, kind: IoDriver) -> io::Result<&'static Driver> {
        let idle = {
            // A runtime may be started by a coroutine.
            let _critical = Critical::enter();
            IDLE.lock().pop()
        };
        let driver = match idle {
            Some(driver) => driver,
            None => Box::leak(Box::new(Self::new()?)),
        };
        // Relaxed: the reader is a coroutine of this runtime, or compares with the number of another runtime.
        driver.owner.store(owner, Ordering::Relaxed);
        driver.ring.allow(kind == IoDriver::IoUring);
        Ok(driver)
    }

    /// Retires the driver of a runtime that has ended: nobody polls it, and nobody registers or arms anything there. It
    /// may still be woken.
    pub(crate) fn retire(&'static self) {
        // Critical because of signal handlers: entries are locked here.
        let _critical = Critical::enter();
        fd_table::for_each(|fd, entry| {
            entry
                .readiness
                .retire(|driver| std::ptr::eq(*driver, self), || readiness::deregister(self, fd));
        });
        // Relaxed: the next owner's first poll comes after the lock below.
        self.registered
            .store(usize::from(self.ring.is_made()), Ordering::Relaxed);
        self.owner.store(NOBODY, Ordering::Relaxed);
        self.timers.retire();
        IDLE.lock().push(self);
    }

    /// The number of the runtime that owns the driver.
    #[inline(always)]
    pub(crate) fn owner(&self) -> usize {
        // Relaxed: see `take`.
        self.owner.load(Ordering::Relaxed)
    }

    fn new() -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let wake = EventFd::new()?;
        // Edge-triggered: each notification is an event of its own, and nobody has to read the counter.
        epoll.add(wake.fd(), (libc::EPOLLIN | libc::EPOLLET) as u32, WAKE_DATA)?;
        let events = Box::new([libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX]);
        Ok(Self {
            owner: AtomicUsize::new(NOBODY),
            epoll,
            wake,
            ring: DriverRing::new(),
            timers: Timers::new(clock::now_ns()),
            registered: AtomicUsize::new(0),
            events: Lock::new(events),
        })
    }

    /// The driver of the processor on which the caller runs. To be called only in a critical section, or where a change
    /// of processor does no harm.
    #[inline]
    pub(crate) fn of(link: &WorkerLink) -> Option<&'static Driver> {
        // SAFETY: S2: the scheduler stores the address of a driver that lives for ever, or null.
        unsafe { link.driver.get().cast::<Driver>().as_ref() }
    }

    /// Ends the wait of the polling thread. May be called on any thread, in any context.
    pub(crate) fn wake(&self) {
        self.wake.notify();
    }

    /// Whether a poll that does not wait can find anything.
    #[inline(always)]
    pub(crate) fn is_worth_a_look(&self) -> bool {
        // Relaxed: a hint.
        self.registered.load(Ordering::Relaxed) != 0 || self.timers.pending()
    }

    /// Collects what has become ready. It takes at most `room` events of descriptors, so that a caller with a full
    /// queue is not flooded: the remaining events keep their turn in the kernel. (Of calls on files all that have
    /// ended are taken.) With `Wait::Not` it returns at once if another thread polls. Only
    /// the worker that holds the processor calls this; others call [`visit`](Self::visit).
    pub(crate) fn poll(&self, wait: Wait, room: usize, out: &mut Vec<Ready>) {
        self.poll_events(wait, room, out);
        self.poll_timers(out);
    }

    /// Polls without waiting, for a worker that does not hold the driver's processor.
    pub(crate) fn visit(&self, room: usize, out: &mut Vec<Ready>) {
        if self.poll_events(Wait::Not, room, out) {
            // The kernel reports the edge once, and this edge was meant for the worker that holds the processor. That
            // worker may be about to sleep, and may already have been taken off the sleepers as a searcher.
            self.wake();
        }
        self.poll_timers(out);
    }

    /// The time of the next deadline, or an earlier time; a snapshot.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        self.timers.next_wake_ns()
    }

    fn poll_timers(&self, out: &mut Vec<Ready>) {
        if self.timers.pending() {
            self.timers.expire(clock::now_ns(), out);
        }
    }

    /// Fetches events; returns whether the wake-up descriptor was among them.
    fn poll_events(&self, wait: Wait, room: usize, out: &mut Vec<Ready>) -> bool {
        let timeout_ns = match wait {
            // Relaxed: a hint.
            Wait::Not if self.registered.load(Ordering::Relaxed) == 0 => return false,
            Wait::Not => Some(0),
            Wait::Until(deadline_ns) => Some(self.until(deadline_ns)),
            Wait::Forever => self.timers.next_wake_ns().map(|deadline_ns| self.until(deadline_ns)),
        };
        let mut events = match wait {
            Wait::Not => match self.events.try_lock() {
                Some(events) => events,
                None => return false,
            },
            _ => self.events.lock(),
        };
        // EINTR: a signal handler has run. The poll returns, and the caller decides again.
        let room = room.clamp(EVENTS_MIN, EVENTS_MAX);
        let count = self.epoll.wait(&mut events[..room], timeout_ns).unwrap_or(0);
        let mut woken = false;
        for event in &events[..count] {
            match (event.u64, event.events) {
                (WAKE_DATA, _) => woken = true,
                (RING_DATA, _) => self.ring.reap(out),
                (data, bits) => dispatch(data, bits, out),
            }
        }
        woken
    }

    fn until(&self, deadline_ns: u64) -> u64 {
        let deadline_ns = self
            .timers
            .next_wake_ns()
            .map_or(deadline_ns, |timer| timer.min(deadline_ns));
        deadline_ns.saturating_sub(clock::now_ns())
    }
}

/// Handles an event of the kernel: finds the number's entry, and appends the coroutines that may continue to `out`.
#[inline]
fn dispatch(data: u64, bits: u32, out: &mut Vec<Ready>) {
    if let Some(entry) = fd_table::existing(data as u32 as std::os::fd::RawFd) {
        entry.readiness.event((data >> 32) as u32, bits, out);
    }
}
