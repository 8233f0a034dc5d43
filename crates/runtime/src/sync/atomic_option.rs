//! `AtomicOption`: a place for one value, filled and emptied by anybody.
//!
//! The value is boxed, and the word is its address: each operation swaps the word, so a value has one owner at any
//! time, and nobody looks at one that another may free.

use crate::loom::atomic::{AtomicPtr, Ordering};
use std::fmt;
use std::marker::PhantomData;
use std::ptr;

/// An `Option` that is filled and emptied atomically. Nothing here waits.
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
        /// An empty place.
        #[must_use]
        pub fn none() -> Self {
            Self {
                value: AtomicPtr::new(ptr::null_mut()),
                owns: PhantomData,
            }
        }
    }

    /// A place with a value.
    #[must_use]
    pub fn some(value: T) -> Self {
        Self::new(Some(value))
    }

    /// A place with or without a value.
    #[must_use]
    pub fn new(value: Option<T>) -> Self {
        let place = Self::none();
        place.exchange(value);
        place
    }

    /// Takes the value out.
    #[inline]
    pub fn take(&self) -> Option<T> {
        if self.is_none() { None } else { self.exchange(None) }
    }

    /// Puts a value in, and takes out the one that was there.
    pub fn swap(&self, value: T) -> Option<T> {
        self.exchange(Some(value))
    }

    /// Puts a value in, and drops the one that was there.
    pub fn store(&self, value: T) {
        drop(self.exchange(Some(value)));
    }

    /// Whether it is empty at this moment.
    #[inline]
    #[must_use]
    pub fn is_none(&self) -> bool {
        // Relaxed: a hint; nothing is read on the strength of it.
        self.value.load(Ordering::Relaxed).is_null()
    }

    /// Whether it is filled at this moment.
    #[inline]
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.is_none()
    }

    /// The value.
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
