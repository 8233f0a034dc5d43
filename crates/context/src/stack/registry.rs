//! Which stack a faulting address belongs to, answered for a signal handler.
//!
//! A SIGSEGV handler may take no lock, call no allocator, and does not know which arena the address is from. So every
//! chunk of every arena is entered in one fixed table of atomics. Entries are only ever added (chunks are never
//! unmapped once entered), hence no reclamation, no ABA and no version counter: a reader sees an entry completely or
//! not at all.
//!
//! *Protocol.* A writer claims a row by raising `ROWS`, fills the row, and stores `end` last with Release. A reader
//! looks at the claimed rows and skips those whose `end` is still zero. The slots of a chunk are handed out after the
//! entry is complete, so code that runs on a stack finds the stack.
//!
//! *Cost.* A linear walk over at most `ROWS_MAX` rows, on the way to reporting a crash. A sorted table would need a
//! lock.

use core::sync::atomic::{AtomicUsize, Ordering};

/// A million stacks of 512 KiB take 26 chunks; a process with a fragmented address space takes more. 512 rows are 16
/// KiB of zero pages.
const ROWS_MAX: usize = 512;

struct Row {
    start: AtomicUsize,
    /// Zero until the row is complete.
    end: AtomicUsize,
    stride_bytes: AtomicUsize,
    guard_bytes: AtomicUsize,
}

static ROWS: AtomicUsize = AtomicUsize::new(0);
static TABLE: [Row; ROWS_MAX] = [const {
    Row {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        stride_bytes: AtomicUsize::new(0),
        guard_bytes: AtomicUsize::new(0),
    }
}; ROWS_MAX];

/// Where an address lies; the answer of [`locate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Lowest usable address of the stack.
    pub slot_bottom: usize,
    /// One past the highest usable address of the stack.
    pub slot_top: usize,
    /// Whether the address lies in the guard below `slot_bottom`: an overflow of this stack.
    pub in_guard: bool,
}

/// Enters a chunk in the table; `false` when the table is full.
pub(super) fn enter(start: usize, bytes: usize, stride_bytes: usize, guard_bytes: usize) -> bool {
    // Relaxed: the claim only makes rows distinct; a row is published by its own `end`.
    let claim = ROWS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rows| {
        (rows < ROWS_MAX).then_some(rows + 1)
    });
    let Ok(row) = claim else { return false };
    let row = &TABLE[row];
    // Relaxed: ordered by the Release of `end`.
    row.start.store(start, Ordering::Relaxed);
    row.stride_bytes.store(stride_bytes, Ordering::Relaxed);
    row.guard_bytes.store(guard_bytes, Ordering::Relaxed);
    // Release: pairs with the Acquire in `locate`.
    row.end.store(start + bytes, Ordering::Release);
    true
}

/// Finds the stack slot, of any arena of the process, that `addr` belongs to.
///
/// Async-signal-safe: reads atomics, and nothing else. The answer is by geometry: a slot that was never handed out is
/// found too.
pub fn locate(addr: usize) -> Option<Located> {
    // Relaxed: a row claimed later belongs to a chunk on whose slots this thread cannot have run yet.
    let rows = ROWS.load(Ordering::Relaxed);
    for row in &TABLE[..rows] {
        // Acquire: pairs with the Release in `enter`; the other fields are read after it.
        let end = row.end.load(Ordering::Acquire);
        let start = row.start.load(Ordering::Relaxed);
        if end == 0 || addr < start || addr >= end {
            continue;
        }
        let stride_bytes = row.stride_bytes.load(Ordering::Relaxed);
        let guard_bytes = row.guard_bytes.load(Ordering::Relaxed);
        let slot_start = addr - (addr - start) % stride_bytes;
        return Some(Located {
            slot_bottom: slot_start + guard_bytes,
            slot_top: slot_start + stride_bytes,
            in_guard: addr - slot_start < guard_bytes,
        });
    }
    None
}
