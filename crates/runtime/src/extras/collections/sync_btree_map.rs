//! How can many coroutines share an ordered map? This is std's map, behind one reader-writer lock.
//!
//! Rejected: `crossbeam-skiplist`. It reads without a lock, but uses a thread-local epoch to know when a node may be
//! freed. A light coroutine that waits while it holds an entry would pin the epoch of its worker, and so all garbage.

use super::guards::{Entry, EntryMut, Ref, RefMut, Walk, read, write};
use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::RwLock;

/// An ordered map that may be used through a shared reference. Guards and iterators hold its lock: any number of
/// readers at a time, or one writer.
///
/// # Blocking
/// Every method waits for the lock, except those that consume the map. Through the hooks the wait parks the coroutine.
/// Without the feature `interpose` it blocks the worker, and a guard must not be held across a wait. A coroutine that
/// holds a guard and changes the map waits for itself: a deadlock.
///
/// # Cancellation
/// Does not interrupt the wait.
///
/// # Examples
/// ```
/// use silken::collections::SyncBtreeMap;
/// let ages = SyncBtreeMap::new();
/// ages.insert("b", 2);
/// ages.insert("a", 1);
/// *ages.get_mut("a").unwrap() += 10;
/// let all: Vec<_> = ages.iter().map(|entry| (*entry.key(), *entry.value())).collect();
/// assert_eq!(all, [("a", 11), ("b", 2)]);
/// ```
pub struct SyncBtreeMap<K, V>(RwLock<BTreeMap<K, V>>);

impl<K, V> SyncBtreeMap<K, V> {
    /// Makes an empty map.
    pub const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        read(&self.0).len()
    }

    /// Whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all keys and values. They are dropped after the lock is free again.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *write(&self.0));
        drop(all);
    }

    /// Does nothing: a tree has no spare memory. cogo's maps have this method.
    pub fn shrink_to_fit(&self) {}

    /// Iterates over the entries in the order of their keys. The map is locked for reading until the iterator and its
    /// items are gone.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(Walk::read(read(&self.0), |map| map.iter()))
    }

    /// Iterates over the entries in the order of their keys, to change the values. The map is locked for writing until
    /// the iterator and its items are gone.
    ///
    /// # Examples
    /// ```
    /// use silken::collections::SyncBtreeMap;
    /// let ages: SyncBtreeMap<_, _> = [("a", 1), ("b", 2)].into_iter().collect();
    /// ages.iter_mut().for_each(|mut age| *age += 10);
    /// assert_eq!(ages.remove("b"), Some(12));
    /// ```
    pub fn iter_mut(&self) -> IterMut<'_, K, V> {
        IterMut(Walk::write(write(&self.0), |map| map.iter_mut()))
    }

    /// Returns the plain map.
    pub fn into_inner(self) -> BTreeMap<K, V> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<K: Ord, V> SyncBtreeMap<K, V> {
    /// Sets the value of a key; returns the old value, if there was one. The key itself is not replaced then.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        write(&self.0).insert(key, value)
    }

    /// Removes a key; returns its value, if the key was there.
    pub fn remove<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        write(&self.0).remove(key)
    }

    /// Whether the key is in the map.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        read(&self.0).contains_key(key)
    }

    /// Returns the value of a key, locked for reading while the guard lives; `None` if the key is not there.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Ref<'_, BTreeMap<K, V>, V>>
    where
        K: Borrow<Q>,
    {
        Ref::find(read(&self.0), |map| map.get(key))
    }

    /// Returns the value of a key, locked for writing while the guard lives; `None` if the key is not there.
    pub fn get_mut<Q: Ord + ?Sized>(&self, key: &Q) -> Option<RefMut<'_, BTreeMap<K, V>, V>>
    where
        K: Borrow<Q>,
    {
        RefMut::find(write(&self.0), |map| map.get_mut(key))
    }
}

/// An iterator over the entries of a [`SyncBtreeMap`].
pub struct Iter<'a, K, V>(Walk<'a, btree_map::Iter<'a, K, V>>);

/// An iterator over the entries of a [`SyncBtreeMap`], to change the values.
pub struct IterMut<'a, K, V>(Walk<'a, btree_map::IterMut<'a, K, V>>);

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = Entry<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_entry()
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = EntryMut<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_entry_mut()
    }
}

impl<'a, K, V> IntoIterator for &'a SyncBtreeMap<K, V> {
    type Item = Entry<'a, K, V>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K, V> IntoIterator for SyncBtreeMap<K, V> {
    type Item = (K, V);
    type IntoIter = btree_map::IntoIter<K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_inner().into_iter()
    }
}

impl<K, V> From<BTreeMap<K, V>> for SyncBtreeMap<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        Self(RwLock::new(map))
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SyncBtreeMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        BTreeMap::from_iter(entries).into()
    }
}

impl<K, V> Default for SyncBtreeMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SyncBtreeMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        read(&self.0).fmt(f)
    }
}
