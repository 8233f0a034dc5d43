//! Which blocks were ever built, by number: it tells which blocks a late library must reach, and gives out tids.
//!
//! A block's *number* is its place in this table and never changes. The block's tid is the number above the kernel's
//! own range. So the tid is unique for the life of the process, and the block can be found from its tid.
//!
//! # Protocol
//! Entries are only added: blocks are never unmapped. A builder claims a number, stores the block's address, and only
//! then asks the C library for the images. A caller that has a new image to spread walks the claimed numbers after the
//! C library knows the module. Both take the C library's lock of its list of modules: the builder while it copies, the
//! loader while it adds. Either the builder's copy comes later and has the module's image, or the builder's store came
//! before the addition, and the walk sees the block. So claiming and building need no lock of the runtime's.
//!
//! The walk may meet a block that is being built. It writes the bytes that the builder writes, or bytes that the
//! builder leaves alone.

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::ptr;

/// Kernel tids end below 2^22 (`PID_MAX_LIMIT`).
const TID_BASE: u32 = 1 << 22;

const CHUNK_BITS: u32 = 13;
const CHUNK_BLOCKS: usize = 1 << CHUNK_BITS;
/// 64 million blocks. With `TID_BASE` that is far below 2^30, where a lock word has flags (`FUTEX_OWNER_DIED`,
/// `FUTEX_WAITERS`).
const CHUNKS: usize = 1 << CHUNK_BITS;

type Chunk = [AtomicUsize; CHUNK_BLOCKS];

static COUNT: AtomicUsize = AtomicUsize::new(0);
static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

const _: () = assert!((TID_BASE as usize + CHUNKS * CHUNK_BLOCKS) < 1 << 30);

/// The place of a block in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(usize);

impl Number {
    pub(super) fn tid(self) -> u32 {
        TID_BASE + self.0 as u32
    }

    /// The number behind a tid, if the tid is a block's.
    pub(super) fn of_tid(tid: u32) -> Option<Number> {
        let number = tid.checked_sub(TID_BASE)? as usize;
        // Acquire: pairs with the Release in `enter`.
        (number < COUNT.load(Ordering::Acquire)).then_some(Number(number))
    }

    fn slot(self) -> Option<&'static AtomicUsize> {
        // Acquire: pairs with the Release in `grow`: the chunk's pages are zero.
        let chunk = TABLE[self.0 >> CHUNK_BITS].load(Ordering::Acquire);
        // SAFETY: S3: chunks are never unmapped.
        let chunk = unsafe { chunk.as_ref() }?;
        Some(&chunk[self.0 % CHUNK_BLOCKS])
    }

    /// The block's address; zero while it is being entered, and when it could not be built.
    pub(super) fn base(self) -> usize {
        // Acquire: pairs with the Release in `enter` and `leave`.
        self.slot().map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    /// Notes that the block could not be built. Its number is not given out again.
    pub(super) fn leave(self) {
        if let Some(slot) = self.slot() {
            // Release: pairs with the Acquire in `base`.
            slot.store(0, Ordering::Release);
        }
    }
}

/// Enters a block before it is built. `None`: there is no number left, or no memory.
pub(super) fn enter(base: usize) -> Option<Number> {
    // Release: pairs with the Acquire in `of_tid` and `for_each`.
    let claim = COUNT.fetch_update(Ordering::Release, Ordering::Relaxed, |count| {
        (count < CHUNKS * CHUNK_BLOCKS).then_some(count + 1)
    });
    let number = Number(claim.ok()?);
    if number.slot().is_none() {
        grow(&TABLE[number.0 >> CHUNK_BITS])?;
    }
    // Release: pairs with the Acquire in `base`.
    number.slot()?.store(base, Ordering::Release);
    Some(number)
}

#[cold]
fn grow(place: &AtomicPtr<Chunk>) -> Option<()> {
    let bytes = size_of::<Chunk>();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: S3: a fresh mapping at an address of the kernel's choice. Not malloc: a builder may be inside of one.
    let fresh = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, kind, -1, 0) };
    if fresh == libc::MAP_FAILED {
        return None;
    }
    // Release: pairs with the Acquire in `slot`.
    let won = place.compare_exchange(ptr::null_mut(), fresh.cast(), Ordering::Release, Ordering::Relaxed);
    if won.is_err() {
        // SAFETY: S3: another builder was first; nobody has seen this mapping.
        unsafe { libc::munmap(fresh, bytes) };
    }
    Some(())
}

/// Calls `visit` with the address of every block.
pub(super) fn for_each(mut visit: impl FnMut(usize)) {
    // Acquire: pairs with the Release in `enter`.
    let count = COUNT.load(Ordering::Acquire);
    for number in 0..count {
        let base = Number(number).base();
        if base != 0 {
            visit(base);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tids_are_unique_and_lead_back() {
        let bases: Vec<usize> = (0..4)
            .flat_map(|thread| (1..3_000).map(move |block| (thread << 32) + block))
            .collect();
        let numbers: Vec<(usize, Number)> = std::thread::scope(|scope| {
            let threads: Vec<_> = bases
                .chunks(2_999)
                .map(|bases| {
                    scope.spawn(|| {
                        bases
                            .iter()
                            .map(|&base| (base, enter(base).unwrap()))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let tids: HashSet<u32> = numbers.iter().map(|(_, number)| number.tid()).collect();
        assert_eq!(tids.len(), bases.len());
        for (base, number) in &numbers {
            assert_eq!(Number::of_tid(number.tid()), Some(*number));
            assert_eq!(number.base(), *base);
            assert!((1 << 22..1 << 30).contains(&number.tid()));
            number.leave();
            assert_eq!(number.base(), 0);
        }
        assert_eq!(Number::of_tid(1), None);
        assert_eq!(Number::of_tid((1 << 30) - 1), None);
    }
}
