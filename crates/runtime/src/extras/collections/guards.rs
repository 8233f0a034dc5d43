//! How can a shared collection lend a single value, or an iterator, so that the lock is held as long as other code can
//! reach into it?
//!
//! std's guards lend the whole container; a map returns one value. So a guard here is a lock guard and the *address* of
//! a part of what it locks. The address was found through the guard. It stays valid while the guard lives, since no
//! other code may change the container. It is turned back into a reference only for as long as the guard is borrowed.
//!
//! Iterators do the same with std's iterators. These borrow from the container for a lifetime that is stretched to the
//! lock's, and each item holds the lock guard through a shared count. They store addresses and not references, since a
//! guard that is passed by value to its end would hold a reference for longer than its lock.
//!
//! cogo's maps have the same method names, but returned plain references without a lock: a reader walked a table that a
//! writer was growing.
//!
//! Rejected: `dashmap`. Its lock is parking_lot's, which queues a record that lives in a thread-local. Two light
//! coroutines of one worker would queue the same record twice. std's futex lock has no record at all, and the hooks
//! park its waits.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks for reading. A panic under the lock came from a user's `Hash`, `Eq` or `Ord`, and leaves the container whole.
/// So there is no poison.
pub(crate) fn read<C>(lock: &RwLock<C>) -> RwLockReadGuard<'_, C> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing; see [`read`].
pub(crate) fn write<C>(lock: &RwLock<C>) -> RwLockWriteGuard<'_, C> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A shared reference to a value of a collection. It holds the lock of the collection, or, in a
/// [`SyncHashMap`](crate::collections::SyncHashMap), the lock of the value's shard. So nothing there can be changed
/// while it lives.
///
/// # Examples
/// ```
/// use silken::collections::{Ref, SyncVec};
/// let words = SyncVec::from(vec!["a", "b"]);
/// let word: Ref<'_, Vec<&str>, &str> = words.get(1).unwrap();
/// assert_eq!(*word, "b");
/// ```
pub struct Ref<'a, C, V> {
    value: NonNull<V>,
    _lock: RwLockReadGuard<'a, C>,
    _lent: PhantomData<&'a V>,
}

impl<'a, C, V> Ref<'a, C, V> {
    pub(crate) fn find(lock: RwLockReadGuard<'a, C>, find: impl FnOnce(&C) -> Option<&V>) -> Option<Self> {
        let value = NonNull::from(find(&lock)?);
        Some(Self {
            value,
            _lock: lock,
            _lent: PhantomData,
        })
    }
}

impl<C, V> Deref for Ref<'_, C, V> {
    type Target = V;

    fn deref(&self) -> &V {
        // SAFETY: S2: a part of what the guard locks, which nobody changes while it lives; `&self` borrows the guard.
        unsafe { self.value.as_ref() }
    }
}

/// A mutable reference to a value of a collection. It holds the lock of the collection (or shard) for writing, so no
/// other code can reach the collection while it lives.
///
/// # Examples
/// ```
/// use silken::collections::{RefMut, SyncVec};
/// let numbers = SyncVec::from(vec![1, 2]);
/// let mut number: RefMut<'_, Vec<i32>, i32> = numbers.get_mut(1).unwrap();
/// *number += 1;
/// drop(number); // unlocks the vector
/// assert_eq!(numbers.pop(), Some(3));
/// ```
pub struct RefMut<'a, C, V> {
    value: NonNull<V>,
    _lock: RwLockWriteGuard<'a, C>,
    _lent: PhantomData<&'a mut V>,
}

impl<'a, C, V> RefMut<'a, C, V> {
    pub(crate) fn find(mut lock: RwLockWriteGuard<'a, C>, find: impl FnOnce(&mut C) -> Option<&mut V>) -> Option<Self> {
        let value = NonNull::from(find(&mut lock)?);
        Some(Self {
            value,
            _lock: lock,
            _lent: PhantomData,
        })
    }
}

impl<C, V> Deref for RefMut<'_, C, V> {
    type Target = V;

    fn deref(&self) -> &V {
        // SAFETY: S2: a part of what the guard locks for us alone; `&self` borrows the guard.
        unsafe { self.value.as_ref() }
    }
}

impl<C, V> DerefMut for RefMut<'_, C, V> {
    fn deref_mut(&mut self) -> &mut V {
        // SAFETY: S2: as above, and `&mut self` borrows it for us alone.
        unsafe { self.value.as_mut() }
    }
}

impl<C, V: fmt::Debug> fmt::Debug for Ref<'_, C, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<C, V: fmt::Debug> fmt::Debug for RefMut<'_, C, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Any lock guard, held for its drop.
trait Held {}
impl<C> Held for RwLockReadGuard<'_, C> {}
impl<C> Held for RwLockWriteGuard<'_, C> {}

/// A shared reference to an element, from an iterator. It holds the lock, so drop it before you change the collection.
///
/// # Examples
/// ```
/// use silken::collections::{Element, SyncVec};
/// let words = SyncVec::from(vec!["one", "three"]);
/// let is_long = |word: &Element<'_, &str>| word.len() > 3;
/// assert_eq!(words.iter().filter(is_long).count(), 1);
/// ```
pub struct Element<'a, V> {
    value: NonNull<V>,
    _lock: Rc<dyn Held + 'a>,
    _lent: PhantomData<&'a V>,
}

/// A mutable reference to an element, from an iterator. It holds the lock, so drop it before you use the collection
/// again.
///
/// # Examples
/// ```
/// use silken::collections::{ElementMut, SyncVec};
/// let numbers = SyncVec::from(vec![1, 2]);
/// numbers.iter_mut().for_each(|mut number: ElementMut<'_, i32>| *number *= 10);
/// assert_eq!(numbers.into_inner(), [10, 20]);
/// ```
pub struct ElementMut<'a, V> {
    value: NonNull<V>,
    _lock: Rc<dyn Held + 'a>,
    _lent: PhantomData<&'a mut V>,
}

/// A key and its value, from an iterator; it dereferences to the value. It holds the lock, so drop it before you change
/// the collection.
///
/// # Examples
/// ```
/// use silken::collections::{Entry, SyncBtreeMap};
/// let ages: SyncBtreeMap<_, _> = [("ada", 36), ("alan", 41)].into_iter().collect();
/// let eldest = ages.iter().max_by_key(|age: &Entry<'_, &str, i32>| **age).unwrap();
/// assert_eq!((*eldest.key(), *eldest.value()), ("alan", 41));
/// ```
pub struct Entry<'a, K, V> {
    key: NonNull<K>,
    value: Element<'a, V>,
}

/// A key and its value, from an iterator, with access to change the value; it dereferences to the value. It holds the
/// lock, so drop it before you use the collection again.
///
/// # Examples
/// ```
/// use silken::collections::{EntryMut, SyncBtreeMap};
/// let ages: SyncBtreeMap<_, _> = [("ada", 36)].into_iter().collect();
/// ages.iter_mut().for_each(|mut age: EntryMut<'_, &str, i32>| *age.value_mut() += 1);
/// assert_eq!(ages.remove("ada"), Some(37));
/// ```
pub struct EntryMut<'a, K, V> {
    key: NonNull<K>,
    value: ElementMut<'a, V>,
}

impl<'a, V> Element<'a, V> {
    fn new(value: &'a V, lock: &Rc<dyn Held + 'a>) -> Self {
        Self {
            value: NonNull::from(value),
            _lock: lock.clone(),
            _lent: PhantomData,
        }
    }
}

impl<'a, V> ElementMut<'a, V> {
    fn new(value: &'a mut V, lock: &Rc<dyn Held + 'a>) -> Self {
        Self {
            value: NonNull::from(value),
            _lock: lock.clone(),
            _lent: PhantomData,
        }
    }
}

impl<V> Deref for Element<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        // SAFETY: S2: unchanged while the lock is held for reading, which `_lock` sees to; `&self` borrows it.
        unsafe { self.value.as_ref() }
    }
}

impl<V> Deref for ElementMut<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        // SAFETY: S2: ours alone while the lock is held for writing, which `_lock` sees to: the iterator yields each
        // element once.
        unsafe { self.value.as_ref() }
    }
}

impl<V> DerefMut for ElementMut<'_, V> {
    fn deref_mut(&mut self) -> &mut V {
        // SAFETY: S2: as above, and `&mut self` borrows it for us alone.
        unsafe { self.value.as_mut() }
    }
}

impl<K, V> Entry<'_, K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        // SAFETY: S2: no key changes while the lock is held, which `value` sees to; `&self` borrows it.
        unsafe { self.key.as_ref() }
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.value
    }
}

impl<K, V> EntryMut<'_, K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        // SAFETY: S2: no key changes while the lock is held, which `value` sees to; `&self` borrows it.
        unsafe { self.key.as_ref() }
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Returns the value, to change it.
    pub fn value_mut(&mut self) -> &mut V {
        &mut self.value
    }
}

impl<K, V> Deref for Entry<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K, V> Deref for EntryMut<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K, V> DerefMut for EntryMut<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.value
    }
}

impl<V: fmt::Debug> fmt::Debug for Element<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<V: fmt::Debug> fmt::Debug for ElementMut<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key(), self.value())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for EntryMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key(), self.value())
    }
}

/// An iterator over a container, together with the lock that it needs. The public iterators around it return only items
/// that hold the lock.
pub(crate) struct Walk<'a, I> {
    rest: I,
    lock: Rc<dyn Held + 'a>,
}

impl<'a, I: Iterator> Walk<'a, I> {
    /// Walks the container that `lock` protects, to read it.
    pub(crate) fn read<C: 'a>(lock: RwLockReadGuard<'a, C>, walk: impl FnOnce(&'a C) -> I) -> Self {
        let container = NonNull::from(&*lock);
        // SAFETY: S2: the container outlives 'a, and stays unchanged while the guard lives, which this and every item
        // keep. What `walk` yields is wrapped in a type that keeps the guard and lends for its own borrow only.
        let rest = walk(unsafe { container.as_ref() });
        Self {
            rest,
            lock: Rc::new(lock),
        }
    }

    /// Walks the container that `lock` protects, to change it.
    pub(crate) fn write<C: 'a>(mut lock: RwLockWriteGuard<'a, C>, walk: impl FnOnce(&'a mut C) -> I) -> Self {
        let mut container = NonNull::from(&mut *lock);
        // SAFETY: S2: as above; the guard is not used again before it is dropped, and std's iterators yield each
        // element once.
        let rest = walk(unsafe { container.as_mut() });
        Self {
            rest,
            lock: Rc::new(lock),
        }
    }
}

impl<'a, V: 'a, I: Iterator<Item = &'a V>> Walk<'a, I> {
    pub(crate) fn next_element(&mut self) -> Option<Element<'a, V>> {
        Some(Element::new(self.rest.next()?, &self.lock))
    }
}

impl<'a, V: 'a, I: Iterator<Item = &'a mut V>> Walk<'a, I> {
    pub(crate) fn next_element_mut(&mut self) -> Option<ElementMut<'a, V>> {
        Some(ElementMut::new(self.rest.next()?, &self.lock))
    }
}

impl<'a, K: 'a, V: 'a, I: Iterator<Item = (&'a K, &'a V)>> Walk<'a, I> {
    pub(crate) fn next_entry(&mut self) -> Option<Entry<'a, K, V>> {
        let (key, value) = self.rest.next()?;
        Some(Entry {
            key: NonNull::from(key),
            value: Element::new(value, &self.lock),
        })
    }
}

impl<'a, K: 'a, V: 'a, I: Iterator<Item = (&'a K, &'a mut V)>> Walk<'a, I> {
    pub(crate) fn next_entry_mut(&mut self) -> Option<EntryMut<'a, K, V>> {
        let (key, value) = self.rest.next()?;
        Some(EntryMut {
            key: NonNull::from(key),
            value: ElementMut::new(value, &self.lock),
        })
    }
}
