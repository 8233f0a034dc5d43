//! What happens when foreign code calls `syscall(SYS_futex, ..)`, the one way in which std, parking_lot and all that is
//! built on them block?
//!
//! # What is done with each operation
//! | operation | private | shared |
//! |---|---|---|
//! | `WAIT`, `WAIT_BITSET` on a coroutine | listed in the [`Table`], parked | a kernel wait on a thread of the offload pool |
//! | `WAIT`, `WAIT_BITSET` elsewhere | passes | passes |
//! | `WAKE`, `WAKE_BITSET` | coroutines first, the rest of the count goes to the kernel for OS threads | passes |
//! | `REQUEUE`, `CMP_REQUEUE` | coroutines are *woken* instead, up to both counts together; then the kernel with what is left | passes |
//! | `WAKE_OP` | passes, then coroutines on both words | passes |
//! | priority inheritance, futex2 numbers | passes | passes |
//!
//! The *table* (`futex/table.rs`, with the protocol and the proofs) holds coroutines, and the kernel holds threads; one
//! word may have both. A wake looks at both, coroutines first: waking a coroutine is cheaper, and if coroutines use up
//! the count, the system call is saved. The sum is exact: std's `RwLock` decides by it whether a writer was woken.
//!
//! A *requeue* moves waiters so that they do not wake in vain. futex(2) allows wakes for no reason, so waking them is
//! correct, if less thrifty. The callers that requeue are the condition variables of C libraries, and they do so by
//! inline instructions that cannot be hooked. The comparison of `CMP_REQUEUE` is made before coroutines are woken, and
//! once more by the kernel. If the word changes in between, the caller gets `EAGAIN`, and some coroutines have woken
//! for nothing. For `WAKE_OP` the kernel decides after its own change of the second word, and does not tell the
//! decision: coroutines on both words wake.
//!
//! A *shared* word may be woken by a process that does not know of this runtime, so its waiters must be in the kernel.
//! The kernel, too, does not support mixed use of one word with and without the private flag. Each shared wait takes a
//! thread of the offload pool.
//!
//! # Clocks
//! A deadline is converted to the monotonic clock when the wait begins. For an absolute realtime deadline the result is
//! a guess about the future. If the clock was stepped back meanwhile, the wait ends as if woken for no reason, and the
//! caller, which must loop, waits again. A step forward is noticed only at the guessed time.
//!
//! # Limits
//! `EFAULT`: the word and the timeout are read by loads that may fault and then fail (`silken_context::trap`), also
//! under the bucket's lock. That needs the runtime's handler of SIGSEGV and SIGBUS. If a program installs its own
//! handler over it and does not pass faults on, that handler gets the fault. A signal handler that wakes a word must
//! not have interrupted a wake or a wait of a word in the same bucket. This holds for every lock that is not made for
//! handlers.

//! # Cancellation
//! A wait may belong to a lock, and std has no way to say that it did not get the lock. But every caller that waits for
//! a word must accept to be woken for no reason. So the first wait that a cancellation or a passed deadline meets ends
//! as if woken for no reason, once. A loop around `Condvar::wait` then checks its condition again, and `park_timeout`
//! returns. Further waits go on to their end, and so do the waits of locks and channels, which look only at their own
//! state.

mod table;

#[cfg(all(test, not(loom)))]
mod tests;

use super::call::{caller, set_errno};
use super::raw_calls;
use crate::coroutine::{Outcome, WaitCell, WaitReason};
use crate::io::interruption;
use crate::offload;
use crate::sched::yield_now;
use crate::sys::raw::{self, Errno};
use crate::sys::{clock, process};
use crate::wait;
use libc::{c_int, c_long, timespec};
use silken_interpose::next;
use table::{ANY, FutexWaiter, Table, load};

/// The table takes two mebibytes of zero pages, which are touched only where words hash to. The number is a guess: 30
/// waiters to a bucket when a million wait.
const BUCKETS: usize = 1 << 15;

#[cfg(not(loom))]
static TABLE: Table<BUCKETS> = Table::new();

/// loom's atomics have no const constructor; the models make their own tables.
#[cfg(loom)]
static TABLE: std::sync::LazyLock<Box<Table<2>>> = std::sync::LazyLock::new(|| Box::new(Table::new()));

/// No program has memory below this address, nor in the kernel's half, whose addresses are negative.
const ADDRESS_MIN: isize = 4096;

/// The hook of `syscall(2)`.
///
/// # Safety
/// The contract of the system call.
pub(super) unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == libc::SYS_futex {
        // SAFETY: S7: the caller's arguments under the caller's contract.
        return unsafe { FutexCall([a, b, c, d, e, f]).answer() };
    }
    // SAFETY: S7: the caller's arguments under the caller's contract.
    unsafe { raw_calls::answer(number, [a, b, c, d, e, f]) }
}

/// The six arguments of futex(2). The upper half of an `int` may hold garbage, so all arguments but addresses are
/// narrowed.
#[derive(Clone, Copy)]
struct FutexCall([c_long; 6]);

impl FutexCall {
    fn address(&self) -> usize {
        self.0[0] as usize
    }

    /// The operation without its flags, and the flags.
    fn operation(&self) -> (c_int, c_int) {
        const FLAGS: c_int = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
        let operation = self.0[1] as c_int;
        (operation & !FLAGS, operation & FLAGS)
    }

    /// The expected value, or how many to wake.
    fn value(&self) -> u32 {
        self.0[2] as u32
    }

    /// How many to requeue, or to wake on the second word. Other operations have a timeout in this place.
    fn second_count(&self) -> c_int {
        self.0[3] as c_int
    }

    /// The bitset, or the value that `CMP_REQUEUE` expects.
    fn value3(&self) -> u32 {
        self.0[5] as u32
    }

    /// # Safety
    /// The contract of futex(2).
    unsafe fn answer(self) -> c_long {
        let (operation, flags) = self.operation();
        // In the child of a fork no coroutine waits in the table, and the lock of a bucket may have been held by a
        // thread of the parent.
        let private = flags == libc::FUTEX_PRIVATE_FLAG && !process::is_forked();
        match operation {
            libc::FUTEX_WAKE if private => self.wake(ANY),
            libc::FUTEX_WAKE_BITSET if private => self.wake(self.value3()),
            // SAFETY: S7: the caller promises: the contract of futex(2).
            libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => unsafe { self.wait() },
            // SAFETY: S7: the caller promises: the contract of futex(2).
            libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE if private => unsafe { self.requeue() },
            libc::FUTEX_WAKE_OP if private => self.wake_op(),
            _ => self.pass(),
        }
    }

    fn pass(&self) -> c_long {
        let [a, b, c, d, e, f] = self.0;
        // SAFETY: S7: the caller's arguments, or a smaller count, under the caller's contract.
        unsafe { next::syscall(libc::SYS_futex, a, b, c, d, e, f) }
    }

    #[inline]
    fn wake(mut self, bitset: u32) -> c_long {
        let limit = at_least_one(self.value() as c_int);
        let woken = TABLE.wake(self.address(), bitset, limit) as c_long;
        if woken == 0 {
            return self.pass();
        }
        self.0[2] -= woken;
        if woken == limit as c_long {
            return woken;
        }
        // After a success an error is not reported; the count is.
        woken + self.pass().max(0)
    }

    /// # Safety
    /// The contract of futex(2).
    unsafe fn requeue(mut self) -> c_long {
        let (wake, requeue) = (self.value() as c_int, self.second_count());
        let are_words = is_word(self.address()) && is_word(self.0[4] as usize);
        if wake < 0 || requeue < 0 || !are_words || !TABLE.may_have_waiters(self.address()) {
            return self.pass();
        }
        let compares = self.operation().0 == libc::FUTEX_CMP_REQUEUE;
        if compares {
            // SAFETY: S7: aligned as checked; a coroutine waits there, so the runtime has its fault handler.
            match unsafe { load(self.address()) } {
                None => return fail(Errno::FAULT),
                Some(word) if word != self.value3() => return fail(Errno::AGAIN),
                Some(_) => {}
            }
        }
        let woken = TABLE.wake(self.address(), ANY, wake.saturating_add(requeue) as usize) as c_long;
        let woken_not_requeued = woken.min(c_long::from(wake));
        self.0[2] = c_long::from(wake) - woken_not_requeued;
        self.0[3] = c_long::from(requeue) - (woken - woken_not_requeued);
        if self.0[2] == 0 && self.0[3] == 0 {
            return woken;
        }
        match self.pass() {
            error @ ..0 => error,
            moved => woken + moved,
        }
    }

    fn wake_op(self) -> c_long {
        let threads = self.pass();
        if threads < 0 {
            return threads;
        }
        let first = TABLE.wake(self.address(), ANY, at_least_one(self.value() as c_int));
        let second = TABLE.wake(self.0[4] as usize, ANY, at_least_one(self.second_count()));
        threads + first as c_long + second as c_long
    }

    /// # Safety
    /// The contract of futex(2).
    unsafe fn wait(self) -> c_long {
        if caller().is_none() {
            return self.pass();
        }
        // SAFETY: S7: the caller promises: the contract of futex(2).
        let Some(wait) = (unsafe { FutexWait::parse(&self) }) else {
            // The kernel refuses this call without blocking, and knows the error number.
            return self.pass();
        };
        let result = if self.operation().1 & libc::FUTEX_PRIVATE_FLAG != 0 {
            wait.park()
        } else {
            self.wait_elsewhere()
        };
        match result {
            Ok(()) => 0,
            Err(errno) => fail(errno),
        }
    }

    /// Makes a shared wait on an OS thread.
    fn wait_elsewhere(self) -> Result<(), Errno> {
        let [a, b, c, d, e, f] = self.0.map(|argument| argument as usize);
        offload::try_wait(move || {
            // SAFETY: S5: the word and the timespec are the caller's; the caller waits until this call has ended.
            unsafe { raw::syscall6(libc::SYS_futex, a, b, c, d, e, f) }
        })
        .map(|_| ())
    }
}

/// How many wakes a count means. It is at least one, since the kernel compares after it has woken one.
fn at_least_one(count: c_int) -> usize {
    count.max(1) as usize
}

fn fail(errno: Errno) -> c_long {
    set_errno(errno.0);
    -1
}

/// Whether a futex word may lie at this address.
fn is_word(address: usize) -> bool {
    address.is_multiple_of(align_of::<u32>()) && address as isize >= ADDRESS_MIN
}

/// Reads a timeout of foreign code; `None` if it cannot be read.
///
/// # Safety
/// The runtime's fault handler is in place, or the timespec is readable (S7).
unsafe fn load_timespec(address: usize) -> Option<timespec> {
    let half = |offset: usize| {
        // SAFETY: S7: the caller promises: the runtime's fault handler is in place, or the timespec is readable.
        let word = |at: usize| unsafe { load(address.wrapping_add(at)) };
        Some(u64::from(word(offset)?) | u64::from(word(offset + 4)?) << 32)
    };
    Some(timespec {
        tv_sec: half(0)? as libc::time_t,
        tv_nsec: half(8)? as c_long,
    })
}

/// A wait, as the caller asked for it.
struct FutexWait {
    address: usize,
    expected: u32,
    bitset: u32,
    /// The deadline, on the monotonic clock.
    deadline_ns: Option<u64>,
    /// The deadline on the realtime clock, if the caller gave it so.
    realtime_ns: Option<u64>,
}

/// Waits until a word no longer has a value, for code of the hooks. The word is aligned. Returns also if nothing has
/// changed, as FUTEX_WAIT does; fails at the deadline.
pub(super) fn wait_while(address: usize, expected: u32, deadline_ns: Option<u64>) -> Result<(), Errno> {
    FutexWait {
        address,
        expected,
        bitset: ANY,
        deadline_ns,
        realtime_ns: None,
    }
    .park()
}

/// Wakes coroutines that wait for a word, at most so many.
pub(super) fn wake_waiters(address: usize, limit: usize) {
    TABLE.wake(address, ANY, limit);
}

/// Whether a coroutine may wait for a word. Takes no lock.
pub(super) fn may_have_waiters(address: usize) -> bool {
    TABLE.may_have_waiters(address)
}

impl FutexWait {
    /// Reads the arguments of a wait. `None` if the kernel would refuse them.
    ///
    /// # Safety
    /// The contract of futex(2).
    unsafe fn parse(call: &FutexCall) -> Option<Self> {
        let (operation, flags) = call.operation();
        let absolute = operation == libc::FUTEX_WAIT_BITSET;
        let bitset = if absolute { call.value3() } else { ANY };
        if bitset == 0 || !is_word(call.address()) {
            return None;
        }
        let wait = Self {
            address: call.address(),
            expected: call.value(),
            bitset,
            deadline_ns: None,
            realtime_ns: None,
        };
        let timeout = call.0[3] as usize;
        if timeout == 0 {
            return Some(wait);
        }
        // SAFETY: S7: the caller is a coroutine, so the runtime has its fault handler.
        let timeout = unsafe { load_timespec(timeout) }?;
        let timeout_ns = clock::timespec_to_ns(&timeout)?;
        let now_ns = clock::now_ns();
        Some(match (absolute, flags & libc::FUTEX_CLOCK_REALTIME != 0) {
            (false, _) => Self {
                deadline_ns: Some(now_ns.saturating_add(timeout_ns)),
                ..wait
            },
            (true, false) => Self {
                deadline_ns: Some(timeout_ns),
                ..wait
            },
            (true, true) => {
                let left_ns = timeout_ns.saturating_sub(clock::clock_now_ns(libc::CLOCK_REALTIME));
                Self {
                    deadline_ns: Some(now_ns.saturating_add(left_ns)),
                    realtime_ns: Some(timeout_ns),
                    ..wait
                }
            }
        })
    }

    fn compare(&self) -> Result<(), Errno> {
        // SAFETY: S7: aligned, as `parse` checked; the caller is a coroutine, so the runtime has its fault handler.
        match unsafe { load(self.address) } {
            None => Err(Errno::FAULT),
            Some(word) if word != self.expected => Err(Errno::AGAIN),
            Some(_) => Ok(()),
        }
    }

    fn park(&self) -> Result<(), Errno> {
        // The word is compared outside the lock as well: a mismatch is what a lost race in user space looks like, and
        // afterwards the page is in memory.
        self.compare()?;
        if self
            .deadline_ns
            .is_some_and(|deadline_ns| deadline_ns <= clock::now_ns())
        {
            // A loop of such waits must let the coroutine run that it waits for.
            yield_now();
            return Err(Errno::TIMEDOUT);
        }
        let waiter = FutexWaiter::new(self.address, self.bitset, WaitCell::new());
        let mut compared = Ok(());
        let is_expected = || {
            compared = self.compare();
            compared.is_ok()
        };
        // SAFETY: S8: this frame stays until the wait below is over; if it timed out the waiter is withdrawn.
        let _listed = unsafe { TABLE.enlist(&waiter, is_expected) };
        compared?;
        // `u64::MAX`, the end of time, is no deadline.
        let deadline_ns = self.deadline_ns.filter(|deadline_ns| *deadline_ns != u64::MAX);
        let outcome = match interruption::was_refused() {
            false => wait::wait_or_fail(waiter.cell(), WaitReason::Futex, deadline_ns),
            true => wait::wait_to_stay(waiter.cell(), WaitReason::Futex, deadline_ns),
        };
        match outcome {
            Outcome::TimedOut => {}
            Outcome::Cancelled => {
                TABLE.withdraw(&waiter);
                // Counted, so that the next wait stays.
                interruption::count_first();
                return Ok(());
            }
            Outcome::Woken | Outcome::Closed => return Ok(()),
        }
        TABLE.withdraw(&waiter);
        match self.realtime_ns {
            Some(realtime_ns) if clock::clock_now_ns(libc::CLOCK_REALTIME) < realtime_ns => Ok(()),
            _ => Err(Errno::TIMEDOUT),
        }
    }
}
