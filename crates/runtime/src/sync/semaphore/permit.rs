//! Permits that were taken: they go back when they are dropped.

use super::Semaphore;
use std::sync::Arc;

/// Permits of a [`Semaphore`]; dropping the value gives them back. The context that drops it need not be the one that
/// took the permits.
///
/// # Examples
/// ```
/// let semaphore = silken::sync::Semaphore::new(3);
/// let permit = semaphore.acquire_many(2).unwrap();
/// assert_eq!((permit.num_permits(), semaphore.available_permits()), (2, 1));
/// drop(permit);
/// assert_eq!(semaphore.available_permits(), 3);
/// ```
#[must_use = "if unused the permits are given back at once"]
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    pub(super) semaphore: &'a Semaphore,
    pub(super) permits: usize,
}

impl SemaphorePermit<'_> {
    /// Keeps the permits from the semaphore for good; [`Semaphore::add_permits`] adds new ones in their place.
    pub fn forget(self) {
        std::mem::forget(self);
    }

    /// The number of permits that this value holds.
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.permits
    }
}

/// A [`SemaphorePermit`] that owns an `Arc` of the semaphore: see [`Semaphore::acquire_owned`].
///
/// # Examples
/// ```
/// use silken::sync::{Arc, OwnedSemaphorePermit, Semaphore};
/// let limit = Arc::new(Semaphore::new(2));
/// let permit: OwnedSemaphorePermit = limit.clone().acquire_owned().unwrap();
/// silken::spawn(move || drop(permit)).join().unwrap();
/// assert_eq!(limit.available_permits(), 2);
/// ```
#[derive(Debug)]
pub struct OwnedSemaphorePermit {
    pub(super) semaphore: Arc<Semaphore>,
    pub(super) permits: usize,
}

impl OwnedSemaphorePermit {
    /// Keeps the permits from the semaphore for good; [`Semaphore::add_permits`] adds new ones in their place.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// The number of permits that this value holds.
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.permits
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.permits);
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.add_permits(self.permits);
    }
}
