//! How a value is made once and then shared: `OnceLock` and `LazyLock`, each a [`Once`] beside the value.
//!
//! The whole protocol: the value is written while the `Once` runs, and read only after the `Once` is complete.

use super::once::Once;
use crate::loom::const_unless_loom;
use crate::wait::{deadline_after, deadline_at};
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// A value that is set once, by the first caller: [`std::sync::OnceLock`] with cancellation.
///
/// # Examples
/// ```
/// use silken::sync::OnceLock;
/// static NAME: OnceLock<String> = OnceLock::new();
/// assert_eq!(NAME.get_or_init(|| "first".to_owned()), "first");
/// assert_eq!(NAME.set("second".to_owned()), Err("second".to_owned()));
/// ```
pub struct OnceLock<T> {
    once: Once,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: S2: the value may be made by one thread and dropped by another.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: S2: as above, and it is shared.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: std::panic::RefUnwindSafe + std::panic::UnwindSafe> std::panic::RefUnwindSafe for OnceLock<T> {}
impl<T: std::panic::UnwindSafe> std::panic::UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_unless_loom! {
        /// Makes a cell without a value.
        #[must_use]
        pub fn new() -> Self {
            Self {
                once: Once::new(),
                value: UnsafeCell::new(MaybeUninit::uninit()),
            }
        }
    }

    /// A reference to the value, if it is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: S2: complete: written, and not changed while it is shared.
        self.once.is_completed().then(|| unsafe { self.get_unchecked() })
    }

    /// An exclusive reference to the value, if it is set.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: S2: complete, so it was written, and we have it to ourselves.
        Some(unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Sets the value, unless there is one.
    ///
    /// # Blocking
    /// While another caller makes the value, parks the calling coroutine (wait reason `Once`), or blocks the calling OS
    /// thread.
    ///
    /// # Errors
    /// If there is a value already; the error holds the new value.
    ///
    /// # Examples
    /// ```
    /// let cell = silken::sync::OnceLock::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// assert_eq!(cell.get(), Some(&1));
    /// ```
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("taken once"));
        value.map_or(Ok(()), Err)
    }

    /// Returns the value; the closure makes it if it is not set. Use of the cell from within the closure deadlocks.
    ///
    /// # Blocking
    /// While another caller makes the value, parks the calling coroutine (wait reason `Once`), or blocks the calling OS
    /// thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds. If the caller that makes the value is
    /// cancelled, or panics, the next caller makes it.
    ///
    /// # Panics
    /// If the closure panics.
    ///
    /// # Examples
    /// ```
    /// let cell = silken::sync::OnceLock::new();
    /// assert_eq!(cell.get_or_init(|| 1), &1);
    /// assert_eq!(cell.get_or_init(|| unreachable!()), &1);
    /// ```
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        if !self.once.is_completed() {
            self.once.call_once_force(|_| {
                let value = f();
                // SAFETY: S2: one at a time runs, before anybody reads.
                let place = unsafe { &mut *self.value.get() };
                place.write(value);
            });
        }
        // SAFETY: S2: complete: written, and not changed while it is shared.
        unsafe { self.get_unchecked() }
    }

    /// Waits until another caller has set the value.
    ///
    /// # Blocking
    /// Parks the calling coroutine (wait reason `Once`), or blocks the calling OS thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::OnceLock;
    /// static ANSWER: OnceLock<u32> = OnceLock::new();
    /// silken::spawn(|| ANSWER.set(42).unwrap());
    /// assert_eq!(ANSWER.wait(), &42);
    /// ```
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        // SAFETY: S2: complete: written, and not changed while it is shared.
        unsafe { self.get_unchecked() }
    }

    /// As [`wait`](Self::wait), but waits for at most `timeout`; `None` if it passes first.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::OnceLock;
    /// use std::time::Duration;
    /// let cell = OnceLock::<u32>::new();
    /// assert_eq!(cell.wait_timeout(Duration::from_millis(1)), None);
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        self.once.await_completion(Some(deadline_after(timeout)), false);
        self.get()
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`; `None` if that comes first.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::OnceLock;
    /// use std::time::{Duration, Instant};
    /// let cell = OnceLock::from(1);
    /// assert_eq!(cell.wait_deadline(Instant::now() + Duration::from_millis(1)), Some(&1));
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> Option<&T> {
        self.once.await_completion(Some(deadline_at(deadline)), false);
        self.get()
    }

    /// Consumes the cell and returns the value, if it is set.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Takes the value out, so that it can be set again.
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        self.once = Once::new();
        // SAFETY: S2: it was complete, so it was written; now nobody takes it for written any more.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// # Safety
    /// The `Once` is complete (S2).
    #[inline]
    unsafe fn get_unchecked(&self) -> &T {
        // SAFETY: S2: complete, so nobody writes.
        let value = unsafe { &*self.value.get() };
        // SAFETY: S2: complete, so it was written.
        unsafe { value.assume_init_ref() }
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        let lock = Self::new();
        // The cell is new, so the value is set.
        let _ = lock.set(value);
        lock
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        self.get().cloned().map_or_else(Self::new, Self::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}

/// A value that is made when it is first used: [`std::sync::LazyLock`] with cancellation.
///
/// # Examples
/// ```
/// use silken::sync::LazyLock;
/// static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..5).map(|i| i * i).collect());
/// assert_eq!(SQUARES[3], 9);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    content: UnsafeCell<OnceContent<T, F>>,
}

/// What a `LazyLock` holds. While the `Once` runs, the content belongs to the runner.
enum OnceContent<T, F> {
    Maker(F),
    Value(T),
    /// The maker was called, and returned no value.
    Nothing,
}

// SAFETY: S2: maker and value may be used and dropped by another thread than made them.
unsafe impl<T: Send, F: Send> Send for LazyLock<T, F> {}
// SAFETY: S2: the value is shared; the maker is used by one, whoever comes first.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T: std::panic::UnwindSafe, F: std::panic::UnwindSafe> std::panic::UnwindSafe for LazyLock<T, F> {}
impl<T: std::panic::RefUnwindSafe + std::panic::UnwindSafe, F: std::panic::UnwindSafe> std::panic::RefUnwindSafe
    for LazyLock<T, F>
{
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_unless_loom! {
        /// Makes a value that `f` computes at the first use.
        ///
        /// # Examples
        /// ```
        /// use silken::sync::LazyLock;
        /// let (two, mut made) = (2, false);
        /// let value = LazyLock::new(|| {
        ///     made = true;
        ///     two + two
        /// });
        /// assert_eq!(*value, 4);
        /// drop(value);
        /// assert!(made);
        /// ```
        pub fn new(f: F) -> Self {
            Self {
                once: Once::new(),
                content: UnsafeCell::new(OnceContent::Maker(f)),
            }
        }
    }

    /// Returns the value, and makes it first if that has not been done.
    ///
    /// # Blocking
    /// While another caller makes the value, parks the calling coroutine (wait reason `Once`), or blocks the calling OS
    /// thread.
    ///
    /// # Cancellation
    /// If the call has to wait and the coroutine is cancelled, it unwinds.
    ///
    /// # Panics
    /// If the closure panics. Also if it was called before and did not return, because it panicked or its coroutine was
    /// cancelled: it cannot be called again.
    ///
    /// # Examples
    /// ```
    /// use silken::sync::LazyLock;
    /// let value = LazyLock::new(|| 7);
    /// assert_eq!(LazyLock::force(&value), &7);
    /// ```
    #[inline]
    pub fn force(this: &Self) -> &T {
        this.once.call_once(|| this.make());
        // SAFETY: S2: complete, so nobody writes.
        match unsafe { &*this.content.get() } {
            OnceContent::Value(value) => value,
            _ => unreachable!("complete without a value"),
        }
    }

    #[cold]
    fn make(&self) {
        // SAFETY: S2: one at a time runs, before anybody reads.
        let content = unsafe { &mut *self.content.get() };
        let OnceContent::Maker(f) = std::mem::replace(content, OnceContent::Nothing) else {
            panic!("LazyLock instance has previously been poisoned");
        };
        let value = f();
        *content = OnceContent::Value(value);
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("LazyLock");
        match self.once.is_completed() {
            // SAFETY: S2: complete, so nobody writes.
            true => match unsafe { &*self.content.get() } {
                OnceContent::Value(value) => tuple.field(value),
                _ => &mut tuple,
            },
            false => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}
