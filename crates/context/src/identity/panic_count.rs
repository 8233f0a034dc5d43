//! Where std keeps a thread's count of panics.
//!
//! std's only interface to it is [`std::thread::panicking`], which answers for the running identity. The word lies in a
//! thread-local segment, at the same distance from the FS base in every thread, since std is linked into a module whose
//! segment is in the static block.
//!
//! # Protocol
//! [`learn_panic_count`] copies all such segments but the C library's, unwinds by `resume_unwind` (which calls no panic
//! hook), and compares them in a destructor during the unwinding. A *candidate* is a word that is greater by one then.
//! Allocators count in thread-locals too, so the destructor *proves* the candidates: it sets each candidate to 0, asks
//! `panicking()`, and restores the value. The candidate that makes the answer "no" is the count. After the unwinding it
//! must have its old value. If there is no such candidate, or two, or if panics abort, the place is unknown.
//!
//! Between the write of a candidate and its restoration nothing runs but `panicking()`, which allocates nothing. So a
//! word that is something else has its value whenever its owner looks.
//!
//! # Rejected
//! *Offsets by version of std*: a wrong offset writes into another thread-local. *Symbols*: the word has none in a
//! stripped executable.

use super::glibc_x86_64::{read_word, segments_of_caller, write_word};
use crate::switch;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::thread::panicking;

const WORD: usize = size_of::<usize>();

/// Programs with more thread-local words than this are not searched: the copies are made on the heap, and this many
/// words take a quarter of a megabyte.
const WORDS_MAX: usize = 1 << 15;

/// The static block ends at most this far below the FS base; a module that was loaded later has its segment on the
/// heap.
const STATIC_BLOCK_BYTES_MAX: usize = 1 << 20;

static OFFSET: OnceLock<Option<isize>> = OnceLock::new();

/// Finds the place of the count by observation, at the first call. It allocates and unwinds (not through its caller),
/// and prints nothing.
pub fn learn_panic_count() {
    OFFSET.get_or_init(observe);
}

/// Offset of the count from the FS base, in every identity. `None` if it is unknown, or [`learn_panic_count`] was not
/// called yet.
pub fn panic_count_offset() -> Option<isize> {
    OFFSET.get().copied().flatten()
}

/// A word of a thread-local segment of the running identity.
struct Place {
    offset: isize,
    before: usize,
    /// Whether the word is greater by one while the observer unwinds, and causes `panicking()` to say so.
    proved: bool,
}

/// Looks at the words while an unwinding drops it.
struct Observer<'a>(&'a mut [Place]);

impl Drop for Observer<'_> {
    fn drop(&mut self) {
        let base = switch::identity_base();
        for place in &mut *self.0 {
            // SAFETY: S12: a word of a segment of the identity that runs.
            let during = unsafe { read_word(base, place.offset) };
            if during != place.before.wrapping_add(1) {
                continue;
            }
            // SAFETY: S12: restored below, and only `panicking` runs meanwhile, which reads it or does not.
            unsafe { write_word(black_box(base), place.offset, 0) };
            let hidden = !black_box(panicking());
            // SAFETY: S12: its own value again.
            unsafe { write_word(black_box(base), place.offset, during) };
            place.proved = hidden && black_box(panicking());
        }
    }
}

fn observe() -> Option<isize> {
    if !cfg!(panic = "unwind") {
        return None;
    }
    let mut places = Vec::new();
    for offset in offsets()? {
        // SAFETY: S12: a word of a segment of the identity that runs.
        let before = unsafe { read_word(switch::identity_base(), offset) };
        places.push(Place {
            offset,
            before,
            proved: false,
        });
    }
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _observer = Observer(&mut places);
        resume_unwind(Box::new(()))
    }));
    drop(unwound.map(|never: std::convert::Infallible| match never {}));
    let mut proved = places.iter().filter(|place| place.proved);
    let count = proved.next()?;
    // SAFETY: S12: a word of a segment of the identity that runs.
    let after = unsafe { read_word(switch::identity_base(), count.offset) };
    (proved.next().is_none() && after == count.before).then_some(count.offset)
}

/// All words of the segments in the static block, except the C library's and the loader's. `None`: there are too many.
fn offsets() -> Option<Vec<isize>> {
    let in_static_block = |offset: isize| offset < 0 && offset.unsigned_abs() <= STATIC_BLOCK_BYTES_MAX;
    let mut offsets = Vec::new();
    for (offset, bytes) in segments_of_caller() {
        if !in_static_block(offset) {
            continue;
        }
        let end = offset + bytes as isize;
        // The FS base is aligned to more than a word.
        let first = -((-offset) / WORD as isize * WORD as isize);
        offsets.extend(
            (first..end)
                .step_by(WORD)
                .take_while(|offset| offset + WORD as isize <= end),
        );
        if offsets.len() > WORDS_MAX {
            return None;
        }
    }
    Some(offsets)
}
