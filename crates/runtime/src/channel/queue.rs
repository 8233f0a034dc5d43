//! What is queued in a channel: a ring where the bound is small, a chain of blocks where it is large or absent. One thread at a time uses it.
//!
//! # Memory
//! A push never allocates, for it happens under the channel's lock. The ring has all its room from the start. The chain says when it
//! [`needs_block`](Queue::needs_block); the sender then leaves the lock, allocates, and comes back with one. A drained block is given back
//! to the caller of `pop`, who frees it outside the lock; one is kept as a spare, so that a channel that swings around a block's edge does not
//! allocate at each swing.
//!
//! # Rejected
//! *A growing ring*: it would copy a million messages under the lock, and never shrink. *A node per message*: an allocation per send.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// Largest bound that gets a ring; a guess: above it the room is rarely used, and would be allocated for nothing.
const RING_LIMIT: usize = 1024;

/// Messages in a block.
const BLOCK_LEN: usize = if cfg!(loom) { 1 } else { 31 };

pub(super) enum Queue<T> {
    /// All room allocated.
    Ring(VecDeque<T>),
    Chain(Chain<T>),
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        if capacity <= RING_LIMIT {
            Queue::Ring(VecDeque::with_capacity(capacity))
        } else {
            Queue::Chain(Chain::new())
        }
    }

    /// Holds nothing, and no memory.
    pub(super) const fn empty() -> Self {
        Queue::Chain(Chain::new())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Queue::Ring(ring) => ring.len(),
            Queue::Chain(chain) => chain.len,
        }
    }

    /// Whether a block has to be added before the next push.
    #[inline]
    pub(super) fn needs_block(&self) -> bool {
        match self {
            Queue::Ring(_) => false,
            Queue::Chain(chain) => chain.needs_block(),
        }
    }

    pub(super) fn add_block(&mut self, block: Box<Block<T>>) {
        if let Queue::Chain(chain) = self {
            chain.add_block(block);
        }
    }

    /// Appends. There is room, and no block is needed.
    #[inline]
    pub(super) fn push(&mut self, message: T) {
        match self {
            Queue::Ring(ring) => {
                debug_assert!(ring.len() < ring.capacity(), "a push must not allocate");
                ring.push_back(message);
            }
            Queue::Chain(chain) => chain.push(message),
        }
    }

    /// Takes the first message to `place`, and perhaps a block to free.
    #[inline]
    pub(super) fn pop_into(&mut self, place: &mut MaybeUninit<T>) -> Option<Option<Box<Block<T>>>> {
        match self {
            Queue::Ring(ring) => {
                place.write(ring.pop_front()?);
                Some(None)
            }
            Queue::Chain(chain) => chain.pop_into(place),
        }
    }
}

/// Room for some messages, and the way to the next block.
pub(super) struct Block<T> {
    next: Option<NonNull<Block<T>>>,
    slots: [MaybeUninit<T>; BLOCK_LEN],
}

impl<T> Block<T> {
    /// In the heap from the start: a block of large messages would not fit on a stack.
    pub(super) fn new() -> Box<Self> {
        let mut block = Box::<Self>::new_uninit();
        // SAFETY: S2: the field of a block that is ours and lies in memory.
        unsafe { (&raw mut (*block.as_mut_ptr()).next).write(None) };
        // SAFETY: S2: the rest are slots that may be uninitialised.
        unsafe { block.assume_init() }
    }
}

/// Messages lie in the slots from `head` of the first block to `tail` of the last, exclusive. Without blocks `tail` is `BLOCK_LEN`, so
/// that the last block looks full.
pub(super) struct Chain<T> {
    first: Option<NonNull<Block<T>>>,
    last: Option<NonNull<Block<T>>>,
    head: usize,
    tail: usize,
    len: usize,
    spare: Option<Box<Block<T>>>,
}

// SAFETY: S2: the chain owns its blocks and what lies in them.
unsafe impl<T: Send> Send for Chain<T> {}

impl<T> Chain<T> {
    const fn new() -> Self {
        Self {
            first: None,
            last: None,
            head: 0,
            tail: BLOCK_LEN,
            len: 0,
            spare: None,
        }
    }

    #[inline]
    fn needs_block(&self) -> bool {
        self.tail == BLOCK_LEN && self.spare.is_none()
    }

    fn add_block(&mut self, block: Box<Block<T>>) {
        debug_assert!(self.needs_block());
        self.spare = Some(block);
    }

    #[inline]
    fn push(&mut self, message: T) {
        if self.tail == BLOCK_LEN {
            self.append_spare();
        }
        let mut last = self.last.expect("append_spare leaves a last block");
        // SAFETY: S2: the chain owns the block, and is borrowed exclusively.
        unsafe { last.as_mut() }.slots[self.tail].write(message);
        self.tail += 1;
        self.len += 1;
    }

    fn append_spare(&mut self) {
        let block = self.spare.take().expect("the caller has seen to a block");
        let block = NonNull::from(Box::leak(block));
        match self.last {
            // SAFETY: S2: as in `push`.
            Some(mut last) => unsafe { last.as_mut() }.next = Some(block),
            None => {
                self.first = Some(block);
                self.head = 0;
            }
        }
        self.last = Some(block);
        self.tail = 0;
    }

    #[inline]
    fn pop(&mut self) -> Option<(T, Option<Box<Block<T>>>)> {
        let mut message = MaybeUninit::uninit();
        let drained = self.pop_into(&mut message)?;
        // SAFETY: S2: filled in.
        Some((unsafe { message.assume_init() }, drained))
    }

    /// As [`pop`](Self::pop); the message comes to `place`.
    #[inline]
    fn pop_into(&mut self, place: &mut MaybeUninit<T>) -> Option<Option<Box<Block<T>>>> {
        if self.len == 0 {
            return None;
        }
        let first = self.first.expect("messages lie in blocks");
        // SAFETY: S2: as in `push`.
        let slot = unsafe { first.as_ref() }.slots[self.head].as_ptr();
        // SAFETY: S2: written by `push`, and moved once: the head goes past it.
        unsafe { ptr::copy_nonoverlapping(slot, place.as_mut_ptr(), 1) };
        self.head += 1;
        self.len -= 1;
        Some(if self.head == BLOCK_LEN {
            self.unlink_first()
        } else {
            None
        })
    }

    /// Takes the drained first block out: into the spare's place if there is none, else to the caller.
    fn unlink_first(&mut self) -> Option<Box<Block<T>>> {
        let first = self.first?;
        // SAFETY: S2: leaked in `append_spare`, and out of the chain below.
        let mut block = unsafe { Box::from_raw(first.as_ptr()) };
        self.first = block.next.take();
        self.head = 0;
        if self.first.is_none() {
            self.last = None;
            self.tail = BLOCK_LEN;
        }
        if self.spare.is_some() {
            return Some(block);
        }
        self.spare = Some(block);
        None
    }
}

impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        /// Goes on if a message's destructor panics.
        struct Rest<'a, T>(&'a mut Chain<T>);

        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                while self.0.pop().is_some() {}
            }
        }

        let rest = Rest(self);
        while rest.0.pop().is_some() {}
        drop(rest);
        // The block that has been begun.
        if let Some(first) = self.first {
            // SAFETY: S2: leaked in `append_spare`; the last one, and nothing is in it.
            drop(unsafe { Box::from_raw(first.as_ptr()) });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::rc::Rc;

    fn push<T>(queue: &mut Queue<T>, message: T) {
        if queue.needs_block() {
            queue.add_block(Block::new());
        }
        queue.push(message);
    }

    fn pop<T>(queue: &mut Queue<T>) -> Option<(T, bool)> {
        let mut place = MaybeUninit::uninit();
        let drained = queue.pop_into(&mut place)?;
        // SAFETY: S2: filled in.
        Some((unsafe { place.assume_init() }, drained.is_some()))
    }

    proptest! {
        #[test]
        fn behaves_as_a_deque(steps in prop::collection::vec((any::<bool>(), 0..80usize), 0..40), ring in any::<bool>()) {
            let mut queue = Queue::new(if ring { RING_LIMIT } else { usize::MAX });
            let mut oracle = VecDeque::new();
            let mut next = 0;
            for (is_push, count) in steps {
                for _ in 0..count {
                    if is_push && oracle.len() < RING_LIMIT {
                        push(&mut queue, next);
                        oracle.push_back(next);
                        next += 1;
                    } else {
                        prop_assert_eq!(pop(&mut queue).map(|(message, _)| message), oracle.pop_front());
                    }
                    prop_assert_eq!(queue.len(), oracle.len());
                }
            }
        }
    }

    #[test]
    fn drops_what_is_left_once() {
        let message = Rc::new(());
        for (pushed, popped) in [(0, 0), (1, 0), (31, 0), (31, 31), (32, 31), (100, 40), (93, 93)] {
            let mut queue = Queue::new(usize::MAX);
            for _ in 0..pushed {
                push(&mut queue, message.clone());
            }
            for _ in 0..popped {
                pop(&mut queue).unwrap();
            }
            assert_eq!(Rc::strong_count(&message), 1 + pushed - popped);
            drop(queue);
            assert_eq!(Rc::strong_count(&message), 1);
        }
    }

    #[test]
    fn a_drained_chain_keeps_one_block() {
        let mut queue = Queue::new(usize::MAX);
        for number in 0..BLOCK_LEN * 10 {
            push(&mut queue, number);
        }
        let freed = std::iter::from_fn(|| pop(&mut queue))
            .filter(|(_, freed)| *freed)
            .count();
        assert_eq!(freed, 9);
        assert!(!queue.needs_block());
    }
}
