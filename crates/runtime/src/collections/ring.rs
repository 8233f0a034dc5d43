//! How a processor's run queue lets its owner push and pop while others steal: a bounded ring with one owner and many
//! stealers.
//!
//! # Vocabulary
//! `head` is the number of words ever taken, `tail` the number of words ever pushed; word number `i` lies in slot `i %
//! CAPACITY`. The ring holds the numbers `head..tail`, oldest first. The *owner* pushes at the tail and pops at the
//! head (first in, first out); a *stealer* takes the older half from the head. Elements travel as [`Word`]s, so a slot
//! is one atomic word.
//!
//! # Protocol
//! * Only the owner writes slots and `tail`. A push writes the slot, then stores `tail` (Release).
//! * `head` moves only by compare-and-swap, whichever side moves it, and only upwards.
//! * A stealer loads `head`, then `tail`, **copies** the words, then moves `head`. Only the move makes the copies its
//!   own; if the move fails, the copies are forgotten. The copies go straight to the free slots of the stealer's own
//!   ring, which become visible only when that ring's `tail` is stored.
//! * The owner pops in the same way, one word at a time: a pop costs one locked instruction, and a push none.
//!
//! # The race, and why it is harmless
//! A stealer may read a slot while the owner writes the slot again. Slots are atomics, so that is not undefined, and
//! the stealer throws the copy away, since its move must fail. Claim: *if the move from `h` to `h + n` succeeds, then
//! the stealer read exactly the words `h..h + n`.*
//! * Not older words: `tail >= h + n` was loaded with Acquire from the Release in push, and those slots were written
//!   before that Release.
//! * Not newer words: the push of number `h + i + CAPACITY` comes after the owner's Acquire load of a head `> h + i`.
//!   `head` grows monotonically and never repeats (64 bits: no wrap in centuries, hence no ABA), and the stealer's move
//!   is the direct successor of `h`. So the head which that push saw is the stealer's move or a later one, and every
//!   later one is a read-modify-write, which continues the Release sequence of that move. Thus the stealer's reads
//!   happen before the push's write and cannot see it.
//!
//! Two takers cannot both own number `h`: both would have to swap the same value `h`, which occurs once. Nothing is
//! lost: each number below `head` was covered by exactly one successful move. `tail` never seems to lie below `head`:
//! each move of `head` is a Release by a thread that saw that `tail`, and is loaded with Acquire before `tail` is. The
//! distance can seem larger than `CAPACITY` if the stealer slept between its two loads. It then starts again, and the
//! tail that it saw makes it see a newer head.
//!
//! # Rejected
//! * A head packed of (steal, real), as tokio has it: elements can be moved out after the reservation, which words do
//!   not need. It costs the stealer a second CAS and locks out all other stealers until that CAS.
//! * The Chase–Lev deque: its owner works at the newest end and needs a full fence per pop; a run queue must be fair.
//! * `head` and `tail` on two cache lines: the owner's push and pop read both and so does every stealer, so two lines
//!   cost two misses after each steal instead of one.
//!
//! Related: Go's `runqput`, `runqget`, `runqgrab` (runtime/proc.go), which have 32-bit counters.

use std::cell::Cell;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::loom::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Slots of a ring. 256 as in Go and tokio: the whole ring is 2 KiB, and an overflow moves 128 elements under one lock.
#[cfg(not(loom))]
pub(crate) const CAPACITY: usize = 256;
/// Few slots, so that the ring of a loom model wraps around.
#[cfg(loom)]
pub(crate) const CAPACITY: usize = 8;

const MASK: u64 = CAPACITY as u64 - 1;

/// An element that travels through a ring as one word, such as a pointer. A pointer exposes its provenance when it
/// becomes a word, and takes it up again when the word becomes a pointer (`expose_provenance`,
/// `with_exposed_provenance`).
pub(crate) trait Word: Sized {
    /// Gives up the element; the word now owns it.
    fn into_word(self) -> NonZeroUsize;

    /// Takes the element back.
    ///
    /// # Safety
    /// `word` came from `into_word` of this type, and is turned back exactly once.
    unsafe fn from_word(word: NonZeroUsize) -> Self;
}

/// Makes an empty ring: the single handle of its owner, and a first handle for stealers.
pub(crate) fn ring<T: Word>() -> (Owner<T>, Stealer<T>) {
    let ring = Arc::new(Ring {
        head: AtomicU64::new(0),
        tail: AtomicU64::new(0),
        slots: Slots(std::array::from_fn(|_| AtomicUsize::new(0))),
        elements: PhantomData,
    });
    let stealer = Stealer { ring: ring.clone() };
    let owner = Owner {
        ring,
        not_sync: PhantomData,
    };
    (owner, stealer)
}

/// The right to push and pop. It may move to another thread, but two threads never hold it at once.
pub(crate) struct Owner<T: Word> {
    ring: Arc<Ring<T>>,
    not_sync: PhantomData<Cell<()>>,
}

/// The right to steal. A stealer keeps the ring alive, and with it the elements inside.
pub(crate) struct Stealer<T: Word> {
    ring: Arc<Ring<T>>,
}

/// Aligned to two lines, since the hardware prefetches lines in pairs; the counters share their line with nothing else.
#[repr(C, align(128))]
struct Ring<T: Word> {
    head: AtomicU64,
    tail: AtomicU64,
    slots: Slots,
    elements: PhantomData<T>,
}

#[repr(align(64))]
struct Slots([AtomicUsize; CAPACITY]);

// SAFETY: S2: a ring is a container of T; a T enters on one thread and leaves on another, exactly once, and is never
// shared.
unsafe impl<T: Word + Send> Send for Ring<T> {}
// SAFETY: S2: as for Send; what several threads reach through &Ring are atomics.
unsafe impl<T: Word + Send> Sync for Ring<T> {}

impl<T: Word> Owner<T> {
    /// Appends an element; if the ring is full, gives the element back.
    #[inline]
    pub(crate) fn push(&self, element: T) -> Result<(), T> {
        let ring = &*self.ring;
        // Relaxed: only the owner writes the tail.
        let tail = ring.tail.load(Ordering::Relaxed);
        // Acquire: pairs with the Release moves of the head; those who took the old word of this slot have read it.
        let head = ring.head.load(Ordering::Acquire);
        if tail - head >= CAPACITY as u64 {
            return Err(element);
        }
        // Relaxed: the store of the tail publishes it.
        ring.slot(tail).store(element.into_word().get(), Ordering::Relaxed);
        // Release: pairs with the Acquire load of the tail in a stealer.
        ring.tail.store(tail + 1, Ordering::Release);
        Ok(())
    }

    /// Takes the oldest element, with the one locked instruction of the owner's path.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        let ring = &*self.ring;
        // Relaxed, both: the owner wrote the tail and all slots itself, and a stale head only makes the exchange fail.
        let tail = ring.tail.load(Ordering::Relaxed);
        let mut head = ring.head.load(Ordering::Relaxed);
        while head != tail {
            let word = ring.slot(head).load(Ordering::Relaxed);
            // Release: pairs with the Acquire load of the head in a stealer, which must then see a tail not below it.
            // Relaxed on failure: as for the load above.
            match ring
                .head
                .compare_exchange_weak(head, head + 1, Ordering::Release, Ordering::Relaxed)
            {
                // SAFETY: S2: the exchange succeeded, so word number `head` is ours and nobody else's.
                Ok(_) => return Some(unsafe { ring.element(word) }),
                Err(newer) => head = newer,
            }
        }
        None
    }

    /// The word that a pop would take after `offset` further pops. A hint: another thread may take the word at any
    /// time.
    #[inline(always)]
    pub(crate) fn peek(&self, offset: u64) -> Option<NonZeroUsize> {
        let ring = &*self.ring;
        // Relaxed, all: a hint.
        let head = ring.head.load(Ordering::Relaxed) + offset;
        if head >= ring.tail.load(Ordering::Relaxed) {
            return None;
        }
        NonZeroUsize::new(ring.slot(head).load(Ordering::Relaxed))
    }

    /// The number of further elements for which there is room.
    pub(crate) fn room(&self) -> usize {
        CAPACITY - self.len()
    }

    /// Moves the older half (rounded up) to the end of `into`, oldest first; a full ring hands these elements to the
    /// injector. Allocates only if `into` lacks room.
    #[cold]
    pub(crate) fn take_half(&self, into: &mut Vec<T>) {
        let ring = &*self.ring;
        into.reserve(CAPACITY.div_ceil(2));
        // Relaxed, both: as in `pop`.
        let tail = ring.tail.load(Ordering::Relaxed);
        let mut head = ring.head.load(Ordering::Relaxed);
        let count = loop {
            let count = (tail - head).div_ceil(2);
            // Release: pairs with the Acquire in `push`, and Relaxed, as in `pop`. With nothing to take this exchanges
            // a value for itself, or learns better.
            match ring
                .head
                .compare_exchange(head, head + count, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break count,
                Err(newer) => head = newer,
            }
        };
        // Unlike a stealer, the owner may read after the move: nothing but the owner itself could write these slots
        // meanwhile.
        for number in head..head + count {
            let word = ring.slot(number).load(Ordering::Relaxed);
            // SAFETY: S2: the exchange succeeded, so the words `head..head + count` are ours and nobody else's.
            into.push(unsafe { ring.element(word) });
        }
    }

    /// The number of elements; stealers may have reduced it meanwhile.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // Relaxed, both: the tail is ours, and a stale head only means that a steal is counted late.
        (self.ring.tail.load(Ordering::Relaxed) - self.ring.head.load(Ordering::Relaxed)) as usize
    }
}

impl<T: Word> Stealer<T> {
    /// Takes the older half (rounded up, and no more than `into` has room for). Returns the oldest element, to be run
    /// now, and appends the others to `into`, in their order. `None`: the ring was empty.
    pub(crate) fn steal_into(&self, into: &Owner<T>) -> Option<T> {
        debug_assert!(!Arc::ptr_eq(&self.ring, &into.ring), "stealing from oneself");
        let own = &*into.ring;
        // Relaxed: the tail of `into` is the caller's own.
        let own_tail = own.tail.load(Ordering::Relaxed);
        // Acquire: pairs with the Release of those who move the head, as in `push`.
        let own_room = CAPACITY as u64 - (own_tail - own.head.load(Ordering::Acquire));

        let ring = &*self.ring;
        loop {
            let (head, available) = ring.observe();
            if available == 0 {
                return None;
            }
            let count = available.div_ceil(2).min(own_room + 1);
            let word = ring.slot(head).load(Ordering::Relaxed);
            for i in 1..count {
                let word = ring.slot(head + i).load(Ordering::Relaxed);
                own.slot(own_tail + i - 1).store(word, Ordering::Relaxed);
            }
            if !ring.take(head, count) {
                continue;
            }
            if count > 1 {
                // Release: pairs with the Acquire load of the tail in whoever steals from `into`.
                own.tail.store(own_tail + count - 1, Ordering::Release);
            }
            // SAFETY: S2: `take` succeeded, so word number `head` is ours, and it was not put into the other ring.
            return Some(unsafe { ring.element(word) });
        }
    }

    /// The number of elements a moment ago.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.ring.observe().1 as usize
    }

    /// Whether the ring was empty a moment ago.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Word> Clone for Stealer<T> {
    fn clone(&self) -> Self {
        Self {
            ring: self.ring.clone(),
        }
    }
}

impl<T: Word> Ring<T> {
    #[inline(always)]
    fn slot(&self, number: u64) -> &AtomicUsize {
        &self.slots.0[(number & MASK) as usize]
    }

    /// A head, and the number of words that a stealer may try to take from there.
    #[inline]
    fn observe(&self) -> (u64, u64) {
        loop {
            // Acquire: pairs with the Release moves of the head, so that the tail loaded next is not below it.
            let head = self.head.load(Ordering::Acquire);
            // Acquire: pairs with the Release in push, so that the slots below it are seen as written.
            let tail = self.tail.load(Ordering::Acquire);
            debug_assert!(head <= tail, "a head moved past the tail");
            let available = tail - head;
            // More than the ring holds: the loaded head is long out of date.
            if available <= CAPACITY as u64 {
                return (head, available);
            }
        }
    }

    /// Moves the head, which makes a stealer's copies of `head..head + count` its own.
    #[inline]
    fn take(&self, head: u64, count: u64) -> bool {
        // Release: pairs with the Acquire load of the head in push, which may reuse the slots only after our reads of
        // them, and with that in `observe`. Relaxed on failure: the caller observes anew. A failure means that another
        // took something, so the callers' loops end.
        self.head
            .compare_exchange(head, head + count, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// # Safety
    /// The caller has taken the word out of this ring, and nobody else has.
    #[inline(always)]
    unsafe fn element(&self, word: usize) -> T {
        debug_assert!(word != 0, "an empty slot was taken");
        // SAFETY: S2: words within head..tail were stored by push, from a NonZeroUsize.
        let word = unsafe { NonZeroUsize::new_unchecked(word) };
        // SAFETY: S2: it came from T::into_word in push, and the caller promises that it is turned back only here.
        unsafe { T::from_word(word) }
    }
}

impl<T: Word> Drop for Ring<T> {
    fn drop(&mut self) {
        // Relaxed, all: the last handle is gone, and its Arc orders all uses of the ring before this.
        for number in self.head.load(Ordering::Relaxed)..self.tail.load(Ordering::Relaxed) {
            let word = self.slot(number).load(Ordering::Relaxed);
            // SAFETY: S2: the number was never taken, and nobody is left to take it.
            drop(unsafe { self.element(word) });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
