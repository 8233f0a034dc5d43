//! How do `select` and `pselect` wait, the older forms of `poll` with sets of bits?
//!
//! # Protocol
//! The protocol is that of `poll`. The hook looks at the words of all descriptors, asks the kernel with a timeout of
//! zero, waits for any word to change, and starts again. Each question overwrites the caller's sets. So they are copied
//! before, and written back before each further question. The last answer is the kernel's, so the kernel decides what
//! each bit means, EBADF and always-ready files included.
//!
//! `select` writes the remaining time to its timeout, as Linux does; `pselect` leaves its timeout alone.
//!
//! A set is read as far as the caller's count goes, at most FD_SETSIZE. Some callers count further: with sets of their
//! own making, or with none and the count "as many as the process may open". Only the kernel knows where to cut such
//! sets. A thread of the offload pool makes these calls, and calls with descriptors that cannot be waited for. It also
//! makes a call with a signal mask, since a mask belongs to a thread (`poll`).

use super::call::{answer, caller};
use super::lent::{Lent, elsewhere};
use crate::coroutine::{Outcome, budget};
use crate::driver::fd_table;
use crate::driver::readiness::{Direction, PollSlot};
use crate::io::interruption::{refused, wait_any};
use crate::io::memory::faults;
use crate::offload;
use crate::sys::clock;
use crate::sys::raw::{self, Errno, repeat_interrupted};
use libc::{c_int, fd_set, sigset_t, timespec, timeval};
use silken_interpose::next;
use std::ptr;

const NS_PER_US: u64 = 1_000;
const WORD_BITS: usize = u64::BITS as usize;
const WORDS_MAX: usize = libc::FD_SETSIZE / WORD_BITS;

/// The slots of up to this many descriptors are not on the heap.
const SLOTS_INLINE: usize = 8;

/// The direction for which each of the three sets waits. Urgent data, the most common exception, is reported as
/// readable.
const DIRECTIONS: [Direction; 3] = [Direction::Read, Direction::Write, Direction::Read];

/// The caller's sets, as addresses, and the caller's count.
#[derive(Clone, Copy)]
struct Sets {
    fd_count: c_int,
    addresses: [usize; 3],
}

impl Sets {
    fn new(fd_count: c_int, reads: *mut fd_set, writes: *mut fd_set, exceptions: *mut fd_set) -> Self {
        Self {
            fd_count,
            addresses: [reads, writes, exceptions].map(<*mut fd_set>::expose_provenance),
        }
    }

    /// Asks the kernel, blocking the thread for up to `timeout_ns`.
    ///
    /// # Safety
    /// S5: the caller of select lends the sets until this returns.
    unsafe fn ask(self, timeout_ns: Option<u64>) -> Result<usize, Errno> {
        let mut timeout = timeout_ns.map(clock::ns_to_timespec);
        let timeout = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut::<timespec>);
        let [reads, writes, exceptions] = self.addresses;
        // SAFETY: S5: the caller's contract; the timeout is a live local; no mask.
        unsafe {
            raw::syscall6(
                libc::SYS_pselect6,
                self.fd_count as usize,
                reads,
                writes,
                exceptions,
                timeout as usize,
                0,
            )
        }
    }

    /// Asks without waiting. A signal may interrupt that too; the sets are then as they were.
    ///
    /// # Safety
    /// S5: as [`ask`](Self::ask).
    unsafe fn ask_now(self) -> Result<usize, Errno> {
        // SAFETY: S5: the caller of select lends the sets until this returns.
        repeat_interrupted(|| unsafe { self.ask(Some(0)) })
    }

    /// The number of words of each set that the kernel reads and writes.
    fn words(self) -> usize {
        (self.fd_count as usize).div_ceil(WORD_BITS)
    }

    /// # Safety
    /// S7: the hooks are in place.
    unsafe fn are_readable(self) -> bool {
        self.addresses.into_iter().all(|address| {
            let first = ptr::with_exposed_provenance::<u64>(address);
            // SAFETY: S7: the caller promises: the hooks are in place.
            !unsafe { faults(first, self.words()) }
        })
    }

    /// # Safety
    /// S5: the sets are the caller's, at most `WORDS_MAX` words are counted.
    unsafe fn read(self) -> Wanted {
        let mut wanted = Wanted([[0; WORDS_MAX]; 3]);
        for (copy, address) in wanted.0.iter_mut().zip(self.addresses) {
            let words = if address == 0 { 0 } else { self.words() };
            for (index, word) in copy.iter_mut().take(words).enumerate() {
                let place = ptr::with_exposed_provenance::<u64>(address).wrapping_add(index);
                // SAFETY: S5: within the caller's set.
                *word = unsafe { place.read() };
            }
        }
        wanted
    }

    /// # Safety
    /// S5: as `read`, whose result it writes back.
    unsafe fn write(self, wanted: &Wanted) {
        for (copy, address) in wanted.0.iter().zip(self.addresses).filter(|(_, address)| *address != 0) {
            for (index, word) in copy.iter().take(self.words()).enumerate() {
                let place = ptr::with_exposed_provenance_mut::<u64>(address).wrapping_add(index);
                // SAFETY: S5: within the caller's set.
                unsafe { place.write(*word) };
            }
        }
    }
}

/// A copy of the sets that the caller passed.
struct Wanted([[u64; WORDS_MAX]; 3]);

impl Wanted {
    fn len(&self) -> usize {
        self.0
            .as_flattened()
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The descriptors below the count, each with the direction for which the caller waits.
    fn each(&self, fd_count: c_int) -> impl Iterator<Item = (c_int, Direction)> {
        self.0.iter().zip(DIRECTIONS).flat_map(move |(set, direction)| {
            (0..fd_count)
                .filter(move |fd| set[*fd as usize / WORD_BITS] & (1 << (*fd as usize % WORD_BITS)) != 0)
                .map(move |fd| (fd, direction))
        })
    }

    /// Looks at every descriptor that the caller asks about. Returns `false` if one has no entry.
    fn fill(&self, fd_count: c_int, slots: &mut [Option<PollSlot>]) -> bool {
        let mut free = slots.iter_mut();
        for (fd, direction) in self.each(fd_count) {
            let Some(entry) = fd_table::entry(fd) else { return false };
            *free.next().expect("a slot for each bit") = Some(entry.poll_slot(fd, direction));
        }
        free.for_each(|slot| *slot = None);
        true
    }
}

/// # Safety
/// S5, S7: the contract of select.
unsafe fn select_on_coroutine(sets: Sets, deadline_ns: Option<u64>, is_question: bool) -> Result<usize, Errno> {
    if is_question || sets.fd_count < 0 {
        // SAFETY: S5: the caller lends the sets. A negative count is the kernel's to refuse.
        return unsafe { sets.ask_now() };
    }
    // The kernel refuses bad addresses. It may read less than this hook would, and then it waits.
    // SAFETY: S7: the hooks are in place.
    if sets.fd_count as usize > libc::FD_SETSIZE || !unsafe { sets.are_readable() } {
        // SAFETY: S7: the caller's arguments, under the contract of the C function.
        return unsafe { ask_elsewhere(sets, deadline_ns) };
    }
    // SAFETY: S5: the caller lends the sets, and the count was checked.
    let wanted = unsafe { sets.read() };
    let count = wanted.len();
    if count <= SLOTS_INLINE {
        // SAFETY: S7: the caller's arguments, under the contract of the C function.
        return unsafe { select_in(&mut [const { None }; SLOTS_INLINE], sets, &wanted, deadline_ns) };
    }
    let mut slots = Vec::new();
    slots.resize_with(count, || None);
    // SAFETY: S7: the caller's arguments, under the contract of the C function.
    unsafe { select_in(&mut slots, sets, &wanted, deadline_ns) }
}

/// # Safety
/// S5, S7: the contract of select.
unsafe fn select_in(
    slots: &mut [Option<PollSlot>],
    sets: Sets,
    wanted: &Wanted,
    deadline_ns: Option<u64>,
) -> Result<usize, Errno> {
    let mut is_over = false;
    let mut has_closed = false;
    loop {
        let complete = wanted.fill(sets.fd_count, slots);
        // SAFETY: S5: the caller lends the sets.
        match unsafe { sets.ask_now() } {
            // The kernel does not look at numbers beyond its table of descriptors, so it does not miss one there.
            // SAFETY: S7: the caller's arguments, under the contract of the C function.
            Ok(0) if has_closed => return unsafe { ask_elsewhere_again(sets, wanted, deadline_ns) },
            Ok(0) if !is_over => {}
            result => return result,
        }
        // SAFETY: S5: the caller lends the sets.
        unsafe { sets.write(wanted) };
        let outcome = if complete {
            wait_any(slots, deadline_ns)
        } else {
            Err(Errno::NOSYS)
        };
        match outcome {
            // A number was closed: the next answer tells so.
            Ok(Outcome::Woken | Outcome::Closed) => {}
            Err(Errno::BADF) => has_closed = true,
            Ok(Outcome::TimedOut) => is_over = true,
            Ok(Outcome::Cancelled) => return Err(refused()),
            // SAFETY: S7: the caller's arguments, under the contract of the C function.
            Err(_) => return unsafe { ask_elsewhere(sets, deadline_ns) },
        }
    }
}

/// As [`ask_elsewhere`], after an answer that has changed the sets.
///
/// # Safety
/// S5, S7: the contract of select; `wanted` is what the sets said.
#[cold]
unsafe fn ask_elsewhere_again(sets: Sets, wanted: &Wanted, deadline_ns: Option<u64>) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the sets.
    unsafe { sets.write(wanted) };
    // SAFETY: S7: the caller's arguments, under the contract of the C function.
    unsafe { ask_elsewhere(sets, deadline_ns) }
}

/// # Safety
/// S5, S7: the contract of select.
#[cold]
unsafe fn ask_elsewhere(sets: Sets, deadline_ns: Option<u64>) -> Result<usize, Errno> {
    offload::try_wait_out(move || {
        let left_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(clock::now_ns()));
        // SAFETY: S5: the sets are the caller's; the caller waits until the call has ended.
        unsafe { sets.ask(left_ns) }
    })
}

/// Converts a time to nanoseconds. `None` for a time that the kernel refuses.
fn timeval_to_ns(time: &timeval) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    // More than a second of microseconds is allowed.
    let microseconds = u64::try_from(time.tv_usec).ok()?;
    Some(
        seconds
            .saturating_mul(clock::NS_PER_SECOND)
            .saturating_add(microseconds.saturating_mul(NS_PER_US)),
    )
}

fn ns_to_timeval(time_ns: u64) -> timeval {
    timeval {
        tv_sec: (time_ns / clock::NS_PER_SECOND) as libc::time_t,
        tv_usec: (time_ns % clock::NS_PER_SECOND / NS_PER_US) as libc::suseconds_t,
    }
}

fn deadline(timeout_ns: Option<u64>) -> Option<u64> {
    timeout_ns.map(|timeout_ns| clock::now_ns().saturating_add(timeout_ns))
}

/// `select(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn select(
    fd_count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: S5: null or the caller's, readable.
    let timeout_ns = unsafe { timeout.as_ref() }.map(timeval_to_ns);
    if caller().is_none() || timeout_ns == Some(None) {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::select(fd_count, reads, writes, exceptions, timeout) };
    }
    budget::spend();
    let timeout_ns = timeout_ns.flatten();
    let deadline_ns = deadline(timeout_ns);
    let sets = Sets::new(fd_count, reads, writes, exceptions);
    // SAFETY: S7: the caller's arguments under the caller's contract.
    let result = unsafe { select_on_coroutine(sets, deadline_ns, timeout_ns == Some(0)) };
    if let Some(deadline_ns) = deadline_ns {
        let left = ns_to_timeval(deadline_ns.saturating_sub(clock::now_ns()));
        // SAFETY: S7: the caller's place, not null.
        unsafe { timeout.write(left) };
    }
    answer(result) as c_int
}

/// `pselect(2)`.
///
/// # Safety
/// S7: the contract of the C function.
pub(crate) unsafe extern "C" fn pselect(
    fd_count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: S5: null or the caller's, readable.
    let timeout_ns = unsafe { timeout.as_ref() }.map(clock::timespec_to_ns);
    if caller().is_none() || timeout_ns == Some(None) {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { next::pselect(fd_count, reads, writes, exceptions, timeout, mask) };
    }
    if !mask.is_null() {
        let lent = Lent((fd_count, reads, writes, exceptions, timeout, mask));
        return elsewhere(lent, |(fd_count, reads, writes, exceptions, timeout, mask)| {
            // SAFETY: S5, S7: the caller's arguments; the caller waits until the call has ended.
            unsafe { next::pselect(fd_count, reads, writes, exceptions, timeout, mask) }
        });
    }
    budget::spend();
    let timeout_ns = timeout_ns.flatten();
    let sets = Sets::new(fd_count, reads, writes, exceptions);
    // SAFETY: S7: the caller's arguments under the caller's contract.
    answer(unsafe { select_on_coroutine(sets, deadline(timeout_ns), timeout_ns == Some(0)) }) as c_int
}
