//! How does a scope wait for all of its children, and cancel them together? Its children are a group.
//!
//! The group lies on the waiter's stack. A child's end is counted after its result has been stored or dropped and its
//! thread-locals are destroyed. It is the last thing that its core does with borrowed data. The last child wakes the
//! waiter. Counting down is the last access to the group's memory, so the unparker is copied out first.
//!
//! # Cancelling
//! The children that run are in a list, under a lock of the group. The node of each child lies on the child's own
//! stack, around its body. So cancelling allocates nothing, and a coroutine that belongs to no scope has no field for
//! it. A child that has not started is in no list. The cancel request is written under the lock. A child that starts
//! later sees it when it joins the list, before its body begins, and drops the closure instead. A child leaves the list
//! when its body has ended; what it still runs are destructors, which are not cut short. Example: child K is picked
//! while the parent cancels. If the cancel takes the lock first, K finds the request when it joins the list, and drops
//! its closure. If K takes it first, the cancel finds K's node.
//!
//! # The tree
//! A coroutine knows the scopes that it has open ([`OpenScope`], a chain through its own frames), and no other code
//! reads that chain. So a cancelled parent itself passes the request on, at its next wait, whatever it waits for
//! (`wait/mod.rs`). Each child then does the same. So no lock is held over more than one generation, and the
//! canceller's work does not grow with the depth of the tree. The cost: a parent that computes passes the request on
//! only at its next wait, which is also where the request would reach itself. A parent that masks cancellation passes
//! it on afterwards. A parent's deadline need not be passed on: children wait in a cancel scope of their own
//! (`cancel.rs`).

use super::cancel::is_masked;
use super::cancel::scope::CancelScope;
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

/// A child whose body runs. The node lies on the child's stack.
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

    /// The coroutine that has the scope open. `None`: an OS thread has it open.
    pub(crate) fn owner(&self) -> Option<&Core> {
        match self.waiter {
            // SAFETY: S2: cores are type-stable, and this one's life goes on while its scope is open: it does not end
            // by an overflow then (`sched/overflow.rs`).
            Unparker::Coroutine(core) => Some(unsafe { core.as_ref() }),
            Unparker::Thread(_) => None,
        }
    }

    /// Counts one more child, before it is made.
    pub(crate) fn enter(&self) {
        // Relaxed: the queue orders it before the child's end.
        self.alive.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one child less: it has ended, or was not made after all. Wakes the waiter after the last one.
    pub(crate) fn leave(&self) {
        let waiter = self.waiter;
        // Release: pairs with the Acquire in `is_empty`: what the child did is seen after the wait.
        if self.alive.fetch_sub(1, Ordering::Release) == 1 {
            waiter.unpark();
        }
    }

    /// Runs a child's body, which is told whether it was cancelled before it began. Called on the child.
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

    /// Cancels all children, including those that are spawned later.
    pub(crate) fn cancel_children(&self) {
        // Relaxed: the thread that has set it deals with all children concerned.
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

    /// Children that are spawned from now on are not cancelled. Called when the group has none.
    pub(crate) fn forget_cancel(&self) {
        debug_assert!(self.is_empty());
        // Relaxed: the caller itself spawns the next child.
        self.cancelled.store(false, Ordering::Relaxed);
    }

    /// Whether its children were cancelled as a whole.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: asked about children that have ended, whose end orders it.
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether a child's panic cancels the others.
    pub(crate) fn set_cancel_on_panic(&self, cancels: bool) {
        // Relaxed: for a child that was spawned before this call, the value is a race in user code.
        self.cancel_on_panic.store(cancels, Ordering::Relaxed);
    }

    /// A child, or the code in the scope itself, has panicked.
    #[cold]
    pub(crate) fn on_panic(&self) {
        // Relaxed: as above.
        if self.cancel_on_panic.load(Ordering::Relaxed) {
            self.cancel_children();
        }
    }

    /// Notes a child's panic that no code has taken.
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

    /// Whether a panic was noted. Called when the group is empty.
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

/// A scope that the coroutine has open. It lies on the coroutine's own stack.
pub(crate) struct OpenScope {
    group: NonNull<Group>,
    outer: *const OpenScope,
}

impl OpenScope {
    /// Calls `f`. Meanwhile the caller passes its cancellation on to the group's children.
    pub(crate) fn during<R>(group: &Group, f: impl FnOnce() -> R) -> R {
        struct Close(&'static Core, *const OpenScope);

        impl Drop for Close {
            fn drop(&mut self) {
                self.0.scopes.set(self.1.cast());
            }
        }

        // An OS thread is never cancelled.
        let Some(core) = current::current_core() else {
            return f();
        };
        let open = OpenScope {
            group: NonNull::from(group),
            outer: core.scopes.get().cast(),
        };
        core.scopes.set((&raw const open).cast());
        let _close = Close(core, open.outer);
        f()
    }
}

impl Core {
    /// The group of the scope that waits for this coroutine; null: none.
    #[inline(always)]
    pub(crate) fn group(&self) -> *const Group {
        self.group.get().cast()
    }

    /// Sets the group. The caller makes the coroutine, or ends it.
    #[inline(always)]
    pub(crate) fn set_group(&self, group: *const Group) {
        self.group.set(group.cast());
    }

    /// Cancels the children of all scopes that the running coroutine has open.
    pub(super) fn cancel_children(&self) {
        let mut at: *const OpenScope = self.scopes.get().cast();
        // SAFETY: S8: open scopes lie in frames of the running coroutine, which is the caller.
        while let Some(open) = unsafe { at.as_ref() } {
            // SAFETY: S8: the group outlives the frame of `OpenScope::during`.
            unsafe { open.group.as_ref() }.cancel_children();
            at = open.outer;
        }
    }

    /// Marks the running coroutine as cancelled, since it is to unwind. If it was not asked to, the deadline of its
    /// scope has passed, also for its siblings. Then the scope learns that its children did not end by themselves.
    pub(super) fn cancel_itself(&self) {
        if self.lifecycle.is_cancelled() {
            return;
        }
        // It runs, so it need not be queued.
        let _ = self.lifecycle.cancel();
        // SAFETY: S8: the group outlives the child, which is the caller.
        if let Some(group) = unsafe { self.group().as_ref() } {
            group.cancel_children();
        }
    }

    /// Whether the running coroutine is to end together with its whole scope, with a scope around that one, or with its
    /// runtime. A request does not count if it is masked where one of these scopes was opened.
    pub(super) fn is_ending_with_others(&self) -> bool {
        let mut core = self;
        // SAFETY: S8: the group outlives the child, which is the caller, or an owner that waits for it.
        while let Some(group) = unsafe { core.group().as_ref() } {
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

    /// Whether all coroutines of its runtime are being cancelled.
    pub(crate) fn is_ending_with_runtime(&self) -> bool {
        self.scheduler.get().is_some_and(|scheduler| scheduler.is_ending())
    }

    /// Whether the running coroutine has a scope open.
    pub(crate) fn has_open_scope(&self) -> bool {
        !self.scopes.get().is_null()
    }

    /// Forgets what lay in the coroutine's frames, since these are lost. No scope was open: the process would have
    /// ended (`sched/overflow.rs`).
    pub(crate) fn forget_frames(&self) {
        self.scopes.set(ptr::null());
        self.cancel_scope.set(ptr::null());
        self.interrupt.set(0);
    }
}
