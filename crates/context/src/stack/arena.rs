//! How stacks are handed out and taken back: an arena of chunks of address space, cut into equal slots, under one spin
//! lock.
//!
//! *Vocabulary.* A **chunk** is one mapping. A **slot** is one guard and one stack in a chunk. A **fresh** slot has
//! never been carved; a **bare** slot is carved but its guard could not be installed; a **recycled** slot has a guard
//! and waits for the next coroutine. A **reservation** is the right to hold one live stack.
//!
//! *Protocol.* The only data that changes hands under the lock is a word per slot: `table` is a stack of recycled slots
//! growing up and a stack of bare slots growing down. The two never meet because together they hold at most `slots_max`
//! slots. System calls (mmap, guards) happen outside the lock: a slot whose guard is being installed belongs to the
//! thread that carved it. The table is a lazily touched mapping, so neither taking nor giving ever allocates.
//!
//! *Growth and its race.* Two threads may find the arena short and map a chunk each. The second thread looks again
//! under the lock and unmaps its chunk if the first thread's chunk suffices. A thread whose mmap failed looks again
//! before it reports the failure. Mapping under the lock would be simpler, but all other threads would spin through a
//! system call.
//!
//! *Reservations.* `reserved` counts rights, `mapped` counts slots; `mapped - leaked >= reserved` holds after every
//! successful `reserve`. If every taker holds a right (a coroutine from spawn to end, a worker's cache for its
//! capacity), no take has to grow the arena. A take without a right is allowed and grows the arena if it must.
//!
//! *LIFO.* The stack that was given back last has the warmest cache lines and TLB entries, and is surely resident.
//!
//! *Rejected.* A free list threaded through the stacks touches a page that trimming has just returned. A lock-free free
//! list needs versioned pointers for a path that per-worker caches make rare. Unmapping chunks when idle would need a
//! reader count in the signal handler.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io;

use super::guard::{GuardKind, Guards};
use super::spin::SpinLock;
use super::{ArenaConfig, Slot, Stack, Stats, mapping, registry};

/// The most chunks of one arena. With 64 GiB each this is 8 TiB; only a fragmented address space reaches the limit.
const CHUNKS_MAX: usize = 128;

/// The first chunk, and the largest. Growth doubles in between, so that small programs show a small VIRT and large ones
/// have few chunks.
const CHUNK_BYTES_MIN: usize = 1 << 30;
const CHUNK_BYTES_MAX: usize = 64 << 30;

/// If a chunk does not fit, the next try is smaller by this factor. Not 2: the program needs room beside the stacks.
const SHRINK_FACTOR: usize = 4;

/// A source of guarded stacks of one size. It lives for ever: its mappings are never undone, since a leaked stack may
/// still be looked at.
#[derive(Debug)]
pub struct Arena {
    stack_bytes: usize,
    guard_bytes: usize,
    stride_bytes: usize,
    /// The most slots that this arena may ever have.
    slots_max: usize,
    /// Whether the guard budget, not the configuration, set `slots_max`.
    limited_by_guards: bool,
    guards: Guards,
    reserved: OwnLine,
    mapped: AtomicUsize,
    leaked: AtomicUsize,
    state: SpinLock<State>,
}

/// Spawners write this counter while all threads read the arena's geometry, so it does not share a cache line with the
/// geometry.
#[repr(align(128))]
#[derive(Debug)]
struct OwnLine(AtomicUsize);

#[derive(Clone, Copy, Debug)]
struct Chunk {
    base: usize,
    slots: usize,
    carved: usize,
}

#[derive(Debug)]
struct State {
    /// `[0, recycled)` are recycled slots, `[len - bare, len)` are bare slots.
    table: &'static mut [Slot],
    recycled: usize,
    bare: usize,
    chunks: [Chunk; CHUNKS_MAX],
    chunk_count: usize,
    /// The chunk that is being carved; the chunks before it are used up.
    carving: usize,
    carved: usize,
}

impl State {
    fn pop_recycled(&mut self) -> Option<Slot> {
        self.recycled = self.recycled.checked_sub(1)?;
        Some(self.table[self.recycled])
    }

    fn push_recycled(&mut self, slot: Slot) {
        self.table[self.recycled] = slot;
        self.recycled += 1;
    }

    fn push_bare(&mut self, slot: Slot) {
        self.bare += 1;
        let place = self.table.len() - self.bare;
        self.table[place] = slot;
    }

    /// Takes a slot that still needs its guard.
    fn pop_unguarded(&mut self, guard_bytes: usize, stride_bytes: usize) -> Option<Slot> {
        if self.bare > 0 {
            let place = self.table.len() - self.bare;
            self.bare -= 1;
            return Some(self.table[place]);
        }
        while self.carving < self.chunk_count {
            let chunk = &mut self.chunks[self.carving];
            if chunk.carved < chunk.slots {
                let bottom = chunk.base + chunk.carved * stride_bytes + guard_bytes;
                chunk.carved += 1;
                let index = self.carved;
                self.carved += 1;
                return Some(Slot::new(bottom, index));
            }
            self.carving += 1;
        }
        None
    }
}

/// What `take` found under the lock.
enum Found {
    Recycled(Slot),
    Unguarded(Slot),
    Nothing,
}

impl Arena {
    /// Makes an arena and decides its guards. Maps the slot table, but no stacks yet.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration of zero or absurd size; `Unsupported` when
    /// [`GuardChoice::Madvise`](super::GuardChoice) is forced on a kernel without it; the kernel's error when even a
    /// small slot table cannot be mapped.
    pub fn new(config: ArenaConfig) -> io::Result<Arena> {
        let (stack_bytes, guard_bytes) = geometry(&config)?;
        let guards = Guards::choose(config.guard)?;
        let mut slots_max = config.slots_max.min(Slot::INDEX_MAX);
        let limited_by_guards = guards.kind == GuardKind::Mprotect && guards.process_max < slots_max;
        if limited_by_guards {
            slots_max = guards.process_max;
        }
        let table = map_table(slots_max)?;
        let slots_max = slots_max.min(table.len());
        let no_chunk = Chunk {
            base: 0,
            slots: 0,
            carved: 0,
        };
        Ok(Arena {
            stack_bytes,
            guard_bytes,
            stride_bytes: stack_bytes + guard_bytes,
            slots_max,
            limited_by_guards,
            guards,
            reserved: OwnLine(AtomicUsize::new(0)),
            mapped: AtomicUsize::new(0),
            leaked: AtomicUsize::new(0),
            state: SpinLock::new(State {
                table,
                recycled: 0,
                bare: 0,
                chunks: [no_chunk; CHUNKS_MAX],
                chunk_count: 0,
                carving: 0,
                carved: 0,
            }),
        })
    }

    /// Usable bytes of each stack.
    #[inline]
    pub fn stack_bytes(&self) -> usize {
        self.stack_bytes
    }

    /// Bytes of the guard below each stack.
    #[inline]
    pub fn guard_bytes(&self) -> usize {
        self.guard_bytes
    }

    /// Distance from one stack to the next.
    #[inline]
    pub fn stride_bytes(&self) -> usize {
        self.stride_bytes
    }

    /// Which guards this arena installs.
    #[inline]
    pub fn guard_kind(&self) -> GuardKind {
        self.guards.kind
    }

    /// Acquires the right to `n` more live stacks. Maps address space for them if it is short, so that taking these
    /// stacks cannot fail for lack of it. Costs one atomic addition when there is room; a spawner on a hot path
    /// reserves for many coroutines at once.
    ///
    /// # Errors
    /// `OutOfMemory`, with a text that names the limit; nothing is reserved then. Near the limit, two simultaneous
    /// callers may both be refused.
    pub fn reserve(&self, n: usize) -> io::Result<()> {
        // Relaxed: the counters decide about address space only; slots themselves change hands under the lock.
        let wanted = self.reserved.0.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        let target = wanted.saturating_add(self.leaked.load(Ordering::Relaxed));
        if target <= self.mapped.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.grow(target).inspect_err(|_| self.unreserve(n))
    }

    /// Gives `n` rights back. The address space stays mapped.
    pub fn unreserve(&self, n: usize) {
        // Relaxed: see `reserve`.
        let before = self.reserved.0.fetch_sub(n, Ordering::Relaxed);
        debug_assert!(before >= n, "more unreserved than reserved");
    }

    /// Takes one stack: the stack given back last, or a fresh one with a new guard.
    ///
    /// # Errors
    /// `OutOfMemory` when there is no address space (impossible for a holder of a reservation) or no further guard
    /// (mprotect guards only); the text names the limit. The slot is kept for a later try.
    pub fn take(&'static self) -> io::Result<Stack> {
        loop {
            let found = self.state.with(|state| match state.pop_recycled() {
                Some(slot) => Found::Recycled(slot),
                None => state
                    .pop_unguarded(self.guard_bytes, self.stride_bytes)
                    .map_or(Found::Nothing, Found::Unguarded),
            });
            match found {
                Found::Recycled(slot) => return Ok(Stack { slot, arena: self }),
                Found::Unguarded(slot) => {
                    let stack = Stack { slot, arena: self };
                    return match self.install_guard(&stack) {
                        Ok(()) => Ok(stack),
                        Err(error) => {
                            self.state.with(|state| state.push_bare(slot));
                            Err(error)
                        }
                    };
                }
                Found::Nothing => self.grow_by_one()?,
            }
        }
    }

    /// Gives a stack back; it is the next one taken.
    ///
    /// # Panics
    /// If the stack belongs to another arena: its size would be wrong.
    pub fn give(&self, stack: Stack) {
        assert!(
            core::ptr::eq(self, stack.arena),
            "a stack was given to an arena that is not its own"
        );
        self.state.with(|state| state.push_recycled(stack.slot));
    }

    /// Current counts. The counts under the lock are one snapshot; the atomics beside them may be a step ahead.
    pub fn stats(&self) -> Stats {
        let (carved, free) = self.state.with(|state| (state.carved - state.bare, state.recycled));
        // Relaxed: statistics.
        let slots_mapped = self.mapped.load(Ordering::Relaxed);
        Stats {
            slots_carved: carved,
            slots_free: free,
            slots_leaked: self.leaked.load(Ordering::Relaxed),
            slots_reserved: self.reserved.0.load(Ordering::Relaxed),
            slots_mapped,
            slots_max: self.slots_max,
            guard: self.guards.kind,
            bytes_mapped: slots_mapped * self.stride_bytes,
        }
    }

    /// Counts a stack that never comes back.
    pub(super) fn count_leak(&self) {
        // Relaxed: the leaking caller still holds its right, so `reserve` may see the count late without handing out a
        // slot twice.
        self.leaked.fetch_add(1, Ordering::Relaxed);
    }

    fn install_guard(&self, stack: &Stack) -> io::Result<()> {
        self.guards.install(stack.guard_range().start, self.guard_bytes)
    }

    #[cold]
    fn grow_by_one(&self) -> io::Result<()> {
        // Relaxed: if the count is old, another thread has grown the arena, and `grow` finds its target met.
        self.grow(self.mapped.load(Ordering::Relaxed) + 1)
    }

    /// Maps chunks until `target` slots are mapped.
    #[cold]
    fn grow(&self, target: usize) -> io::Result<()> {
        if target > self.slots_max {
            return Err(self.too_many());
        }
        loop {
            // Relaxed: the decision to keep a chunk is made again under the lock.
            let mapped = self.mapped.load(Ordering::Relaxed);
            if mapped >= target {
                return Ok(());
            }
            match self.map_chunk(mapped, target) {
                Ok((base, slots)) => self.keep_chunk(base, slots, target)?,
                // Another thread's chunk may have taken the space.
                Err(_) if self.mapped.load(Ordering::Relaxed) >= target => return Ok(()),
                Err(error) => return Err(self.no_address_space(target - mapped, &error)),
            }
        }
    }

    /// Maps the largest chunk that fits, between the needed size and the size that the growth rule suggests.
    fn map_chunk(&self, mapped: usize, target: usize) -> io::Result<(NonNull<u8>, usize)> {
        let suggested_bytes = (mapped * self.stride_bytes).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let largest = (CHUNK_BYTES_MAX / self.stride_bytes).max(1);
        let needed = (target - mapped).min(largest);
        let room = self.slots_max - mapped;
        let mut slots = (suggested_bytes / self.stride_bytes).max(needed).min(room);
        loop {
            match mapping::map(slots * self.stride_bytes) {
                Ok(base) => return Ok((base, slots)),
                Err(_) if slots > needed => slots = (slots / SHRINK_FACTOR).max(needed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds a chunk, unless other threads have met the target meanwhile.
    fn keep_chunk(&self, base: NonNull<u8>, slots: usize, target: usize) -> io::Result<()> {
        let start = base.as_ptr() as usize;
        let bytes = slots * self.stride_bytes;
        let kept = self.state.with(|state| {
            // Relaxed: `mapped` changes only under this lock.
            let mapped = self.mapped.load(Ordering::Relaxed);
            if mapped >= target || mapped + slots > self.slots_max {
                return Ok(false);
            }
            // The registry comes before the first slot is handed out, so that an overflow of any of these stacks is
            // found there.
            let full = state.chunk_count == CHUNKS_MAX;
            if full || !registry::enter(start, bytes, self.stride_bytes, self.guard_bytes) {
                return Err(());
            }
            state.chunks[state.chunk_count] = Chunk {
                base: start,
                slots,
                carved: 0,
            };
            state.chunk_count += 1;
            self.mapped.store(mapped + slots, Ordering::Relaxed);
            Ok(true)
        });
        if kept != Ok(true) {
            mapping::unmap(base, bytes);
        }
        kept.map(|_| ()).map_err(|()| {
            let text = "stack arena: the chunk table is full: the address space comes in too small pieces";
            io::Error::new(io::ErrorKind::OutOfMemory, text)
        })
    }

    #[cold]
    fn too_many(&self) -> io::Error {
        if self.limited_by_guards {
            return self.guards.exhausted(self.guards.process_max);
        }
        let text = format!(
            "stack arena: all {} stacks of this size class are in use (slots_max)",
            self.slots_max
        );
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    }

    #[cold]
    fn no_address_space(&self, needed: usize, error: &io::Error) -> io::Error {
        let text = format!(
            "stack arena: no address space for {needed} more stacks of {} KiB ({error}); {} are mapped; the limit is RLIMIT_AS (ulimit -v), \
             strict overcommit (vm.overcommit_memory = 2) or vm.max_map_count",
            self.stride_bytes / 1024,
            self.mapped.load(Ordering::Relaxed),
        );
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    }
}

/// Rounds the configuration to `(stack_bytes, guard_bytes)` whose sum is an odd number of pages (`mod.rs` gives the
/// reason).
fn geometry(config: &ArenaConfig) -> io::Result<(usize, usize)> {
    const BYTES_MAX: usize = 1 << 40;
    let page_bytes = mapping::page_bytes();
    let absurd = config.stack_bytes > BYTES_MAX || config.guard_bytes > BYTES_MAX;
    if absurd || config.stack_bytes == 0 || config.slots_max == 0 {
        let text = "stack arena: stack_bytes and slots_max must be above zero, sizes at most 1 TiB";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let stack_bytes = config.stack_bytes.next_multiple_of(page_bytes);
    let guard_bytes = config.guard_bytes.max(1).next_multiple_of(page_bytes);
    let even = ((stack_bytes + guard_bytes) / page_bytes).is_multiple_of(2);
    Ok((stack_bytes, if even { guard_bytes + page_bytes } else { guard_bytes }))
}

/// Maps a table of `slots` words, or of fewer words if the address space is short.
fn map_table(slots: usize) -> io::Result<&'static mut [Slot]> {
    const SLOTS_WORTHWHILE: usize = 1024;
    let mut slots = slots;
    while slots > 0 {
        match mapping::map(slots * size_of::<Slot>()) {
            Ok(base) => {
                // SAFETY: S8: a fresh, page-aligned, zeroed mapping of `slots` words that is never unmapped; every bit
                // pattern is a `Slot`; this is the only reference ever made to it.
                return Ok(unsafe { core::slice::from_raw_parts_mut(base.cast::<Slot>().as_ptr(), slots) });
            }
            Err(error) if slots < SLOTS_WORTHWHILE => return Err(error),
            Err(_) => slots /= SHRINK_FACTOR,
        }
    }
    Ok(&mut [])
}
