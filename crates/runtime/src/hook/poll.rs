//! How do `poll` and `ppoll` wait for several descriptors, whose state only the kernel judges?
//!
//! # Protocol
//! The hook looks at the words of all descriptors and asks the kernel (`poll(0)`). If nothing is ready, it waits for
//! any word to change, with one wait cell and one waiter per descriptor and direction. Then it starts again. The answer
//! that the caller gets is always one that the kernel gave, so the semantics are level-triggered, POLLNVAL and
//! always-ready files included. `readiness` deals with the race: an event after the look changes a word.
//!
//! The most common form waits for one descriptor with POLLIN. It skips the first question if a short read has just
//! emptied the socket: clients such as libpq alternate `poll` and `recv`.
//!
//! A regular file is always ready. Either it ends the call, or the caller has not asked for the events for which it is
//! ready, and then it does not matter.
//!
//! If the runtime cannot wait for all descriptors (one is beyond the table, no watch is left, or an epoll set is nested
//! too deep), the call waits in the kernel on a thread of the offload pool. So does `ppoll` with a signal mask, since a
//! mask belongs to a thread: a signal that is unblocked only there is handled there, and ends the call.

use super::call::hooks;
use super::call::{answer, caller};
use super::lent::{Lent, elsewhere};
use crate::coroutine::{Outcome, WaitCell, WaitReason, budget};
use crate::driver::fd_table;
use crate::driver::readiness::{Direction, PollSlot};
use crate::io::interruption::{refused, wait_any};
use crate::io::memory::faults;
use crate::offload;
use crate::sys::clock;
use crate::sys::raw::{self, Errno, repeat_interrupted};
use crate::wait;
use libc::{c_int, nfds_t, pollfd, sigset_t, timespec};
use silken_interpose::next;
use std::ptr;

const WRITE_EVENTS: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;

/// The slots of more descriptors than this are on the heap.
const INLINE_MAX: usize = 8;

/// The caller's array of entries.
#[derive(Clone, Copy)]
struct Entries {
    first: *mut pollfd,
    count: usize,
}

impl Entries {
    /// Asks the kernel, blocking the thread for up to `timeout_ns`.
    fn ask(self, timeout_ns: Option<u64>) -> Result<usize, Errno> {
        let mut timeout = timeout_ns.map(clock::ns_to_timespec);
        let timeout = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut::<timespec>);
        // SAFETY: S5: the caller of poll lends the entries; the timeout is a live local; no mask.
        unsafe { raw::syscall5(libc::SYS_ppoll, self.first as usize, self.count, timeout as usize, 0, 0) }
    }

    /// Asks without waiting.
    fn ask_now(self) -> Result<usize, Errno> {
        repeat_interrupted(|| self.ask(Some(0)))
    }

    fn as_slice(&self) -> &[pollfd] {
        match self.count {
            0 => &[],
            // SAFETY: S5: the caller lends the entries for the length of the call.
            count => unsafe { std::slice::from_raw_parts(self.first, count) },
        }
    }
}

/// # Safety
/// S5, S7: the contract of poll.
unsafe fn poll_on_coroutine(first: *mut pollfd, count: usize, timeout_ns: Option<u64>) -> Result<usize, Errno> {
    let entries = Entries { first, count };
    // The kernel refuses a null or bad array. For a long array the kernel is asked before the array is read.
    // SAFETY: S7: the hooks are in place.
    if timeout_ns == Some(0) || first.is_null() && count > 0 || unsafe { faults(first, count.min(INLINE_MAX)) } {
        return entries.ask_now();
    }
    let deadline_ns = timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns));
    match count {
        0 => sleep(deadline_ns),
        // Each descriptor has two slots, since it may be waited for in both directions.
        1..=2 => poll_in([const { None::<PollSlot> }; 4].as_mut_slice(), entries, deadline_ns),
        3..=INLINE_MAX => poll_in(
            [const { None::<PollSlot> }; 2 * INLINE_MAX].as_mut_slice(),
            entries,
            deadline_ns,
        ),
        _ => {
            // The first question makes the kernel refuse a nonsensical count, before memory is allocated.
            match entries.ask_now() {
                Ok(0) => {}
                result => return result,
            }
            let mut slots: Vec<Option<PollSlot>> = Vec::new();
            slots.resize_with(2 * count, || None);
            poll_in(&mut slots, entries, deadline_ns)
        }
    }
}

fn sleep(deadline_ns: Option<u64>) -> Result<usize, Errno> {
    match wait::wait_or_fail(&WaitCell::new(), WaitReason::Poll, deadline_ns) {
        Outcome::Cancelled => Err(refused()),
        _ => Ok(0),
    }
}

fn poll_in(slots: &mut [Option<PollSlot>], entries: Entries, deadline_ns: Option<u64>) -> Result<usize, Errno> {
    let mut is_first = true;
    loop {
        let complete = fill(slots, entries.as_slice());
        if !(is_first && is_surely_idle(slots, entries.as_slice())) {
            match entries.ask_now() {
                Ok(0) => {}
                result => return result,
            }
        }
        is_first = false;
        if !complete {
            return entries.ask_until(deadline_ns);
        }
        match wait_any(slots, deadline_ns) {
            // A number was closed: the next answer tells so.
            Ok(Outcome::Woken | Outcome::Closed) | Err(Errno::BADF) => {}
            Ok(Outcome::TimedOut) => return entries.ask_now(),
            Ok(Outcome::Cancelled) => return Err(refused()),
            Err(_) => return entries.ask_until(deadline_ns),
        }
    }
}

impl Entries {
    /// Asks the kernel on a thread of the offload pool, since there is no other way.
    #[cold]
    fn ask_until(self, deadline_ns: Option<u64>) -> Result<usize, Errno> {
        let (first, count) = (self.first.expose_provenance(), self.count);
        offload::try_wait(move || {
            // The caller lends the entries, and waits until this call has ended.
            let first = ptr::with_exposed_provenance_mut(first);
            let entries = Entries { first, count };
            repeat_interrupted(|| {
                let left_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
                entries.ask(left_ns)
            })
        })
    }
}

/// Looks at every descriptor that the caller asks about. Returns `false` if one has no entry.
fn fill(slots: &mut [Option<PollSlot>], entries: &[pollfd]) -> bool {
    let mut free = slots.iter_mut();
    for asked in entries.iter().filter(|asked| asked.fd >= 0) {
        let Some(entry) = fd_table::entry(asked.fd) else {
            return false;
        };
        let writes = asked.events & WRITE_EVENTS != 0;
        // Errors and hang-ups, which are reported to every caller, change both words.
        let reads = asked.events & !WRITE_EVENTS != 0 || !writes;
        for (_, direction) in [(reads, Direction::Read), (writes, Direction::Write)]
            .into_iter()
            .filter(|wish| wish.0)
        {
            let slot = free.next().expect("two slots for each entry");
            *slot = Some(entry.poll_slot(asked.fd, direction));
        }
    }
    free.for_each(|slot| *slot = None);
    true
}

/// Whether the kernel's answer is known: the entry is a single descriptor that was read empty.
fn is_surely_idle(slots: &[Option<PollSlot>], entries: &[pollfd]) -> bool {
    match (entries, slots) {
        ([asked], [Some(slot), ..]) => asked.events == libc::POLLIN && slot.readiness.is_drained(slot.seen),
        _ => false,
    }
}

hooks! {
    /// `poll(2)`.
    fn poll(entries: *mut pollfd, entry_count: nfds_t, timeout_ms: c_int) -> c_int {
        poll_on_coroutine(entries, entry_count as usize, u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000))
    }
}

/// `ppoll(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn ppoll(
    entries: *mut pollfd,
    entry_count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: S5: null or the caller's, readable.
    let timeout_ns = unsafe { timeout.as_ref() }.map(clock::timespec_to_ns);
    if caller().is_none() || timeout_ns == Some(None) {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::ppoll(entries, entry_count, timeout, mask) };
    }
    if !mask.is_null() {
        let lent = Lent((entries, entry_count, timeout, mask));
        return elsewhere(lent, |(entries, entry_count, timeout, mask)| {
            // SAFETY: S5, S7: the caller's arguments; the caller waits until the call has ended.
            unsafe { next::ppoll(entries, entry_count, timeout, mask) }
        });
    }
    budget::spend();
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { poll_on_coroutine(entries, entry_count as usize, timeout_ns.flatten()) }) as c_int
}
