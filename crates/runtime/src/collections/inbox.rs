//! How many threads pass elements to one consumer: many push, one takes all. Intrusive, so a push allocates nothing.
//!
//! # Protocol
//! The inbox is a stack (Treiber's) whose consumer only ever takes the whole of it. A push links its node to the head
//! and swaps the head. [`take_all`](Inbox::take_all) swaps in null and reverses the chain, so that elements come out
//! first in, first out.
//!
//! # The race, and why it is harmless
//! ABA: between a push's load of the head and its exchange, the head may be taken, run, and pushed again. The exchange
//! then succeeds with a head that is once more the head, and the link that was set says just that. Only a pop of *one*
//! node would read a link that may be stale, and there is no such pop; so only the owner of a node dereferences it. The
//! chain is never seen half linked: a node's link is written before the exchange that publishes it (Release), and read
//! after the swap that took it (Acquire). The exchanges in between are read-modify-writes and continue the release
//! sequence.
//!
//! # Who wakes
//! `push` returns whether the inbox was empty. Between two takes exactly one push returns true, and only its caller
//! need wake the consumer. A node pushed later but before the take is on the same chain. A node pushed after the take
//! found the inbox empty.
//!
//! # Rejected
//! * Vyukov's intrusive queue: FIFO without a reversal, but a producer that is stopped between its two stores hides
//!   everything behind it, and the consumer must spin or give up.
//! * A queue of blocks (concurrent-queue): it allocates, and does not tell whether it was empty.

use std::iter::FusedIterator;
use std::ptr::{self, NonNull};

use crate::loom::atomic::{AtomicPtr, Ordering};

/// An element that can be in an [`Inbox`].
///
/// # Safety
/// `link` gives the address of a field of the element, always the same field, which nothing else uses while the element
/// is in an inbox or in a [`Chain`].
pub(crate) unsafe trait Linked: Sized {
    /// The address of the element's link.
    ///
    /// # Safety
    /// `this` points to a live element.
    unsafe fn link(this: NonNull<Self>) -> NonNull<AtomicPtr<Self>>;
}

/// A stack of elements. Others own the elements until they push them; the consumer owns them once it has taken them.
pub(crate) struct Inbox<T: Linked> {
    head: AtomicPtr<T>,
}

// SAFETY: S2: an inbox hands pointers to T from one thread to another, each to exactly one.
unsafe impl<T: Linked + Send> Send for Inbox<T> {}
// SAFETY: S2: as for Send; what several threads reach through &Inbox is an atomic.
unsafe impl<T: Linked + Send> Sync for Inbox<T> {}

impl<T: Linked> Inbox<T> {
    /// An empty inbox.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// An empty inbox; loom's atomics have no const constructor.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds an element. Returns whether the inbox was empty; if so, the caller wakes the consumer.
    ///
    /// # Safety
    /// The element lives, is in no inbox and no chain, and from now on is left alone until the consumer has taken it.
    #[inline]
    pub(crate) unsafe fn push(&self, element: NonNull<T>) -> bool {
        // Relaxed, here and on failure: the old head is only stored, never dereferenced.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: S8: the caller promises that `element` lives and is ours.
            unsafe { set_link(element, head) };
            // Release: pairs with the Acquire swap in `take_all`, which then sees the link and what the element holds.
            match self
                .head
                .compare_exchange_weak(head, element.as_ptr(), Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return head.is_null(),
                Err(newer) => head = newer,
            }
        }
    }

    /// Takes everything that is there, first in, first out. Costs one locked instruction, and none if the inbox is
    /// empty.
    #[inline]
    pub(crate) fn take_all(&self) -> Chain<T> {
        if self.is_empty() {
            return Chain { next: None };
        }
        // Acquire: pairs with the Release exchanges of the pushes.
        let newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        Chain {
            next: reverse(NonNull::new(newest)),
        }
    }

    /// Whether the inbox was empty a moment ago.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: a hint. A caller that needs the elements swaps, and a push that came too late for this load wakes
        // the consumer.
        self.head.load(Ordering::Relaxed).is_null()
    }
}

/// Elements taken from an inbox, oldest first. An element that has come out of the iterator is no longer part of it, so
/// it may be pushed again or freed at once. A dropped chain forgets what was left in it.
#[must_use = "the elements of a dropped chain are lost"]
pub(crate) struct Chain<T: Linked> {
    next: Option<NonNull<T>>,
}

impl<T: Linked> Iterator for Chain<T> {
    type Item = NonNull<T>;

    #[inline]
    fn next(&mut self) -> Option<NonNull<T>> {
        let element = self.next?;
        // SAFETY: S8: it is in this chain, so whoever pushed it keeps it alive and leaves it alone.
        self.next = NonNull::new(unsafe { get_link(element) });
        Some(element)
    }
}

impl<T: Linked> FusedIterator for Chain<T> {}

/// Reverses a chain that this thread has taken: newest first becomes oldest first.
fn reverse<T: Linked>(newest: Option<NonNull<T>>) -> Option<NonNull<T>> {
    let mut next = newest;
    let mut turned: Option<NonNull<T>> = None;
    while let Some(element) = next {
        // SAFETY: S8: the swap gave us all of the chain, whose elements live until they are handed out.
        next = NonNull::new(unsafe { get_link(element) });
        let older = turned.map_or(ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: S8: the swap gave us all of the chain, whose elements live until they are handed out.
        unsafe { set_link(element, older) };
        turned = Some(element);
    }
    turned
}

/// # Safety
/// The element lives, and its link is the caller's.
#[inline(always)]
unsafe fn set_link<T: Linked>(element: NonNull<T>, to: *mut T) {
    // SAFETY: S8: the element lives, by the caller's promise.
    let link = unsafe { T::link(element) };
    // SAFETY: S8: `Linked` promises a field of the element.
    let link = unsafe { link.as_ref() };
    // Relaxed: the link belongs to one thread at a time; the head hands it over.
    link.store(to, Ordering::Relaxed);
}

/// # Safety
/// The element lives, and its link is the caller's.
#[inline(always)]
unsafe fn get_link<T: Linked>(element: NonNull<T>) -> *mut T {
    // SAFETY: S8: the element lives, by the caller's promise.
    let link = unsafe { T::link(element) };
    // SAFETY: S8: `Linked` promises a field of the element.
    let link = unsafe { link.as_ref() };
    // Relaxed: as in `set_link`.
    link.load(Ordering::Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::mem::offset_of;
    use std::thread;

    struct Item {
        link: AtomicPtr<Item>,
        producer: usize,
        number: usize,
    }

    // SAFETY: S8: `link` is a field that only the inbox uses.
    unsafe impl Linked for Item {
        unsafe fn link(this: NonNull<Self>) -> NonNull<AtomicPtr<Self>> {
            // SAFETY: S8: within the live element.
            unsafe { this.byte_add(offset_of!(Item, link)) }.cast()
        }
    }

    fn item(producer: usize, number: usize) -> NonNull<Item> {
        NonNull::from(Box::leak(Box::new(Item {
            link: AtomicPtr::default(),
            producer,
            number,
        })))
    }

    fn unbox(item: NonNull<Item>) -> Item {
        // SAFETY: S2: made by `item` above, taken out of the inbox once.
        *unsafe { Box::from_raw(item.as_ptr()) }
    }

    fn numbers(inbox: &Inbox<Item>) -> Vec<usize> {
        inbox.take_all().map(|taken| unbox(taken).number).collect()
    }

    #[test]
    fn comes_out_first_in_first_out_and_tells_who_found_it_empty() {
        let inbox = Inbox::new();
        assert!(inbox.is_empty());
        // SAFETY: S8: fresh items.
        let was_empty: Vec<bool> = (0..4).map(|n| unsafe { inbox.push(item(0, n)) }).collect();
        assert_eq!(was_empty, [true, false, false, false]);
        assert!(!inbox.is_empty());
        assert_eq!(numbers(&inbox), [0, 1, 2, 3]);
        assert!(inbox.is_empty());
        assert_eq!(numbers(&inbox), [0; 0]);
        // SAFETY: S8: a fresh item.
        assert!(unsafe { inbox.push(item(0, 9)) });
        assert_eq!(numbers(&inbox), [9]);
    }

    #[test]
    fn an_element_may_go_back_while_the_chain_is_walked() {
        let inbox = Inbox::new();
        for n in 0..3 {
            // SAFETY: S8: a fresh item.
            unsafe { inbox.push(item(0, n)) };
        }
        for taken in inbox.take_all() {
            // SAFETY: S8: it has just come out of the chain.
            unsafe { inbox.push(taken) };
        }
        assert_eq!(numbers(&inbox), [0, 1, 2]);
    }

    #[test]
    fn each_producer_keeps_its_order_and_nothing_is_lost() {
        const PRODUCERS: usize = 3;
        const EACH: usize = 20_000;
        let inbox = Inbox::new();
        let mut expected = [0; PRODUCERS];
        let mut taken = 0;
        thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let inbox = &inbox;
                scope.spawn(move || {
                    for number in 0..EACH {
                        // SAFETY: S8: a fresh item.
                        unsafe { inbox.push(item(producer, number)) };
                    }
                });
            }
            while taken < PRODUCERS * EACH {
                for item in inbox.take_all().map(unbox) {
                    assert_eq!(item.number, expected[item.producer]);
                    expected[item.producer] += 1;
                    taken += 1;
                }
                thread::yield_now();
            }
        });
        assert!(inbox.is_empty());
        assert_eq!(expected, [EACH; PRODUCERS]);
    }
}
