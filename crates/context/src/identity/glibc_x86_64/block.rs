//! How a block is built, how a life in it ends, and how it becomes as new for the next coroutine.
//!
//! # The end of a life
//! The end follows glibc's `start_thread`: thread-local destructors, then destructors of keys (`sched/life.rs` has
//! the rounds), then what the C library itself owns in a thread ([`TlsLayout::end_life`]): robust mutexes, a pending
//! error of `dlopen`, sockets of the resolver. The freeing of malloc's cache is left out: the cache belongs to the
//! worker.
//!
//! # Recycling
//! [`Identity::reset`] gives every segment its image, and gives the C library's words the values that a new thread
//! finds there. The order matters: first the steps that call `free`, for `free` runs under the block and may use
//! thread-locals of its own; then the segments, among them the runtime's count of critical sections. A list of
//! destructors that is not empty by then is forgotten: its entries leak, and each keeps its library loaded.
//!
//! # Rejected
//! *Building each block anew*: a call into the loader, under its lock, per coroutine. *Relying on the dtv's
//! generation*: it says which modules a block knows, not which modules it has touched. *Copying the whole control
//! block*: 2,300 bytes, of which a program can change few; those are listed.

use super::dtv::Dtv;
use super::probe::LOCALE_TABLES;
use super::registry::{self, Number};
use super::{RESOLVER_BYTES, Resolver, TlsLayout, VoidFunction, known_facts, read_word, robust, word_at, write_word};
use crate::switch;
use std::ffi::{c_int, c_void};
use std::num::NonZeroUsize;

/// Offsets in the head of the control block (`tcbhead_t`), fixed by the x86_64 ABI between glibc and compilers.
const TCB_SELF: isize = 0x00;
const TCB_THREAD: isize = 0x10;
const TCB_MULTIPLE_THREADS: isize = 0x18;
const TCB_STACK_GUARD: isize = 0x28;
const TCB_POINTER_GUARD: isize = 0x30;
const TCB_FEATURE_1: isize = 0x48;

/// In `struct rseq`: `cpu_id` follows `cpu_id_start`. This value means "registration failed", so that `sched_getcpu`
/// asks the kernel.
const RSEQ_CPU_ID: isize = 4;
const RSEQ_CPU_ID_REGISTRATION_FAILED: u32 = -2i32 as u32;

/// In `struct __res_state`, public in `resolv.h`: the options, `RES_INIT` among them.
const RESOLVER_OPTIONS: isize = 8;

/// One built identity block. A plain value: the memory belongs to the stack at whose top it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(NonZeroUsize);

/// The stack of a block, as it is reported to the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackOf {
    /// The address of the stack's lowest byte.
    pub bottom: usize,
    /// The length in bytes, up to the block's end.
    pub bytes: usize,
}

/// The stack of the block whose `pthread_self()` is `thread`. `None` for threads, and if the C library was not found to
/// note the stack.
///
/// # Safety
/// `thread` is a live `pthread_t`, a coroutine's or a thread's: its control block can be read (S7).
pub unsafe fn stack_of(thread: usize) -> Option<StackOf> {
    let facts = known_facts()?;
    let (bottom, bytes) = facts.stack_words?;
    // SAFETY: S7: the caller's contract; the C library itself reads the tid of whatever it is given.
    let tid = unsafe { word_at(thread, facts.tid_offset).cast::<u32>().read() };
    if Number::of_tid(tid)?.base() != thread {
        return None;
    }
    Some(StackOf {
        // SAFETY: S3: a built block; the word never changes.
        bottom: unsafe { read_word(thread, bottom) },
        // SAFETY: S3: a built block; the word never changes.
        bytes: unsafe { read_word(thread, bytes) },
    })
}

unsafe extern "C" fn call(argument: *mut u8) {
    // SAFETY: S7: `complete` passes a function of this signature.
    let function = unsafe { std::mem::transmute::<*mut u8, VoidFunction>(argument) };
    // SAFETY: S7: __ctype_init has no preconditions but a complete block.
    unsafe { function() };
}

impl TlsLayout {
    /// Writes into a block what the runtime has to write. The C library has made the block's dtv and images.
    ///
    /// # Safety
    /// The block is the caller's and nobody runs under it; the caller runs under a complete identity (S3).
    pub(super) unsafe fn complete(&self, base: usize, tid: u32, bottom: usize) {
        let own = switch::identity_base();
        for offset in [TCB_STACK_GUARD, TCB_POINTER_GUARD, TCB_FEATURE_1] {
            // SAFETY: S3: own control block: words that glibc keeps equal in all threads.
            let word = unsafe { read_word(own, offset) };
            // SAFETY: S3: the new block.
            unsafe { write_word(base, offset, word) };
        }
        for (offset, word) in [(TCB_SELF, base), (TCB_THREAD, base)] {
            // SAFETY: S3: the new block.
            unsafe { write_word(base, offset, word) };
        }
        // SAFETY: S3: a 32-bit flag: there are always several threads where there are coroutines.
        unsafe { word_at(base, TCB_MULTIPLE_THREADS).cast::<u32>().write(1) };
        // SAFETY: S3: the new block's tid, 32 bits.
        unsafe { word_at(base, self.tid_offset).cast::<u32>().write(tid) };
        if let Some(offset) = self.rseq_offset {
            // SAFETY: S3: the rseq area of the new block, which the kernel never hears of.
            unsafe {
                word_at(base, offset + RSEQ_CPU_ID)
                    .cast::<u32>()
                    .write(RSEQ_CPU_ID_REGISTRATION_FAILED)
            };
        }
        if let Some(offset) = self.list_offset {
            // fork's child takes the running thread out of the list of all threads. The runtime's blocks were never in
            // that list, so each is a ring of one.
            let list = base.wrapping_add_signed(offset);
            for link in [offset, offset + 8] {
                // SAFETY: S3: the two links of the new block's list entry.
                unsafe { write_word(base, link, list) };
            }
        }
        if let Some(offset) = self.robust_offset {
            // SAFETY: S3: the new block's list head.
            unsafe { robust::make_empty(base, offset, own) };
        }
        if let Some((low, bytes)) = self.stack_words {
            // SAFETY: S3: the new block.
            unsafe { write_word(base, low, bottom) };
            // SAFETY: S3: the new block.
            unsafe { write_word(base, bytes, base + self.tcb_bytes - bottom) };
        }
        if let Some(resolver) = self.resolver {
            // SAFETY: S3: a word of the C library's segment in the new block, and a place in its control block.
            unsafe { write_word(base, resolver.word, base.wrapping_add_signed(resolver.state)) };
        }
        // SAFETY: S3: the block is complete and nobody runs under it.
        unsafe { switch::with_identity(base, call, self.ctype_init as *mut u8) };
    }

    /// Runs the thread-local destructors of the running block (user code: it may block, and it may abort the process by
    /// panicking); returns whether there were any. Destructors that are registered meanwhile run too.
    #[inline(always)]
    pub fn run_destructors(&self) -> bool {
        // SAFETY: S3: the running identity's own word.
        if unsafe { read_word(switch::identity_base(), self.destructors_offset) } == 0 {
            return false;
        }
        // SAFETY: S7: glibc's own thread exit calls it in the same way: on the block that ends, with no locks held.
        unsafe { (self.call_destructors)() };
        true
    }

    /// Does the C library's part of a thread's end, for the running block. To be called after all destructors, and
    /// before anything is told of the end.
    #[inline(always)]
    pub fn end_life(&self) {
        let base = switch::identity_base();
        if let Some(offset) = self.robust_offset
            // SAFETY: S3: the running block's own list.
            && !unsafe { robust::is_empty(base, offset) }
        {
            // SAFETY: S3: the running block's own word.
            let tid = unsafe { word_at(base, self.tid_offset).cast::<u32>().read() };
            // SAFETY: S7: a mutex that is held is alive.
            unsafe { robust::abandon(base, offset, tid) };
        }
        if let Some(offset) = self.dl_error_offset
            // SAFETY: S3: the running block's own word.
            && unsafe { read_word(base, offset) } != 0
        {
            forget_dl_error();
        }
        if let Some(resolver) = self.resolver {
            resolver.end_life(base);
        }
    }
}

/// The first call reports the error, the second forgets it. The state that is left then says that there was no error.
#[cold]
fn forget_dl_error() {
    for _ in 0..2 {
        // SAFETY: S7: takes nothing.
        unsafe { libc::dlerror() };
    }
}

impl Resolver {
    #[inline(always)]
    fn end_life(&self, base: usize) {
        // SAFETY: S3: the running block's own state; in use, its options say that it was initialised.
        if unsafe { read_word(base, self.state + RESOLVER_OPTIONS) } != 0 {
            self.close(base);
        }
    }

    #[cold]
    fn close(&self, base: usize) {
        let state = base.wrapping_add_signed(self.state) as *mut c_void;
        // SAFETY: S7: the state is in use; this is how a program ends its own.
        unsafe { (self.close)(state) };
        // SAFETY: S3: the state owns nothing any more; it lies in the control block with all its bytes.
        unsafe { state.cast::<u8>().write_bytes(0, RESOLVER_BYTES) };
    }
}

impl Identity {
    /// Builds a block that ends at `top`. Returns the block and the (16-byte aligned) end of the memory that is left
    /// below it. `None` when the C library has no memory for the block's table of modules, or there is no tid left.
    ///
    /// # Safety
    /// `bottom..top` is the caller's stack for the life of the process; `top` is 16-byte aligned and at least
    /// [`TlsLayout::block_bytes`] below it are zeroed and writable (S1, S3). The calling thread has a complete
    /// identity.
    pub unsafe fn build(facts: &TlsLayout, bottom: *mut u8, top: *mut u8) -> Option<(Identity, *mut u8)> {
        let base = (top as usize - facts.tcb_bytes) & !(facts.alignment - 1);
        let identity = Identity(NonZeroUsize::new(base)?);
        let number = registry::enter(base)?;
        // SAFETY: S3: the caller gives the memory.
        if unsafe { identity.fill(facts, number.tid(), bottom as usize) }.is_none() {
            number.leave();
            return None;
        }
        // SAFETY: S3: a built block.
        let generation = unsafe { Dtv::of(base) }.generation();
        if facts.late.is_news(generation) {
            facts.catch_up(generation);
        }
        let end = (base + facts.tcb_bytes - facts.static_bytes) & !15;
        Some((identity, end as *mut u8))
    }

    /// # Safety
    /// The block is zeroed and the caller's (S3).
    unsafe fn fill(self, facts: &TlsLayout, tid: u32, bottom: usize) -> Option<()> {
        // SAFETY: S7: an address with the static size below and the control block's above, zeroed, as pthread_create
        // passes.
        if unsafe { (facts.allocate)(self.base() as *mut c_void) }.is_null() {
            return None;
        }
        // SAFETY: S3: the caller promises: the block is zeroed and the caller's.
        unsafe { facts.complete(self.base(), tid, bottom) };
        Some(())
    }

    /// The thread pointer (FS base) of the block.
    #[inline(always)]
    pub fn base(self) -> usize {
        self.0.get()
    }

    /// Makes the block as new for the next coroutine: all segments get their initial images, and the C library's words
    /// the values that a new thread finds. Destructors have run. `false`: the block cannot be made as new and must be
    /// rebuilt ([`Identity::rebuild`]).
    ///
    /// # Safety
    /// Destructors have run, and no value in a thread-local of the block is used again. The block may be the running
    /// one (S3).
    #[inline]
    pub unsafe fn reset(self, facts: &TlsLayout) -> bool {
        let base = self.base();
        // SAFETY: S3: a built block, and the caller's.
        let dtv = unsafe { Dtv::of(base) };
        let generation = dtv.generation();
        if (generation != facts.generation || facts.has_lazy_modules)
            // SAFETY: S3: the caller promises: destructors have run, and no value in a thread-local of the block is
            // used again.
            && !unsafe { forget_lazy(facts, dtv, generation) }
        {
            return false;
        }
        for segment in &facts.segments {
            let start = base.wrapping_add_signed(segment.offset) as *mut u8;
            // SAFETY: S3: the segment lies in the block; the image is immutable.
            unsafe { std::ptr::copy_nonoverlapping(segment.image, start, segment.image_bytes) };
            let zeroed = segment.total_bytes - segment.image_bytes;
            // SAFETY: S3: the rest of the same segment.
            unsafe { std::ptr::write_bytes(start.wrapping_add(segment.image_bytes), 0, zeroed) };
        }
        // SAFETY: S3: the caller promises: destructors have run, and no value in a thread-local of the block is used
        // again.
        unsafe { facts.late.reset(base) };
        // SAFETY: S3: words of the C library's segment in the block, none of which owns anything.
        unsafe { facts.fresh_words.restore(base) };
        let errno = word_at(base, facts.errno_offset).cast::<c_int>();
        // SAFETY: S3: errno of the block, which shares no word with what is kept.
        if unsafe { errno.read() } != 0 {
            // SAFETY: S3: as for the read.
            unsafe { errno.write(0) };
        }
        if let Some((locale, tables)) = facts.locale {
            for (table, offset) in (0..).zip(tables) {
                // SAFETY: S7: the process's locale, which `setlocale` may be changing: a word is old or new.
                let current = unsafe { word_at(locale, LOCALE_TABLES + 8 * table).read_volatile() };
                // SAFETY: S3: a word of the C library's segment.
                if unsafe { read_word(base, offset) } != current {
                    // SAFETY: S3: as for the read.
                    unsafe { write_word(base, offset, current) };
                }
            }
        }
        // SAFETY: S3: bytes of the control block that say what cancellation does.
        unsafe { facts.fresh_bytes.restore(base) };
        true
    }

    /// Builds the block anew. `None` when the C library has no memory; the block is not usable then.
    ///
    /// # Safety
    /// Nobody runs under the block (S3).
    #[must_use]
    pub unsafe fn rebuild(self, facts: &TlsLayout) -> Option<()> {
        // SAFETY: S3: the block's tid, which it keeps.
        let tid = unsafe { word_at(self.base(), facts.tid_offset).cast::<u32>().read() };
        // SAFETY: S3: the stack that it noted, if it did.
        let bottom = facts
            .stack_words
            .map_or(0, |(low, _)| unsafe { read_word(self.base(), low) });
        // SAFETY: S7: the inverse of the allocate in `fill`; the block itself is not freed.
        unsafe { (facts.deallocate)(self.base() as *mut c_void, false) };
        let start = self.base() + facts.tcb_bytes - facts.static_bytes;
        // SAFETY: S3: the block is the caller's.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, facts.static_bytes) };
        // SAFETY: S3: zeroed above.
        unsafe { self.fill(facts, tid, bottom) }
    }
}

/// Frees the segments that modules outside of the static block have in this block. `false`: the table is not as it
/// should be.
///
/// # Safety
/// As for [`Identity::reset`] (S3).
#[cold]
unsafe fn forget_lazy(facts: &TlsLayout, dtv: Dtv, generation: usize) -> bool {
    // SAFETY: S3: the caller promises what `Identity::reset` asks.
    if !unsafe { dtv.forget_touched() } {
        return false;
    }
    if facts.late.is_news(generation) {
        facts.catch_up(generation);
    }
    true
}
