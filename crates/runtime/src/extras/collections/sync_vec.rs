//! How can many coroutines share a vector? This is std's vector, behind one reader-writer lock.

use super::guards::{Element, ElementMut, Ref, RefMut, Walk, read, write};
use std::fmt;
use std::sync::RwLock;

/// A vector that may be used through a shared reference. Guards and iterators hold its lock: any number of readers at a
/// time, or one writer.
///
/// # Blocking
/// Every method waits for the lock, except those that consume the vector. Through the hooks the wait parks the
/// coroutine. Without the feature `interpose` it blocks the worker, and a guard must not be held across a wait. A
/// coroutine that holds a guard and changes the vector waits for itself: a deadlock.
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
    /// Makes an empty vector.
    pub const fn new() -> Self {
        Self(RwLock::new(Vec::new()))
    }

    /// Makes an empty vector with room for `capacity` elements.
    pub fn with_capacity(capacity: usize) -> Self {
        Vec::with_capacity(capacity).into()
    }

    /// Appends an element; returns its index.
    pub fn push(&self, value: T) -> usize {
        let mut vector = write(&self.0);
        vector.push(value);
        vector.len() - 1
    }

    /// Removes the last element and returns it, if there is one.
    pub fn pop(&self) -> Option<T> {
        write(&self.0).pop()
    }

    /// Inserts an element before the one at `index`; at the length, it appends.
    ///
    /// # Panics
    /// If `index` is beyond the end.
    #[track_caller]
    pub fn insert(&self, index: usize, value: T) {
        write(&self.0).insert(index, value);
    }

    /// Removes the element at `index` and returns it, if there is one. The elements behind it move up.
    pub fn remove(&self, index: usize) -> Option<T> {
        let mut vector = write(&self.0);
        (index < vector.len()).then(|| vector.remove(index))
    }

    /// Replaces the value at `index`, and returns the old one. If there is nothing at `index`, the new value is dropped
    /// and the result is `None`.
    ///
    /// # Examples
    /// ```
    /// use silken::collections::SyncVec;
    /// let words = SyncVec::from(vec!["a", "b"]);
    /// assert_eq!(words.replace(1, "c"), Some("b"));
    /// assert_eq!(words.remove(7), None);
    /// assert_eq!(words.into_inner(), ["a", "c"]);
    /// ```
    pub fn replace(&self, index: usize, value: T) -> Option<T> {
        write(&self.0).get_mut(index).map(|old| std::mem::replace(old, value))
    }

    /// Returns the element at `index`, locked for reading while the guard lives; `None` if there is none.
    pub fn get(&self, index: usize) -> Option<Ref<'_, Vec<T>, T>> {
        Ref::find(read(&self.0), |vector| vector.get(index))
    }

    /// Returns the element at `index`, locked for writing while the guard lives; `None` if there is none.
    pub fn get_mut(&self, index: usize) -> Option<RefMut<'_, Vec<T>, T>> {
        RefMut::find(write(&self.0), |vector| vector.get_mut(index))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        read(&self.0).len()
    }

    /// Whether the vector is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all elements. They are dropped after the lock is free again.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *write(&self.0));
        drop(all);
    }

    /// Frees as much unused memory as possible.
    pub fn shrink_to_fit(&self) {
        write(&self.0).shrink_to_fit();
    }

    /// Iterates over the elements in order. The vector is locked for reading until the iterator and its items are gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(Walk::read(read(&self.0), |vector| vector.iter()))
    }

    /// Iterates over the elements in order, to change them. The vector is locked for writing until the iterator and its
    /// items are gone.
    pub fn iter_mut(&self) -> IterMut<'_, T> {
        IterMut(Walk::write(write(&self.0), |vector| vector.iter_mut()))
    }

    /// Returns the plain vector.
    pub fn into_inner(self) -> Vec<T> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An iterator over the elements of a [`SyncVec`].
pub struct Iter<'a, T>(Walk<'a, std::slice::Iter<'a, T>>);

/// An iterator over the elements of a [`SyncVec`], to change them.
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
