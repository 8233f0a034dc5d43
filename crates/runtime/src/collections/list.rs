//! How waiters are kept in order and can leave early: an intrusive doubly linked list, the wait list.
//!
//! A node lies where its owner put it, as a rule on the stack of a waiting coroutine, and is linked by the [`Link`]
//! inside it. So waiting allocates nothing, and leaving the list early (a timeout, a cancellation) is O(1).
//!
//! # Protocol
//! There are no atomics: the holder of `&mut List`, and so of the lock around it, may read and write the links of all
//! nodes in the list, and nothing else does. Links are cells behind shared references, since a waiter has a reference
//! to its node while others link and unlink the node's neighbours. A `&mut` to a node must not exist as long as the
//! node is linked.
//!
//! # The race, and why it is harmless
//! A wake (`pop_front`) and a timeout (`remove`) may both want a node. Both hold the lock in turn, and `remove` returns
//! whether the node was still linked: the loser sees `false` and knows that the wake was meant for it. The node must
//! outlive its membership (S8): the waiter leaves its frame only after it has seen, under the lock, that its node is
//! not linked.
//!
//! # Rejected
//! * A sentinel node, so that "linked" needs no flag: the list would point to itself and could not be moved.
//! * Boxed nodes or indices into a slab: an allocation, or a bound, per wait.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::ptr::NonNull;

/// The field that makes an element a member of a list. An element is in one list at a time.
pub(crate) struct Link<T> {
    previous: Cell<Option<NonNull<T>>>,
    next: Cell<Option<NonNull<T>>>,
    linked: Cell<bool>,
    /// Neighbours point to the element.
    _pinned: PhantomPinned,
}

impl<T> Link<T> {
    /// A link that is in no list.
    pub(crate) const fn new() -> Self {
        Self {
            previous: Cell::new(None),
            next: Cell::new(None),
            linked: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }

    /// Whether the element is in a list. To be called only by the holder of that list's lock, or by a caller that knows
    /// that the element is in no list.
    #[inline]
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.get()
    }
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// An element that can be in a [`List`].
///
/// # Safety
/// `link` gives the address of a field of the element, always the same field, which nothing but a list writes.
pub(crate) unsafe trait Node: Sized {
    /// The address of the element's link.
    ///
    /// # Safety
    /// `this` points to a live element.
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>>;
}

/// The list. Dropping it forgets the nodes in it; they stay marked as linked.
pub(crate) struct List<T: Node> {
    first: Option<NonNull<T>>,
    last: Option<NonNull<T>>,
}

// SAFETY: S2: the list holds pointers only; by the contract of its pushes the links belong to whoever holds the list,
// and what else is in T may be reached from another thread.
unsafe impl<T: Node + Send> Send for List<T> {}

impl<T: Node> List<T> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            last: None,
        }
    }

    /// Appends a node.
    ///
    /// # Safety
    /// The node is in no list. Until it has left this one it lives, stays in place, and its link is left alone; no
    /// `&mut` to it exists.
    #[inline]
    pub(crate) unsafe fn push_back(&mut self, node: NonNull<T>) {
        // SAFETY: S8: the caller promises that the node lives.
        let link = unsafe { link_of(node) };
        debug_assert!(!link.linked.get(), "the node is in a list already");
        link.linked.set(true);
        link.previous.set(self.last);
        link.next.set(None);
        self.set_next_of(self.last, Some(node));
        self.last = Some(node);
    }

    /// Prepends a node.
    ///
    /// # Safety
    /// As for [`push_back`](Self::push_back).
    #[inline]
    pub(crate) unsafe fn push_front(&mut self, node: NonNull<T>) {
        // SAFETY: S8: the caller promises that the node lives.
        let link = unsafe { link_of(node) };
        debug_assert!(!link.linked.get(), "the node is in a list already");
        link.linked.set(true);
        link.previous.set(None);
        link.next.set(self.first);
        self.set_previous_of(self.first, Some(node));
        self.first = Some(node);
    }

    /// Takes the first node out of the list.
    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<NonNull<T>> {
        let node = self.first?;
        self.unlink(node);
        Some(node)
    }

    /// Takes a node out of the list, wherever in the list it is. `false`: the node was in no list.
    ///
    /// # Safety
    /// The node lives, and is in this list or in none.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, node: NonNull<T>) -> bool {
        // SAFETY: S8: the caller promises that the node lives.
        let linked = unsafe { link_of(node) }.linked.get();
        if linked {
            self.unlink(node);
        }
        linked
    }

    /// Whether the list has no nodes.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The node that `pop_front` would take.
    #[inline]
    pub(crate) fn front(&self) -> Option<NonNull<T>> {
        self.first
    }

    /// All nodes, from first to last.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = NonNull<T>> + '_ {
        std::iter::successors(self.first, |&node| {
            // SAFETY: S8: it is in the list, which nobody changes while it is borrowed.
            unsafe { link_of(node) }.next.get()
        })
    }

    /// A place in the list from which nodes can be taken out. At first it is the place of the first node.
    #[inline]
    pub(crate) fn cursor(&mut self) -> Cursor<'_, T> {
        Cursor {
            current: self.first,
            list: self,
        }
    }

    /// Takes out a node that is in this list.
    #[inline]
    fn unlink(&mut self, node: NonNull<T>) {
        // SAFETY: S8: a node in the list lives.
        let link = unsafe { link_of(node) };
        let previous = link.previous.take();
        let next = link.next.take();
        debug_assert!(
            previous.is_some() || self.first == Some(node),
            "the node is in another list"
        );
        link.linked.set(false);
        self.set_next_of(previous, next);
        self.set_previous_of(next, previous);
    }

    /// Makes `node`, or the head of the list if there is no `node`, lead to `next`.
    #[inline(always)]
    fn set_next_of(&mut self, node: Option<NonNull<T>>, next: Option<NonNull<T>>) {
        match node {
            // SAFETY: S8: a node in the list lives.
            Some(node) => unsafe { link_of(node) }.next.set(next),
            None => self.first = next,
        }
    }

    /// Makes `node`, or the end of the list if there is no `node`, lead back to `previous`.
    #[inline(always)]
    fn set_previous_of(&mut self, node: Option<NonNull<T>>, previous: Option<NonNull<T>>) {
        match node {
            // SAFETY: S8: a node in the list lives.
            Some(node) => unsafe { link_of(node) }.previous.set(previous),
            None => self.last = previous,
        }
    }
}

impl<T: Node> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in a list: at a node, or past the last one.
pub(crate) struct Cursor<'a, T: Node> {
    list: &'a mut List<T>,
    current: Option<NonNull<T>>,
}

impl<T: Node> Cursor<'_, T> {
    /// The node at this place; `None` past the last one.
    #[inline]
    pub(crate) fn current(&self) -> Option<NonNull<T>> {
        self.current
    }

    /// Moves on to the next node.
    #[inline]
    pub(crate) fn move_next(&mut self) {
        if let Some(node) = self.current {
            // SAFETY: S8: it is in the list, which nobody else changes while the cursor borrows it.
            self.current = unsafe { link_of(node) }.next.get();
        }
    }

    /// Takes the node at this place out of the list, and moves on to the next.
    #[inline]
    pub(crate) fn remove_current(&mut self) -> Option<NonNull<T>> {
        let node = self.current?;
        self.move_next();
        self.list.unlink(node);
        Some(node)
    }
}

/// # Safety
/// The node lives, and the caller holds the list that it is in, or knows that it is in none.
#[inline(always)]
unsafe fn link_of<'a, T: Node>(node: NonNull<T>) -> &'a Link<T> {
    // SAFETY: S8: the caller promises that the node lives.
    let link = unsafe { T::link(node) };
    // SAFETY: S8: `Node` promises a field of that node; the reference is dropped before the node can leave and die.
    unsafe { link.as_ref() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::mem::offset_of;

    struct Waiter {
        number: usize,
        link: Link<Waiter>,
    }

    // SAFETY: S8: `link` is a field that only lists write.
    unsafe impl Node for Waiter {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
            // SAFETY: S8: within the live element.
            unsafe { this.byte_add(offset_of!(Waiter, link)) }.cast()
        }
    }

    /// Waiters that outlive the lists of a test. Dropping them after the list is the test's part of S8.
    struct Waiters(Vec<NonNull<Waiter>>);

    impl Waiters {
        fn new(count: usize) -> Self {
            Self(
                (0..count)
                    .map(|number| {
                        let link = Link::new();
                        NonNull::from(Box::leak(Box::new(Waiter { number, link })))
                    })
                    .collect(),
            )
        }
    }

    impl Drop for Waiters {
        fn drop(&mut self) {
            for waiter in self.0.drain(..) {
                // SAFETY: S8: leaked in `new`, freed once.
                drop(unsafe { Box::from_raw(waiter.as_ptr()) });
            }
        }
    }

    fn number(node: NonNull<Waiter>) -> usize {
        // SAFETY: S8: the waiters outlive the test's body.
        unsafe { node.as_ref() }.number
    }

    fn numbers(list: &List<Waiter>) -> Vec<usize> {
        list.iter().map(number).collect()
    }

    /// Checks the backward links against the forward links.
    fn check_back_links(list: &List<Waiter>) {
        let mut previous = None;
        for node in list.iter() {
            // SAFETY: S8: in the list, so alive.
            let link = unsafe { link_of(node) };
            assert!(link.is_linked());
            assert_eq!(link.previous.get(), previous);
            previous = Some(node);
        }
        assert_eq!(list.last, previous);
    }

    #[test]
    fn both_ends() {
        let waiters = Waiters::new(3);
        let mut list = List::new();
        assert!(list.is_empty() && list.front().is_none() && list.pop_front().is_none());
        // SAFETY: S8: not linked, alive until the end.
        unsafe { list.push_back(waiters.0[1]) };
        // SAFETY: S8: not linked, alive until the end.
        unsafe { list.push_front(waiters.0[0]) };
        // SAFETY: S8: not linked, alive until the end.
        unsafe { list.push_back(waiters.0[2]) };
        check_back_links(&list);
        assert_eq!(numbers(&list), [0, 1, 2]);
        assert_eq!(list.front().map(number), Some(0));
        assert_eq!(list.pop_front().map(number), Some(0));
        assert_eq!(list.pop_front().map(number), Some(1));
        assert_eq!(list.pop_front().map(number), Some(2));
        assert!(list.is_empty() && list.last.is_none());
    }

    #[test]
    fn the_second_removal_says_no() {
        let waiters = Waiters::new(1);
        let mut list = List::new();
        // SAFETY: S8: alive, in no list.
        assert!(!unsafe { list.remove(waiters.0[0]) });
        // SAFETY: S8: alive, in no list.
        unsafe { list.push_back(waiters.0[0]) };
        // SAFETY: S8: alive, in this list.
        assert!(unsafe { list.remove(waiters.0[0]) });
        // SAFETY: S8: alive, in no list.
        assert!(!unsafe { list.remove(waiters.0[0]) });
        assert!(list.is_empty());
    }

    #[test]
    fn a_cursor_moves_those_that_match_to_another_list() {
        let waiters = Waiters::new(7);
        let (mut list, mut even) = (List::new(), List::new());
        for &waiter in &waiters.0 {
            // SAFETY: S8: not linked, alive until the end.
            unsafe { list.push_back(waiter) };
        }
        let mut cursor = list.cursor();
        while let Some(node) = cursor.current() {
            if number(node).is_multiple_of(2) {
                assert_eq!(cursor.remove_current(), Some(node));
                // SAFETY: S8: just taken out of its list.
                unsafe { even.push_back(node) };
            } else {
                cursor.move_next();
            }
        }
        cursor.move_next();
        assert!(cursor.remove_current().is_none());
        assert_eq!(numbers(&list), [1, 3, 5]);
        assert_eq!(numbers(&even), [0, 2, 4, 6]);
        check_back_links(&list);
        check_back_links(&even);
    }

    proptest! {
        #[test]
        fn behaves_as_a_deque(operations in prop::collection::vec((0..5u8, 0..8usize), 0..200)) {
            let waiters = Waiters::new(8);
            let mut list = List::new();
            let mut oracle = VecDeque::new();
            for (operation, which) in operations {
                let node = waiters.0[which];
                let listed = oracle.contains(&which);
                match operation {
                    0 | 1 if listed => {}
                    0 => {
                        oracle.push_back(which);
                        // SAFETY: S8: not linked, alive until the end.
                        unsafe { list.push_back(node) };
                    }
                    1 => {
                        oracle.push_front(which);
                        // SAFETY: S8: not linked, alive until the end.
                        unsafe { list.push_front(node) };
                    }
                    2 => prop_assert_eq!(list.pop_front().map(number), oracle.pop_front()),
                    _ => {
                        oracle.retain(|&other| other != which);
                        // SAFETY: S8: alive, in this list or in none.
                        prop_assert_eq!(unsafe { list.remove(node) }, listed);
                    }
                }
                check_back_links(&list);
                prop_assert_eq!(numbers(&list), oracle.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(list.front().map(number), oracle.front().copied());
            }
        }
    }
}
