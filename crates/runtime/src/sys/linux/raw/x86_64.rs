//! The `syscall` instruction of x86_64 (System V ABI, appendix A.2.1).
//!
//! At entry rax holds the number; rdi, rsi, rdx, r10, r8, r9 hold the arguments. r10 stands in for the C convention's
//! rcx because the instruction itself puts the return address in rcx and the flags in r11. For the same reason these
//! two are clobbered, and the flags survive. At exit rax holds the result; every other register is as it was. The
//! kernel runs on its own stack and leaves the red zone alone, hence `nostack`. Memory is clobbered (no `nomem`): the
//! kernel reads and writes it.

use std::arch::asm;

macro_rules! stub {
    ($name:ident $(, $argument:ident in $register:tt)*) => {
        /// # Safety
        /// That of the system call `number`.
        #[inline(always)]
        pub(super) unsafe fn $name(number: usize $(, $argument: usize)*) -> usize {
            let result;
            // SAFETY: S5: the caller answers for what the call does; the operands are the ABI's, as the file's head
            // lists.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") number => result,
                    $(in($register) $argument,)*
                    out("rcx") _,
                    out("r11") _,
                    options(nostack, preserves_flags),
                )
            };
            result
        }
    };
}

stub!(syscall0);
stub!(syscall1, a in "rdi");
stub!(syscall2, a in "rdi", b in "rsi");
stub!(syscall3, a in "rdi", b in "rsi", c in "rdx");
stub!(syscall4, a in "rdi", b in "rsi", c in "rdx", d in "r10");
stub!(syscall5, a in "rdi", b in "rsi", c in "rdx", d in "r10", e in "r8");
stub!(syscall6, a in "rdi", b in "rsi", c in "rdx", d in "r10", e in "r8", f in "r9");
