//! How this crate looks at frames without leaving them: the walk of the C unwinder, which std links, and what it tells
//! of each frame. Used by [`frames`](crate::frames), [`inject`](crate::inject) and [`unwind`](crate::unwind).

use std::ffi::{c_int, c_void};
use std::ops::Range;

/// A frame as the walk passes it to the visitor; it belongs to the unwinder.
#[repr(C)]
pub(crate) struct Frame {
    _opaque: [u8; 0],
}

/// Called with each frame, innermost first; any result but [`GO_ON`] ends the walk.
pub(crate) type Visit = unsafe extern "C" fn(*mut Frame, *mut c_void) -> c_int;

/// `_URC_NO_REASON`: the walk continues.
pub(crate) const GO_ON: c_int = 0;
/// `_URC_END_OF_STACK`: an ordinary end of the walk.
pub(crate) const STOP: c_int = 5;

/// What the unwinder says of a function in addition to the function's tables.
#[repr(C)]
struct Bases {
    _text: usize,
    _data: usize,
    function: usize,
}

unsafe extern "C" {
    fn _Unwind_Find_FDE(pc: *const c_void, bases: *mut Bases) -> *const u8;
    pub(crate) fn _Unwind_Backtrace(visit: Visit, argument: *mut c_void) -> c_int;
    pub(crate) fn _Unwind_GetIPInfo(frame: *mut Frame, before_instruction: *mut c_int) -> usize;
    pub(crate) fn _Unwind_GetCFA(frame: *mut Frame) -> usize;
    pub(crate) fn _Unwind_GetLanguageSpecificData(frame: *mut Frame) -> *const u8;
    pub(crate) fn _Unwind_GetRegionStart(frame: *mut Frame) -> usize;
}

/// Where a function begins and ends. The record of its frame gives this: a length, a distance, the beginning as a
/// distance from there, the function's length. Each takes four bytes in the only encoding that compilers use here; a
/// comparison of the beginning checks the encoding.
pub(crate) fn extent_of(pc: usize) -> Option<Range<usize>> {
    let mut bases = Bases {
        _text: 0,
        _data: 0,
        function: 0,
    };
    // SAFETY: S7: any address may be asked for; the record is ours.
    let record = unsafe { _Unwind_Find_FDE(pc as *const c_void, &raw mut bases) };
    if record.is_null() {
        return None;
    }
    // SAFETY: S7: such a record has at least four words of four bytes, aligned or not.
    let [_, _, begin, length] = unsafe { record.cast::<[c_int; 4]>().read_unaligned() };
    let begins = (record as usize + 8).wrapping_add_signed(begin as isize);
    (begins == bases.function).then_some(begins..begins + length as u32 as usize)
}
