//! Where do a coroutine's closure and its result lie? Both use the same few words of the control block: first the
//! closure, then its outcome.
//!
//! A closure of up to [`INLINE_BYTES`] is stored in the core itself, so that a spawn allocates nothing. A larger one is
//! boxed. The stack is taken only when the coroutine first runs. So a coroutine that waits to start costs its core and
//! no more, and a batch of short ones that run one after the other all use the one stack that is warm in the cache.

mod typed;

use super::join::error::JoinError;
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;

const INLINE_WORDS: usize = 6;
const INLINE_BYTES: usize = INLINE_WORDS * size_of::<usize>();

type Storage = [MaybeUninit<usize>; INLINE_WORDS];

/// What the storage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    Closure,
    Outcome,
}

struct Vtable {
    /// Takes the closure out and calls it. Stores the outcome, and returns whether that is a panic.
    run: unsafe fn(*mut Storage) -> bool,
    /// Drops the closure without a call. Stores the outcome `Cancelled`, or a panic if a destructor panicked, and
    /// returns whether one did.
    skip: unsafe fn(*mut Storage) -> bool,
    /// The closure has been taken out and will never return. Stores this outcome.
    fail: unsafe fn(*mut Storage, JoinError),
    drop_closure: unsafe fn(*mut Storage),
    /// Drops the outcome. Returns whether it was a panic.
    drop_outcome: unsafe fn(*mut Storage) -> bool,
}

/// See the head of the file.
pub(crate) struct Body {
    vtable: Cell<Option<&'static Vtable>>,
    content: Cell<Content>,
    storage: UnsafeCell<Storage>,
}

/// A value of type `T` in the storage: in place if it fits, otherwise boxed.
struct BodySlot<T>(std::marker::PhantomData<T>);

impl<T> BodySlot<T> {
    const INLINE: bool = size_of::<T>() <= INLINE_BYTES && align_of::<T>() <= align_of::<usize>();

    /// # Safety
    /// The storage is the caller's and holds nothing.
    unsafe fn put(storage: *mut Storage, value: T) {
        if Self::INLINE {
            // SAFETY: S1: checked to fit.
            unsafe { storage.cast::<T>().write(value) };
        } else {
            let boxed = Box::into_raw(Box::new(value));
            // SAFETY: S1: a pointer fits.
            unsafe { storage.cast::<*mut T>().write(boxed) };
        }
    }

    /// # Safety
    /// The storage is the caller's and holds a `T` that [`put`](Self::put) stored; it holds nothing afterwards.
    unsafe fn take(storage: *mut Storage) -> T {
        if Self::INLINE {
            // SAFETY: S1: the caller promises: the storage is the caller's and holds a `T` that `put`
            // stored.
            unsafe { storage.cast::<T>().read() }
        } else {
            // SAFETY: S1: the caller promises: the storage is the caller's and holds a `T` that `put`
            // stored.
            let pointer = unsafe { storage.cast::<*mut T>().read() };
            // SAFETY: S1: the pointer came from a box in `put`.
            *unsafe { Box::from_raw(pointer) }
        }
    }
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self {
            vtable: Cell::new(None),
            content: Cell::new(Content::Nothing),
            storage: UnsafeCell::new([const { MaybeUninit::uninit() }; INLINE_WORDS]),
        }
    }

    fn table(&self) -> &'static Vtable {
        self.vtable.get().expect("a stored body has a table")
    }

    /// Runs the closure, or drops it when `cancelled`, and stores the outcome here. Returns whether it panicked.
    pub(crate) fn run(&self, cancelled: bool) -> bool {
        assert_eq!(self.content.replace(Content::Nothing), Content::Closure);
        let table = self.table();
        let function = if cancelled { table.skip } else { table.run };
        // SAFETY: S1: the content was a closure of the table's type, and the running coroutine owns it.
        let panicked = unsafe { function(self.storage.get()) };
        self.content.set(Content::Outcome);
        panicked
    }

    /// Stores the outcome of a coroutine that will never return.
    pub(crate) fn fail(&self, error: JoinError) {
        assert_eq!(self.content.get(), Content::Nothing);
        // SAFETY: S1: the closure has left the storage, nobody else looks at it before DONE.
        unsafe { (self.table().fail)(self.storage.get(), error) };
        self.content.set(Content::Outcome);
    }

    /// Takes the outcome, if it has not been taken.
    ///
    /// # Safety
    /// `T` is the closure's result type; the coroutine has stored its outcome and this caller is the one who may take
    /// it.
    pub(crate) unsafe fn take<T>(&self) -> Option<Result<T, JoinError>> {
        if self.content.replace(Content::Nothing) != Content::Outcome {
            return None;
        }
        // SAFETY: S1: the content was an outcome, of the caller's type.
        Some(unsafe { BodySlot::<Result<T, JoinError>>::take(self.storage.get()) })
    }

    /// Drops what is stored. Returns whether it was a panic's payload.
    pub(crate) fn clear(&self) -> bool {
        let table = self.vtable.get();
        match (self.content.replace(Content::Nothing), table) {
            (Content::Closure, Some(table)) => {
                // SAFETY: S1: the content is a closure of the table's type.
                unsafe { (table.drop_closure)(self.storage.get()) };
                false
            }
            // SAFETY: S1: the content is an outcome of the table's type.
            (Content::Outcome, Some(table)) => unsafe { (table.drop_outcome)(self.storage.get()) },
            _ => false,
        }
    }
}
