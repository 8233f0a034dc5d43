//! What a fault handler needs of the interrupted execution: where it was, and how to make it go on elsewhere.
//!
//! A stack that has run into its guard cannot be used for one more call, and cannot be unwound. The handler, which runs on the worker's alternate
//! stack, therefore rewrites the saved registers so that the return from the signal enters a function of the runtime on *another* stack (the
//! worker's own). The FS base is not among the saved registers, so the identity is still that of the interrupted code there.

use std::ffi::c_void;

#[cfg(target_arch = "x86_64")]
const STACK_POINTER: usize = libc::REG_RSP as usize;
#[cfg(target_arch = "x86_64")]
const PROGRAM_COUNTER: usize = libc::REG_RIP as usize;
#[cfg(target_arch = "x86_64")]
const FIRST_ARGUMENT: usize = libc::REG_RDI as usize;
#[cfg(target_arch = "x86_64")]
const FRAME_POINTER: usize = libc::REG_RBP as usize;

/// The registers of the interrupted execution, as the kernel saved them.
#[derive(Debug)]
pub struct Interrupted(*mut libc::ucontext_t);

impl Interrupted {
    /// Of a handler's third argument.
    ///
    /// # Safety
    /// `context` is what the kernel passed to the running SA_SIGINFO handler (S6).
    pub unsafe fn new(context: *mut c_void) -> Self {
        Self(context.cast())
    }

    fn registers(&mut self) -> &mut [libc::greg_t] {
        // SAFETY: S6: valid for as long as the handler runs, by the contract of `new`.
        unsafe { &mut (*self.0).uc_mcontext.gregs }
    }

    /// Where the execution was interrupted.
    pub fn program_counter(&mut self) -> usize {
        self.registers()[PROGRAM_COUNTER] as usize
    }

    /// The stack pointer at the interruption.
    pub fn stack_pointer(&mut self) -> usize {
        self.registers()[STACK_POINTER] as usize
    }

    /// The return from the handler enters `function(argument)` with this stack pointer instead.
    ///
    /// # Safety
    /// The interrupted execution is never continued; below `stack_pointer` there is room for `function` (S1).
    pub unsafe fn enter(&mut self, stack_pointer: usize, function: unsafe extern "C" fn(usize) -> !, argument: usize) {
        let registers = self.registers();
        // As after a call: the return address (there is none) lies at a 16-byte boundary minus 8.
        registers[STACK_POINTER] = ((stack_pointer & !15) - 8) as libc::greg_t;
        registers[PROGRAM_COUNTER] = function as usize as libc::greg_t;
        registers[FIRST_ARGUMENT] = argument as libc::greg_t;
        registers[FRAME_POINTER] = 0;
    }
}

/// Whether `address` lies in the executable's own text (not in a shared library, whose locks the interrupted code may hold).
/// Learnt at the first call, which must not be in a handler.
pub fn in_executable(address: usize) -> bool {
    static TEXT: std::sync::OnceLock<(usize, usize)> = std::sync::OnceLock::new();
    let (start, end) = *TEXT.get_or_init(executable_text);
    (start..end).contains(&address)
}

fn executable_text() -> (usize, usize) {
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> i32 {
        // SAFETY: S7: dl_iterate_phdr hands a valid record.
        let info = unsafe { &*info };
        // SAFETY: S7: the loader keeps `dlpi_phnum` headers there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let text = headers
            .iter()
            .find(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0);
        if let Some(text) = text {
            let start = info.dlpi_addr as usize + text.p_vaddr as usize;
            // SAFETY: S7: `data` is the pair that `executable_text` passed.
            unsafe {
                data.cast::<(usize, usize)>()
                    .write((start, start + text.p_memsz as usize))
            };
        }
        // The executable comes first.
        1
    }
    let mut text = (0usize, 0usize);
    // SAFETY: S7: the visitor keeps to the callback's contract.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut text).cast()) };
    text
}
