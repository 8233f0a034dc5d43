//! How robust mutexes that a coroutine leaves locked are released: as the kernel releases them when a thread exits
//! (`exit_robust_list` in its `futex/core.c`).
//!
//! glibc keeps a list of the robust mutexes that the running identity holds, with its head in the control block. When a
//! thread exits, the kernel walks the thread's list. In each lock word that names the thread it replaces the tid by
//! `FUTEX_OWNER_DIED` and wakes one waiter, which gets `EOWNERDEAD`. The kernel knows the workers' lists only, so a
//! coroutine's list is walked here, at the coroutine's end. When the process is *killed*, nothing walks the coroutines'
//! lists.
//!
//! A normal mutex that is left locked stays locked for ever, as with a thread. A recursive or error-checking mutex
//! stays locked too, with one difference: the next coroutine on the same block has the same tid, and the mutex takes
//! that coroutine for the owner.

use super::{read_word, word_at, write_word};
use core::sync::atomic::{AtomicU32, Ordering};

const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const TID_MASK: u32 = 0x3fff_ffff;

/// The kernel's bound, in case the list was made a ring.
const LENGTH_MAX: usize = 2048;

/// The lowest bit of a link marks a priority-inheritance mutex. There are no such mutexes
/// (`pthread_mutexattr_setprotocol` refuses).
const LINK_FLAGS: usize = 1;

/// Writes an empty list. The distance from a link to its lock word is taken from `own`, a thread's block.
///
/// # Safety
/// `offset` is the place of the list's head in both blocks; the caller may write `base` (S3).
pub(super) unsafe fn make_empty(base: usize, offset: isize, own: usize) {
    // SAFETY: S3: the running thread's own block.
    let to_lock_word = unsafe { read_word(own, offset + 8) };
    // SAFETY: S3: the caller promises: `offset` is the place of the list's head in both blocks.
    unsafe { write_word(base, offset + 8, to_lock_word) };
    // SAFETY: S3: no operation is pending.
    unsafe { write_word(base, offset + 16, 0) };
    // SAFETY: S3: the caller promises: `offset` is the place of the list's head in both blocks.
    unsafe { unlink_all(base, offset) };
}

/// # Safety
/// As for [`make_empty`].
unsafe fn unlink_all(base: usize, offset: isize) {
    let head = base.wrapping_add_signed(offset);
    // SAFETY: S3: an empty list points to itself.
    unsafe { write_word(base, offset, head) };
    // SAFETY: S3: glibc's `robust_prev` lies just below the head.
    unsafe { write_word(base, offset - 8, head) };
}

/// Whether the running identity holds no robust mutex.
///
/// # Safety
/// As for [`make_empty`].
#[inline(always)]
pub(super) unsafe fn is_empty(base: usize, offset: isize) -> bool {
    // SAFETY: S3: the caller promises what `make_empty` asks.
    let first = unsafe { read_word(base, offset) };
    first == base.wrapping_add_signed(offset)
}

/// Marks each mutex of the list as left by a dead owner, wakes one waiter of each mutex, and empties the list.
///
/// # Safety
/// As for [`make_empty`]. The mutexes in the list are alive, as POSIX demands of a locked mutex (S7).
#[cold]
pub(super) unsafe fn abandon(base: usize, offset: isize, tid: u32) {
    let head = base.wrapping_add_signed(offset);
    // SAFETY: S3: the head's second word.
    let to_lock_word = unsafe { read_word(base, offset + 8) } as isize;
    // SAFETY: S3: the head.
    let mut link = unsafe { read_word(base, offset) } & !LINK_FLAGS;
    for _ in 0..LENGTH_MAX {
        if link == head || link == 0 {
            break;
        }
        // Read before the word is given away: the next owner links the mutex anew.
        // SAFETY: S7: a link of a mutex that is held.
        let next = unsafe { read_word(link, 0) } & !LINK_FLAGS;
        let word = word_at(link, to_lock_word).cast::<AtomicU32>();
        // SAFETY: S7: the lock word of the same mutex.
        declare_dead(unsafe { &*word }, tid);
        link = next;
    }
    // SAFETY: S3: the caller promises what `make_empty` asks.
    unsafe { unlink_all(base, offset) };
}

fn declare_dead(word: &AtomicU32, tid: u32) {
    // Release: pairs with the Acquire of the C library's lock: the next owner sees what the dead owner left.
    let died = word.fetch_update(Ordering::Release, Ordering::Relaxed, |value| {
        (value & TID_MASK == tid).then_some(value & WAITERS | OWNER_DIED)
    });
    if died.is_ok_and(|before| before & WAITERS != 0) {
        // Robust mutexes wait with the shared form of the call, whether they are shared or not.
        // SAFETY: S7: wakes one who waits at the address; nothing is read or written.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
    }
}
