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

use super::core::Core;
use super::park::{Outcome, WaitCell};
use std::any::Any;
use std::cell::Cell;
use std::ptr;

/// Why a coroutine has no result.
#[non_exhaustive]
pub enum JoinError {
    /// It panicked, with this payload.
    Panicked(PanicPayload),
    /// It was cancelled, before or after it began.
    Cancelled,
    /// It overflowed its stack. Its frames were not unwound and its stack is never used again.
    StackOverflow,
}

impl JoinError {
    /// Returns the panic payload, if a panic ended the coroutine.
    ///
    /// # Errors
    /// The error itself, if it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        match self {
            JoinError::Panicked(payload) => Ok(payload.into_inner()),
            other => Err(other),
        }
    }

    /// Whether the coroutine panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }

    /// Whether the coroutine was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }

    /// The message of the panic, if the coroutine panicked and the message is a string.
    pub fn message(&self) -> Option<&str> {
        match self {
            JoinError::Panicked(payload) => payload.message(),
            _ => None,
        }
    }

    /// The panic payload, if there is one and it is a `T`: the value that was passed to
    /// [`panic_any`](std::panic::panic_any).
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        match self {
            JoinError::Panicked(payload) => payload.downcast_ref(),
            _ => None,
        }
    }
}

/// The payload of a panic. It is the payload that [`std::thread::Result`] has, in a form that may be shared. So a
/// [`JoinError`] can be put into error types that require [`Sync`] (`anyhow`, `eyre`, `Box<dyn Error + Send + Sync>`).
///
/// # Examples
/// ```
/// use silken::JoinError;
/// let error = silken::spawn(|| std::panic::panic_any(7_u32)).join().unwrap_err();
/// assert_eq!(error.downcast_ref::<u32>(), Some(&7));
/// if let JoinError::Panicked(payload) = error {
///     let again = std::panic::catch_unwind(|| payload.resume()).unwrap_err();
///     assert_eq!(*again.downcast::<u32>().unwrap(), 7);
/// }
/// ```
pub struct PanicPayload(Box<dyn Any + Send + 'static>);

// SAFETY: S2: a shared reference gives access to nothing but values that are themselves `Sync`.
unsafe impl Sync for PanicPayload {}

// It has gone through a panic already.
impl std::panic::UnwindSafe for PanicPayload {}
impl std::panic::RefUnwindSafe for PanicPayload {}

impl PanicPayload {
    pub(crate) fn new(payload: Box<dyn Any + Send + 'static>) -> Self {
        Self(payload)
    }

    /// The payload.
    pub fn into_inner(self) -> Box<dyn Any + Send + 'static> {
        self.0
    }

    /// Continues the panic, as [`std::panic::resume_unwind`] does.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.0)
    }

    /// The message, if it is a string, as it is after `panic!`.
    pub fn message(&self) -> Option<&str> {
        let text = self.downcast_ref::<&str>().copied();
        text.or_else(|| self.downcast_ref::<String>().map(String::as_str))
    }

    /// The payload, if it is a `T`.
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl std::fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message().unwrap_or(".."))
    }
}

impl std::fmt::Debug for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JoinError::Panicked(_) => f
                .debug_tuple("Panicked")
                .field(&self.message().unwrap_or(".."))
                .finish(),
            JoinError::Cancelled => f.write_str("Cancelled"),
            JoinError::StackOverflow => f.write_str("StackOverflow"),
        }
    }
}

impl std::fmt::Display for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JoinError::Panicked(_) => match self.message() {
                Some(message) => write!(f, "the coroutine panicked: {message}"),
                None => f.write_str("the coroutine panicked"),
            },
            JoinError::Cancelled => f.write_str("the coroutine was cancelled"),
            JoinError::StackOverflow => f.write_str("the coroutine ran out of stack"),
        }
    }
}

impl std::error::Error for JoinError {}

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

/// The nodes of the joiners. The lock around it guards it.
pub(crate) struct JoinList {
    head: *const Joiner,
}

// SAFETY: S8: the nodes are touched under the lock only, and stay until delisted or settled.
unsafe impl Send for JoinList {}

impl JoinList {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null() }
    }

    fn take(&mut self) -> *const Joiner {
        std::mem::replace(&mut self.head, ptr::null())
    }

    fn remove(&mut self, joiner: &Joiner) {
        let mut link: *const Joiner = ptr::null();
        let mut at = self.head;
        // SAFETY: S8: listed nodes are alive.
        while let Some(node) = unsafe { at.as_ref() } {
            let next = node.next.get();
            if ptr::eq(node, joiner) {
                // SAFETY: S8: listed nodes are alive.
                match unsafe { link.as_ref() } {
                    Some(previous) => previous.next.set(next),
                    None => self.head = next,
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
        let mut list = self.joiners.lock();
        joiner.next.set(list.head);
        list.head = joiner;
        if self.lifecycle.announce_joiner() {
            return true;
        }
        list.remove(joiner);
        false
    }

    /// Removes a joiner that gave up. After this no other code touches the node.
    pub(crate) fn delist(&self, joiner: &Joiner) {
        self.joiners.lock().remove(joiner);
    }

    /// Wakes all joiners, since the coroutine has ended. The nodes are settled under the lock, so a joiner that gives
    /// up at the same moment waits for the lock in `delist`. They are woken in the same pass, since there are few.
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
