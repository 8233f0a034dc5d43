//! The machine-dependent base of silken: the context switch, thread-identity blocks and stacks.
//!
//! Everything here is verified on hardware, not by a model checker: it names registers, the C library's thread control
//! block and the memory map. It knows nothing of coroutines, queues or events; the runtime above it decides what runs
//! and when.
//!
//! * [`switch`]: leave one stack and continue on another, one file per processor architecture;
//! * [`identity`]: a thread's identity (its thread-local block and control block) without a thread, one folder per C
//!   library;
//! * [`segment`]: a call that continues on another stack, one file per processor architecture;
//! * [`stack`]: arenas of guarded stacks;
//! * [`trap`]: what a fault handler may do about a stack that ran into its guard;
//! * [`inject`]: how a signal handler makes interrupted code call a function;
//! * [`frames`]: whose frames lie on an interrupted stack, by the unwind tables and the executable's symbols.
//! * [`unwind`]: whether an unwinding would reach the frame that is to catch it.

mod backtrace;
pub mod frames;
pub mod identity;
pub mod inject;
pub mod segment;
pub mod stack;
pub mod switch;
mod symbols;
pub mod trap;
pub mod unwind;
