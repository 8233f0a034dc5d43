//! How can many coroutines share a hash map without one lock for all keys? The map consists of `hashbrown` tables, each
//! behind a reader-writer lock of its own.
//!
//! A key's hash chooses the shard by bits that hashbrown does not use: it takes the low ones for the place, and the top
//! seven for the tag. So one hash serves both. Operations on keys in different shards never wait for each other.
//! Operations that must see all shards (`len`, `iter`, …) take the locks one after the other, never two at once. So
//! they see each shard at a different moment.

use super::guards::{Entry, EntryMut, Ref, RefMut, Walk, read, write};
use hashbrown::hash_table::{self, HashTable};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{PoisonError, RwLock};

/// Several times the number of busy cores of a large machine; a power of two. A guess: it makes an empty map cost 2
/// KiB.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 5;
/// Below hashbrown's tag.
const SHARD_SHIFT: u32 = u64::BITS - 7 - SHARD_BITS;

/// A key and its value as a table stores them.
type Slot<K, V> = (K, V);
/// The part that a guard of a [`SyncHashMap`] locks: a shard.
pub(crate) type Shard<K, V> = HashTable<Slot<K, V>>;

/// Aligned so that neighbours do not share a cache line.
#[repr(align(64))]
struct Padded<T>(T);

type LockedShard<K, V> = Padded<RwLock<Shard<K, V>>>;

/// A shared reference to a value of a [`SyncHashMap`]; its shard of the map cannot be changed while this lives. It
/// dereferences to the value.
///
/// # Examples
/// ```
/// use silken::collections::{MapRef, SyncHashMap};
/// let ages: SyncHashMap<_, _> = [("ada", 36)].into_iter().collect();
/// let age: MapRef<'_, &str, i32> = ages.get("ada").unwrap();
/// assert_eq!((*age.key(), *age), ("ada", 36));
/// ```
pub struct MapRef<'a, K, V>(Ref<'a, Shard<K, V>, Slot<K, V>>);

/// A mutable reference to a value of a [`SyncHashMap`]; no other code can reach its shard of the map while this lives.
/// It dereferences to the value.
///
/// # Examples
/// ```
/// use silken::collections::{MapRefMut, SyncHashMap};
/// let ages: SyncHashMap<_, _> = [("ada", 36)].into_iter().collect();
/// let mut age: MapRefMut<'_, &str, i32> = ages.get_mut("ada").unwrap();
/// *age += 1;
/// drop(age); // unlocks the shard
/// assert_eq!(*ages.get("ada").unwrap(), 37);
/// ```
pub struct MapRefMut<'a, K, V>(RefMut<'a, Shard<K, V>, Slot<K, V>>);

/// A hash map that may be used through a shared reference.
///
/// It consists of shards, each with a lock of its own. Guards and iterators hold the lock of their shard.
///
/// # Blocking
/// Every method waits for the lock of a shard, except those that consume the map. Through the hooks the wait parks the
/// coroutine. Without the feature `interpose` it blocks the worker, and a guard must not be held across a wait. A
/// coroutine that holds a guard and changes the map may wait for itself, for the keys may share a shard: a deadlock.
/// Even a read may deadlock then, if a third coroutine waits to write.
///
/// # Cancellation
/// Does not interrupt the wait.
///
/// # Examples
/// ```
/// use silken::collections::SyncHashMap;
/// let hits = SyncHashMap::new();
/// silken::scope(|s| {
///     for worker in 0..4 {
///         let hits = &hits;
///         s.spawn(move || *hits.get_or_insert_with(worker % 2, || 0) += 1);
///     }
/// });
/// assert_eq!(*hits.get(&1).unwrap(), 2);
/// assert_eq!(hits.remove(&0), Some(2));
/// assert_eq!(hits.len(), 1);
/// ```
pub struct SyncHashMap<K, V, S = RandomState> {
    shards: Box<[LockedShard<K, V>]>,
    hasher: S,
}

impl<K, V> SyncHashMap<K, V> {
    /// Makes an empty map.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// Makes an empty map with room for `capacity` keys, if they spread evenly.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, RandomState::new())
    }
}

impl<K, V, S> SyncHashMap<K, V, S> {
    /// Makes an empty map that uses this hasher.
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_capacity_and_hasher(0, hasher)
    }

    /// Makes an empty map that uses this hasher, with room for `capacity` keys, if they spread evenly.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        let shard = |_| Padded(RwLock::new(HashTable::with_capacity(capacity.div_ceil(SHARDS))));
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher,
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard<K, V>> {
        &self.shards[(hash >> SHARD_SHIFT) as usize % SHARDS].0
    }

    /// Number of keys; other coroutines may change it at the same time.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(&shard.0).len()).sum()
    }

    /// Whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| read(&shard.0).is_empty())
    }

    /// Removes all keys and values. Those of a shard are dropped after its lock is free again.
    pub fn clear(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *write(&shard.0));
            drop(all);
        }
    }

    /// Iterates over the entries in no particular order. A shard is locked for reading while the iterator is in it or
    /// an item of it lives.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            shards: self.shards.iter(),
            walk: None,
        }
    }

    /// Iterates over the entries in no particular order, to change the values. A shard is locked for writing while the
    /// iterator is in it or an item of it lives.
    pub fn iter_mut(&self) -> IterMut<'_, K, V> {
        IterMut {
            shards: self.shards.iter(),
            walk: None,
        }
    }

    /// Keeps only the entries for which `keep` returns `true`. A shard is locked for writing while `keep` is called for
    /// its entries, so `keep` must not use this map.
    ///
    /// # Examples
    /// ```
    /// use silken::collections::SyncHashMap;
    /// let squares: SyncHashMap<_, _> = (0..10).map(|n| (n, n * n)).collect();
    /// squares.retain(|_, square| *square > 50);
    /// assert_eq!(squares.len(), 2);
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for shard in &self.shards {
            write(&shard.0).retain(|(key, value)| keep(key, value));
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> SyncHashMap<K, V, S> {
    /// Sets the value of a key; returns the old value, if there was one. The key itself is not replaced then.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let mut shard = write(self.shard(hash));
        match shard.find_mut(hash, |(other, _)| *other == key) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                shard.insert_unique(hash, (key, value), |(key, _)| self.hasher.hash_one(key));
                None
            }
        }
    }

    /// Removes a key; returns its value, if the key was there.
    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = write(self.shard(hash));
        let found = shard.find_entry(hash, |(other, _)| other.borrow() == key).ok()?;
        let ((removed, value), _) = found.remove();
        drop(shard);
        drop(removed);
        Some(value)
    }

    /// Whether the key is in the map.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Returns the value of a key; its shard is locked for reading while the guard lives. `None` if the key is not
    /// there.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<MapRef<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = read(self.shard(hash));
        Ref::find(shard, |shard| shard.find(hash, |(other, _)| other.borrow() == key)).map(MapRef)
    }

    /// Returns the value of a key; its shard is locked for writing while the guard lives. `None` if the key is not
    /// there.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<MapRefMut<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = write(self.shard(hash));
        RefMut::find(shard, |shard| shard.find_mut(hash, |(other, _)| other.borrow() == key)).map(MapRefMut)
    }

    /// Returns the value of a key, to change it. If there is none, `make` makes it. This is one step: no other code
    /// sees the map in between. `make` runs under the lock of the shard, so it must not use this map.
    ///
    /// # Panics
    /// With the panic of `make`; then the key is not in the map.
    ///
    /// # Examples
    /// ```
    /// use silken::collections::SyncHashMap;
    /// let counts = SyncHashMap::new();
    /// for word in ["a", "b", "a"] {
    ///     *counts.get_or_insert_with(word, || 0) += 1;
    /// }
    /// assert_eq!(*counts.get("a").unwrap(), 2);
    /// ```
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> MapRefMut<'_, K, V> {
        let hash = self.hasher.hash_one(&key);
        let shard = write(self.shard(hash));
        let slot = RefMut::find(shard, |shard| {
            let entry = shard.entry(hash, |(other, _)| *other == key, |(key, _)| self.hasher.hash_one(key));
            let occupied = match entry {
                hash_table::Entry::Occupied(occupied) => occupied,
                hash_table::Entry::Vacant(vacant) => vacant.insert((key, make())),
            };
            Some(occupied.into_mut())
        });
        MapRefMut(slot.expect("found or made"))
    }

    /// Frees as much unused memory as possible.
    pub fn shrink_to_fit(&self) {
        for shard in &self.shards {
            write(&shard.0).shrink_to_fit(|(key, _)| self.hasher.hash_one(key));
        }
    }
}

impl<K, V> MapRef<'_, K, V> {
    /// The key as it lies in the map.
    pub fn key(&self) -> &K {
        &self.0.0
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.0.1
    }
}

impl<K, V> MapRefMut<'_, K, V> {
    /// The key as it lies in the map.
    pub fn key(&self) -> &K {
        &self.0.0
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.0.1
    }

    /// The value, to change.
    pub fn value_mut(&mut self) -> &mut V {
        &mut self.0.1
    }
}

impl<K, V> std::ops::Deref for MapRef<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value()
    }
}

impl<K, V> std::ops::Deref for MapRefMut<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value()
    }
}

impl<K, V> std::ops::DerefMut for MapRefMut<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        self.value_mut()
    }
}

impl<K, V: fmt::Debug> fmt::Debug for MapRef<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl<K, V: fmt::Debug> fmt::Debug for MapRefMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

/// A table's iterator that turns slots into pairs of references.
type Split<I, P> = std::iter::Map<I, fn(<I as Iterator>::Item) -> P>;
type ShardIter<'a, K, V> = Split<hash_table::Iter<'a, Slot<K, V>>, (&'a K, &'a V)>;
type ShardIterMut<'a, K, V> = Split<hash_table::IterMut<'a, Slot<K, V>>, (&'a K, &'a mut V)>;

/// An iterator over the entries of a [`SyncHashMap`].
pub struct Iter<'a, K, V> {
    shards: std::slice::Iter<'a, LockedShard<K, V>>,
    walk: Option<Walk<'a, ShardIter<'a, K, V>>>,
}

/// An iterator over the entries of a [`SyncHashMap`], to change the values.
pub struct IterMut<'a, K, V> {
    shards: std::slice::Iter<'a, LockedShard<K, V>>,
    walk: Option<Walk<'a, ShardIterMut<'a, K, V>>>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = Entry<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.walk.as_mut().and_then(Walk::next_entry) {
                return Some(entry);
            }
            // The shard behind us is let go before the next is locked.
            self.walk = None;
            let lock = &self.shards.next()?.0;
            let split: fn(&'a Slot<K, V>) -> (&'a K, &'a V) = |(key, value)| (key, value);
            self.walk = Some(Walk::read(read(lock), |shard| shard.iter().map(split)));
        }
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = EntryMut<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.walk.as_mut().and_then(Walk::next_entry_mut) {
                return Some(entry);
            }
            // The shard behind us is let go before the next is locked.
            self.walk = None;
            let lock = &self.shards.next()?.0;
            let split: fn(&'a mut Slot<K, V>) -> (&'a K, &'a mut V) = |(key, value)| (&*key, value);
            self.walk = Some(Walk::write(write(lock), |shard| shard.iter_mut().map(split)));
        }
    }
}

impl<'a, K, V, S> IntoIterator for &'a SyncHashMap<K, V, S> {
    type Item = Entry<'a, K, V>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K, V, S> IntoIterator for SyncHashMap<K, V, S> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        IntoIter {
            shards: self.shards.into_vec().into_iter(),
            shard: HashTable::new().into_iter(),
        }
    }
}

/// An iterator over the entries of a [`SyncHashMap`] that it has consumed.
pub struct IntoIter<K, V> {
    shards: std::vec::IntoIter<LockedShard<K, V>>,
    shard: hash_table::IntoIter<Slot<K, V>>,
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(slot) = self.shard.next() {
                return Some(slot);
            }
            let lock = self.shards.next()?.0;
            self.shard = lock.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Extend<(K, V)> for SyncHashMap<K, V, S> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> FromIterator<(K, V)> for SyncHashMap<K, V, S> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> From<HashMap<K, V>> for SyncHashMap<K, V, S> {
    fn from(map: HashMap<K, V>) -> Self {
        map.into_iter().collect()
    }
}

impl<K, V, S: Default> Default for SyncHashMap<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for SyncHashMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in self {
            map.entry(entry.key(), entry.value());
        }
        map.finish()
    }
}
