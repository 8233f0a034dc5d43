//! How one value is put in and taken out without a lock: `AtomicOption`, a place that any caller may fill or empty.
//!
//! The value is boxed, and the word is the box's address. Each operation swaps the word, so a value has one owner at
//! any time. No operation reads a value that another may free.

use crate::loom::atomic::{AtomicPtr, Ordering};
use crate::loom::const_unless_loom;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;

/// An `Option` that is filled and emptied atomically. No operation waits.
///
/// # Examples
/// ```
/// use silken::sync::AtomicOption;
/// let place = AtomicOption::none();
/// assert_eq!(place.swap(1), None);
/// assert_eq!(place.swap(2), Some(1));
/// assert_eq!(place.take(), Some(2));
/// assert!(place.is_none());
/// ```
pub struct AtomicOption<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<Option<Box<T>>>,
}

// SAFETY: S2: it moves values from one thread to another, and shares none.
unsafe impl<T: Send> Send for AtomicOption<T> {}
// SAFETY: S2: it moves values from one thread to another, and shares none.
unsafe impl<T: Send> Sync for AtomicOption<T> {}

impl<T> AtomicOption<T> {
    const_unless_loom! {
        /// Makes an empty place.
        #[must_use]
        pub fn none() -> Self {
            Self {
                value: AtomicPtr::new(ptr::null_mut()),
                owns: PhantomData,
            }
        }
    }

    /// Makes a place that holds `value`.
    #[must_use]
    pub fn some(value: T) -> Self {
        Self::new(Some(value))
    }

    /// Makes a place that holds a value, or none.
    #[must_use]
    pub fn new(value: Option<T>) -> Self {
        let place = Self::none();
        place.exchange(value);
        place
    }

    /// Takes the value out, if there is one.
    #[inline]
    pub fn take(&self) -> Option<T> {
        if self.is_none() { None } else { self.exchange(None) }
    }

    /// Puts a value in, and returns the one that was there.
    pub fn swap(&self, value: T) -> Option<T> {
        self.exchange(Some(value))
    }

    /// Puts a value in, and drops the one that was there.
    pub fn store(&self, value: T) {
        drop(self.exchange(Some(value)));
    }

    /// Whether the place is empty at this moment.
    #[inline]
    #[must_use]
    pub fn is_none(&self) -> bool {
        // Relaxed: a hint; no memory is read because of it.
        self.value.load(Ordering::Relaxed).is_null()
    }

    /// Whether the place is filled at this moment.
    #[inline]
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.is_none()
    }

    /// Consumes the place and returns its value.
    #[must_use]
    pub fn into_inner(self) -> Option<T> {
        self.exchange(None)
    }

    fn exchange(&self, value: Option<T>) -> Option<T> {
        let new = value.map_or(ptr::null_mut(), |value| Box::into_raw(Box::new(value)));
        // AcqRel: each exchange's Release pairs with the Acquire of the one that takes its value out.
        let old = self.value.swap(new, Ordering::AcqRel);
        // SAFETY: S2: what was in the word came from a box, and is ours alone now.
        (!old.is_null()).then(|| *unsafe { Box::from_raw(old) })
    }
}

impl<T> Drop for AtomicOption<T> {
    fn drop(&mut self) {
        drop(self.exchange(None));
    }
}

impl<T> Default for AtomicOption<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T> From<Option<T>> for AtomicOption<T> {
    fn from(value: Option<T>) -> Self {
        Self::new(value)
    }
}

impl<T> fmt::Debug for AtomicOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() {
            "AtomicOption(None)"
        } else {
            "AtomicOption(Some(..))"
        })
    }
}
