//! A hash map that many may share: `hashbrown` tables, each behind a reader-writer lock of its own.
//!
//! A key's hash chooses the shard by bits that hashbrown uses for nothing (it takes the low ones for the place, the top
//! seven for the tag), so one hash serves both. Two keys in different shards never wait for each other. What has to see
//! all shards (`len`, `iter`, …) takes their locks one after the other, never two at once: it sees each shard at a
//! moment of its own.

use super::guards::{Entry, EntryMut, Ref, RefMut, Walk, read, write};
use hashbrown::hash_table::{self, HashTable};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{PoisonError, RwLock};

/// Several times the cores of a large machine's busy part; a power of two. A guess: an empty map costs 2 KiB with it.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 5;
/// Below hashbrown's tag.
const SHARD_SHIFT: u32 = u64::BITS - 7 - SHARD_BITS;

/// A key and its value as they lie in a table.
type Slot<K, V> = (K, V);
/// What a guard of a [`SyncHashMap`] locks: a shard.
pub(crate) type Shard<K, V> = HashTable<Slot<K, V>>;

/// So that neighbours do not share a cache line.
#[repr(align(64))]
struct Padded<T>(T);

type LockedShard<K, V> = Padded<RwLock<Shard<K, V>>>;

/// A value of a [`SyncHashMap`], to look at; its shard of the map cannot be changed while this lives.
pub struct MapRef<'a, K, V>(Ref<'a, Shard<K, V>, Slot<K, V>>);

/// A value of a [`SyncHashMap`], to change; nobody else sees its shard of the map while this lives.
pub struct MapRefMut<'a, K, V>(RefMut<'a, Shard<K, V>, Slot<K, V>>);

/// A hash map that may be used through a shared reference.
///
/// It consists of shards, each with a lock of its own. Guards and iterators keep the lock of their shard.
///
/// # Blocking
/// Every method but the consuming ones waits for the lock of a shard: parks the coroutine through the hooks (without
/// the feature `interpose` it blocks the worker, and a guard must not be held across a wait). To hold a guard and to
/// change the map in the same coroutine may be a deadlock, for the keys may share a shard; even to read it may be one
/// while a third waits to write.
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
    /// An empty map.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty map with room for so many keys, if they spread evenly.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, RandomState::new())
    }
}

impl<K, V, S> SyncHashMap<K, V, S> {
    /// An empty map that hashes in this way.
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_capacity_and_hasher(0, hasher)
    }

    /// Both.
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

    /// How many keys there are; others may change that at the same time.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(&shard.0).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| read(&shard.0).is_empty())
    }

    /// Drops all keys and values, each shard's after its lock is free again.
    pub fn clear(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *write(&shard.0));
            drop(all);
        }
    }

    /// The entries in no order, each shard under its reader's lock while the iterator is in it or an item of it lives.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            shards: self.shards.iter(),
            walk: None,
        }
    }

    /// The entries in no order, to change the values, each shard under its writer's lock while the iterator is in it or
    /// an item of it lives.
    pub fn iter_mut(&self) -> IterMut<'_, K, V> {
        IterMut {
            shards: self.shards.iter(),
            walk: None,
        }
    }

    /// Keeps only the entries for which `keep` says so.
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for shard in &self.shards {
            write(&shard.0).retain(|(key, value)| keep(key, value));
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> SyncHashMap<K, V, S> {
    /// Sets the value of a key; returns the old one.
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

    /// Takes a key out; returns its value.
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

    /// Whether the key is there.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value of a key, to look at.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<MapRef<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = read(self.shard(hash));
        Ref::find(shard, |shard| shard.find(hash, |(other, _)| other.borrow() == key)).map(MapRef)
    }

    /// The value of a key, to change.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<MapRefMut<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = write(self.shard(hash));
        RefMut::find(shard, |shard| shard.find_mut(hash, |(other, _)| other.borrow() == key)).map(MapRefMut)
    }

    /// The value of a key, to change; `make` gives it a first one if it has none. In one step: nobody sees it in
    /// between, and `make` must not use this map.
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

    /// Gives back what memory it can.
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

/// A table's iterator whose slots have become pairs of references.
type Split<I, P> = std::iter::Map<I, fn(<I as Iterator>::Item) -> P>;
type ShardIter<'a, K, V> = Split<hash_table::Iter<'a, Slot<K, V>>, (&'a K, &'a V)>;
type ShardIterMut<'a, K, V> = Split<hash_table::IterMut<'a, Slot<K, V>>, (&'a K, &'a mut V)>;

/// The entries of a [`SyncHashMap`].
pub struct Iter<'a, K, V> {
    shards: std::slice::Iter<'a, LockedShard<K, V>>,
    walk: Option<Walk<'a, ShardIter<'a, K, V>>>,
}

/// The entries of a [`SyncHashMap`], to change.
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

/// The entries of a [`SyncHashMap`] that is no more.
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
