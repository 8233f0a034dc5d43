//! How code gets a thread's identity without a thread.
//!
//! # Vocabulary
//! An *identity block* is what the C library gives a new thread: the thread-local segments of every loaded module and,
//! at their end, the thread control block that the thread pointer (FS base) designates. Code that runs under a block of
//! its own *is* a thread as far as `thread_local!`, `errno`, `thread::current()`, panic counts and lock ownership are
//! concerned, whichever OS thread runs it. This is what makes migration between OS threads sound. A compiler may keep
//! the address of a thread-local in a register across a switch, and the address stays right, because the block moves
//! with the code.
//!
//! # Protocol
//! [`facts`] learns the layout once per process, from what glibc exports for its own thread library and for debuggers,
//! and proves it by a self-test on a scratch block. Where anything is missing, [`Unsupported`] says what, and the
//! runtime makes only light coroutines that the program has vouched for. A block is built at the top of a coroutine's
//! stack ([`Identity::build`]), as `pthread_create` does, so that the control block and the first frames share a page.
//! When a coroutine ends, destructors run, then the C library's own part of a thread's end ([`TlsLayout::end_life`]),
//! and the block is *recycled* ([`Identity::reset`]). Recycling gives every module's segment its initial image again,
//! frees segments on the heap, and gives the words that the C library keeps per thread the values that a new thread
//! finds.
//!
//! A block lives for ever. It has a number, and from the number a tid above the kernel's tids, which no other block of
//! the process ever has. A library that takes a place in the static block after the start reaches all blocks through
//! their list ([`TlsLayout::synchronise`]).
//!
//! # The allocator's words
//! glibc's malloc keeps two words in the C library's segment: the thread's cache and its arena. If they stayed in the
//! block, each coroutine would have a cache of its own. The words are found by observation (which words of the segment
//! change when a fresh block allocates for the first time) and travel with the *worker*: [`TlsLayout::carry_allocator`]
//! moves them to the block that continues.
//!
//! # std's count of panics
//! Light coroutines run under one identity, so they would share std's count of a thread's panics. The count is a plain
//! word of a thread-local segment, and is found by observation too: [`learn_panic_count`] unwinds once and looks which
//! word has grown by one meanwhile.
//!
//! # Rejected
//! Copying thread-local bytes at a switch: std's channels, parking_lot and many others use the *address* of a
//! thread-local as an identity. Never migrating: the coroutines of one worker would still share its thread-locals, so a
//! reentrant lock would take each of these coroutines for its owner.

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod glibc_x86_64;
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod panic_count;
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub use glibc_x86_64::{AllocatorPair, Identity, StackOf, TlsLayout, facts, known_facts, stack_of};
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub use panic_count::{learn_panic_count, panic_count_offset};

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
mod shared;
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
pub use shared::{AllocatorPair, Identity, TlsLayout, facts, learn_panic_count, panic_count_offset};

/// Why this process cannot give a coroutine an identity of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "coroutines cannot have identities of their own here: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}
