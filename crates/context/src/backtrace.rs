//! The C unwinder's walk, which std links: what it gives to know of each frame. For the two who look at frames without
//! leaving them: [`frames`](crate::frames) and [`unwind`](crate::unwind).

use std::ffi::{c_int, c_void};

/// What a walk hands out; the unwinder's own.
#[repr(C)]
pub(crate) struct Frame {
    _opaque: [u8; 0],
}

/// Called with each frame, innermost first; anything but [`GO_ON`] ends the walk.
pub(crate) type Visit = unsafe extern "C" fn(*mut Frame, *mut c_void) -> c_int;

/// `_URC_NO_REASON`.
pub(crate) const GO_ON: c_int = 0;
/// `_URC_END_OF_STACK`: an ordinary end.
pub(crate) const STOP: c_int = 5;

unsafe extern "C" {
    pub(crate) fn _Unwind_Backtrace(visit: Visit, argument: *mut c_void) -> c_int;
    pub(crate) fn _Unwind_GetIPInfo(frame: *mut Frame, before_instruction: *mut c_int) -> usize;
    pub(crate) fn _Unwind_GetCFA(frame: *mut Frame) -> usize;
    pub(crate) fn _Unwind_GetLanguageSpecificData(frame: *mut Frame) -> *const u8;
    pub(crate) fn _Unwind_GetRegionStart(frame: *mut Frame) -> usize;
}
