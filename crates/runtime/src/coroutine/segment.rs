//! Where does a coroutine or a thread continue when its stack runs out? On a segment: a stack from the pool, for the
//! time of one call.
//!
//! # Vocabulary
//! | word | meaning |
//! |---|---|
//! | segment | a stack of the pools on which one call runs; the record of it ([`Segment`]) lies in the caller's frame |
//! | older | the stack from which the call came: the first stack, or another segment |
//! | stack in use | the newest segment of a coroutine or thread, or its first stack if there is none |
//! | room | the bytes between the stack pointer and the lowest byte of the stack in use |
//! | red zone | the room that a caller wants before it goes on without a segment |
//!
//! # Protocol
//! [`grow`] takes a stack, links its record before the newest one, calls the closure there
//! (`silken_context::segment`), and on the way out unlinks the record and gives the stack back. The way out is a return
//! or an unwinding; both run the guard on the older stack, when no frame on the segment is alive. So records come and
//! go like frames. The newest record of a coroutine is in its core, that of an OS thread in a thread-local. The segment
//! belongs to the coroutine and not to the worker: a wait inside the closure, also one that ends on another worker,
//! finds it as it was, and the worker on which the call ends gets the stack for its cache. (A coroutine that runs late
//! gives it to the cache of OS threads.)
//!
//! A light stack (without an identity at its top) serves as a segment. Thread-locals, `errno` and the identity are
//! those of the first stack: only the stack pointer has moved.
//!
//! # Room
//! [`room`] is what each `maybe_grow` asks: the core of the caller, its newest record, one subtraction. An OS thread's
//! first stack is asked of the C library once, and noted in a thread-local. A stack pointer that is on no known stack
//! (a signal handler's alternate stack, a stack that another library has made) has no known room.
//!
//! # Sizes
//! A segment has at least [`SEGMENT_BYTES`], the size of a coroutine's default stack. Address space is cheap
//! (`silken_context::stack` has the figures), pages are taken as they are touched, and a small segment would run out
//! sooner. The C library takes up to a quarter of the size of the *first* stack, and at most 64 KiB, for one frame of
//! its own (`__libc_alloca_cutoff`): a segment has that room too.
//!
//! # Memory
//! A worker keeps [`WARM_MAX`] segments of the usual size as they are, with the pages that were touched. So a loop that
//! grows at each turn makes no system call and takes no page fault. All other segments give their pages back, but for
//! the topmost 16 KiB, before they go to the free list of their class. OS threads share one such cache, under a lock. A
//! cached segment keeps its reservation in the arena, so that coroutines that were promised a stack get it.
//!
//! # Losses
//! A segment that overflows does what an overflowing stack does (`sched/overflow.rs`). If the coroutine is lost, all of
//! its segments are ([`Core::leak_segments`]): their frames lie there for ever.
//!
//! # What is not told of segments
//! `pthread_getattr_np` answers the first stack, as it does where the stack was grown by others. Those who ask keep the
//! answer for the thread's life (language runtimes, std's overflow handler), and a segment ends with its call.
//!
//! # Rejected
//! *A cache of segments in the coroutine*: a deep recursion would keep all its memory until the coroutine ends.
//! *Keeping a spare segment allocated beside each grown stack*, against a call that grows and shrinks in a
//! loop: the worker's cache does the same for all its coroutines. *Telling the kernel of the stack's end by
//! `MAP_GROWSDOWN`*: one memory map per stack, and a growth that ends where the neighbour begins.

pub(super) mod record;

use super::core::Core;
use super::current::{Critical, current_core, current_link};
use super::pool::stack::PooledStack;
use super::pool::{Caches, Pools, pools};
use super::stack_report::{self, stacks_are_measured};
use crate::sys::StaticLock;
use record::{Segment, StackBounds};
use silken_context::segment::{call_on, stack_pointer};
use std::cell::Cell;
use std::io;
use std::ptr;

/// The least size of a segment, and the usual one. It is that of a coroutine's default stack.
const SEGMENT_BYTES: usize = if cfg!(debug_assertions) {
    1024 * 1024
} else {
    512 * 1024
};

/// Whether segments of this class are cached.
fn is_usual(class: u8) -> bool {
    Pools::class_bytes(class) == SEGMENT_BYTES
}

/// How many segments of the usual size a worker keeps with their pages. A guess: a program whose recursion crosses
/// more boundaries than that in one go does enough work on each to pay for its page faults.
const WARM_MAX: usize = 4;

/// What the runtime keeps of an OS thread's stack.
struct OfThread {
    newest: Cell<*const Segment>,
    /// The lowest byte of the first stack; 0: not asked yet. [`UNKNOWN`]: the C library does not say.
    bottom: Cell<usize>,
    bytes: Cell<usize>,
}

const UNKNOWN: usize = usize::MAX;

thread_local! {
    static OF_THREAD: OfThread = const {
        OfThread {
            newest: Cell::new(ptr::null()),
            bottom: Cell::new(0),
            bytes: Cell::new(0),
        }
    };
}

/// The cache of segments for callers that are on no worker.
static OUTSIDE: StaticLock<Vec<PooledStack>> = StaticLock::new(Vec::new());

/// How many bytes of stack the caller has left; `None` where that is not known.
#[inline]
pub(crate) fn room() -> Option<usize> {
    let (bottom, bytes) = match current_core() {
        Some(core) => core.lowest_and_size(),
        None => lowest_and_size_of_thread(),
    };
    let room = stack_pointer().wrapping_sub(bottom);
    (room <= bytes).then_some(room)
}

#[inline]
fn lowest_and_size_of_thread() -> (usize, usize) {
    OF_THREAD.with(|thread| {
        // SAFETY: S8: a record stays in its frame while it is linked.
        match unsafe { thread.newest.get().as_ref() } {
            Some(segment) => (segment.bottom, segment.bytes),
            None => {
                if thread.bottom.get() == 0 {
                    let (bottom, bytes) = ask_for_stack().unwrap_or((UNKNOWN, 0));
                    thread.bottom.set(bottom);
                    thread.bytes.set(bytes);
                }
                (thread.bottom.get(), thread.bytes.get())
            }
        }
    })
}

/// Where the calling OS thread's stack begins, and its size. For the main thread the C library reads `/proc/self/maps`.
#[cold]
fn ask_for_stack() -> Option<(usize, usize)> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: S3: reads the identity's own address.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: S7: a thread that runs; a place for the answer.
    let error = unsafe { libc::pthread_getattr_np(own, attributes.as_mut_ptr()) };
    if error != 0 {
        return None;
    }
    let (mut bottom, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: S7: filled in by the call that succeeded; places for the answers.
    let error = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut bottom, &mut bytes) };
    // SAFETY: S7: filled in, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (error == 0).then_some((bottom as usize, bytes))
}

/// Calls `f` on a fresh segment of at least `bytes`, and returns its value.
///
/// # Errors
/// If there is no segment: no address space, no guard, or a size above 1 GiB. `f` is dropped, uncalled.
#[cold]
#[inline(never)]
pub(crate) fn grow<R>(bytes: usize, f: impl FnOnce() -> R) -> io::Result<R> {
    let segment = make(bytes)?;
    let top = segment.top();
    let _on_segment = OnSegment::new(&segment);
    if stacks_are_measured() {
        note_growth();
    }
    // SAFETY: S1: the stack is the segment's until `_on_segment` is dropped, when the call is over. S9: it has a guard.
    Ok(unsafe { call_on(top, f) })
}

#[cold]
fn note_growth() {
    if let Some(core) = current_core() {
        stack_report::note_growth(core, core.stacks().filter(|stack| stack.is_segment).count());
    }
}

/// Calls `f` with the place of the caller's newest record.
fn newest<R>(f: impl FnOnce(&Cell<*const Segment>) -> R) -> R {
    match current_core() {
        Some(core) => f(&core.segment),
        None => OF_THREAD.with(|thread| f(&thread.newest)),
    }
}

/// A segment that is linked, as its call's caller has it.
struct OnSegment<'a>(&'a Segment);

impl<'a> OnSegment<'a> {
    fn new(segment: &'a Segment) -> Self {
        newest(|newest| newest.set(segment));
        Self(segment)
    }
}

impl Drop for OnSegment<'_> {
    fn drop(&mut self) {
        newest(|newest| newest.set(self.0.older));
        if let Some(pooled) = self.0.pooled.take() {
            give(self.0.class, pooled);
        }
    }
}

/// Takes a stack for a segment of at least so many bytes, and makes the record of it.
fn make(bytes: usize) -> io::Result<Segment> {
    let class = Pools::class_with_block(bytes.max(SEGMENT_BYTES), 0)?;
    Ok(Segment::new(take(class)?, class, newest(Cell::get)))
}

/// Calls `f` with the cache that the caller may use.
fn cached<R>(f: impl FnOnce(&mut Vec<PooledStack>) -> R) -> R {
    let _critical = Critical::enter();
    match current_link() {
        // SAFETY: S1: only code of this worker comes here, in a critical section, and it does not re-enter.
        Some(link) => f(unsafe { &mut *link.caches.segments.get() }),
        None => f(&mut OUTSIDE.lock()),
    }
}

fn take(class: u8) -> io::Result<PooledStack> {
    if is_usual(class)
        && let Some(warm) = cached(Vec::pop)
    {
        return Ok(warm);
    }
    // In a critical section, for making an arena takes locks and allocates.
    let _critical = Critical::enter();
    pools().reserve(class, 1)?;
    pools().take_light(class).inspect_err(|_| pools().unreserve(class, 1))
}

fn give(class: u8, pooled: PooledStack) {
    let mut surplus = Some(pooled);
    if is_usual(class) {
        cached(|warm| {
            if warm.len() < WARM_MAX {
                warm.extend(surplus.take());
            }
        });
    }
    if let Some(pooled) = surplus {
        let _critical = Critical::enter();
        put_away(class, pooled);
    }
}

/// Gives a segment to the free list of its class, without the pages that it does not need there.
fn put_away(class: u8, pooled: PooledStack) {
    pools().give_light(class, pooled);
    pools().unreserve(class, 1);
}

impl Caches {
    /// Gives the cached segments to the free list of their class, since the worker ends.
    pub(super) fn flush_segments(&self) {
        // SAFETY: S1: as in `cached`.
        let cached = unsafe { &mut *self.segments.get() };
        if cached.is_empty() {
            return;
        }
        if let Ok(usual) = Pools::class_with_block(SEGMENT_BYTES, 0) {
            cached.drain(..).for_each(|pooled| put_away(usual, pooled));
        }
    }
}

/// The stacks of a coroutine or thread, the one in use first, and the first one last.
#[derive(Clone, Debug)]
pub(crate) struct Stacks {
    segment: *const Segment,
    first: Option<StackBounds>,
}

impl Iterator for Stacks {
    type Item = StackBounds;

    fn next(&mut self) -> Option<StackBounds> {
        // SAFETY: S8: a record stays in its frame while it is linked, and in a lost coroutine for ever.
        match unsafe { self.segment.as_ref() } {
            Some(segment) => {
                self.segment = segment.older;
                segment.bounds()
            }
            None => self.first.take(),
        }
    }
}

/// The segments of the calling OS thread, the newest first. Async-signal-safe.
pub(crate) fn segments_of_thread() -> Stacks {
    Stacks {
        segment: OF_THREAD.with(|thread| thread.newest.get()),
        first: None,
    }
}

impl Core {
    #[inline(always)]
    fn lowest_and_size(&self) -> (usize, usize) {
        // SAFETY: S8: a record stays in its frame while it is linked.
        match unsafe { self.segment.get().as_ref() } {
            Some(segment) => (segment.bottom, segment.bytes),
            None => (self.lowest_of_first_stack(), Pools::class_bytes(self.class.get())),
        }
    }

    #[inline(always)]
    fn lowest_of_first_stack(&self) -> usize {
        // SAFETY: S1, S6: asked in the name of the coroutine itself, which owns the field while it runs.
        let stack = unsafe { &*self.stack.get() };
        stack.as_ref().map_or(0, |pooled| pooled.stack.bottom() as usize)
    }

    /// The stacks of the coroutine, the one in use first. Called by the coroutine itself, or by a signal handler that
    /// has interrupted it.
    pub(crate) fn stacks(&self) -> Stacks {
        // SAFETY: S1, S6: asked in the name of the coroutine itself, which owns the field while it runs.
        let stack = unsafe { &*self.stack.get() };
        Stacks {
            segment: self.segment.get(),
            first: stack.as_ref().map(|pooled| StackBounds::of(pooled, false)),
        }
    }

    /// Whether the caller runs on a stack of the coroutine's, and not in a signal handler on another stack.
    pub(crate) fn is_on_own_stack(&self) -> bool {
        let (bottom, bytes) = self.lowest_and_size();
        bottom != 0 && stack_pointer().wrapping_sub(bottom) <= bytes
    }

    /// Whether the coroutine runs on a segment.
    pub(crate) fn is_on_segment(&self) -> bool {
        !self.segment.get().is_null()
    }

    /// Whether the stack pointer is on the stack in use, with so many bytes of room below it. Called by a signal
    /// handler that has interrupted the coroutine.
    pub(crate) fn has_room_below(&self, stack_pointer: usize, bytes: usize) -> bool {
        let (bottom, size) = self.lowest_and_size();
        let room = stack_pointer.wrapping_sub(bottom);
        bottom != 0 && (bytes..=size).contains(&room)
    }

    /// Gives up the segments of a coroutine that is lost.
    ///
    /// # Safety
    /// Nobody runs as this coroutine, and nobody will (S1).
    pub(crate) unsafe fn leak_segments(&self) {
        let mut segment = self.segment.replace(ptr::null());
        // SAFETY: S8: its frames lie there for ever.
        while let Some(record) = unsafe { segment.as_ref() } {
            if let Some(pooled) = record.pooled.take() {
                pooled.stack.leak();
                pools().unreserve(record.class, 1);
            }
            segment = record.older;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn on_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(f).join().expect("no panic"))
    }

    #[test]
    fn a_thread_knows_its_room() {
        on_a_thread(|| {
            let here = room().expect("the C library says it");
            assert!(here > 16 * 1024 && here < 1 << 30, "{here}");
            let frame = black_box([1u8; 4096]);
            let deeper = grow(0, || room().expect("a segment is known")).expect("a segment");
            assert!(deeper <= SEGMENT_BYTES && deeper > SEGMENT_BYTES - 8192, "{deeper}");
            assert!(room().expect("as before").abs_diff(here) < 64 * 1024);
            black_box(frame);
        });
    }

    #[test]
    fn a_panic_unlinks_what_it_passes() {
        on_a_thread(|| {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                grow(0, || grow(0, || panic!("two segments down")).expect("a segment")).expect("a segment")
            }));
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"two segments down"));
            assert_eq!(segments_of_thread().count(), 0);
        });
    }

    #[test]
    fn segments_are_listed_newest_first() {
        on_a_thread(|| {
            grow(0, || {
                let outer: Vec<_> = segments_of_thread().collect();
                grow(4 * SEGMENT_BYTES, || {
                    let both: Vec<_> = segments_of_thread().collect();
                    assert_eq!(both.len(), 2);
                    assert_eq!(both[1..], outer[..]);
                    assert_eq!(both[0].bytes, 4 * SEGMENT_BYTES);
                    assert!(both[0].whole().contains(&stack_pointer()));
                })
                .expect("a segment");
            })
            .expect("a segment");
        });
    }

    #[test]
    fn a_segment_too_large_is_an_error_and_the_closure_is_not_called() {
        let error = grow(2 << 30, || panic!("there is no such segment")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_segment_used_last_is_used_again() {
        on_a_thread(|| {
            // Larger than usual, so that other tests' threads do not take it from the shared cache.
            let place = || segments_of_thread().next().expect("one").bottom;
            let first = grow(16 * SEGMENT_BYTES, place).expect("a segment");
            assert_eq!(grow(16 * SEGMENT_BYTES, place).expect("a segment"), first);
        });
    }
}
