//! A store of objects that are made once, used again and again, and never unmapped.
//!
//! # Vocabulary
//! A [`Depot`] makes objects in *chunks* and keeps those that nobody uses on *trays*, vectors of fixed capacity. A
//! [`SlabCache`] is one processor's small stock in front of it, so that the depot's lock is taken once per batch.
//!
//! # What type stability buys
//! The address of an object is that of an initialised `T` for ever. A stale pointer (a late waker, the inspector, a thief that
//! lost its race) reads an old or a reused object, never foreign memory, and can find out by a generation or a state word
//! inside it. Hence objects are not dropped when given back, and a depot that is dropped leaks them.
//!
//! # Protocol
//! Nothing is allocated under the lock. Each chunk brings a tray with room for as many pointers as it has objects, so the trays
//! have room for all objects that exist, and a return always finds room: if the tray in use is full, either another is
//! not, or all objects are in already. For this the trays besides the one in use are wholly full or wholly empty.
//! Two threads that find the depot empty may both make a chunk; the second is stock.
//!
//! # Rejected
//! * A free list through the objects: it would overwrite what a stale pointer may look at. Through a word beside each object: with
//!   objects aligned to a cache line, a line each.
//! * One growing vector: at a million objects its growth copies 8 MB under the lock.

mod spin;

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};
use std::{iter, mem};

use spin::SpinLock;

use crate::loom::static_atomic::AtomicPtr;
use crate::loom::static_atomic::Ordering::{Acquire, Relaxed, Release};

/// A chunk aims at this size: large enough to be rare, small enough that the first object of a kind is not a burden.
const CHUNK_BYTES: usize = 64 << 10;
/// How many objects a cache fetches or returns at once. A guess, to be tuned.
const BATCH: usize = 32;

/// The store that all processors share.
pub(crate) struct Depot<T> {
    init: fn() -> T,
    stock: SpinLock<Stock<T>>,
    /// All chunks, newest first; it only grows.
    chunks: AtomicPtr<Chunk<T>>,
}

// SAFETY: S2: a depot hands pointers to T from one thread to another, each to exactly one; the rest is a lock and an atomic.
unsafe impl<T: Send> Sync for Depot<T> {}
// SAFETY: S2: as for Sync.
unsafe impl<T: Send> Send for Depot<T> {}

/// Objects that lie side by side. The header is leaked with them.
struct Chunk<T> {
    objects: NonNull<T>,
    older: *mut Chunk<T>,
}

impl<T> Depot<T> {
    /// How many objects a chunk has.
    pub(crate) const CHUNK_OBJECTS: usize = {
        assert!(size_of::<T>() > 0, "objects without size need no store");
        let fitting = CHUNK_BYTES / size_of::<T>();
        match fitting {
            0..64 => 64,
            64..=1024 => fitting,
            _ => 1024,
        }
    };

    /// A depot without objects; `init` makes each of them once.
    pub(crate) const fn new(init: fn() -> T) -> Self {
        Self {
            init,
            stock: SpinLock::new(Stock::new()),
            chunks: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Appends `count` objects to `into`, those given back last first, new ones if there are not enough. What is in an object
    /// is what its last user left.
    pub(crate) fn take_batch(&self, into: &mut Vec<NonNull<T>>, count: usize) {
        into.reserve(count);
        let wanted = into.len() + count;
        self.stock.with(|stock| stock.take(into, count));
        while into.len() < wanted {
            self.take_from_new_chunk(into, wanted - into.len());
        }
    }

    /// Takes the last `count` pointers of `from` (all, if it has fewer) back into the store.
    ///
    /// # Safety
    /// Each was taken from this depot, is given back once, and is used no more, save as a stale pointer that the object's own
    /// protocol allows.
    pub(crate) unsafe fn give_batch(&self, from: &mut Vec<NonNull<T>>, count: usize) {
        let keep = from.len().saturating_sub(count);
        self.stock.with(|stock| stock.give(from, keep));
    }

    /// Shows every object ever made, in use or not. Objects that are made meanwhile may be missed.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(NonNull<T>)) {
        // Acquire: pairs with the Release in `publish`.
        let mut next = self.chunks.load(Acquire);
        while let Some(chunk) = NonNull::new(next) {
            // SAFETY: S8: chunks were leaked and do not change once they are published.
            let chunk = unsafe { chunk.as_ref() };
            for index in 0..Self::CHUNK_OBJECTS {
                // SAFETY: S8: within the chunk's allocation.
                visit(unsafe { chunk.objects.add(index) });
            }
            next = chunk.older;
        }
    }

    #[cold]
    fn take_from_new_chunk(&self, into: &mut Vec<NonNull<T>>, wanted: usize) {
        let objects = self.make_objects();
        let tray = Box::new(Tray {
            items: Vec::with_capacity(Self::CHUNK_OBJECTS),
            next: None,
        });
        self.publish(objects);
        let taken = wanted.min(Self::CHUNK_OBJECTS);
        // SAFETY: S8: within the chunk's allocation.
        let object = |index| unsafe { objects.add(index) };
        into.extend((0..taken).map(object));
        let mut rest: Vec<_> = (taken..Self::CHUNK_OBJECTS).rev().map(object).collect();
        self.stock.with(|stock| {
            stock.empty.push(tray);
            stock.give(&mut rest, 0);
        });
    }

    /// Allocates a chunk and fills it.
    fn make_objects(&self) -> NonNull<T> {
        let layout =
            Layout::array::<T>(Self::CHUNK_OBJECTS).expect("a chunk fits the address space");
        // SAFETY: S8: never freed, so nothing can outlive it; CHUNK_OBJECTS refuses types without size.
        let memory = unsafe { alloc::alloc(layout) };
        let Some(objects) = NonNull::new(memory.cast::<T>()) else {
            alloc::handle_alloc_error(layout)
        };
        for index in 0..Self::CHUNK_OBJECTS {
            // SAFETY: S8: within the allocation.
            let object = unsafe { objects.add(index) };
            // SAFETY: S8: ours, aligned, and not initialised yet. Should `init` panic, the memory is leaked.
            unsafe { object.write((self.init)()) };
        }
        objects
    }

    /// Makes a chunk known to `for_each`.
    fn publish(&self, objects: NonNull<T>) {
        let chunk = Box::leak(Box::new(Chunk {
            objects,
            older: ptr::null_mut(),
        }));
        // Relaxed, here and on failure: the older chunk is only stored.
        let mut newest = self.chunks.load(Relaxed);
        loop {
            chunk.older = newest;
            // Release: pairs with the Acquire in `for_each`.
            match self
                .chunks
                .compare_exchange_weak(newest, chunk, Release, Relaxed)
            {
                Ok(_) => return,
                Err(newer) => newest = newer,
            }
        }
    }
}

/// A few objects at hand, for one processor. Dropping it loses them to the depot (they stay mapped): [`flush`](Self::flush)
/// first.
pub(crate) struct SlabCache<T> {
    objects: Vec<NonNull<T>>,
}

// SAFETY: S2: the objects in a cache are free, so nobody uses them, whichever thread holds the cache.
unsafe impl<T: Send> Send for SlabCache<T> {}

impl<T> SlabCache<T> {
    /// An empty cache, with room for all it will ever hold.
    pub(crate) fn new() -> Self {
        Self {
            objects: Vec::with_capacity(2 * BATCH),
        }
    }

    /// Takes an object, the one given back last if there is one.
    #[inline]
    pub(crate) fn take(&mut self, depot: &Depot<T>) -> NonNull<T> {
        match self.objects.pop() {
            Some(object) => object,
            None => self.refill(depot),
        }
    }

    /// Takes an object back.
    ///
    /// # Safety
    /// As for [`Depot::give_batch`]; each cache serves one depot.
    #[inline]
    pub(crate) unsafe fn give(&mut self, depot: &Depot<T>, object: NonNull<T>) {
        if self.objects.len() == 2 * BATCH {
            // SAFETY: S8: the caller's promise is handed on.
            unsafe { self.spill(depot) };
        }
        self.objects.push(object);
    }

    /// Returns everything to the depot.
    ///
    /// # Safety
    /// The depot is that of all other calls.
    pub(crate) unsafe fn flush(&mut self, depot: &Depot<T>) {
        // SAFETY: S8: what is in the cache was given back to it, once, or never used.
        unsafe { depot.give_batch(&mut self.objects, usize::MAX) };
    }

    #[cold]
    fn refill(&mut self, depot: &Depot<T>) -> NonNull<T> {
        depot.take_batch(&mut self.objects, BATCH);
        self.objects.pop().expect("a batch has objects")
    }

    /// # Safety
    /// As for [`flush`](Self::flush).
    #[cold]
    unsafe fn spill(&mut self, depot: &Depot<T>) {
        // Those given back last are in the processor's cache still, so the oldest go.
        self.objects.rotate_left(BATCH);
        // SAFETY: S8: as in `flush`.
        unsafe { depot.give_batch(&mut self.objects, BATCH) };
    }
}

/// What is under the depot's lock. The trays hold `total` pointers at most, and have room for just as many.
struct Stock<T> {
    /// The tray in use: neither wholly full nor wholly empty, or about to become the other.
    current: Option<Box<Tray<T>>>,
    full: Trays<T>,
    empty: Trays<T>,
}

/// Free objects; never grows.
struct Tray<T> {
    items: Vec<NonNull<T>>,
    next: Option<Box<Tray<T>>>,
}

/// A stack of trays.
struct Trays<T>(Option<Box<Tray<T>>>);

impl<T> Trays<T> {
    fn push(&mut self, mut tray: Box<Tray<T>>) {
        tray.next = self.0.take();
        self.0 = Some(tray);
    }

    fn pop(&mut self) -> Option<Box<Tray<T>>> {
        let mut tray = self.0.take()?;
        self.0 = tray.next.take();
        Some(tray)
    }
}

impl<T> Stock<T> {
    const fn new() -> Self {
        Self {
            current: None,
            full: Trays(None),
            empty: Trays(None),
        }
    }

    /// Moves up to `count` pointers to `into`, which has room for them.
    fn take(&mut self, into: &mut Vec<NonNull<T>>, count: usize) {
        let mut missing = count;
        while missing > 0 {
            let Some(tray) = self.current.as_mut().filter(|tray| !tray.items.is_empty()) else {
                let Some(full) = self.full.pop() else { return };
                if let Some(drained) = self.current.replace(full) {
                    self.empty.push(drained);
                }
                continue;
            };
            let keep = tray.items.len().saturating_sub(missing);
            missing -= tray.items.len() - keep;
            into.extend(tray.items.drain(keep..).rev());
        }
    }

    /// Moves what is in `from` beyond the first `keep` onto the trays.
    fn give(&mut self, from: &mut Vec<NonNull<T>>, keep: usize) {
        while from.len() > keep {
            let room = self
                .current
                .as_ref()
                .map_or(0, |tray| tray.items.capacity() - tray.items.len());
            if room == 0 {
                let empty = self
                    .empty
                    .pop()
                    .expect("more objects were given back than were made");
                if let Some(filled) = self.current.replace(empty) {
                    self.full.push(filled);
                }
                continue;
            }
            let start = keep.max(from.len().saturating_sub(room));
            let tray = self.current.as_mut().expect("a tray with room");
            tray.items.extend(from.drain(start..));
        }
    }
}

impl<T> Drop for Stock<T> {
    fn drop(&mut self) {
        // One by one: a million objects are a thousand trays, and a chain of boxes drops recursively.
        for trays in [&mut self.full, &mut self.empty] {
            iter::from_fn(|| trays.pop()).for_each(mem::drop);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
