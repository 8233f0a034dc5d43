//! How is a closure of a given type called, dropped or failed, once the body has forgotten its type?

use super::{Body, BodySlot, Content, Storage, Vtable};
use crate::coroutine::cancel::{InterruptUnwind, mask};
use crate::coroutine::join::error::{JoinError, PanicPayload};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn call<F: FnOnce() -> T, T>(closure: F) -> Result<T, JoinError> {
    // A panic stays in its coroutine. The payload goes to the joiner.
    catch_unwind(AssertUnwindSafe(closure)).map_err(into_error)
}

fn into_error(payload: Box<dyn Any + Send>) -> JoinError {
    if payload.is::<InterruptUnwind>() {
        JoinError::Cancelled
    } else {
        JoinError::Panicked(PanicPayload::new(payload))
    }
}

struct Typed<F, T>(std::marker::PhantomData<(F, T)>);

impl<F: FnOnce() -> T, T> Typed<F, T> {
    const VTABLE: Vtable = Vtable {
        run: Self::run,
        skip: Self::skip,
        fail: Self::fail,
        drop_closure: Self::drop_closure,
        drop_outcome: Self::drop_outcome,
    };

    unsafe fn run(storage: *mut Storage) -> bool {
        // SAFETY: S1: `Body::run` checked the content.
        let closure = unsafe { BodySlot::<F>::take(storage) };
        let outcome = call(closure);
        let panicked = matches!(outcome, Err(JoinError::Panicked(_)));
        // SAFETY: S1: the closure has left the storage.
        unsafe { BodySlot::put(storage, outcome) };
        panicked
    }

    unsafe fn skip(storage: *mut Storage) -> bool {
        // SAFETY: S1: `Body::run` checked the content.
        let closure = unsafe { BodySlot::<F>::take(storage) };
        // The cancellation that causes the drop does not cut the destructor short.
        let outcome = call(|| mask(|| drop(closure)));
        let outcome: Result<T, JoinError> = Err(outcome.err().unwrap_or(JoinError::Cancelled));
        let panicked = matches!(outcome, Err(JoinError::Panicked(_)));
        // SAFETY: S1: the closure has left the storage.
        unsafe { BodySlot::put(storage, outcome) };
        panicked
    }

    unsafe fn fail(storage: *mut Storage, error: JoinError) {
        let outcome: Result<T, JoinError> = Err(error);
        // SAFETY: S1: `Body::fail`: the closure has left the storage.
        unsafe { BodySlot::put(storage, outcome) };
    }

    unsafe fn drop_closure(storage: *mut Storage) {
        // SAFETY: S1: `Body` checked the content.
        drop(unsafe { BodySlot::<F>::take(storage) });
    }

    unsafe fn drop_outcome(storage: *mut Storage) -> bool {
        // SAFETY: S1: `Body` checked the content.
        let outcome = unsafe { BodySlot::<Result<T, JoinError>>::take(storage) };
        matches!(outcome, Err(JoinError::Panicked(_)))
    }
}

impl Body {
    /// Stores a closure. The spawner is responsible for the bounds, since scoped spawns erase a lifetime.
    ///
    /// # Safety
    /// The body is empty and the caller's; whatever `closure` and its result borrow outlives the coroutine and the
    /// taking of its result (S1, S2).
    pub(crate) unsafe fn put<F: FnOnce() -> T, T>(&self, closure: F) {
        debug_assert_eq!(self.content.get(), Content::Nothing);
        // SAFETY: S1: empty and ours.
        unsafe { BodySlot::put(self.storage.get(), closure) };
        self.content.set(Content::Closure);
        self.vtable.set(Some(&Typed::<F, T>::VTABLE));
    }
}
