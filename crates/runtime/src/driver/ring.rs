//! How does an asynchronous call of the kernel's (`io_uring(7)`) make its caller ready again?
//!
//! # Protocol
//! Each driver has an io_uring, made when the first call comes. A call ([`RingCall`]) lies on its caller's stack, and
//! its address is the operation's number. The caller [submits](Driver::submit) the operation and waits for the call's
//! cell (`wait/ring.rs`). The io_uring's descriptor is in the driver's epoll, edge-triggered. So a completion is an
//! event like any other: the polling thread takes the completions out, writes each result into its call, settles the
//! call's cell, and returns the coroutine.
//!
//! The caller's frame, and all memory that the operation names, stay until the cell is settled. Nothing else ends such
//! a wait, neither a cancellation nor a deadline.
//!
//! | the operation | the caller |
//! |---|---|
//! | completes | gets its result |
//! | was given up by the kernel, since the thread that submitted it has ended (ECANCELED, EFAULT, EINTR) | has a thread of the offload pool make the call |
//! | is not known to this kernel, or not for this file (EINVAL, EOPNOTSUPP), or the file has O_NONBLOCK (EAGAIN) | likewise |
//! | finds no room; or there is no io_uring | likewise |
//!
//! A call that is made again is one that may be: a read at an offset, a write-back. An error that is the caller's own
//! (a bad address) comes again, from that call.
//!
//! # The races
//! *Completion before the wait*: the call's cell is settled, and the caller does not park. *Completion while another
//! thread takes completions out*: the lock orders the two, and a completion that comes after the last look is a new
//! edge. *An operation that the kernel does not take now* (EAGAIN: no memory; EBUSY: completions wait to be taken out)
//! stays in the queue. Its caller offers it again, after a while; so may any other caller meanwhile. *One that the
//! kernel will never take* (a filter that was installed later): the driver does not enter this io_uring for submissions
//! any more, so what lies in the queue is lent to nobody, and the callers go on.
//!
//! # Rejected
//! *An io_uring for the process*: its lock would be everybody's. *Submitting at the next poll*, many at once: a
//! computing coroutine delays the poll, and a disk that starts late costs more than one `io_uring_enter` saves.

use super::{Driver, RING_DATA};
use crate::coroutine::{Critical, Outcome, Ready, Unparker, WaitCell};
use crate::loom::static_atomic::{AtomicBool, Ordering};
use crate::sys::raw::Errno;
use crate::sys::uring::{RingOperation, Uring};
use crate::sys::{Lock, process};
use std::cell::Cell;

/// Whether this process can have rings. Makes one, and gives it up.
pub(crate) fn why_none() -> Option<Errno> {
    let _critical = Critical::enter();
    Uring::new().err()
}

/// A driver's ring.
pub(super) struct DriverRing {
    state: Lock<RingState>,
    /// Whether the driver's owner wants its calls made by the kernel.
    is_allowed: AtomicBool,
}

enum RingState {
    /// No call has come yet.
    Unmade,
    Made(Box<Uring>),
    /// The kernel takes no operations any more. Those that it has taken still complete.
    Closed(Box<Uring>),
    /// This process can have none.
    Refused,
}

/// A call that the kernel makes, on its caller's stack.
pub(crate) struct RingCall {
    done: WaitCell,
    result: Cell<Result<usize, Errno>>,
}

/// What became of an operation that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Submitted {
    /// The kernel has it: the call's cell will be settled.
    Yes,
    /// It lies in this place of the queue, and the kernel has not taken it. The caller waits a while and
    /// [offers](Driver::offer) it again; the cell may be settled meanwhile.
    Later(u64),
    /// There is no io_uring, or no room, or the kernel does not take it: it will not be made.
    No,
}

impl RingCall {
    /// A call of the running coroutine.
    pub(crate) fn new() -> Self {
        Self {
            done: WaitCell::new(),
            result: Cell::new(Err(Errno::NOSYS)),
        }
    }

    /// The cell that is settled when the call has ended.
    pub(crate) fn done(&self) -> &WaitCell {
        &self.done
    }

    /// The result of a call that has ended. `None`: the kernel has not made it, and it is to be made otherwise.
    pub(crate) fn result(&self) -> Option<Result<usize, Errno>> {
        match self.result.get() {
            Err(Errno::AGAIN | Errno::INVAL | Errno::OPNOTSUPP) => None,
            Err(Errno::CANCELED | Errno::FAULT | Errno::INTR) => None,
            result => Some(result),
        }
    }
}

impl DriverRing {
    pub(super) fn new() -> Self {
        Self {
            state: Lock::new(RingState::Unmade),
            is_allowed: AtomicBool::new(true),
        }
    }

    /// Says what the driver's new owner wants.
    pub(super) fn allow(&self, is_allowed: bool) {
        // Relaxed: the readers are coroutines of this owner.
        self.is_allowed.store(is_allowed, Ordering::Relaxed);
    }

    /// Takes out completions and appends the coroutines that may continue to `out`.
    #[cold]
    pub(super) fn reap(&self, out: &mut Vec<Ready>) {
        let mut state = self.state.lock();
        let (RingState::Made(ring) | RingState::Closed(ring)) = &mut *state else {
            return;
        };
        ring.drain(|number, result| {
            let call = std::ptr::with_exposed_provenance::<RingCall>(number as usize);
            // SAFETY: S8: the call is on its caller's frame, which stays until the cell is settled, just below.
            let call = unsafe { &*call };
            let unparker = call.done.unparker();
            call.result.set(result);
            if call.done.settle(Outcome::Woken) {
                match unparker {
                    // SAFETY: S2: cores are type-stable.
                    Unparker::Coroutine(core) => out.extend(unsafe { core.as_ref() }.make_ready()),
                    Unparker::Thread(_) => unparker.unpark(),
                }
            }
        });
    }

    /// Whether a ring was made.
    pub(super) fn is_made(&self) -> bool {
        matches!(*self.state.lock(), RingState::Made(_) | RingState::Closed(_))
    }
}

impl Driver {
    /// Has the kernel make a call. The caller is a coroutine in a critical section.
    ///
    /// # Safety
    /// The call, and what the operation names, stay where they are until the call's cell is settled, unless the answer
    /// is `No` (S5, S8).
    pub(crate) unsafe fn submit(&self, operation: &RingOperation, call: &RingCall) -> Submitted {
        // Relaxed: see `allow`. A child that shares the memory must not touch the parent's queues.
        if !self.ring.is_allowed.load(Ordering::Relaxed) || process::is_foreign() {
            return Submitted::No;
        }
        let mut state = self.ring.state.lock();
        if matches!(*state, RingState::Unmade) {
            *state = self.make_ring();
        }
        let RingState::Made(ring) = &mut *state else {
            return Submitted::No;
        };
        let number = std::ptr::from_ref(call).expose_provenance() as u64;
        // SAFETY: S5: the caller's promise.
        match unsafe { ring.push(operation, number) } {
            Some(place) => offer(&mut state, place),
            None => Submitted::No,
        }
    }

    /// Offers the kernel again what it had not taken, and says what became of the operation in this place of the queue.
    /// The caller is in a critical section.
    #[cold]
    pub(crate) fn offer(&self, place: u64) -> Submitted {
        offer(&mut self.ring.state.lock(), place)
    }

    #[cold]
    fn make_ring(&self) -> RingState {
        let made = Uring::new().and_then(|ring| {
            let interest = (libc::EPOLLIN | libc::EPOLLET) as u32;
            self.epoll.add(ring.fd(), interest, RING_DATA)?;
            Ok(ring)
        });
        match made {
            Ok(ring) => {
                // Relaxed: a hint for the processor's worker, on which the caller runs or ran last.
                self.registered.fetch_add(1, Ordering::Relaxed);
                RingState::Made(Box::new(ring))
            }
            // The next call may have more luck.
            Err(Errno(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => RingState::Unmade,
            Err(_) => RingState::Refused,
        }
    }
}

fn offer(state: &mut RingState, place: u64) -> Submitted {
    if let RingState::Made(ring) = state
        && !matches!(ring.submit(), Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::INTR))
        && let RingState::Made(ring) = std::mem::replace(state, RingState::Refused)
    {
        *state = RingState::Closed(ring);
    }
    let (taken, is_closed) = match state {
        RingState::Made(ring) => (ring.taken(), false),
        RingState::Closed(ring) => (ring.taken(), true),
        RingState::Unmade | RingState::Refused => return Submitted::No,
    };
    match taken > place {
        true => Submitted::Yes,
        false if is_closed => Submitted::No,
        false => Submitted::Later(place),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
