//! Which coroutines wait on a futex word? This is the table of them by address: for coroutines what the kernel's hash
//! buckets are for threads.
//!
//! # Protocol
//! The table is a fixed array of buckets, chosen by a hash of the address. Each bucket has a FIFO list of
//! [`FutexWaiter`]s, which lie on the stacks of the waiting coroutines, and a count of them that can be read without
//! the lock.
//!
//! | step | waiter (`enlist`) | waker (`wake`) |
//! |---|---|---|
//! | 1 | count + 1 | (has changed the word) |
//! | 2 | lock the bucket | fence; count = 0: no waiter, done |
//! | 3 | word still as expected? else count − 1, unlock, done | lock the bucket |
//! | 4 | append the node, unlock, park | take matching nodes out, count − 1 each, settle each; unlock; unpark |
//!
//! # The race: a wake that sees no waiter
//! The waker skips the lock when the count is 0. Let W be the waker's change of the word, F its fence, and C its load
//! of the count. Let R be the waiter's increment and L its load of the word. R, L and F are sequentially consistent, so
//! one order S holds them all. If C missed R, then F comes before R in S (C++20 [atomics.order] 4: F is sequenced
//! before C, and C is coherence-ordered before R). R comes before L by program order. If L missed W as well, then L
//! would come before F in S, since W happens before F: a cycle. So either the waker sees the count, or the waiter sees
//! the word and does not sleep. If the waker sees the count, both meet at the lock. If the waker has the lock first,
//! its unlock makes W visible to L. If the waiter has it first, the node is in the list. For that reason the word is
//! compared *under* the lock, and the count grows *before* it.
//!
//! # The race: wake against timeout
//! The waiter's cell decides (`coroutine/park.rs`). A waker unlinks a node first, copies its unparker, and settles it
//! last, all under the lock. A waiter that finds itself `Woken` is in no list, and returns without the lock. A waiter
//! that finds itself `TimedOut` may still be listed, or may have been unlinked by a waker that lost. It calls
//! [`withdraw`](Table::withdraw), whose lock keeps the waiter's frame until no waker looks at it. A waker does not
//! count a waiter that it lost: the count that `wake` returns is of the waiters that return 0.
//!
//! # The race: wake-all against waiters that come back
//! Wakes are made in batches, outside the lock. A waiter that was woken in the first batch may wait again before the
//! second; without a bound a wake-all could chase it for ever. Nodes get ascending tickets, and a wake does not look at
//! nodes that came after it began.
//!
//! # Node lifetime (S8)
//! * If `enlist` returns true, the node stays in place until its cell is `Woken` or `withdraw` has returned.
//! * To settle is a waker's last touch of the node.
//!
//! # Rejected
//! *Growing the table* (parking_lot): a rehash locks everything; at 2^15 buckets a million waiters are 30 to a bucket.
//! *Counting the threads that wait in the kernel*, to spare the system call of a wake: waits that bypass this runtime
//! (inline instructions, waits started before the install) would be lost. *`membarrier` instead of the fences*: it
//! would burden the waiter, and the waker without waiters pays for a system call anyway.

use crate::collections::list::{Link, List, Node};
use crate::coroutine::{Critical, Outcome, Unparker, WaitCell};
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU32, Ordering, fence};
use crate::sys::Lock;
use silken_context::trap;
use std::ptr::NonNull;

/// Matches every waiter.
pub(super) const ANY: u32 = u32::MAX;

/// How many wakes are gathered under one hold of the lock. A guess: enough to pay for the lock, and few enough for the
/// stack.
const BATCH: usize = if cfg!(loom) { 2 } else { 16 };

/// One wait, on the stack of the waiting coroutine.
pub(super) struct FutexWaiter {
    link: Link<FutexWaiter>,
    cell: WaitCell,
    address: usize,
    bitset: u32,
    /// Written under the bucket's lock.
    ticket: UnsafeCell<u64>,
}

// SAFETY: S8: `link` is the link, and only the bucket's list writes it.
unsafe impl Node for FutexWaiter {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: the caller promises a live element, so the field is in bounds.
        let link = unsafe { &raw mut (*this.as_ptr()).link };
        // SAFETY: S8: a field of a live element is not at null.
        unsafe { NonNull::new_unchecked(link) }
    }
}

// SAFETY: S2: the cells are used under the bucket's lock only; the wait cell is atomic and names type-stable memory.
unsafe impl Send for FutexWaiter {}

impl FutexWaiter {
    pub(super) fn new(address: usize, bitset: u32, cell: WaitCell) -> Self {
        Self {
            link: Link::new(),
            cell,
            address,
            bitset,
            ticket: UnsafeCell::new(0),
        }
    }

    pub(super) fn cell(&self) -> &WaitCell {
        &self.cell
    }

    fn is_meant(&self, address: usize, bitset: u32) -> bool {
        self.address == address && self.bitset & bitset != 0
    }
}

/// Reads a word of foreign code as `enlist` requires: this is L of the proof, which pairs with the fence in
/// `may_have_waiters`. A plain load is sequentially consistent on x86_64, where it compiles to the same instruction,
/// and the compiler moves nothing over the call. `None` if the address is bad.
///
/// # Safety
/// The runtime's fault handler is in place, or the word is readable (S7).
#[inline(always)]
pub(super) unsafe fn load(address: usize) -> Option<u32> {
    // SAFETY: S7: the caller's contract; others access it atomically, as futex words are.
    unsafe { trap::read_word_or_fault(address) }
}

struct FutexQueue {
    waiters: List<FutexWaiter>,
    next_ticket: u64,
}

#[repr(align(64))]
struct Bucket {
    /// Nodes in the list, and those about to enter it.
    registered: AtomicU32,
    queue: Lock<FutexQueue>,
}

/// The table that the head of the file describes. `BUCKETS` is a power of two.
pub(super) struct Table<const BUCKETS: usize> {
    buckets: [Bucket; BUCKETS],
}

/// loom orders sequentially consistent accesses only as acquire and release, and would see a race where the language
/// has none. So the models get the fence whose place R and L of the proof take.
#[cfg(loom)]
fn order_registration() {
    // SeqCst: pairs with the fence in `may_have_waiters`.
    fence(Ordering::SeqCst);
}

#[cfg(not(loom))]
#[inline(always)]
fn order_registration() {}

impl Bucket {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self {
            registered: AtomicU32::new(0),
            queue: Lock::new(FutexQueue {
                waiters: List::new(),
                next_ticket: 0,
            }),
        }
    }

    #[cfg(loom)]
    fn new() -> Self {
        Self {
            registered: AtomicU32::new(0),
            queue: Lock::new(FutexQueue {
                waiters: List::new(),
                next_ticket: 0,
            }),
        }
    }
}

impl<const BUCKETS: usize> Table<BUCKETS> {
    /// The new table is all zero bytes: as a static it costs only the pages that are used.
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self {
            buckets: [const { Bucket::new() }; BUCKETS],
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Bucket::new()),
        }
    }

    #[inline(always)]
    fn bucket(&self, address: usize) -> &Bucket {
        // The hash multiplies twice, and folds the high half in between: after one multiplication objects at a regular
        // distance form clusters.
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let hash = (address as u64 >> 2).wrapping_mul(ODD);
        let hash = (hash ^ hash >> 32).wrapping_mul(ODD);
        &self.buckets[(hash >> 32) as usize & (BUCKETS - 1)]
    }

    /// Whether a waiter may be listed for the address. `false` is exact in the sense of the proof above: a waiter that
    /// comes later sees what the caller wrote before.
    #[inline(always)]
    pub(super) fn may_have_waiters(&self, address: usize) -> bool {
        // SeqCst: F of the proof; pairs with R and L in `enlist`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it.
        self.bucket(address).registered.load(Ordering::Relaxed) != 0
    }

    /// Puts the waiter in the list, if the word is still as expected. Returns whether it did.
    ///
    /// `is_expected` loads the word with `SeqCst`. It runs under the bucket's lock, so a load that faults must return.
    ///
    /// # Safety
    /// The waiter stays in place until its cell is `Woken` or [`withdraw`](Self::withdraw) has returned (S8).
    pub(super) unsafe fn enlist(&self, waiter: &FutexWaiter, is_expected: impl FnOnce() -> bool) -> bool {
        let _critical = Critical::enter();
        let bucket = self.bucket(waiter.address);
        // SeqCst: R of the proof; pairs with the fence in `may_have_waiters`.
        bucket.registered.fetch_add(1, Ordering::SeqCst);
        order_registration();
        let mut queue = bucket.queue.lock();
        if !is_expected() {
            // Relaxed: a count that is too high for a moment only makes a waker look at the list.
            bucket.registered.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        // SAFETY: S8: under the lock.
        waiter.ticket.with_mut(|ticket| unsafe { *ticket = queue.next_ticket });
        queue.next_ticket += 1;
        // SAFETY: S8: new, so in no list; the caller keeps it in place, and only shared references to it exist.
        unsafe { queue.waiters.push_back(NonNull::from(waiter)) };
        true
    }

    /// Takes back a waiter that no wake has reached. When this returns, no other code refers to the waiter.
    pub(super) fn withdraw(&self, waiter: &FutexWaiter) {
        let _critical = Critical::enter();
        let bucket = self.bucket(waiter.address);
        let mut queue = bucket.queue.lock();
        // SAFETY: S8: alive, for it is borrowed, and in this list or in none.
        if unsafe { queue.waiters.remove(NonNull::from(waiter)) } {
            // Relaxed: it only falls for a node that has left the list.
            bucket.registered.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wakes at most `limit` of the waiters on the address that share a bit with `bitset`, longest wait first. Returns
    /// how many it woke.
    #[inline]
    pub(super) fn wake(&self, address: usize, bitset: u32, limit: usize) -> usize {
        if !self.may_have_waiters(address) {
            return 0;
        }
        match limit {
            0 => 0,
            1 => self.wake_listed::<1>(address, bitset, 1),
            _ => self.wake_listed::<BATCH>(address, bitset, limit),
        }
    }

    fn wake_listed<const ROUND: usize>(&self, address: usize, bitset: u32, limit: usize) -> usize {
        let bucket = self.bucket(address);
        let mut woken = 0;
        let mut end_ticket = None;
        loop {
            let mut batch = [None; ROUND];
            let count = bucket.settle_some(address, bitset, &mut batch[..ROUND.min(limit - woken)], &mut end_ticket);
            // Outside the lock, since a woken coroutine may need the lock next.
            batch.into_iter().flatten().for_each(Unparker::unpark);
            woken += count;
            if count < ROUND || woken == limit {
                return woken;
            }
        }
    }
}

impl Bucket {
    /// Settles waiters until the batch is full or none is left, and leaves the unparkers in the batch.
    fn settle_some(
        &self,
        address: usize,
        bitset: u32,
        batch: &mut [Option<Unparker>],
        end_ticket: &mut Option<u64>,
    ) -> usize {
        let _critical = Critical::enter();
        let mut queue = self.queue.lock();
        let end_ticket = *end_ticket.get_or_insert(queue.next_ticket);
        let (mut settled, mut unlinked) = (0, 0);
        let mut cursor = queue.waiters.cursor();
        while let Some(node) = cursor.current() {
            if settled == batch.len() {
                break;
            }
            // SAFETY: S8: in the list, so it is in place; not used after it is settled.
            let waiter = unsafe { node.as_ref() };
            // SAFETY: S8: under the lock.
            if waiter.ticket.with(|ticket| unsafe { *ticket }) >= end_ticket {
                break;
            }
            if !waiter.is_meant(address, bitset) {
                cursor.move_next();
                continue;
            }
            cursor.remove_current();
            unlinked += 1;
            let unparker = waiter.cell.unparker();
            if waiter.cell.settle(Outcome::Woken) {
                batch[settled] = Some(unparker);
                settled += 1;
            }
        }
        // Relaxed: it only falls for nodes that have left the list.
        self.registered.fetch_sub(unlinked, Ordering::Relaxed);
        settled
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(test)]
impl<const BUCKETS: usize> Table<BUCKETS> {
    /// The number of listed nodes, by the counts.
    pub(super) fn registered(&self) -> u32 {
        // Relaxed: used in assertions of a thread that has joined the others.
        self.buckets
            .iter()
            .map(|bucket| bucket.registered.load(Ordering::Relaxed))
            .sum()
    }
}
