//! Where each module's segment lies, and which segments the C library made on the heap: a block's table of modules
//! (dtv).
//!
//! ```text
//!   word -2       word 0        words 2m, 2m + 1
//!   | length | .. | generation | .. | address of module m's segment, what to free |
//! ```
//!
//! # Rules (glibc's `elf/dl-tls.c`)
//! * A module of the static block has its address in the block, and nothing to free.
//! * The address of any other module is `UNALLOCATED`, -1, until the first touch. `__tls_get_addr` then asks malloc for
//!   the segment, copies the image, and stores both words. So *touched* means "something to free".
//! * A touch of a module that is newer than the table first raises the table's generation to the module's, and frees
//!   the entries of modules that are gone. So a table whose generation is that of a fresh table when the facts were
//!   learnt has touched no module that came later.
//! * Only code that runs under a block reads or writes the block's table; the table may move when it grows.
//!
//! Hence [`Dtv::forget_touched`]: it frees the segment and writes `UNALLOCATED`, and the next touch makes a fresh
//! segment. The generation stays.

use super::{TCB_DTV, read_word, write_word};
use std::ffi::c_void;

const WORD: isize = size_of::<usize>() as isize;
const ENTRY: isize = 2 * WORD;
const UNALLOCATED: usize = usize::MAX;

/// A length above this number of modules is a misread length.
const LENGTH_MAX: usize = 1 << 20;

/// A segment is aligned within the memory to be freed. Its alignment is a page at most, unless the linker's script is
/// out of the ordinary.
const ALIGNMENT_MAX: usize = 1 << 20;

/// The table of modules of a block.
#[derive(Clone, Copy)]
pub(super) struct Dtv(usize);

impl Dtv {
    /// # Safety
    /// The block is built, and the caller's (S3).
    #[inline(always)]
    pub(super) unsafe fn of(base: usize) -> Dtv {
        // SAFETY: S3: the caller promises: the block is built, and the caller's.
        Dtv(unsafe { read_word(base, TCB_DTV) })
    }

    #[inline(always)]
    fn word(self, offset: isize) -> usize {
        // SAFETY: S3: `of`'s contract: a built block's table, which has what the callers ask for.
        unsafe { read_word(self.0, offset) }
    }

    /// The generation of the newest module that the table knows.
    #[inline(always)]
    pub(super) fn generation(self) -> usize {
        self.word(0)
    }

    /// The number of modules that the table has room for.
    pub(super) fn length(self) -> usize {
        self.word(-ENTRY)
    }

    pub(super) fn is_plausible(self) -> bool {
        self.0 != 0 && (1..LENGTH_MAX).contains(&self.length())
    }

    /// The address of the module's segment; `None` if it is not decided, or there is no such module.
    pub(super) fn segment(self, module: usize) -> Option<usize> {
        if module == 0 || module > self.length() {
            return None;
        }
        let address = self.word(ENTRY * module as isize);
        (address != 0 && address != UNALLOCATED).then_some(address)
    }

    fn to_free(self, module: usize) -> usize {
        self.word(ENTRY * module as isize + WORD)
    }

    /// Whether a fresh table has modules whose segments are made at the first touch.
    pub(super) fn has_untouched(self) -> bool {
        (1..=self.length()).any(|module| self.word(ENTRY * module as isize) == UNALLOCATED)
    }

    /// Whether the table has nothing to free, as in a fresh table.
    pub(super) fn owns_nothing(self) -> bool {
        (1..=self.length()).all(|module| self.to_free(module) == 0)
    }

    /// Frees the segments that were made since the table was fresh. `false`: an entry is not as it should be, and
    /// nothing was done from that entry on.
    ///
    /// # Safety
    /// No value in these segments is used again, and the table is the caller's (S3).
    pub(super) unsafe fn forget_touched(self) -> bool {
        for module in 1..=self.length() {
            let to_free = self.to_free(module);
            if to_free == 0 {
                continue;
            }
            let address = self.word(ENTRY * module as isize);
            if !(to_free..to_free.saturating_add(ALIGNMENT_MAX)).contains(&address) {
                return false;
            }
            // The table first: a free that is not the C library's own may touch a thread-local itself.
            // SAFETY: S3: the caller promises: no value in these segments is used again, and the table is the caller's.
            unsafe { write_word(self.0, ENTRY * module as isize, UNALLOCATED) };
            // SAFETY: S3: as for the address: the second word of the same entry.
            unsafe { write_word(self.0, ENTRY * module as isize + WORD, 0) };
            // SAFETY: S7: ld.so had it from this process's malloc, and no entry names it any more.
            unsafe { libc::free(to_free as *mut c_void) };
        }
        true
    }
}
