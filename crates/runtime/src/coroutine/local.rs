//! Values that belong to a coroutine, of either kind; on an OS thread they belong to the thread.
//!
//! An isolated coroutine has no need of them: `thread_local!` is its own. They serve light coroutines, and code that is to work on both.
//! A coroutine's values lie boxed in a short list behind its core, found by the key's address; most coroutines have none.

use super::current;
use std::any::Any;
use std::cell::{Cell, RefCell};

/// The values of one coroutine or thread.
#[derive(Default)]
pub(crate) struct LocalMap {
    values: Vec<(usize, Box<dyn Any>)>,
}

impl LocalMap {
    fn find(&self, key: usize) -> Option<*const dyn Any> {
        self.values
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| &raw const **value)
    }
}

/// The error of [`LocalKey::try_with`]: the owner of the values is being destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl std::fmt::Display for AccessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("coroutine-local values are already destroyed")
    }
}

impl std::error::Error for AccessError {}

/// A key made by [`coroutine_local!`](crate::coroutine_local): each coroutine has its own value.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
    /// Gives each key an address of its own: functions may be merged, statics of non-zero size are not.
    _place: u8,
}

impl<T: 'static> std::fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init, _place: 0 }
    }

    /// Calls `f` with the caller's value, made at the first access.
    ///
    /// # Panics
    /// When the values of this coroutine or thread are already destroyed.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).expect("coroutine-local values are already destroyed")
    }

    /// As [`with`](Self::with), with an error instead of a panic.
    ///
    /// # Errors
    /// [`AccessError`] when the values of this coroutine or thread are already destroyed.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self) as usize;
        let found = access(|map| map.find(key))?;
        let value = match found {
            Some(value) => value,
            None => {
                // User code: it may use other keys, or this one, so no borrow of the map is held.
                let made: Box<dyn Any> = Box::new((self.init)());
                access(|map| match map.find(key) {
                    Some(value) => value,
                    None => {
                        let value = &raw const *made;
                        map.values.push((key, made));
                        value
                    }
                })?
            }
        };
        // SAFETY: S3: the box stays in the map until the coroutine (or thread) that runs here ends, and `f` ends before.
        let value = unsafe { &*value };
        Ok(f(value.downcast_ref().expect("a key has one type")))
    }
}

impl<T: Copy + 'static> LocalKey<Cell<T>> {
    /// The caller's value.
    pub fn get(&'static self) -> T {
        self.with(Cell::get)
    }

    /// Changes the caller's value.
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Borrows the caller's value.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Borrows the caller's value mutably.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }
}

fn access<R>(f: impl FnOnce(&mut LocalMap) -> R) -> Result<R, AccessError> {
    thread_local! {
        static OF_THREAD: RefCell<LocalMap> = RefCell::default();
    }
    match current::current_core() {
        Some(core) => {
            // SAFETY: S1: the running coroutine owns the field; `f` runs no user code, so this is the one borrow.
            let slot = unsafe { &mut *core.locals.get() };
            Ok(f(slot.get_or_insert_default()))
        }
        None => OF_THREAD
            .try_with(|map| f(&mut map.borrow_mut()))
            .map_err(|_| AccessError),
    }
}

/// Destroys the running coroutine's values: newest first, and again while destructors make new ones, a bounded number of times.
pub(super) fn destroy(core: &super::Core) {
    const ROUNDS_MAX: usize = 4;
    for _ in 0..ROUNDS_MAX {
        // SAFETY: S1: the running coroutine owns the field.
        let slot = unsafe { &mut *core.locals.get() };
        let Some(mut map) = slot.take() else { return };
        while let Some(value) = map.values.pop() {
            drop(value);
        }
    }
    // SAFETY: S1: as above. Values that are made again and again are leaked, as the C library does with its keys.
    let slot = unsafe { &mut *core.locals.get() };
    std::mem::forget(slot.take());
}

impl super::Core {
    /// Destroys the coroutine-local values of the coroutine that runs and ends.
    #[inline]
    pub(crate) fn destroy_locals(&self) {
        // SAFETY: S1: the running coroutine owns the field.
        if unsafe { &*self.locals.get() }.is_some() {
            destroy(self);
        }
    }
}
