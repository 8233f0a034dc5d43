//! How an overflow becomes a SIGSEGV instead of a write into the neighbouring stack: guards.
//!
//! *Guard markers* (`MADV_GUARD_INSTALL`, Linux 6.13) live in the page tables: the mapping stays one memory map,
//! whatever number of guards it has. *mprotect guards* split it: each costs two memory maps, of which a process has
//! 65,530 by default.
//!
//! *Probe.* A return of 0 does not prove a guard: user-mode emulators answer 0 to advice that they do not know. So the
//! probe marks a page and then asks the kernel to populate it for reading (`MADV_POPULATE_READ`, Linux 5.14, thus
//! available wherever guard markers are). With a real guard the kernel answers EFAULT; if the advice was ignored, the
//! call succeeds. The probe needs no signal handler, no child, and no system call that the runtime hooks.
//!
//! *Locked memory.* Linux 6.13 and 6.14 refuse guard markers in mlocked memory (EINVAL), so after
//! `mlockall(MCL_FUTURE)` a guard falls back to mprotect, one by one.
//!
//! *Map budget.* mprotect guards may use three quarters of the maps that `vm.max_map_count` left when the arena was
//! made. The rest is the program's: a process at the limit cannot even start a thread or load a library. The count is
//! of the process, not of the arena.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::io;

use super::mapping;

/// Not yet in every libc crate; the numbers are the kernel's (include/uapi/asm-generic/mman-common.h).
const MADV_GUARD_INSTALL: i32 = 102;
const MADV_POPULATE_READ: i32 = 22;

/// Memory maps that one mprotect guard adds: the guard itself, and the stack that it separates from the next one.
const MAPS_PER_GUARD: usize = 2;

/// Which guard an arena is asked to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardChoice {
    /// Guard markers if the kernel has them, otherwise mprotect.
    #[default]
    Probe,
    /// Guard markers; without them, no arena.
    Madvise,
    /// mprotect, whether the kernel has guard markers or not.
    Mprotect,
}

/// Which guard an arena uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardKind {
    /// Guard markers in the page tables: `MADV_GUARD_INSTALL`.
    Madvise,
    /// Pages without access, two memory maps each.
    Mprotect,
}

/// The number of mprotect guards of all arenas of the process; they are never removed.
static MPROTECT_GUARDS: AtomicUsize = AtomicUsize::new(0);

/// What the arena decided about its guards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guards {
    pub(super) kind: GuardKind,
    /// The most mprotect guards that the process may have.
    pub(super) process_max: usize,
    map_count_max: usize,
}

impl Guards {
    pub(super) fn choose(choice: GuardChoice) -> io::Result<Guards> {
        let kind = match choice {
            GuardChoice::Mprotect => GuardKind::Mprotect,
            GuardChoice::Probe | GuardChoice::Madvise if markers_work() => GuardKind::Madvise,
            GuardChoice::Probe => GuardKind::Mprotect,
            GuardChoice::Madvise => {
                let text =
                    "stack arena: this kernel has no guard markers (MADV_GUARD_INSTALL needs Linux 6.13 or newer)";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        };
        let map_count_max = mapping::map_count_max();
        // Relaxed: a count; guards made meanwhile are in both terms and shift the budget by a few.
        let guards_now = MPROTECT_GUARDS.load(Ordering::Relaxed);
        let foreign_maps = mapping::map_count().saturating_sub(guards_now * MAPS_PER_GUARD);
        let process_max = map_count_max.saturating_sub(foreign_maps) / 4 * 3 / MAPS_PER_GUARD;
        Ok(Guards {
            kind,
            process_max,
            map_count_max,
        })
    }

    /// Makes `[start, start + bytes)` a guard.
    pub(super) fn install(&self, start: usize, bytes: usize) -> io::Result<()> {
        if self.kind == GuardKind::Madvise {
            match mapping::advise(start, bytes, MADV_GUARD_INSTALL) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => return result,
            }
        }
        self.install_by_mprotect(start, bytes)
    }

    #[cold]
    fn install_by_mprotect(&self, start: usize, bytes: usize) -> io::Result<()> {
        // Relaxed, here and below: a budget, not a publication.
        if MPROTECT_GUARDS.fetch_add(1, Ordering::Relaxed) >= self.process_max {
            MPROTECT_GUARDS.fetch_sub(1, Ordering::Relaxed);
            return Err(self.exhausted(self.process_max));
        }
        mapping::forbid_access(start, bytes).map_err(|error| {
            MPROTECT_GUARDS.fetch_sub(1, Ordering::Relaxed);
            // mprotect says ENOMEM when the map count is at its limit.
            if error.raw_os_error() == Some(libc::ENOMEM) {
                self.exhausted(self.process_max)
            } else {
                error
            }
        })
    }

    /// The error for "no further mprotect guard", with a text for the reader.
    #[cold]
    pub(super) fn exhausted(&self, guards_max: usize) -> io::Error {
        let text = format!(
            "stack arena: no guard for another stack: an mprotect guard costs {MAPS_PER_GUARD} memory maps and the budget of \
             {guards_max} guards (vm.max_map_count is {}, a quarter of the free ones is kept for the program) is spent; raise \
             vm.max_map_count, or run Linux 6.13 or newer, whose guards (MADV_GUARD_INSTALL) cost none",
            self.map_count_max
        );
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    }
}

/// Whether the kernel has guard markers; asked once per process.
fn markers_work() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    // Relaxed: two threads that ask at once get the same answer from the kernel.
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {
            let works = probe();
            ANSWER.store(if works { YES } else { NO }, Ordering::Relaxed);
            works
        }
        answer => answer == YES,
    }
}

fn probe() -> bool {
    let bytes = mapping::page_bytes();
    let Ok(page) = mapping::map(bytes) else { return false };
    let start = page.as_ptr() as usize;
    let works = mapping::advise(start, bytes, MADV_GUARD_INSTALL).is_ok()
        && mapping::advise(start, bytes, MADV_POPULATE_READ)
            .is_err_and(|error| error.raw_os_error() == Some(libc::EFAULT));
    mapping::unmap(page, bytes);
    works
}
