//! How this crate looks at frames without leaving them: the walk of the C unwinder, which std links, and what it tells
//! of each frame. Used by [`frames`](crate::frames) and [`unwind`](crate::unwind).

use std::ffi::{c_int, c_void};

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

unsafe extern "C" {
    pub(crate) fn _Unwind_Backtrace(visit: Visit, argument: *mut c_void) -> c_int;
    pub(crate) fn _Unwind_GetIPInfo(frame: *mut Frame, before_instruction: *mut c_int) -> usize;
    pub(crate) fn _Unwind_GetCFA(frame: *mut Frame) -> usize;
    pub(crate) fn _Unwind_GetLanguageSpecificData(frame: *mut Frame) -> *const u8;
    pub(crate) fn _Unwind_GetRegionStart(frame: *mut Frame) -> usize;
}
