//! Where do the queued messages of a channel lie? A small bound gets a ring; a large bound or none gets a chain of
//! blocks. One thread at a time uses the queue.
//!
//! # Memory
//! A push never allocates, for it happens under the lock of the channel. The ring has all its room from the start. The
//! chain says when it [`needs_block`](Queue::needs_block). The caller then leaves the lock, allocates a block, and
//! comes back with it. The caller of `pop_into` gets a drained block and frees it outside the lock. One drained block
//! is kept as a spare, so that a channel whose length swings around the edge of a block does not allocate at each
//! swing.
//!
//! Blocks and rings are made in the heap, and [`move_out`] moves a message from place to place without a value in
//! between: a message may have many kilobytes, and a coroutine's stack has 512 KiB by default.
//!
//! # Rejected
//! *A growing ring*: it would copy a million messages under the lock, and would never shrink. *A node per message*: it
//! would need an allocation per send.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// Largest bound that gets a ring. It is a guess: above it the room is rarely used, and would be allocated for nothing.
const RING_LIMIT: usize = 1024;

/// Number of messages in a block.
const BLOCK_LEN: usize = if cfg!(loom) { 1 } else { 31 };

/// Moves a value, if there is one, from one place directly to the other. A build without optimisation would take stack
/// of the value's size for each move through a variable.
#[inline]
pub(super) fn move_out<T>(from: &mut Option<T>, to: &mut MaybeUninit<T>) -> bool {
    let Some(value) = from else { return false };
    // SAFETY: S2: two places; the value is forgotten in the first one below.
    unsafe { ptr::copy_nonoverlapping(value, to.as_mut_ptr(), 1) };
    // SAFETY: S2: nothing is dropped: the value has gone to `to`.
    unsafe { ptr::write(from, None) };
    true
}

pub(super) enum Queue<T> {
    /// All its room is allocated from the start.
    BoundedRing(BoundedRing<T>),
    BlockChain(BlockChain<T>),
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        if capacity <= RING_LIMIT {
            Queue::BoundedRing(BoundedRing::new(capacity))
        } else {
            Queue::BlockChain(BlockChain::new())
        }
    }

    /// A queue that holds no message and no memory.
    pub(super) const fn empty() -> Self {
        Queue::BlockChain(BlockChain::new())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Queue::BoundedRing(ring) => ring.len,
            Queue::BlockChain(chain) => chain.len,
        }
    }

    /// Whether a block has to be added before the next push.
    #[inline]
    pub(super) fn needs_block(&self) -> bool {
        match self {
            Queue::BoundedRing(_) => false,
            Queue::BlockChain(chain) => chain.needs_block(),
        }
    }

    pub(super) fn add_block(&mut self, block: Box<Block<T>>) {
        if let Queue::BlockChain(chain) = self {
            chain.add_block(block);
        }
    }

    /// Appends the message in `offer`. There is room, and no block is needed.
    #[inline]
    pub(super) fn push(&mut self, offer: &mut Option<T>) {
        let moved = match self {
            Queue::BoundedRing(ring) => ring.push(offer),
            Queue::BlockChain(chain) => chain.push(offer),
        };
        assert!(moved, "a send offers a message");
    }

    /// Moves the first message to `place`. Returns `None` if there is no message; otherwise a block to free, if one was
    /// drained and is not kept.
    #[inline]
    pub(super) fn pop_into(&mut self, place: &mut MaybeUninit<T>) -> Option<Option<Box<Block<T>>>> {
        match self {
            Queue::BoundedRing(ring) => ring.pop_into(place).then_some(None),
            Queue::BlockChain(chain) => chain.pop_into(place),
        }
    }
}

/// A ring: the messages lie in `len` slots from `head` on, and continue at the start after the last slot.
pub(super) struct BoundedRing<T> {
    slots: Box<[MaybeUninit<T>]>,
    head: usize,
    len: usize,
}

impl<T> BoundedRing<T> {
    fn new(capacity: usize) -> Self {
        Self {
            slots: Box::new_uninit_slice(capacity),
            head: 0,
            len: 0,
        }
    }

    #[inline]
    fn push(&mut self, offer: &mut Option<T>) -> bool {
        let tail = self.head + self.len;
        let tail = if tail >= self.slots.len() {
            tail - self.slots.len()
        } else {
            tail
        };
        debug_assert!(self.len < self.slots.len(), "there is room");
        let moved = move_out(offer, &mut self.slots[tail]);
        self.len += usize::from(moved);
        moved
    }

    #[inline]
    fn pop_into(&mut self, place: &mut MaybeUninit<T>) -> bool {
        if self.len == 0 {
            return false;
        }
        let slot = self.slots[self.head].as_ptr();
        // SAFETY: S2: written by `push`, and moved once: the head goes past it.
        unsafe { ptr::copy_nonoverlapping(slot, place.as_mut_ptr(), 1) };
        self.head = if self.head + 1 == self.slots.len() {
            0
        } else {
            self.head + 1
        };
        self.len -= 1;
        true
    }
}

impl<T> Drop for BoundedRing<T> {
    fn drop(&mut self) {
        drop_all(self, |ring, place| ring.pop_into(place));
    }
}

/// Drops all messages, even if the destructor of one of them panics.
fn drop_all<T, Q>(queue: &mut Q, pop_into: fn(&mut Q, &mut MaybeUninit<T>) -> bool) {
    struct Rest<'a, T, Q>(&'a mut Q, fn(&mut Q, &mut MaybeUninit<T>) -> bool);

    impl<T, Q> Rest<'_, T, Q> {
        fn drop_rest(&mut self) {
            let mut place = MaybeUninit::uninit();
            while (self.1)(self.0, &mut place) {
                // SAFETY: S2: filled in just now.
                unsafe { place.assume_init_drop() };
            }
        }
    }

    impl<T, Q> Drop for Rest<'_, T, Q> {
        fn drop(&mut self) {
            self.drop_rest();
        }
    }

    Rest(queue, pop_into).drop_rest();
}

/// Room for `BLOCK_LEN` messages, and the address of the next block.
pub(super) struct Block<T> {
    next: Option<NonNull<Block<T>>>,
    slots: [MaybeUninit<T>; BLOCK_LEN],
}

impl<T> Block<T> {
    /// Makes the block in the heap from the start: a block of large messages would not fit on a stack.
    pub(super) fn new() -> Box<Self> {
        let mut block = Box::<Self>::new_uninit();
        // SAFETY: S2: the field of a block that is ours and lies in memory.
        let next = unsafe { &raw mut (*block.as_mut_ptr()).next };
        // SAFETY: S2: as above; nothing is there to be dropped.
        unsafe { next.write(None) };
        // SAFETY: S2: the rest are slots that may be uninitialised.
        unsafe { block.assume_init() }
    }
}

/// A chain of blocks: the messages lie in the slots from `head` of the first block to `tail` of the last block,
/// exclusive. Without blocks `tail` is `BLOCK_LEN`, so that the last block seems to be full.
pub(super) struct BlockChain<T> {
    first: Option<NonNull<Block<T>>>,
    last: Option<NonNull<Block<T>>>,
    head: usize,
    tail: usize,
    len: usize,
    spare: Option<Box<Block<T>>>,
}

// SAFETY: S2: the chain owns its blocks and what lies in them.
unsafe impl<T: Send> Send for BlockChain<T> {}

impl<T> BlockChain<T> {
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
    fn push(&mut self, offer: &mut Option<T>) -> bool {
        if self.tail == BLOCK_LEN {
            self.append_spare();
        }
        let mut last = self.last.expect("append_spare leaves a last block");
        // SAFETY: S2: the chain owns the block, and is borrowed exclusively.
        let moved = move_out(offer, &mut unsafe { last.as_mut() }.slots[self.tail]);
        self.tail += usize::from(moved);
        self.len += usize::from(moved);
        moved
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

    /// Moves the first message to `place`. Returns `None` if there is no message; otherwise a block to free, if one was
    /// drained and is not kept.
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

    /// Takes the drained first block out of the chain. Keeps it as the spare if there is none, and otherwise returns
    /// it.
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

impl<T> Drop for BlockChain<T> {
    fn drop(&mut self) {
        drop_all(self, |chain, place| chain.pop_into(place).is_some());
        // The first block may have been begun and hold no message any more.
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
    use std::collections::VecDeque;
    use std::rc::Rc;

    fn push<T>(queue: &mut Queue<T>, message: T) {
        if queue.needs_block() {
            queue.add_block(Block::new());
        }
        queue.push(&mut Some(message));
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
