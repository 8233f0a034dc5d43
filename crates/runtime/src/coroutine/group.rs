//! Coroutines that somebody waits for together, and that are cancelled together: the children of a scope.
//!
//! The group lies on the waiter's stack. A child's end is counted after its result has been settled and its
//! thread-locals are gone, as the last thing its core does with borrowed data; the last child wakes the waiter.
//! Counting down is the last touch of the group's memory, so the unparker is copied out first.
//!
//! # Cancelling
//! The children that run are in a list, under a lock of the group; the node of each lies on its own stack, around its
//! body. So to cancel them allocates nothing, and a coroutine that belongs to no scope does not carry a place for it.
//! One that has not started is in no list. That cancelling was asked for is written under the lock, so a child that
//! comes later sees it when it joins, before its body begins, and drops the closure instead. A child leaves the list
//! when its body has ended; what it still has to do is destructors' work, which is not cut short.
//!
//! # The tree
//! A coroutine knows the scopes that it has open ([`OpenScope`], a chain through its own frames), and nobody else reads
//! that chain. So a cancelled parent passes the request on by itself, when it comes to wait, whatever it waits for
//! (`wait/mod.rs`), and each child does the same in its turn: no lock is held over more than one generation, and
//! depth costs the canceller nothing. What it costs is that a parent that computes passes it on only at its next wait,
//! which is where the request would reach itself. A parent that masks cancellation passes it on afterwards. A parent's
//! deadline needs no passing on: children wait in a regime of their own (`cancel.rs`).

use super::cancel::{CancelScope, is_masked};
use super::core::Core;
use super::current::{self, Critical};
use super::park::Unparker;
use crate::collections::list::{Link, List, Node};
use crate::loom::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sys::Lock;
use std::ptr::{self, NonNull};

/// See the head of the file.
pub(crate) struct Group {
    alive: AtomicUsize,
    panicked: AtomicBool,
    cancel_on_panic: AtomicBool,
    /// Written under the lock of `children`.
    cancelled: AtomicBool,
    children: Lock<List<Child>>,
    cancel_scope: CancelScope,
    /// Whether it was opened where cancellation is masked.
    masked: bool,
    waiter: Unparker,
}

/// A child whose body runs; on its own stack.
struct Child {
    link: Link<Child>,
    core: NonNull<Core>,
}

// SAFETY: S8: the field is always the same one, and only lists write it.
unsafe impl Node for Child {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: S8: the caller promises a live element, so the field's address lies in it.
        NonNull::from(unsafe { &(*this.as_ptr()).link })
    }
}

// SAFETY: S2: the link is used under the lock of the group's list; what is done with the core is atomic.
unsafe impl Send for Child {}

impl Group {
    pub(crate) fn new() -> Self {
        Self {
            alive: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            cancel_on_panic: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            children: Lock::new(List::new()),
            cancel_scope: CancelScope::of_children(),
            masked: is_masked(),
            waiter: Unparker::current(),
        }
    }

    /// The coroutine that has the scope open; none: an OS thread has.
    pub(crate) fn owner(&self) -> Option<&Core> {
        match self.waiter {
            // SAFETY: S2: cores are type-stable, and this one's life goes on while its scope is open.
            Unparker::Coroutine(core) => Some(unsafe { core.as_ref() }),
            Unparker::Thread(_) => None,
        }
    }

    /// One more child, before it is made.
    pub(crate) fn enter(&self) {
        // Relaxed: the queue orders it before the child's end.
        self.alive.fetch_add(1, Ordering::Relaxed);
    }

    /// A child that was counted has ended, or was not made after all.
    pub(crate) fn leave(&self) {
        let waiter = self.waiter;
        // Release: pairs with the Acquire in `is_empty`: what the child did is seen after the wait.
        if self.alive.fetch_sub(1, Ordering::Release) == 1 {
            waiter.unpark();
        }
    }

    /// Runs a child's body, which is told whether it was cancelled before it began; called on the child.
    pub(crate) fn during<R>(&self, child: &'static Core, body: impl FnOnce(bool) -> R) -> R {
        let node = Child {
            link: Link::new(),
            core: NonNull::from(child),
        };
        if self.cancel_scope.has_deadline() {
            child.cancel_scope.set(&raw const self.cancel_scope);
        }
        {
            let _critical = Critical::enter();
            let mut children = self.children.lock();
            // SAFETY: S8: removed below; the body does not unwind, and a scope's child is never abandoned.
            unsafe { children.push_back(NonNull::from(&node)) };
            // Relaxed: written under the lock.
            if self.cancelled.load(Ordering::Relaxed) {
                child.cancel();
            }
        }
        let result = body(child.lifecycle.is_cancelled());
        {
            let _critical = Critical::enter();
            let mut children = self.children.lock();
            // SAFETY: S8: it is in this list.
            unsafe { children.remove(NonNull::from(&node)) };
        }
        child.cancel_scope.set(ptr::null());
        result
    }

    /// Cancels all children, those to come included.
    pub(crate) fn cancel_children(&self) {
        // Relaxed: whoever has set it sees to all that it concerns.
        if self.cancelled.load(Ordering::Relaxed) {
            return;
        }
        let _critical = Critical::enter();
        let children = self.children.lock();
        self.cancelled.store(true, Ordering::Relaxed);
        for child in children.iter() {
            // SAFETY: S8: a listed node is alive, since leaving needs the lock.
            let core = unsafe { child.as_ref() }.core;
            // SAFETY: S2: cores are type-stable, and this one's life goes on while it is listed.
            unsafe { core.as_ref() }.cancel();
        }
    }

    /// Children to come are not cancelled any more. There are none.
    pub(crate) fn forget_cancel(&self) {
        debug_assert!(self.is_empty());
        // Relaxed: whoever spawns the next child is the caller.
        self.cancelled.store(false, Ordering::Relaxed);
    }

    /// Whether its children were cancelled as a whole.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: asked about children that have ended, whose end orders it.
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether a child's panic cancels the others.
    pub(crate) fn set_cancel_on_panic(&self, cancels: bool) {
        // Relaxed: what a child sees that was spawned before is a race of its author's.
        self.cancel_on_panic.store(cancels, Ordering::Relaxed);
    }

    /// One of those who work in the scope has panicked.
    #[cold]
    pub(crate) fn on_panic(&self) {
        // Relaxed: as above.
        if self.cancel_on_panic.load(Ordering::Relaxed) {
            self.cancel_children();
        }
    }

    /// A child's panic was not taken by anyone.
    pub(crate) fn note_panic(&self) {
        // Relaxed: ordered by `leave`, or noted by the waiter itself.
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// Whether all children have ended.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Acquire: pairs with the Release in `leave`.
        self.alive.load(Ordering::Acquire) == 0
    }

    /// Whether a panic was noted; once it is empty.
    pub(crate) fn has_panicked(&self) -> bool {
        // Relaxed: ordered by `is_empty`.
        self.panicked.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}

/// A scope that the coroutine has open; on its own stack.
pub(crate) struct OpenScope {
    group: NonNull<Group>,
    outer: *const OpenScope,
}

impl OpenScope {
    /// Calls `f` while the caller answers for the group's children.
    pub(crate) fn during<R>(group: &Group, f: impl FnOnce() -> R) -> R {
        struct Close(&'static Core, *const OpenScope);

        impl Drop for Close {
            fn drop(&mut self) {
                self.0.scopes.set(self.1);
            }
        }

        // Nobody cancels an OS thread.
        let Some(core) = current::current_core() else {
            return f();
        };
        let open = OpenScope {
            group: NonNull::from(group),
            outer: core.scopes.get(),
        };
        let _close = Close(core, core.scopes.replace(&open));
        f()
    }
}

impl Core {
    /// Cancels the children of all scopes that the running coroutine has open.
    pub(super) fn cancel_children(&self) {
        let mut at = self.scopes.get();
        // SAFETY: S8: open scopes lie in frames of the running coroutine, which is the caller.
        while let Some(open) = unsafe { at.as_ref() } {
            // SAFETY: S8: the group outlives the frame of `OpenScope::during`.
            unsafe { open.group.as_ref() }.cancel_children();
            at = open.outer;
        }
    }

    /// The running coroutine is to unwind as cancelled. If it was not asked to, it is the deadline of its scope that
    /// has passed, and its siblings' with it: the scope learns that its children did not end by themselves.
    pub(super) fn cancel_itself(&self) {
        if self.lifecycle.is_cancelled() {
            return;
        }
        // It runs, so nobody has to queue it.
        let _ = self.lifecycle.cancel();
        // SAFETY: S8: the group outlives the child, which is the caller.
        if let Some(group) = unsafe { self.group.get().as_ref() } {
            group.cancel_children();
        }
    }

    /// Whether the running coroutine is to end with all of its scope, of a scope around that, or of its runtime. Not by
    /// a request that is masked where one of these scopes was opened.
    pub(super) fn is_ending_with_others(&self) -> bool {
        let mut core = self;
        // SAFETY: S8: the group outlives the child, which is the caller, or an owner that waits for it.
        while let Some(group) = unsafe { core.group.get().as_ref() } {
            if group.is_cancelled() {
                return true;
            }
            match group.owner() {
                _ if group.masked => return false,
                Some(owner) => core = owner,
                None => break,
            }
        }
        core.is_ending_with_runtime()
    }

    /// Whether all of its runtime are being cancelled.
    pub(crate) fn is_ending_with_runtime(&self) -> bool {
        self.scheduler.get().is_some_and(|scheduler| scheduler.is_ending())
    }

    /// Its frames are lost: forgets what lay in them.
    pub(crate) fn forget_frames(&self) {
        self.scopes.set(ptr::null());
        self.cancel_scope.set(ptr::null());
        self.interrupt.set(0);
    }
}
