//! Whether a function that cleans up continues the unwinding afterwards.
//!
//! A function continues the unwinding by a call of `_Unwind_Resume`. So the function's code is searched for that call,
//! in the two forms that compilers and linkers give it: through the word that holds the address, and through the
//! linker's stub that jumps through such a word. The word is learnt from a function of this file that is known to make
//! the call. That four bytes match by chance is practically impossible. A function that calls `_Unwind_Resume` anywhere
//! counts as one whose cleanups continue the unwinding, because a function with C's convention that was inlined into a
//! Rust function is no obstacle to the other calls there.
//!
//! Unknown cases count as continuing, and then an obstacle is missed: code in another object than this file's own
//! function, functions whose extent is not found, a linker that makes the call in a third way.

use crate::backtrace;
use crate::trap::{in_executable, is_word_of_executable};
use std::ffi::c_void;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `call *(distance)(%rip)`, and `call` with a distance.
const CALL_THROUGH: &[u8] = &[0xff, 0x15];
const CALL: &[u8] = &[0xe8];

/// `jmp *(distance)(%rip)`, and the same behind a landing mark for indirect jumps.
const JUMP_THROUGH: [&[u8]; 3] = [
    &[0xff, 0x25],
    &[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25],
    &[0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25],
];

unsafe extern "C-unwind" {
    /// Declared to unwind, as its convention must say: link-time optimisation takes this declaration for the one that
    /// every cleanup calls.
    fn _Unwind_Resume(exception: *mut c_void) -> !;
}

/// Functions of the executable that were found to continue the unwinding, each in the place to which its start address
/// hashes: a search takes a microsecond, and is made for each frame. The number of places is a guess.
static LEADING_ON: [AtomicUsize; 509] = [const { AtomicUsize::new(0) }; 509];

/// Whether a cleanup of the function that begins at `start` and contains `pc` continues the unwinding.
pub(super) fn resumes(start: usize, pc: usize) -> bool {
    static WORD: OnceLock<Option<usize>> = OnceLock::new();
    let Some(known) = *WORD.get_or_init(learn_word) else {
        return true;
    };
    if !in_executable(pc) {
        return true;
    }
    // Relaxed: each word is complete by itself, and what it says stays true.
    let place = &LEADING_ON[start % LEADING_ON.len()];
    if place.load(Ordering::Relaxed) == start {
        return true;
    }
    let is_resume = |word: usize| word == known || holds_resume(word);
    let leads_on = extent_of(pc).is_none_or(|extent| calls_through(extent).any(is_resume));
    if leads_on {
        place.store(start, Ordering::Relaxed);
    }
    leads_on
}

/// The word through which this file's own function continues the unwinding, if that function is in the executable.
fn learn_word() -> Option<usize> {
    let function = cleans_up as *const () as usize;
    if !in_executable(function) {
        return None;
    }
    calls_through(extent_of(function)?).find(|word| holds_resume(*word))
}

/// Whether the address of `_Unwind_Resume` is in a word through which the executable calls. The address `word` may be
/// no word at all: bytes that only look like an instruction name any address.
fn holds_resume(word: usize) -> bool {
    let resume: unsafe extern "C-unwind" fn(*mut c_void) -> ! = _Unwind_Resume;
    // SAFETY: S7: a word of the executable's data, which is mapped as a whole for the life of the process.
    is_word_of_executable(word) && unsafe { (word as *const usize).read_volatile() } == resume as *const () as usize
}

/// A function that has something to drop when it is unwound.
#[inline(never)]
fn cleans_up(call: fn(), dropped: fn()) {
    struct Calls(fn());

    impl Drop for Calls {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    let _calls = Calls(dropped);
    call();
}

/// Where a function of the executable begins and ends.
fn extent_of(pc: usize) -> Option<Range<usize>> {
    backtrace::extent_of(pc).filter(|extent| in_executable(extent.start) && in_executable(extent.end))
}

/// The words through which the code calls, directly or through a stub; also words that only look so.
fn calls_through(code: Range<usize>) -> impl Iterator<Item = usize> {
    // SAFETY: S7: the executable's own code, which is mapped as a whole and never changes.
    let bytes = unsafe { std::slice::from_raw_parts(code.start as *const u8, code.len()) };
    let may_begin = |(_, byte): &(usize, &u8)| **byte == CALL_THROUGH[0] || **byte == CALL[0];
    bytes
        .iter()
        .enumerate()
        .filter(may_begin)
        .filter_map(move |(offset, _)| {
            let address = code.start + offset;
            operand(address, CALL_THROUGH, code.end).or_else(|| {
                let stub = operand(address, CALL, code.end)?;
                JUMP_THROUGH.iter().find_map(|form| operand(stub, form, usize::MAX))
            })
        })
}

/// The address that an instruction of this form names, if there is such an instruction that ends before `end`.
fn operand(address: usize, form: &[u8], end: usize) -> Option<usize> {
    // Bytes that only look like a call lead to any address.
    let next = address.checked_add(form.len() + size_of::<i32>())?;
    if next > end || !in_executable(address) || !in_executable(next) {
        return None;
    }
    // SAFETY: S7: the executable's own code, which is mapped as a whole and never changes.
    let code = unsafe { std::slice::from_raw_parts(address as *const u8, next - address) };
    let distance = code.strip_prefix(form)?.first_chunk()?;
    Some(next.wrapping_add_signed(i32::from_le_bytes(*distance) as isize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_function_teaches_the_call() {
        assert!(holds_resume(learn_word().expect("linked in the usual way")));
        // An address that is no word of the executable is not read.
        assert!(!holds_resume(8) && !holds_resume(usize::MAX - 7) && !holds_resume(learn_word().unwrap() + 1));
        let ours = cleans_up as *const () as usize;
        // The second call finds the answer stored.
        assert!(resumes(ours, ours + 1) && resumes(ours, ours + 1));
        // A function that cleans nothing up has no such call.
        let other = extent_of as *const () as usize;
        assert!(!resumes(other, other + 1) && !resumes(other, other + 1));
    }
}
