//! How a call continues on another stack and comes back: the machine part of stacks that grow.
//!
//! # Vocabulary
//! A *segment* is a stack on which a part of an execution runs, while the rest of the frames stays on the stack on
//! which it began. The *older* stack of a segment is the one that the call came from: the first stack, or another
//! segment. The *crossing* is the assembly function whose frame has its upper part on the older stack and its call on
//! the segment.
//!
//! # Protocol
//! [`call_on`] keeps the closure and the place for its value in a frame on the older stack. The crossing saves the
//! frame pointer there, remembers the stack pointer in it, loads the top of the segment into the stack pointer, and
//! calls. On the return the frame pointer leads back. No register of the caller is lost, the identity does not change,
//! and a context switch inside the call saves the stack pointer as ever. So a call on a segment may wait, and may
//! continue on another thread.
//!
//! # Unwinding
//! The crossing describes its frame by the frame pointer, at each of its instructions. So unwinders, backtraces,
//! profilers and debuggers step from the segment into the older stack as from any callee to its caller. A panic in the
//! closure passes the crossing and continues in the caller of [`call_on`], whose destructors run on the older stack: by
//! then no frame on the segment is in use. No unwinder relies on frames of ascending addresses, with two exceptions.
//!
//! - gdb ends a backtrace where a caller's frame lies below its callee's, since this is a sign of a damaged stack. It
//!   makes an exception for the function `__morestack`, by which GCC's split stacks cross. So the crossing has a second
//!   label of this name, local to the object.
//! - Code that compares frame addresses to find a frame on *its* stack must know the stacks:
//!   [`frames`](crate::frames) is given them, [`unwind`](crate::unwind) asks [`stack::locate`](crate::stack::locate).
//!
//! # Rejected
//! *Catching the panic at the crossing and raising it again on the other side*: the backtrace of the panic would be
//! whole, but the search for a handler, which the runtime makes before it raises a cancellation, would end at the
//! catch, and each crossing would cost a landing. *A context switch to a helper coroutine*: it has an identity of its
//! own, so thread-locals would change in the middle of a call. *Copying the frames to a larger stack*: they contain
//! addresses of the stack.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

pub(crate) use arch::crossing_code;

/// What a call on a segment takes with it, and what it leaves: in a frame on the older stack.
struct Call<F, R> {
    function: Option<F>,
    value: Option<R>,
}

/// The first function on the segment. It lets a panic pass, into the crossing and on.
unsafe extern "C-unwind" fn run<F: FnOnce() -> R, R>(call: *mut u8) {
    // SAFETY: S1: `call_on` passed its own frame's place, and waits for this call.
    let call = unsafe { &mut *call.cast::<Call<F, R>>() };
    if let Some(function) = call.function.take() {
        call.value = Some(function());
    }
}

/// Calls `function` on another stack, below `stack_top`, and returns its value. A panic of `function` passes, as out of
/// any call.
///
/// # Safety
/// `stack_top` is the 16-byte aligned end of writable memory that nothing else uses until this call has returned or
/// unwound (S1), with a guard at its lower end (S9).
#[inline(never)]
pub unsafe fn call_on<F: FnOnce() -> R, R>(stack_top: *mut u8, function: F) -> R {
    debug_assert!((stack_top as usize).is_multiple_of(16));
    let mut call = Call {
        function: Some(function),
        value: None,
    };
    // SAFETY: S1: the stack is the caller's to give; `run` gets the call that it expects, in a frame that stays.
    unsafe { arch::call_on((&raw mut call).cast(), run::<F, R>, stack_top) };
    call.value.expect("the call has returned")
}

/// The address of the caller's frame, or of one close to it.
#[inline(always)]
pub fn stack_pointer() -> usize {
    arch::stack_pointer()
}
