//! Where do control blocks and stacks come from, and where do they go when a coroutine ends? Each worker has caches
//! over process-wide pools.
//!
//! A stack stays together with the identity block that is built at its top, so an isolated coroutine finds both warm.
//! Stacks of light coroutines are kept apart from them: the first frame of a light coroutine lies in the topmost page,
//! and would take one page more on a slot that ever held a block.
//!
//! A *size class* is a power of two of usable stack, 16 KiB to 1 GiB. Each class has one arena for the whole process,
//! made when it is first asked for. Stacks that no worker keeps in its cache lie in the *free list* of their class. The
//! guard lies below the usable stack and is not part of that size. The size of the guard (`silken_context::stack` says
//! what it buys) is decided once in a process, since runtimes share stacks. The first runtime that asks for a size
//! before there is any stack decides it, unless a later one insists before there is one; without a request it is the
//! default of the class.
//!
//! Address space is reserved when a coroutine is spawned. So the stack that it takes at its first run cannot be refused
//! for lack of address space. Workers hold small stocks of such reservations.
//!
//! Lock order: pool locks are leaves. Nothing is locked, allocated or mapped under them, with two exceptions: a vector
//! of pointers may grow, and an arena is made (mapped and allocated) under `growing`, once per class.

pub(super) mod stack;

use super::core::{Core, Kind};
use crate::loom::static_atomic::{AtomicPtr, Ordering};
use crate::sys::StaticLock;
use silken_context::identity::{Identity, TlsLayout, known_facts};
use silken_context::stack::{Arena, ArenaConfig, Stack};
use stack::PooledStack;
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::ptr::{self, NonNull};

const CLASS_MIN_BITS: u32 = 14;
const CLASS_MAX_BITS: u32 = 30;
const CLASSES: usize = (CLASS_MAX_BITS - CLASS_MIN_BITS + 1) as usize;

/// The address space that one class may take. With this limit, several sizes fit beside each other in 47 bits.
const CLASS_BYTES_MAX: usize = 1 << 43;

/// The guard below a stack, unless the program asks for another. It is larger than the frames of ordinary C
/// (`silken_context::stack` has the price).
const GUARD_BYTES_DEFAULT: usize = 768 * 1024;
/// The same for stacks of that size and more: code that asks for such a stack expects large frames.
const GUARD_BYTES_OF_LARGE: usize = 1 << 20;

/// The limits of what a program may ask for. A C frame with an ordinary buffer of 4 or 8 KiB steps over a smaller
/// guard.
const GUARD_BYTES_MIN: usize = 16 * 1024;
const GUARD_BYTES_MAX: usize = 1 << 30;

/// How many stacks or cores a worker keeps for itself, and how many it moves at once. Both are guesses. The cache need
/// only hold a few times the deepest burst that a worker can run without another worker's help; more is wasted. The
/// cost of one lock per 64 is noise.
const CACHE_MAX: usize = 256;
const CACHE_BATCH: usize = 64;

/// The memory at the top of a stack that is kept when the stack is given back. Deeper pages are returned to the system.
const KEEP_BYTES: usize = 16 * 1024;
/// Looking at a page that was never touched costs a fault, so only some releases look (`silken_context::stack`).
const DEEP_LOOK_EVERY: u32 = 8;

/// Whether the `release`th release looks at the deep pages: one in [`DEEP_LOOK_EVERY`] does, spread by the golden
/// ratio. A program that runs the same batch again and again gives its stacks back in the same order. With every eighth
/// release, a batch of 200 would always look at the same 25 stacks.
#[inline(always)]
fn looks(release: u32) -> bool {
    const GOLDEN_RATIO: u32 = 0x9E37_79B1;
    release.wrapping_mul(GOLDEN_RATIO) < u32::MAX / DEEP_LOOK_EVERY
}

/// Stacks lie at distances of whole pages. So the same frames of all of them would compete for the same sets of the
/// first-level cache. Also, a load from one stack would wait for a store to another whose low twelve bits are equal (4
/// ns of a yield on Zen 4; "store to load forwarding" in AMD's optimization guides). So the tops of neighbours are a
/// cache line apart, in as many colours as cost no page more.
const COLOURS: usize = 16;
const CACHE_LINE_BYTES: usize = 64;

/// How many bytes below its slot's end the `slot`th stack begins.
fn colour_bytes(slot: usize) -> usize {
    slot % COLOURS * CACHE_LINE_BYTES
}

/// The kind of coroutine that the stack is for.
#[inline(always)]
fn kind_of(pooled: &PooledStack) -> Kind {
    match pooled.identity {
        Some(_) => Kind::Isolated,
        None => Kind::Light,
    }
}

/// A free list of each kind of stack.
type FreeLists = [Vec<PooledStack>; 2];

/// One size class: its arena, and the free lists of its stacks, from which all workers take.
struct Class {
    arena: AtomicPtr<Arena>,
    free_lists: StaticLock<FreeLists>,
}

/// The process-wide pools.
pub(crate) struct Pools {
    classes: [Class; CLASSES],
    cores: StaticLock<Vec<NonNull<Core>>>,
    /// The first core of each chunk ever made, for code that looks at all coroutines.
    chunks: StaticLock<Vec<NonNull<Core>>>,
    growing: StaticLock<Growing>,
}

/// What the code that makes an arena must know.
struct Growing {
    /// The guard that a program has asked for.
    guard_bytes: Option<usize>,
    /// Whether there is an arena, so that the guard is decided.
    is_decided: bool,
}

/// A guard that a runtime asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardSize {
    pub(crate) bytes: usize,
    /// Whether the runtime must not start when the process has another guard already.
    pub(crate) insists: bool,
}

// SAFETY: S2: cores in the pool belong to nobody; the locks hand them over.
unsafe impl Sync for Pools {}

static POOLS: Pools = Pools {
    classes: [const {
        Class {
            arena: AtomicPtr::new(ptr::null_mut()),
            free_lists: StaticLock::new([Vec::new(), Vec::new()]),
        }
    }; CLASSES],
    cores: StaticLock::new(Vec::new()),
    chunks: StaticLock::new(Vec::new()),
    growing: StaticLock::new(Growing {
        guard_bytes: None,
        is_decided: false,
    }),
};

/// The pools of this process.
pub(crate) fn pools() -> &'static Pools {
    &POOLS
}

const CHUNK_CORES: usize = 256;

impl Pools {
    /// The smallest class whose stacks have at least `bytes`, and of which thread-locals take at most half.
    pub(crate) fn class_for(bytes: usize) -> io::Result<u8> {
        Self::class_with_block(bytes, known_facts().map_or(0, TlsLayout::block_bytes))
    }

    /// The smallest class whose stacks have at least `bytes`, and twice what a block of thread-locals takes.
    pub(super) fn class_with_block(bytes: usize, block_bytes: usize) -> io::Result<u8> {
        let bits = bytes
            .max(2 * block_bytes)
            .max(1)
            .checked_next_power_of_two()
            .map_or(usize::BITS, usize::trailing_zeros)
            .max(CLASS_MIN_BITS);
        if bits > CLASS_MAX_BITS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a stack of {bytes} bytes with {block_bytes} bytes of thread-locals: at most 1 GiB"),
            ));
        }
        Ok((bits - CLASS_MIN_BITS) as u8)
    }

    /// Usable bytes of a class's stacks.
    pub(crate) fn class_bytes(class: u8) -> usize {
        1 << (CLASS_MIN_BITS + u32::from(class))
    }

    /// Decides the guard of all stacks of the process, if it is not decided yet.
    pub(crate) fn ask_for_guard(&self, asked: GuardSize) -> io::Result<()> {
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let bytes = asked.bytes;
        if bytes > GUARD_BYTES_MAX {
            return invalid(format!("a stack guard of {bytes} bytes: at most 1 GiB"));
        }
        let bytes = bytes.max(GUARD_BYTES_MIN);
        let mut growing = self.growing.lock();
        if !growing.is_decided && (growing.guard_bytes.is_none() || asked.insists) {
            growing.guard_bytes = Some(bytes);
        }
        match growing.guard_bytes {
            Some(present) if present == bytes => Ok(()),
            _ if !asked.insists => Ok(()),
            present => invalid(format!(
                "a stack guard of {bytes} bytes: the stacks of this process have {} already, and all its runtimes share them; \
                 ask for it in the first one",
                present.map_or("the default".to_string(), |bytes| format!("{bytes} bytes")),
            )),
        }
    }

    /// The arena of a class.
    fn arena(&self, class: u8) -> io::Result<&'static Arena> {
        let slot = &self.classes[usize::from(class)].arena;
        // Acquire: pairs with the Release in `make_arena`.
        // SAFETY: S1: arenas are leaked when made.
        match unsafe { slot.load(Ordering::Acquire).as_ref() } {
            Some(arena) => Ok(arena),
            None => self.make_arena(class),
        }
    }

    #[cold]
    fn make_arena(&self, class: u8) -> io::Result<&'static Arena> {
        let mut growing = self.growing.lock();
        let slot = &self.classes[usize::from(class)].arena;
        // Relaxed: the lock orders the makers.
        // SAFETY: S1: arenas are leaked when made.
        if let Some(arena) = unsafe { slot.load(Ordering::Relaxed).as_ref() } {
            return Ok(arena);
        }
        let stack_bytes = Self::class_bytes(class);
        let guard_bytes = growing.guard_bytes.unwrap_or(if stack_bytes < GUARD_BYTES_OF_LARGE {
            GUARD_BYTES_DEFAULT
        } else {
            GUARD_BYTES_OF_LARGE
        });
        let arena: &'static Arena = Box::leak(Box::new(Arena::new(ArenaConfig {
            stack_bytes,
            guard_bytes,
            slots_max: (CLASS_BYTES_MAX / (stack_bytes + guard_bytes)).min(16 << 20),
            ..ArenaConfig::default()
        })?));
        growing.is_decided = true;
        // Release: pairs with the Acquire in `arena`.
        slot.store(ptr::from_ref(arena).cast_mut(), Ordering::Release);
        Ok(arena)
    }

    /// Makes sure that `count` more coroutines of this class can have a stack.
    pub(crate) fn reserve(&self, class: u8, count: usize) -> io::Result<()> {
        self.arena(class)?.reserve(count)
    }

    /// Gives reservations back.
    pub(crate) fn unreserve(&self, class: u8, count: usize) {
        if let Ok(arena) = self.arena(class) {
            arena.unreserve(count);
        }
    }

    fn take_stacks(&self, class: u8, kind: Kind, out: &mut Vec<PooledStack>) {
        let mut lists = self.classes[usize::from(class)].free_lists.lock();
        let free = &mut lists[kind as usize];
        let rest = free.len().saturating_sub(CACHE_BATCH);
        out.extend(free.drain(rest..));
    }

    /// A stack with an identity, for a coroutine that must know its own before it starts. The caller has a reservation.
    #[cold]
    pub(crate) fn take_stack(&self, class: u8) -> io::Result<PooledStack> {
        let free = self.classes[usize::from(class)].free_lists.lock()[Kind::Isolated as usize].pop();
        free.map_or_else(|| self.fresh_stack(class, Kind::Isolated, known_facts()), Ok)
    }

    /// Takes back a stack whose coroutine has ended, from a thread without a worker.
    #[cold]
    pub(crate) fn give_stack(&self, class: u8, pooled: PooledStack) {
        let kind = kind_of(&pooled);
        self.give_stacks(class, kind, &mut vec![pooled], 1);
    }

    fn give_stacks(&self, class: u8, kind: Kind, from: &mut Vec<PooledStack>, count: usize) {
        let mut lists = self.classes[usize::from(class)].free_lists.lock();
        lists[kind as usize].extend(from.drain(..count.min(from.len())));
    }

    fn fresh_stack(&self, class: u8, kind: Kind, facts: Option<&'static TlsLayout>) -> io::Result<PooledStack> {
        let facts = match (kind, facts) {
            (Kind::Isolated, None) => {
                let error = "an isolated coroutine on a worker that knows no identities";
                return Err(io::Error::new(io::ErrorKind::Unsupported, error));
            }
            (Kind::Isolated, facts) => facts,
            (Kind::Light, _) => None,
        };
        let arena = self.arena(class)?;
        let stack = arena.take()?;
        let top = stack
            .top()
            .wrapping_sub(colour_bytes(stack.top() as usize / arena.stride_bytes()));
        match facts {
            Some(facts) => {
                // SAFETY: S3: a fresh slot is zeroed and ours; the caller runs under a complete identity.
                match unsafe { Identity::build(facts, stack.bottom(), top) } {
                    Some((identity, frame_top)) => Ok(PooledStack {
                        stack,
                        identity: Some(identity),
                        frame_top,
                    }),
                    None => Err(io::Error::new(
                        io::ErrorKind::OutOfMemory,
                        "no memory for an identity block",
                    )),
                }
            }
            None => Ok(PooledStack {
                stack,
                identity: None,
                frame_top: top,
            }),
        }
    }

    /// Takes one stack without an identity, for a caller with a reservation.
    pub(super) fn take_light(&self, class: u8) -> io::Result<PooledStack> {
        let used = self.classes[usize::from(class)].free_lists.lock()[Kind::Light as usize].pop();
        used.map_or_else(|| self.fresh_stack(class, Kind::Light, None), Ok)
    }

    /// Takes back a stack without an identity, and returns its deep pages to the system.
    pub(super) fn give_light(&self, class: u8, pooled: PooledStack) {
        // SAFETY: S1: nobody runs on it. An error leaves the pages where they are.
        let _ = unsafe { pooled.stack.trim(KEEP_BYTES) };
        self.classes[usize::from(class)].free_lists.lock()[Kind::Light as usize].push(pooled);
    }

    fn take_cores(&self, out: &mut Vec<NonNull<Core>>, count: usize) {
        {
            let mut cores = self.cores.lock();
            let rest = cores.len().saturating_sub(count);
            out.extend(cores.drain(rest..));
        }
        if out.is_empty() {
            self.grow(out);
        }
    }

    #[cold]
    fn grow(&self, out: &mut Vec<NonNull<Core>>) {
        let chunk: Box<[Core]> = (0..CHUNK_CORES).map(|_| Core::free()).collect();
        let chunk = Box::leak(chunk);
        let first = NonNull::from(&mut chunk[0]);
        out.extend(chunk.iter_mut().map(NonNull::from));
        self.chunks.lock().push(first);
    }

    /// Takes a core for a new life, for a caller that is no worker.
    pub(crate) fn take_core(&self) -> NonNull<Core> {
        if let Some(core) = self.cores.lock().pop() {
            return core;
        }
        let mut fresh = Vec::with_capacity(CHUNK_CORES);
        self.grow(&mut fresh);
        let core = fresh.pop().expect("a chunk has cores");
        self.cores.lock().append(&mut fresh);
        core
    }

    pub(crate) fn give_core(&self, core: NonNull<Core>) {
        self.cores.lock().push(core);
    }

    /// The chunks of cores that were ever made. The caller is in a critical section.
    pub(super) fn chunks(&self) -> Vec<&'static [Core]> {
        let chunks = self.chunks.lock();
        // SAFETY: S2: chunks have CHUNK_CORES cores and are never freed.
        let slice_of = |first: &NonNull<Core>| unsafe { std::slice::from_raw_parts(first.as_ptr(), CHUNK_CORES) };
        chunks.iter().map(slice_of).collect()
    }
}

/// Returns deep pages of the stack to the system, if they were used.
#[cold]
fn trim(stack: &Stack) {
    // SAFETY: S1: the coroutine has ended and another context runs: the stack is ours alone.
    if unsafe { stack.deep_use(KEEP_BYTES) } {
        // SAFETY: S1: as above. An error leaves the pages where they are.
        let _ = unsafe { stack.trim(KEEP_BYTES) };
    }
}

/// The stacks, cores and reservations that one worker keeps for itself. Only code that runs on that worker touches
/// them, in the worker's own context or in a critical section.
pub(crate) struct Caches {
    stacks: UnsafeCell<[Vec<PooledStack>; 2]>,
    /// The class of the stacks in `stacks`: the runtime's default. Stacks of other classes go to their class's free
    /// list.
    class: u8,
    cores: UnsafeCell<Vec<NonNull<Core>>>,
    reservations: Cell<usize>,
    releases: Cell<u32>,
    /// Stacks on which calls continue: see `segment.rs`.
    pub(super) segments: UnsafeCell<Vec<PooledStack>>,
    facts: Option<&'static TlsLayout>,
}

impl Caches {
    pub(crate) fn new(class: u8, facts: Option<&'static TlsLayout>) -> Self {
        Self {
            stacks: UnsafeCell::new([Vec::new(), Vec::new()]),
            class,
            cores: UnsafeCell::new(Vec::new()),
            reservations: Cell::new(0),
            releases: Cell::new(0),
            segments: UnsafeCell::new(Vec::new()),
            facts,
        }
    }

    /// The layout of the C library's thread-locals, if this process can isolate coroutines.
    #[inline(always)]
    pub(crate) fn facts(&self) -> Option<&'static TlsLayout> {
        self.facts
    }

    /// Takes a core for a new life.
    #[inline]
    pub(crate) fn take_core(&self) -> NonNull<Core> {
        // SAFETY: S1: only the worker's own code comes here, and it does not re-enter.
        let cores = unsafe { &mut *self.cores.get() };
        if cores.is_empty() {
            POOLS.take_cores(cores, CACHE_BATCH);
        }
        cores.pop().expect("the pool grows")
    }

    /// Takes back a core whose life is over.
    #[inline]
    pub(crate) fn give_core(&self, core: NonNull<Core>) {
        // SAFETY: S1: as in `take_core`.
        let cores = unsafe { &mut *self.cores.get() };
        if cores.len() >= CACHE_MAX {
            POOLS.cores.lock().extend(cores.drain(..CACHE_BATCH));
        }
        cores.push(core);
    }

    /// Reserves the address space of one stack.
    #[inline]
    pub(crate) fn reserve(&self, class: u8) -> io::Result<()> {
        if class != self.class {
            return POOLS.reserve(class, 1);
        }
        match self.reservations.get() {
            0 => {
                // Near the limit, a batch may be refused although one stack can still be had.
                match POOLS.reserve(class, CACHE_BATCH) {
                    Ok(()) => self.reservations.set(CACHE_BATCH - 1),
                    Err(_) => POOLS.reserve(class, 1)?,
                }
            }
            some => self.reservations.set(some - 1),
        }
        Ok(())
    }

    /// Gives one reservation back.
    #[inline]
    pub(crate) fn unreserve(&self, class: u8) {
        if class != self.class {
            return POOLS.unreserve(class, 1);
        }
        let some = self.reservations.get() + 1;
        if some > CACHE_MAX {
            POOLS.unreserve(class, CACHE_BATCH);
            self.reservations.set(some - CACHE_BATCH);
        } else {
            self.reservations.set(some);
        }
    }

    /// A stack for a coroutine that starts.
    #[inline]
    pub(crate) fn take_stack(&self, class: u8, kind: Kind) -> io::Result<PooledStack> {
        if class == self.class {
            // SAFETY: S1: as in `take_core`.
            let cached = unsafe { &mut *self.stacks.get() };
            if let Some(stack) = cached[kind as usize].pop() {
                return Ok(stack);
            }
        }
        self.take_stack_slow(class, kind)
    }

    #[cold]
    fn take_stack_slow(&self, class: u8, kind: Kind) -> io::Result<PooledStack> {
        let mut batch = Vec::new();
        POOLS.take_stacks(class, kind, &mut batch);
        let Some(stack) = batch.pop() else {
            return POOLS.fresh_stack(class, kind, self.facts);
        };
        if class == self.class {
            // SAFETY: S1: as in `take_core`.
            let cached = unsafe { &mut *self.stacks.get() };
            cached[kind as usize].append(&mut batch);
        } else {
            let count = batch.len();
            POOLS.give_stacks(class, kind, &mut batch, count);
        }
        Ok(stack)
    }

    /// Takes back a stack whose coroutine has ended; another context runs now.
    #[inline]
    pub(crate) fn give_stack(&self, class: u8, pooled: PooledStack) {
        let kind = kind_of(&pooled);
        let releases = self.releases.get().wrapping_add(1);
        self.releases.set(releases);
        if looks(releases) {
            trim(&pooled.stack);
        }
        if class != self.class {
            return POOLS.give_stacks(class, kind, &mut vec![pooled], 1);
        }
        // SAFETY: S1: as in `take_core`.
        let cached = unsafe { &mut *self.stacks.get() };
        let cached = &mut cached[kind as usize];
        if cached.len() >= CACHE_MAX {
            POOLS.give_stacks(class, kind, cached, CACHE_BATCH);
        }
        cached.push(pooled);
    }

    /// Gives everything to the shared pools, since the worker ends.
    pub(crate) fn flush(&self) {
        // SAFETY: S1: as in `take_core`.
        let cached = unsafe { &mut *self.stacks.get() };
        for kind in [Kind::Isolated, Kind::Light] {
            let count = cached[kind as usize].len();
            POOLS.give_stacks(self.class, kind, &mut cached[kind as usize], count);
        }
        // SAFETY: S1: as in `take_core`.
        let cores = unsafe { &mut *self.cores.get() };
        POOLS.cores.lock().append(cores);
        POOLS.unreserve(self.class, self.reservations.take());
        self.flush_segments();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbours_begin_on_other_cache_lines() {
        let class = Pools::class_for(64 * 1024).expect("a size that exists");
        pools().reserve(class, COLOURS).expect("address space");
        let stacks: Vec<PooledStack> = (0..COLOURS)
            .map(|_| pools().fresh_stack(class, Kind::Light, None).expect("it was reserved"))
            .collect();
        let lines: HashSet<usize> = stacks
            .iter()
            .map(|pooled| pooled.frame_top as usize % 4096 / CACHE_LINE_BYTES)
            .collect();
        assert_eq!(lines.len(), COLOURS);
        for pooled in stacks {
            assert!(pooled.stack.contains(pooled.frame_top as usize - 1));
            assert!((pooled.frame_top as usize).is_multiple_of(16));
            pools().arena(class).expect("it exists").give(pooled.stack);
        }
        pools().unreserve(class, COLOURS);
    }
}
