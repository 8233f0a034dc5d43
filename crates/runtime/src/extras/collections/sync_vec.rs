//! A vector that many may share: std's, behind one reader-writer lock.

use super::guards::{Element, ElementMut, Ref, RefMut, Walk, read, write};
use std::fmt;
use std::sync::RwLock;

/// A vector that may be used through a shared reference. Guards and iterators keep its lock: readers side by side, a
/// writer alone.
///
/// # Blocking
/// Every method but the consuming ones waits for its lock: parks the coroutine through the hooks (without the feature
/// `interpose` it blocks the worker, and a guard must not be held across a wait). To hold a guard and to change the
/// vector in the same coroutine is a deadlock.
///
/// # Cancellation
/// Does not interrupt the wait.
///
/// # Examples
/// ```
/// use silken::collections::SyncVec;
/// let words = SyncVec::new();
/// silken::scope(|s| {
///     for word in ["a", "b"] {
///         let words = &words;
///         s.spawn(move || words.push(word));
///     }
/// });
/// assert_eq!(words.len(), 2);
/// assert!(words.iter().any(|word| *word == "b"));
/// assert!(words.get(2).is_none());
/// ```
pub struct SyncVec<T>(RwLock<Vec<T>>);

impl<T> SyncVec<T> {
    /// An empty vector.
    pub const fn new() -> Self {
        Self(RwLock::new(Vec::new()))
    }

    /// An empty vector with room for so many.
    pub fn with_capacity(capacity: usize) -> Self {
        Vec::with_capacity(capacity).into()
    }

    /// Appends; returns the element's index.
    pub fn push(&self, value: T) -> usize {
        let mut vector = write(&self.0);
        vector.push(value);
        vector.len() - 1
    }

    /// Takes the last element out.
    pub fn pop(&self) -> Option<T> {
        write(&self.0).pop()
    }

    /// Puts an element before the one at `index`.
    ///
    /// # Panics
    /// When `index` is beyond the end.
    #[track_caller]
    pub fn insert(&self, index: usize, value: T) {
        write(&self.0).insert(index, value);
    }

    /// Takes the element at `index` out, if there is one; those behind it move up.
    pub fn remove(&self, index: usize) -> Option<T> {
        let mut vector = write(&self.0);
        (index < vector.len()).then(|| vector.remove(index))
    }

    /// Puts another value at `index` and returns the old one; `None` drops the new one when there is nothing at
    /// `index`.
    pub fn replace(&self, index: usize, value: T) -> Option<T> {
        write(&self.0).get_mut(index).map(|old| std::mem::replace(old, value))
    }

    /// The element at `index`, to look at.
    pub fn get(&self, index: usize) -> Option<Ref<'_, Vec<T>, T>> {
        Ref::find(read(&self.0), |vector| vector.get(index))
    }

    /// The element at `index`, to change.
    pub fn get_mut(&self, index: usize) -> Option<RefMut<'_, Vec<T>, T>> {
        RefMut::find(write(&self.0), |vector| vector.get_mut(index))
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        read(&self.0).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all elements, after the lock is free again.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *write(&self.0));
        drop(all);
    }

    /// Gives back what memory it can.
    pub fn shrink_to_fit(&self) {
        write(&self.0).shrink_to_fit();
    }

    /// The elements in order, under the reader's lock until the iterator and its items are gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(Walk::read(read(&self.0), |vector| vector.iter()))
    }

    /// The elements in order, to change, under the writer's lock until the iterator and its items are gone.
    pub fn iter_mut(&self) -> IterMut<'_, T> {
        IterMut(Walk::write(write(&self.0), |vector| vector.iter_mut()))
    }

    /// The plain vector.
    pub fn into_inner(self) -> Vec<T> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The elements of a [`SyncVec`].
pub struct Iter<'a, T>(Walk<'a, std::slice::Iter<'a, T>>);

/// The elements of a [`SyncVec`], to change.
pub struct IterMut<'a, T>(Walk<'a, std::slice::IterMut<'a, T>>);

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = Element<'a, T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_element()
    }
}

impl<'a, T> Iterator for IterMut<'a, T> {
    type Item = ElementMut<'a, T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_element_mut()
    }
}

impl<'a, T> IntoIterator for &'a SyncVec<T> {
    type Item = Element<'a, T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for SyncVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_inner().into_iter()
    }
}

impl<T> From<Vec<T>> for SyncVec<T> {
    fn from(vector: Vec<T>) -> Self {
        Self(RwLock::new(vector))
    }
}

impl<T> FromIterator<T> for SyncVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl<T> Default for SyncVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for SyncVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        read(&self.0).fmt(f)
    }
}
