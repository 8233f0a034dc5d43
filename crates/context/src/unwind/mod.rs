//! Whether an unwinding that began at this point would reach its target.
//!
//! # Vocabulary
//! A *raise* is an unwinding that the runtime begins by itself; no code on the stack has made a mistake. Its *target*
//! is the frame that catches it. An *obstacle* is a frame between the two that an unwinding must not pass: it would end
//! the process, or skip what a C function still has to do.
//!
//! # What an obstacle is
//! * *Foreign text.* The frame's code lies in an object other than this code's and the executable: there is a C library
//!   in between. The library would never give back what it holds (a lock, a half-sorted array, a handle of its own).
//!   Rust's own library, where it is linked dynamically, is passed.
//! * *A frame that ends the process.* `extern "C"` functions of Rust do so, and functions that the compiler assumes
//!   never to unwind. The tables say so: see below.
//! * *The end of the tables.* An unwinding does not get past a frame that has none, and then the process ends.
//!
//! C that is linked into the executable has frames without tables of handlers, as Rust functions without destructors
//! have, so the two are not told apart. The obstacle is the Rust function that the C code calls back, if that function
//! is `extern "C"`. An `extern "C-unwind"` function says that the C below it may be unwound; the walk trusts this. An
//! `extern "C"` function that has something to drop at the call has a cleanup there, which ends the process when it is
//! done. The tables do not tell this cleanup from any other, but its code does. A cleanup continues the unwinding by a
//! call of `_Unwind_Resume`, and in such a function there is no such call (`cleanup.rs`).
//!
//! # The tables
//! A function with something to do in an unwinding has a *language-specific data area* (LSDA), found through the
//! unwinder: a table of *call sites*, ranges of its code, each with a landing pad and an *action*. Rust's personality
//! routine (`library/std/src/sys/personality/dwarf/eh.rs`) reads the first record of an action: a type index of 0 is a
//! cleanup, an index above 0 is a catch, an index below 0 is a *filter*. rustc makes a filter of one kind only: nothing
//! passes, and the landing pad ends the process. A call in no range of the table cannot unwind; the personality ends
//! the process there, too. The format is that of GCC (Itanium C++ ABI, "Exception Handling Tables"); `tests/unwind.rs`
//! checks it in real frames.
//!
//! # The walk
//! `_Unwind_Backtrace` steps through the frames by the tables that a raise uses. The verdict on a frame counts only
//! when the walk continues past it. So the target's own frame never counts as an obstacle: a coroutine's first function
//! is `extern "C"`, but it catches the unwinding inside. The walk costs about as much as the search phase of an
//! unwinding; it is made when a raise is due.
//!
//! # Segments
//! A stack may continue on a segment (`segment/`), which lies anywhere in memory. Addresses are compared to find the
//! target's frame, so only frames on the target's own stack count: those in the same slot of an arena, or, for a target
//! on a thread's own stack, those in no slot. The crossing has a table and no data area, so a raise passes it.
//!
//! # Rejected
//! *A mark that the callback sets*: the author of a comparator for `qsort` knows nothing of silken. *Raising in any
//! case, as a panic does*: a panic is the callback's own mistake, and the process ends for it; a cancellation comes
//! from outside, and has time. *Walking by frame pointers*: Rust and C are compiled without them.

mod cleanup;
mod lsda;

use crate::backtrace::{
    _Unwind_Backtrace, _Unwind_GetCFA, _Unwind_GetIPInfo, _Unwind_GetLanguageSpecificData, _Unwind_GetRegionStart,
    Frame, GO_ON, STOP,
};
use crate::stack::locate;
use crate::switch::is_entry;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

/// The frame that a raise is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first frame of the coroutine that runs.
    Entry,
    /// The frame in which this address lies, in a caller on this stack.
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
    /// The verdict on the previous frame.
    is_obstacle: bool,
    reached: bool,
}

unsafe extern "C" fn step(frame: *mut Frame, walk: *mut c_void) -> c_int {
    // SAFETY: S4: what `reaches` passed, which nobody else uses meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: S4: the unwinder's own frame, for the time of this call.
    let start = unsafe { _Unwind_GetRegionStart(frame) };
    walk.reached = match walk.target {
        Target::Entry => is_entry(start),
        Target::Frame(address) => {
            // In a backtrace the CFA is the frame's lower end: the address behind its callee's frame.
            // SAFETY: S4: the unwinder's own frame, for the time of this call.
            let lower_end = unsafe { _Unwind_GetCFA(frame) };
            lower_end > address && is_same_stack(lower_end, address)
        }
    };
    if walk.reached || walk.is_obstacle {
        // The previous frame is either the target, whose verdict does not count, or an obstacle.
        return STOP;
    }
    let mut before_instruction = 0;
    // SAFETY: S4: the unwinder's own frame, for the time of this call.
    let address = unsafe { _Unwind_GetIPInfo(frame, &raw mut before_instruction) };
    // A return address lies behind the call, which may be the last instruction of its range.
    let pc = address.wrapping_sub(usize::from(before_instruction == 0));
    // SAFETY: S4: the unwinder's own frame, for the time of this call.
    let table = unsafe { _Unwind_GetLanguageSpecificData(frame) };
    // SAFETY: S4: the unwinder found the table by the frame's own tables, so it is the function's.
    let action = unsafe { lsda::action(table, start, pc) };
    walk.is_obstacle = is_foreign(pc)
        || match action {
            lsda::Action::Pass | lsda::Action::Catch => false,
            lsda::Action::Cleanup => !cleanup::resumes(start, pc),
            lsda::Action::End => true,
        };
    GO_ON
}

/// Whether two addresses lie on one stack: see "Segments".
fn is_same_stack(one: usize, other: usize) -> bool {
    let bottom = |address| locate(address).map(|located| located.slot_bottom);
    bottom(one) == bottom(other)
}

/// Whether the code belongs to neither the executable, nor the object that contains this code, nor Rust's own library.
fn is_foreign(pc: usize) -> bool {
    static OWN: OnceLock<usize> = OnceLock::new();
    if crate::trap::in_executable(pc) {
        return false;
    }
    let Some((base, name)) = object_of(pc) else { return true };
    let own = *OWN.get_or_init(|| object_of(reaches as *const () as usize).map_or(0, |(base, _)| base));
    base != own && !is_rust_library(name)
}

/// The address at which the object that contains an address begins, and the path of its file.
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
