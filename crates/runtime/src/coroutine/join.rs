//! What do joiners get when a coroutine ends, and how are they woken?
//!
//! A joiner puts a node, which lies on its own stack, into the core's list. It announces itself in the lifecycle word
//! and waits on the node's cell. The word decides the race with the coroutine's end: of `announce_joiner` and `finish`,
//! the one that comes second sees the other (`state.rs`). Any number of joiners may wait. The list is cold, so it is a
//! plain singly linked list under a lock that is held briefly.
//!
//! Example: a joiner lists its node while the coroutine ends. If `finish` comes first, `announce_joiner` sees `DONE`;
//! the joiner removes its node and takes the result at once. If `announce_joiner` comes first, `finish` sees `JOINING`,
//! and the coroutine walks the list and wakes the joiner.

pub(super) mod error;

use super::core::{Core, FirstJoiner};
use super::current::Critical;
use super::park::{Outcome, WaitCell};
use std::cell::Cell;
use std::ptr;

/// A joiner, which waits for a coroutine's end: a node on the waiter's stack.
pub(crate) struct Joiner {
    pub(crate) cell: WaitCell,
    /// The cell to settle instead of the node's own: the cell of a wait for several things.
    shared_cell: Cell<*const WaitCell>,
    next: Cell<*const Joiner>,
}

impl Joiner {
    pub(crate) fn new() -> Self {
        Self {
            cell: WaitCell::new(),
            shared_cell: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        }
    }

    /// Makes the node part of a wait for several things. Called while the node is in no list. The cell must live as
    /// long as the node is listed.
    pub(crate) fn share(&self, cell: &WaitCell) {
        self.shared_cell.set(cell);
    }

    fn cell(&self) -> &WaitCell {
        // SAFETY: S8: null, or alive while the node is listed.
        unsafe { self.shared_cell.get().as_ref() }.unwrap_or(&self.cell)
    }
}

impl FirstJoiner {
    fn get(&self) -> *const Joiner {
        self.0.cast()
    }

    fn set(&mut self, joiner: *const Joiner) {
        self.0 = joiner.cast();
    }

    fn take(&mut self) -> *const Joiner {
        std::mem::replace(&mut self.0, ptr::null()).cast()
    }

    fn remove(&mut self, joiner: &Joiner) {
        let mut link: *const Joiner = ptr::null();
        let mut at = self.get();
        // SAFETY: S8: listed nodes are alive.
        while let Some(node) = unsafe { at.as_ref() } {
            let next = node.next.get();
            if ptr::eq(node, joiner) {
                // SAFETY: S8: listed nodes are alive.
                match unsafe { link.as_ref() } {
                    Some(previous) => previous.next.set(next),
                    None => self.set(next),
                }
                return;
            }
            link = at;
            at = next;
        }
    }
}

impl Core {
    /// Lists a joiner. Returns `false` if the coroutine has ended, and lists nothing.
    ///
    /// # Safety
    /// The node stays where it is until its cell is settled as woken, or [`delist`](Self::delist) has returned (S8).
    #[must_use]
    pub(crate) unsafe fn enlist(&self, joiner: &Joiner) -> bool {
        let _critical = Critical::enter();
        let mut list = self.joiners.lock();
        joiner.next.set(list.get());
        list.set(joiner);
        if self.lifecycle.announce_joiner() {
            return true;
        }
        list.remove(joiner);
        false
    }

    /// Removes a joiner that gave up. After this no other code touches the node.
    pub(crate) fn delist(&self, joiner: &Joiner) {
        let _critical = Critical::enter();
        self.joiners.lock().remove(joiner);
    }

    /// Wakes all joiners, since the coroutine has ended. The nodes are settled under the lock, so a joiner that gives
    /// up at the same moment waits for the lock in `delist`. They are woken in the same pass, under the lock: there are
    /// few, and a woken one takes this lock only in `delist`.
    pub(crate) fn wake_joiners(&self) {
        let mut list = self.joiners.lock();
        let mut at = list.take();
        // SAFETY: S8: listed nodes are alive until settled or delisted, and delisting needs the lock.
        while let Some(node) = unsafe { at.as_ref() } {
            at = node.next.get();
            let cell = node.cell();
            let unparker = cell.unparker();
            if cell.settle(Outcome::Woken) {
                unparker.unpark();
            }
        }
    }
}
