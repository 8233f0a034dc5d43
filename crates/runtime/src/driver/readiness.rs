//! Descriptors.

use crate::coroutine::Ready;

/// An event of the kernel.
pub(crate) fn dispatch(_data: u64, _bits: u32, _out: &mut Vec<Ready>) {}
