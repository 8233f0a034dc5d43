//! How does a call that silken answers look at memory of its caller before the kernel does?
//!
//! The kernel refuses a bad address with EFAULT. So a call that has to look into a list, a header or a timeout before
//! it asks the kernel first checks whether the memory is there, by one load in each page (`silken_context::trap`). If
//! not, it leaves the arguments to the kernel. Memory that another thread unmaps meanwhile faults as it does in C.

use silken_context::trap;

/// The smallest page size: a larger page is looked at more than once.
const PAGE_BYTES: usize = 4096;
/// The size of a load, which is also its alignment.
const WORD_BYTES: usize = 4;

/// Whether reading `count` values would fault. The answer is `false` for null, which has a meaning of its own.
///
/// # Safety
/// The runtime's fault handler is in place, or the memory is readable (S7).
#[inline]
pub(crate) unsafe fn faults<T>(first: *const T, count: usize) -> bool {
    if first.is_null() || count == 0 {
        return false;
    }
    let bytes = count.saturating_mul(size_of::<T>());
    any_page(first.addr(), bytes, |place| {
        // SAFETY: S7: the caller promises: the runtime's fault handler is in place, or the memory is readable.
        let word = unsafe { trap::read_word_or_fault(place) };
        word.is_none()
    })
}

/// Whether `is_bad` holds for a word of one of the pages. There must be at least one byte. A range that goes beyond the
/// last address is always bad.
#[inline]
fn any_page(start: usize, bytes: usize, is_bad: impl Fn(usize) -> bool) -> bool {
    let Some(last) = start.checked_add(bytes - 1) else {
        return true;
    };
    let mut place = start & !(WORD_BYTES - 1);
    loop {
        if is_bad(place) {
            return true;
        }
        match (place & !(PAGE_BYTES - 1)).checked_add(PAGE_BYTES) {
            Some(next) if next <= last => place = next,
            _ => return false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_looked_at() {
        const HOLE: std::ops::Range<usize> = PAGE_BYTES * 5..PAGE_BYTES * 6;
        let faults = |start, bytes| any_page(start, bytes, |place| HOLE.contains(&place));
        assert!(!faults(HOLE.start - PAGE_BYTES, PAGE_BYTES) && !faults(HOLE.start - 1, 1) && !faults(HOLE.end, 9_000));
        assert!(faults(HOLE.start - 1, 2) && faults(HOLE.start - PAGE_BYTES, PAGE_BYTES + 1));
        assert!(faults(HOLE.end - 1, 1) && faults(HOLE.start, 1));
        assert!(faults(0, 10 * PAGE_BYTES), "a hole between two good ends");
        assert!(faults(PAGE_BYTES, usize::MAX), "no such range");
        assert!(!any_page(usize::MAX, 1, |_| false));
    }

    #[test]
    fn null_and_nothing_are_not_read() {
        let nothing = std::ptr::without_provenance::<u64>(8);
        // SAFETY: S7: nothing is read.
        let [null, none] =
            [(std::ptr::null(), 5), (nothing, 0)].map(|(first, count)| unsafe { faults::<u64>(first, count) });
        assert!(!null && !none);
        // SAFETY: S7: readable.
        assert!(!unsafe { faults([1_u64; 600].as_ptr(), 600) });
    }
}
