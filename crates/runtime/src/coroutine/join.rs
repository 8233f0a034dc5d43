//! The end of a coroutine: what its joiners get, and how they are woken.
//!
//! A joiner puts a node that lies on its own stack into the core's list, announces itself in the lifecycle word, and
//! waits on the node's cell. The word decides the race with the end: whichever of `announce_joiner` and `finish` comes
//! second sees the other (`state.rs`). Any number of joiners may wait; the list is cold, so it is a plain singly linked
//! one under a short lock.

use super::core::Core;
use super::park::{Outcome, WaitCell};
use std::any::Any;
use std::cell::Cell;
use std::ptr;

/// Why a coroutine has no value to give.
#[non_exhaustive]
pub enum JoinError {
    /// It panicked, with this payload.
    Panicked(PanicPayload),
    /// It was cancelled, before or after it began.
    Cancelled,
    /// It ran out of stack. Its frames were not unwound and its stack is never used again.
    StackOverflow,
}

impl JoinError {
    /// The panic payload, if that is what ended the coroutine; else the error again.
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

    /// The message of the panic, if it is a string.
    pub fn message(&self) -> Option<&str> {
        match self {
            JoinError::Panicked(payload) => payload.message(),
            _ => None,
        }
    }

    /// The panic payload, if there is one and it is a `T`: what was given to [`panic_any`](std::panic::panic_any).
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        match self {
            JoinError::Panicked(payload) => payload.downcast_ref(),
            _ => None,
        }
    }
}

/// What a panic carried: the payload that [`std::thread::Result`] has, in a form that may be shared, so that a
/// [`JoinError`] can be put into error types that want [`Sync`] (`anyhow`, `eyre`, `Box<dyn Error + Send + Sync>`).
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

// A panic has brought it here before.
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

    /// Goes on with the panic, as [`std::panic::resume_unwind`] does.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.0)
    }

    /// The message, if it is a string, as `panic!` makes it.
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

/// One who waits for a coroutine's end: a node on the waiter's stack.
pub(crate) struct Joiner {
    pub(crate) cell: WaitCell,
    /// The cell to settle instead of the node's own: that of a wait for several things.
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

    /// Makes the node stand for a wait for several things; while it is in no list. The cell lives as long as the node
    /// is listed.
    pub(crate) fn share(&self, cell: &WaitCell) {
        self.shared_cell.set(cell);
    }

    fn cell(&self) -> &WaitCell {
        // SAFETY: S8: null, or alive while the node is listed.
        unsafe { self.shared_cell.get().as_ref() }.unwrap_or(&self.cell)
    }
}

/// The waiting nodes; guarded by the lock around it.
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

    /// Takes a joiner out that gave up. After this nobody touches the node.
    pub(crate) fn delist(&self, joiner: &Joiner) {
        self.joiners.lock().remove(joiner);
    }

    /// The coroutine has ended: wakes all joiners. The nodes are settled under the lock, so that a joiner that gives up
    /// at the same moment waits for it in `delist`; they are woken in the same pass, for their number is small.
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
