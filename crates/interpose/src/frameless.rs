//! How are `vfork`, `pthread_exit` and `thrd_exit` hooked, for which no frame of this crate may be on the stack?
//!
//! **`vfork` returns twice on one stack.** The child runs in the parent's memory while the parent's thread waits. The
//! child returns first, and its next calls overwrite the place of the return address; the parent returns after it. So
//! the return address is kept in a register over the system call, as the C library does it, and the function is naked:
//! an ordinary function would find its frame overwritten. The dependent's actions before and after the `vfork` are
//! calls that have returned by then.
//!
//! **`pthread_exit` unwinds.** The C library walks the frames of its caller to run their cleanups. The frame of an
//! `extern "C"` function would end the process there. So the dependent is asked first, and then the code jumps to the
//! next definition.
//!
//! Rejected: answering `vfork` by `fork`. POSIX allows it, but programs let the child leave an error in the parent's
//! memory, and a large process pays for copying its page tables.

use core::arch::naked_asm;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_void, pid_t};

use crate::{next, raw};

/// The actions of a dependent at these symbols. None of them unwinds but the last.
pub struct Frameless {
    /// Called before `vfork`. Its effects on the thread hold for the child too.
    pub before_vfork: extern "C" fn(),
    /// Called after `vfork`, in the parent, once the child has left its memory, or if no child was made.
    pub after_vfork: extern "C" fn(),
    /// Called before a thread ends itself with the value. It need not return, and may unwind.
    pub before_thread_exit: extern "C-unwind" fn(*mut c_void),
}

static INSTALLED: AtomicPtr<Frameless> = AtomicPtr::new(ptr::null_mut());

/// Makes the symbols call `answers` from now on, in all threads.
pub fn install_frameless(answers: &'static Frameless) {
    // Release: pairs with the Acquire in `installed`: its functions see what the dependent set up before.
    INSTALLED.store(ptr::from_ref(answers).cast_mut(), Ordering::Release);
}

fn installed() -> Option<&'static Frameless> {
    // Acquire: pairs with the Release in `install_frameless`.
    let answers = INSTALLED.load(Ordering::Acquire);
    // SAFETY: S7: null or the `&'static` that `install_frameless` was given.
    unsafe { answers.as_ref() }
}

extern "C" fn before_vfork() {
    if let Some(answers) = installed() {
        (answers.before_vfork)();
    }
}

/// Runs in the parent, and turns the kernel's result into the C function's.
extern "C" fn after_vfork(result: isize) -> isize {
    if let Some(answers) = installed() {
        (answers.after_vfork)();
    }
    raw::set_errno_of(result)
}

extern "C-unwind" fn before_thread_exit(value: *mut c_void) {
    if let Some(answers) = installed() {
        (answers.before_thread_exit)(value);
    }
}

/// At entry rsp is 8 below a multiple of 16, and [rsp] is the return address. rdi keeps that address over the system
/// call, which changes only rax, rcx and r11. Nothing else that the caller relies on is touched, in parent or child.
macro_rules! vfork {
    () => {
        naked_asm!(
            ".cfi_startproc",
            "sub rsp, 8",
            ".cfi_adjust_cfa_offset 8",
            "call {before}",
            "add rsp, 8",
            ".cfi_adjust_cfa_offset -8",
            "pop rdi",
            ".cfi_adjust_cfa_offset -8",
            ".cfi_register rip, rdi",
            "mov eax, {number}",
            "syscall",
            "push rdi",
            ".cfi_adjust_cfa_offset 8",
            ".cfi_offset rip, -8",
            // 0 means the child, which returns at once.
            "test rax, rax",
            "jz 2f",
            // One word is pushed; with the 8 bytes below the stack is aligned for the call.
            "mov rdi, rax",
            "sub rsp, 8",
            ".cfi_adjust_cfa_offset 8",
            "call {after}",
            "add rsp, 8",
            ".cfi_adjust_cfa_offset -8",
            "2: ret",
            ".cfi_endproc",
            before = sym before_vfork,
            after = sym after_vfork,
            number = const libc::SYS_vfork,
        )
    };
}

/// `vfork(2)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vfork() -> pid_t {
    vfork!()
}

/// `vfork` under its other name.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __vfork() -> pid_t {
    vfork!()
}

/// Keeps the one argument over the call of the dependent, and jumps to the next definition.
macro_rules! ask_and_jump {
    ($slot:path) => {
        naked_asm!(
            ".cfi_startproc",
            "push rdi",
            ".cfi_adjust_cfa_offset 8",
            "call {before}",
            "pop rdi",
            ".cfi_adjust_cfa_offset -8",
            "jmp qword ptr [rip + {slot}]",
            ".cfi_endproc",
            before = sym before_thread_exit,
            slot = sym $slot,
        )
    };
}

/// `pthread_exit(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_exit(value: *mut c_void) -> c_int {
    ask_and_jump!(next::unhooked_slot::pthread_exit)
}

/// `thrd_exit(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn thrd_exit(result: c_int) -> c_int {
    ask_and_jump!(next::unhooked_slot::thrd_exit)
}
