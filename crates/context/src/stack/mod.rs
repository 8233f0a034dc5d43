//! How the runtime gets guarded, recycled stacks, a million at a time (Linux).
//!
//! One [`Arena`] per size class reserves address space in large chunks and cuts it into slots. A slot has no memory map
//! of its own, so the kernel's limit on maps does not limit coroutines: 1,000,000 guarded stacks need fewer than 100
//! maps, whereas one mmap and one mprotect per stack end near 32,000.
//!
//! # A slot, low to high
//! ```text
//! | guard (no access) | usable stack, grows down            | top, page aligned = next slot's guard
//! ```
//!
//! *Odd stride.* The distance between two tops is an odd number of pages (if the sum is even, the guard gets one page
//! more). The top pages are what every switch touches. At a distance of 64 pages all tops would share the low six bits
//! of the page number, and so a few TLB sets. Their page-table entries would lie 512 bytes apart, in an eighth of a
//! page table's cache lines. An odd number is a unit modulo any power of two: tops visit all sets evenly. (The L2 is
//! indexed by physical addresses, which the page allocator decides; a stride cannot help there. All tops are page
//! aligned, so they would share L1 sets: the runtime lays out the first frame some cache lines below the top, by the
//! address of the slot (`coroutine/pool.rs`).) `tests/stack_measure.rs` measures it.
//!
//! # How large a guard?
//! One page is enough for Rust, whose frames probe every page. C is often built without stack-clash protection
//! (Debian's and Fedora's own packages mostly have it, a `cc` in a build script does not): a frame with `char
//! buffer[300 * 1024]` moves the stack pointer by all of it and touches its low end first. A frame that is not larger
//! than the guard cannot step over the guard, wherever on the stack it begins: its first touch below the stack is a
//! touch of the guard. So **the guard's size is the promise**: frames of up to that size, and any chain of calls of
//! such frames, fault before they write another slot. A larger frame can land in the neighbouring stack, if it never
//! touches the memory in between.
//!
//! The default is 768 KiB, however small the stack is: a frame of 700 KiB is caught even if the stack has 16 KiB. (The
//! runtime takes 1 MiB below stacks of 1 MiB and more: `coroutine/pool.rs`.) With 256 KiB of stack the stride is 257
//! pages, odd as it should be. A fresh stack costs 3.7 µs more than with the smallest guard that the runtime allows (16
//! KiB), to which the faults of its first pages add 9 to 14 µs.
//!
//! *The price* is paid per slot and not per use. Markers are entries of page tables: 5 ns per KiB once, when the slot
//! is fresh (recycled slots keep them), and two bytes of page tables per KiB of spacing for as long as the process
//! lives. A hole in place of the markers would cost the same tables, because tables come by 2 MiB of address space and
//! each stack touches its own part. The figures are below. Programs that run no such C can have a smaller guard:
//! `guard_bytes`.
//!
//! *Rejected: markers close to the stack only, and a hole below them that belongs to the slot.* One such frame would
//! land in memory that nobody uses. But the next call continues from there, and a recursion of such frames crosses the
//! hole into the neighbouring stack. *One inaccessible map per guard*: two memory maps each, which is the limit that
//! this arena exists to avoid (and what it falls back to on kernels without markers).
//!
//! # How deep was the stack used?
//! When a coroutine is released, the runtime wants to know, without a system call, whether the coroutine touched memory
//! far below its top, to give that memory back. [`Stack::deep_use`] looks at the one page just below the part that is
//! to be kept: the page is zero until used, and [`Stack::trim`] makes it zero again.
//! - *Yes is certain*: a word that is not zero was written since the last trim.
//! - *No is certain for frames of up to a page*: each frame holds a return address, which is never zero, so a page
//!   covered by such frames has at least one (`tests/stack_deep_use.rs`). The whole page is read for that reason:
//!   frames of one recursion lie at a fixed distance, and a sample of words at a fixed distance can miss all of them.
//! - A larger frame that never writes its buffer can straddle the page. The price is memory kept until a later,
//!   ordinary deep use; never more than one whole stack per slot.
//!
//! *When to look.* The first look at a page that was never touched maps the shared zero page: not resident memory of
//! the process, but a fault. Later looks are vector code over lines that are shared and warm. So the runtime does not
//! look at each end of a coroutine. It looks at one in eight of the stacks that come back to a worker's cache. A slot
//! that is reused often is caught soon; a slot that is not costs one stack at most. *Rejected*: mincore (a system call
//! per release), a canary pattern below the mark (makes a page resident per stack), accessed bits
//! (`/proc/self/pagemap`: a file per look), a few sampled words (see above).
//!
//! # How deep exactly?
//! [`Stack::high_water_bytes`] asks the kernel which pages are in memory (`mincore`). The answer is exact if the stack
//! was trimmed before its use, since pages that an earlier coroutine touched stay. So a program that wants to know how
//! deep its coroutines go has each stack trimmed first: one system call at the beginning and one at the end of each
//! coroutine. *Rejected*: a pattern written into the stack makes every page resident, which is what the pattern is to
//! find out; `/proc/self/pagemap` knows of swapped pages too, and costs a file.
//!
//! # Measured
//! `cargo test --release -p silken-context --test stack_measure -- --ignored --nocapture --test-threads=1`; median of
//! three runs on two cores of an EPYC virtual machine, Linux 6.18:
//!
//! | what | ns |
//! |---|---|
//! | fresh stack with an mprotect guard | 3,090 |
//! | take + give of a recycled stack | 6.2 |
//! | `deep_use`: first look; later, 20,000 stacks in turn; later, 32 stacks | 877; 172; 61 |
//! | `trim`: nothing there; 56 pages | 639; 13,500 |
//! | write to the tops of 64 / 256 / 1,024 / 4,096 stacks in turn, stride 64 pages | 0.3 / 3.1 / 3.5 / 5.0 |
//! | the same, stride 65 pages | 0.3 / 0.5 / 0.7 / 3.7 |
//! | the same, stride 257 pages; the last as 65 pages in the same noisy run | 0.3 / 0.5 / 0.7 / 10 |
//!
//! By guard (`guard_sizes`, the least of 40 batches of 200, on a machine that was not idle; stacks of 256 KiB, stacks
//! of other sizes differ by their spacing):
//!
//! | guard, KiB | fresh stack, ns | page tables per stack, bytes |
//! |---|---|---|
//! | 4 / 20 / 68 | 878 / 815 / 1,034 | 521 / 554 / 650 |
//! | 260 / 516 / 772 | 1,982 / 3,246 / 4,519 | 1,034 / 1,548 / 2,061 |
//! | 1,028 / 2,052 / 4,100 | 5,781 / 10,995 / 20,978 | 2,574 / 4,627 / 8,730 |
//!
//! By size (`stack_sizes`, one page of each stack in use, guards of 772 KiB, a busy machine; resident memory is that
//! one page whatever the size is):
//!
//! | stack, KiB | fresh stack, ns | page tables per stack, bytes |
//! |---|---|---|
//! | 32 / 64 / 128 | 2,694 / 2,708 / 2,694 | 1,612 / 1,676 / 1,804 |
//! | 256 / 512 / 1,024 | 2,741 / 2,827 / 3,029 | 2,060 / 2,574 / 3,600 |
//! | 2,048 / 8,192 | 3,363 / 3,368 | 5,652 / 5,676 |
//!
//! So 256 KiB of address space cost two bytes of page tables per KiB, 512 in all, and a few ns once. From 2 MiB on the
//! untouched part lies in tables that are never made, and costs nothing more.
//!
//! # Who may use a stack
//! The value [`Stack`] is the right to its memory: exactly one exists per slot that is out. The code that puts frames
//! on a stack keeps the value until the frames are dead (obligation S1), and then gives it back, or leaks it after an
//! overflow.

mod arena;
mod guard;
mod mapping;
mod registry;
mod spin;

use core::ops::Range;
use std::io;

pub use arena::Arena;
pub use guard::{GuardChoice, GuardKind};
pub use registry::{Located, locate};
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub(crate) use spin::SpinLock;

/// The configuration of an [`Arena`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaConfig {
    /// Usable bytes of each stack; rounded up to pages.
    pub stack_bytes: usize,
    /// Bytes of the guard; rounded up to pages, at least one page, and one page more where the stride would be even. No
    /// frame of up to this size can step over the guard.
    pub guard_bytes: usize,
    /// The most stacks that this arena may ever have; at most 2^28, less where the guards or the address space allow
    /// less.
    pub slots_max: usize,
    /// Which guard to use.
    pub guard: GuardChoice,
}

impl Default for ArenaConfig {
    /// 256 KiB of stack and 768 KiB of guard (772 KiB with the odd page), four million slots.
    fn default() -> Self {
        ArenaConfig {
            stack_bytes: 256 * 1024,
            guard_bytes: 768 * 1024,
            slots_max: 4 << 20,
            guard: GuardChoice::Probe,
        }
    }
}

/// A snapshot of an arena, from [`Arena::stats`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Slots that have been given a guard so far.
    pub slots_carved: usize,
    /// Carved slots that wait in the arena (not those in callers' caches).
    pub slots_free: usize,
    /// Slots lost to [`Stack::leak`].
    pub slots_leaked: usize,
    /// Outstanding reservations.
    pub slots_reserved: usize,
    /// Slots for which address space is mapped.
    pub slots_mapped: usize,
    /// The most slots that the arena may ever have.
    pub slots_max: usize,
    /// The guards in use.
    pub guard: GuardKind,
    /// Bytes of address space in chunks.
    pub bytes_mapped: usize,
}

/// A slot in one word: the page number of its lowest usable page, and its index in the arena.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    /// 36 bits of page number reach 2^48 with 4 KiB pages: all addresses that the kernel gives out unless asked for
    /// higher ones.
    const INDEX_BITS: u32 = 28;
    const INDEX_MAX: usize = 1 << Self::INDEX_BITS;
    const PAGE_SHIFT: u32 = 12;

    fn new(bottom: usize, index: usize) -> Slot {
        debug_assert!(index < Self::INDEX_MAX && bottom >> 48 == 0);
        Slot(((bottom >> Self::PAGE_SHIFT) as u64) << Self::INDEX_BITS | index as u64)
    }

    #[inline]
    fn bottom(self) -> usize {
        ((self.0 >> Self::INDEX_BITS) as usize) << Self::PAGE_SHIFT
    }

    #[inline]
    fn index(self) -> usize {
        self.0 as usize & (Self::INDEX_MAX - 1)
    }
}

/// The right to one stack. Move-only. Dropping it without [`Arena::give`] or [`Stack::leak`] silently loses the slot,
/// and never frees it.
#[must_use = "a stack that is dropped is lost to its arena"]
pub struct Stack {
    slot: Slot,
    arena: &'static Arena,
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack")
            .field("index", &self.index())
            .field("bottom", &self.bottom())
            .field("top", &self.top())
            .finish()
    }
}

impl Stack {
    /// One past the highest usable byte; page aligned. The first frame goes below it.
    #[inline]
    pub fn top(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.slot.bottom() + self.size())
    }

    /// The lowest usable byte.
    #[inline]
    pub fn bottom(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.slot.bottom())
    }

    /// Usable bytes.
    #[inline]
    pub fn size(&self) -> usize {
        self.arena.stack_bytes()
    }

    /// A small number, unique among the stacks of one arena, and the same each time the slot is used.
    #[inline]
    pub fn index(&self) -> usize {
        self.slot.index()
    }

    /// The arena to which this stack is given back.
    #[inline]
    pub fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// Whether `addr` is in the usable part of the stack.
    #[inline]
    pub fn contains(&self, addr: usize) -> bool {
        addr.wrapping_sub(self.slot.bottom()) < self.size()
    }

    /// The addresses of the guard, which fault.
    #[inline]
    pub fn guard_range(&self) -> Range<usize> {
        self.slot.bottom() - self.arena.guard_bytes()..self.slot.bottom()
    }

    /// Gives this stack up for ever: after an overflow its frames are never unwound, and other code may still refer to
    /// them.
    pub fn leak(self) {
        self.arena.count_leak();
    }

    /// Returns the memory below the highest `keep_top_bytes` (rounded up to pages) to the kernel; the memory reads as
    /// zero again.
    ///
    /// # Safety
    /// S1: no frame that will still be used lies below `top() - keep_top_bytes`, and nobody runs on the stack.
    ///
    /// # Errors
    /// The kernel's error; the stack stays usable.
    pub unsafe fn trim(&self, keep_top_bytes: usize) -> io::Result<()> {
        let bytes = self.bytes_below(keep_top_bytes);
        if bytes == 0 {
            return Ok(());
        }
        mapping::advise(self.slot.bottom(), bytes, libc::MADV_DONTNEED)
    }

    /// Whether the coroutine that left this stack went deeper than `keep_top_bytes` (rounded up to pages) since the
    /// last [`trim`](Stack::trim). "Yes" is certain, "no" holds for frames of up to a page; the head of this module
    /// gives the cost.
    ///
    /// # Safety
    /// S1: nobody runs on the stack.
    pub unsafe fn deep_use(&self, keep_top_bytes: usize) -> bool {
        const WORDS_PER_LOOK: usize = 64;
        let bytes = self.bytes_below(keep_top_bytes);
        if bytes == 0 {
            return false;
        }
        let page_bytes = mapping::page_bytes();
        let page = core::ptr::with_exposed_provenance::<u64>(self.slot.bottom() + bytes - page_bytes);
        // SAFETY: S1: a page inside the usable part of a live mapping, aligned, and by the caller's promise nobody
        // writes there now.
        let words = unsafe { core::slice::from_raw_parts(page, page_bytes / size_of::<u64>()) };
        // By lines without a branch inside, which the compiler turns into vector code; from the top, where use begins.
        words
            .rchunks_exact(WORDS_PER_LOOK)
            .any(|line| line.iter().fold(0, |all, word| all | word) != 0)
    }

    /// How far below its top the stack has been touched since it was last trimmed, in whole pages: a system call per
    /// 2 MiB. Exact if all of it was trimmed before the use, and no page is swapped out.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn high_water_bytes(&self) -> io::Result<usize> {
        let lowest = mapping::lowest_resident(self.slot.bottom(), self.size())?;
        Ok(lowest.map_or(0, |lowest| self.slot.bottom() + self.size() - lowest))
    }

    /// The number of bytes between the bottom and the part that is to be kept.
    fn bytes_below(&self, keep_top_bytes: usize) -> usize {
        let keep = keep_top_bytes.min(self.size()).next_multiple_of(mapping::page_bytes());
        self.size() - keep
    }
}
