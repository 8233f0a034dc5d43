//! Whether an unwinding that began here would get where it is to go.
//!
//! # Vocabulary
//! A *raise* is an unwinding that the runtime begins by itself; nobody on the stack has made a mistake. Its *target* is the frame that catches it. An *obstacle* is a
//! frame between the two that an unwinding must not pass: it would end the process, or skip what a C function still has to do.
//!
//! # What an obstacle is
//! * *Foreign text.* The frame's code lies in another object than this code and the executable: a C library between. What it holds (a lock, a half-sorted array, a
//!   handle of its own) it would never give back. Rust's own library, where it is linked dynamically, is passed.
//! * *A frame that ends the process.* `extern "C"` functions of Rust do, and functions that the compiler takes to never unwind. The tables say so: see below.
//! * *The end of the tables.* Who unwinds does not get past a frame that has none, and then the process ends.
//!
//! C that is linked into the executable has frames without tables of handlers, as Rust functions without destructors have, so the two are not told apart. It is the
//! Rust function that it calls back which is the obstacle, if that is `extern "C"`. One that is `extern "C-unwind"` says that the C below may be unwound; it is believed.
//! An `extern "C"` function that has something to drop at the call has a cleanup there, which ends the process when it is through: the tables do not tell it from any
//! other cleanup. With a C library below it is told by that; else it is not (SAFETY.md, "what is not promised").
//!
//! # The tables
//! A function with something to do in an unwinding has a *language-specific data area* (LSDA), found through the unwinder: a table of *call sites*, ranges of its
//! code, each with a landing pad and an *action*. Rust's personality routine (`library/std/src/sys/personality/dwarf/eh.rs`) reads the first record of an action: a
//! type index of 0 is a cleanup, one above is a catch, one below is a *filter*. rustc makes a filter of one kind only: nothing passes, the landing pad ends the
//! process. A call in no range of the table is one that cannot unwind; the personality ends the process there, too. The format is that of GCC
//! (Itanium C++ ABI, "Exception Handling Tables"); `tests/unwind.rs` asks in real frames.
//!
//! # The walk
//! `_Unwind_Backtrace` steps through the frames by the tables that a raise uses. A frame is judged when the next one is reached, so the target's own frame never is:
//! that of a coroutine's first function is `extern "C"`, and catches before. It costs about what the search phase of an unwinding costs; it is made when a raise is due.
//!
//! # Rejected
//! *A mark that the callback sets*: whoever writes a comparator for `qsort` knows nothing of silken. *Raising in any case, as a panic is*: a panic is the callback's own
//! mistake, and the process ends for it; a cancellation comes from outside, and has time. *Walking by frame pointers*: Rust and C are compiled without.

use crate::switch::is_entry;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

/// The frame that a raise is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first frame of the coroutine that runs.
    Entry,
    /// The frame in which this address lies, further up on this stack.
    Frame(usize),
}

/// Whether a raise that begins in the caller reaches the target.
#[inline(never)]
pub fn reaches(target: Target) -> bool {
    let mut walk = Walk {
        target,
        is_obstacle: false,
        reached: false,
    };
    // SAFETY: S4: the callback keeps to its contract, and the walk lives over the call.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    walk.reached
}

struct Walk {
    target: Target,
    /// The verdict on the frame before.
    is_obstacle: bool,
    reached: bool,
}

/// What `_Unwind_Backtrace` hands out; the unwinder's.
#[repr(C)]
struct Frame {
    _opaque: [u8; 0],
}

const GO_ON: c_int = 0;
/// Any other value ends the walk; this one has the name of an ordinary end.
const STOP: c_int = 5;

unsafe extern "C" {
    fn _Unwind_Backtrace(step: unsafe extern "C" fn(*mut Frame, *mut c_void) -> c_int, data: *mut c_void) -> c_int;
    fn _Unwind_GetIPInfo(frame: *mut Frame, before_instruction: *mut c_int) -> usize;
    fn _Unwind_GetLanguageSpecificData(frame: *mut Frame) -> *const u8;
    fn _Unwind_GetRegionStart(frame: *mut Frame) -> usize;
    fn _Unwind_GetCFA(frame: *mut Frame) -> usize;
}

unsafe extern "C" fn step(frame: *mut Frame, walk: *mut c_void) -> c_int {
    // SAFETY: S4: what `reaches` passed, which nobody else uses meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: S4: the unwinder's own frame, for the time of this call.
    let start = unsafe { _Unwind_GetRegionStart(frame) };
    walk.reached = match walk.target {
        Target::Entry => is_entry(start),
        Target::Frame(address) => {
            // In a backtrace it is the frame's lower end: the address behind its callee's frame.
            // SAFETY: S4: as above.
            let lower_end = unsafe { _Unwind_GetCFA(frame) };
            lower_end > address
        }
    };
    if walk.reached || walk.is_obstacle {
        // The frame before is the target's, which is not judged; or it is in the way.
        return STOP;
    }
    let mut before_instruction = 0;
    // SAFETY: S4: as above.
    let address = unsafe { _Unwind_GetIPInfo(frame, &raw mut before_instruction) };
    // A return address lies behind the call, which may be the last instruction of its range.
    let pc = address.wrapping_sub(usize::from(before_instruction == 0));
    // SAFETY: S4: as above.
    let table = unsafe { _Unwind_GetLanguageSpecificData(frame) };
    // SAFETY: S4: the unwinder found the table by the frame's own tables, so it is the function's.
    walk.is_obstacle = is_foreign(pc) || unsafe { lsda::action(table, start, pc) } == lsda::Action::End;
    GO_ON
}

/// Whether the code belongs to neither the executable, nor the object that this code is in, nor Rust's own library.
fn is_foreign(pc: usize) -> bool {
    static OWN: OnceLock<usize> = OnceLock::new();
    if crate::trap::in_executable(pc) {
        return false;
    }
    let Some((base, name)) = object_of(pc) else { return true };
    let own = *OWN.get_or_init(|| object_of(reaches as *const () as usize).map_or(0, |(base, _)| base));
    base != own && !is_rust_library(name)
}

/// Where the object that contains an address begins, and its file's path.
fn object_of(address: usize) -> Option<(usize, &'static [u8])> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: S7: any address is allowed; the record is ours.
    if unsafe { libc::dladdr(address as *const c_void, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: S7: filled in, says the result.
    let info = unsafe { info.assume_init() };
    // SAFETY: S7: the loader's name of an object that has a frame on this stack, so it is not unloaded.
    let name = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) };
    Some((info.dli_fbase as usize, name.to_bytes()))
}

fn is_rust_library(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    name.starts_with(b"libstd-") && name.ends_with(b".so")
}

/// The language-specific data area, as far as it says what an unwinding does at an address.
mod lsda {
    /// What an unwinding does in a frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Action {
        /// It passes, perhaps after a cleanup.
        Pass,
        /// It ends here, caught.
        Catch,
        /// It ends the process.
        End,
    }

    /// No value.
    const OMIT: u8 = 0xff;

    /// Reads one value after the other.
    struct Reader(*const u8);

    impl Reader {
        /// # Safety
        /// A table goes on here.
        unsafe fn byte(&mut self) -> u8 {
            // SAFETY: S4: the caller's contract.
            let byte = unsafe { self.0.read() };
            self.0 = self.0.wrapping_add(1);
            byte
        }

        /// # Safety
        /// A number of this size is next.
        unsafe fn bytes<const N: usize>(&mut self) -> [u8; N] {
            // SAFETY: S4: the caller's contract.
            let bytes = unsafe { self.0.cast::<[u8; N]>().read() };
            self.0 = self.0.wrapping_add(N);
            bytes
        }

        /// Seven bits a byte, the lowest first. The number, how many bits it has, and its sign bit.
        ///
        /// # Safety
        /// Such a number is next.
        unsafe fn leb128(&mut self) -> (u64, u32, bool) {
            let (mut value, mut shift) = (0, 0);
            loop {
                // SAFETY: S4: the caller's contract.
                let byte = unsafe { self.byte() };
                if shift < u64::BITS {
                    value |= u64::from(byte & 0x7f) << shift;
                }
                shift += 7;
                if byte & 0x80 == 0 {
                    return (value, shift, byte & 0x40 != 0);
                }
            }
        }

        /// # Safety
        /// As for `leb128`.
        unsafe fn unsigned(&mut self) -> usize {
            // SAFETY: S4: the caller's contract.
            unsafe { self.leb128() }.0 as usize
        }

        /// # Safety
        /// As for `leb128`.
        unsafe fn signed(&mut self) -> i64 {
            // SAFETY: S4: the caller's contract.
            let (value, bits, negative) = unsafe { self.leb128() };
            let sign = if negative && bits < u64::BITS {
                u64::MAX << bits
            } else {
                0
            };
            (value | sign) as i64
        }

        /// A number in one of the encodings that offsets have; `None` for others.
        ///
        /// # Safety
        /// Such a number is next.
        unsafe fn encoded(&mut self, encoding: u8) -> Option<usize> {
            match encoding {
                // SAFETY: S4: the caller's contract, here and below.
                0x01 => Some(unsafe { self.unsigned() }),
                // SAFETY: S4: as above.
                0x02 => Some(usize::from(u16::from_ne_bytes(unsafe { self.bytes() }))),
                // SAFETY: S4: as above.
                0x03 => Some(u32::from_ne_bytes(unsafe { self.bytes() }) as usize),
                // SAFETY: S4: as above.
                0x00 | 0x04 => Some(u64::from_ne_bytes(unsafe { self.bytes() }) as usize),
                _ => None,
            }
        }
    }

    /// What an unwinding does at an address of the function that begins at `start`. A table that cannot be read counts as one that ends the process.
    ///
    /// # Safety
    /// `table` is null or the function's table.
    pub(super) unsafe fn action(table: *const u8, start: usize, pc: usize) -> Action {
        if table.is_null() {
            return Action::Pass;
        }
        // SAFETY: S4: the caller's contract.
        unsafe { read(Reader(table), pc.wrapping_sub(start)) }.unwrap_or(Action::End)
    }

    /// # Safety
    /// The reader is at the head of a table.
    unsafe fn read(mut at: Reader, offset: usize) -> Option<Action> {
        // Where the landing pads are counted from; we jump to none, only whether there is one matters.
        // SAFETY: S4: the head of the table, here and in the next three.
        if unsafe { at.byte() } != OMIT {
            return None;
        }
        // SAFETY: S4: as above.
        if unsafe { at.byte() } != OMIT {
            // The distance to the table of types.
            // SAFETY: S4: as above.
            unsafe { at.unsigned() };
        }
        // SAFETY: S4: as above.
        let encoding = unsafe { at.byte() };
        // SAFETY: S4: as above.
        let length = unsafe { at.unsigned() };
        let actions = at.0.wrapping_add(length);
        while at.0 < actions {
            // SAFETY: S4: a record of the call sites, four numbers.
            let first = unsafe { at.encoded(encoding) }?;
            // SAFETY: S4: as above.
            let length = unsafe { at.encoded(encoding) }?;
            // SAFETY: S4: as above.
            let landing_pad = unsafe { at.encoded(encoding) }?;
            // SAFETY: S4: as above.
            let action = unsafe { at.unsigned() };
            // The records are sorted.
            if offset < first {
                break;
            }
            if offset - first < length {
                return Some(match (landing_pad, action) {
                    (0, _) | (_, 0) => Action::Pass,
                    // SAFETY: S4: the record that the call site names, behind the call sites.
                    _ => match unsafe { Reader(actions.wrapping_add(action - 1)).signed() } {
                        0 => Action::Pass,
                        1.. => Action::Catch,
                        _ => Action::End,
                    },
                });
            }
        }
        // In no range: a call that cannot unwind.
        Some(Action::End)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn at(table: &[u8], offset: usize) -> Action {
            // SAFETY: S4: a whole table.
            unsafe { action(table.as_ptr(), 1000, 1000 + offset) }
        }

        /// A head, four call sites in the usual encoding, four actions.
        fn table() -> Vec<u8> {
            let mut table = vec![OMIT, 0x9b, 40, 0x01, 18];
            table.extend([0, 10, 0, 0]); // no landing pad
            table.extend([10, 5, 50, 0]); // a cleanup
            table.extend([0x80, 0x01, 4, 60, 1]); // from 128 on: a catch
            table.extend([0x84, 0x01, 4, 70, 3]); // from 132 on: a filter
            table.extend([1, 0, 0x7f, 0]);
            table
        }

        #[test]
        fn each_kind_of_action_is_told() {
            let table = table();
            assert_eq!(at(&table, 0), Action::Pass);
            assert_eq!(at(&table, 9), Action::Pass);
            assert_eq!(at(&table, 14), Action::Pass);
            assert_eq!(at(&table, 128), Action::Catch);
            assert_eq!(at(&table, 131), Action::Catch);
            assert_eq!(at(&table, 132), Action::End);
            assert_eq!(at(&table, 135), Action::End);
        }

        #[test]
        fn a_call_in_no_range_ends_the_process() {
            let table = table();
            assert_eq!(at(&table, 15), Action::End);
            assert_eq!(at(&table, 127), Action::End);
            assert_eq!(at(&table, 136), Action::End);
            // SAFETY: S4: null is allowed.
            assert_eq!(unsafe { action(std::ptr::null(), 0, 5) }, Action::Pass);
        }

        #[test]
        fn fixed_sizes_and_unknown_encodings() {
            let mut table = vec![OMIT, OMIT, 0x03, 13];
            table.extend(4u32.to_ne_bytes());
            table.extend(8u32.to_ne_bytes());
            table.extend(1u32.to_ne_bytes());
            table.extend([1, 0x7f, 0]);
            assert_eq!(at(&table, 11), Action::End);
            assert_eq!(at(&table, 3), Action::End);
            table[16] = 0;
            assert_eq!(at(&table, 11), Action::Pass);
            table[2] = 0x0c;
            assert_eq!(at(&table, 11), Action::End);
        }

        #[test]
        fn numbers_of_seven_bits_a_byte() {
            let reader = |bytes: &[u8]| Reader(bytes.as_ptr());
            // SAFETY: S4: whole numbers.
            assert_eq!(unsafe { reader(&[0xe5, 0x8e, 0x26]).unsigned() }, 624_485);
            // SAFETY: S4: as above.
            assert_eq!(unsafe { reader(&[0xc0, 0xbb, 0x78]).signed() }, -123_456);
            // SAFETY: S4: as above.
            assert_eq!(unsafe { reader(&[0x7e]).signed() }, -2);
        }
    }
}
