//! How libraries with a place in the static block reach all blocks when they are loaded after the facts were learnt.
//!
//! The code of such a library finds its thread-locals at a fixed distance from the FS base, without any call. The C
//! library copies the image into the blocks of all threads while it loads the library, and into blocks that it makes
//! later. It does not know of the runtime's blocks. So after a load [`TlsLayout::synchronise`] copies the image into
//! them, and enters the segment among those that recycling resets.
//!
//! # Protocol
//! One caller at a time, under a lock: it finds what is static in a fresh block and not known, copies it, publishes the
//! new list, and releases the lock. A second caller with the same library waits, so a caller that returns may use the
//! library. The fresh block's bytes *are* the images, and the list keeps a copy of them.
//!
//! The bytes of a block in the place of a new segment decide whether the image is written there. All zero: this block
//! does not have the image. Otherwise the C library has stored it (the block was built meanwhile), or the library's
//! constructors have stored there, and the bytes are left alone. An image that holds only zeros need not be written.
//! Others may run under the block meanwhile, but they do not run the library's code until the load is announced to
//! them.
//!
//! The library is then kept for ever (`RTLD_NODELETE`): its place must not go to another library. That takes the
//! loader's lock, so the caller does it, outside of the runtime's critical sections.
//!
//! # What remains
//! * Constructors that run *inside* `dlopen`, on a coroutine or in coroutines that they start, find zeros in such
//!   variables of their own library.
//! * A library may be loaded in a way that is not announced to the runtime (a bare name asked for by another library;
//!   the C library itself). Such a library is found at the next chance: the next announced load, or the next block that
//!   is built or recycled and knows it. Until then running coroutines find zeros.
//! * In a namespace of its own (`dlmopen`) a library's image reaches all blocks; but its size is not known, so it is
//!   not reset at recycling.
//!
//! # Rejected
//! Refusing such a load: glibc's own libraries are of this kind (libgomp, libm of some versions), and a database driver
//! may load one. Entering the runtime's blocks in the C library's list of threads: `setuid` and others signal every
//! thread in that list.

use super::dtv::Dtv;
use super::modules::{self, Module, static_offset};
use super::{Fresh, TlsLayout, registry};
use crate::stack::SpinLock;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use std::ffi::CString;
use std::ptr;

/// A segment in the static block, with its image.
struct LateSegment {
    module: usize,
    offset: isize,
    /// The image; as long as the segment.
    image: Vec<u8>,
    /// Whether the segment is reset at recycling: its size is known.
    is_reset: bool,
}

/// What [`TlsLayout`] knows of late libraries.
#[derive(Debug)]
pub(super) struct Late {
    /// Null until there is a late library; then a list that lives for ever.
    list: AtomicPtr<Vec<LateSegment>>,
    /// The generation of the newest table of modules that was looked at.
    generation: AtomicUsize,
    state: SpinLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The modules whose place was known when the facts were learnt, each with its place.
    at_start: Vec<(usize, isize)>,
    pinned: Vec<CString>,
}

impl Late {
    /// `fresh` is the table of the scratch block.
    pub(super) fn new(fresh: Dtv, at_start: Vec<(usize, isize)>) -> Self {
        Self {
            list: AtomicPtr::new(ptr::null_mut()),
            generation: AtomicUsize::new(fresh.generation()),
            state: SpinLock::new(State {
                at_start,
                pinned: Vec::new(),
            }),
        }
    }

    #[inline(always)]
    fn list(&self) -> Option<&'static Vec<LateSegment>> {
        // Acquire: pairs with the Release in `publish`.
        let list = self.list.load(Ordering::Acquire);
        // SAFETY: S3: null or a list that was leaked.
        unsafe { list.as_ref() }
    }

    fn publish(&self, list: Vec<LateSegment>) {
        // Release: pairs with the Acquire in `list`. The old list is leaked: another thread may be reading it.
        self.list.store(Box::into_raw(Box::new(list)), Ordering::Release);
    }

    /// Whether a table of modules is newer than all tables that were looked at.
    #[inline]
    pub(super) fn is_news(&self, generation: usize) -> bool {
        // Relaxed: a stale value costs one more look.
        generation > self.generation.load(Ordering::Relaxed)
    }

    /// Gives the late segments of a block their images again.
    ///
    /// # Safety
    /// As for `Identity::reset` (S3).
    #[inline(always)]
    pub(super) unsafe fn reset(&self, base: usize) {
        if let Some(list) = self.list() {
            for segment in list.iter().filter(|segment| segment.is_reset) {
                let start = base.wrapping_add_signed(segment.offset) as *mut u8;
                // SAFETY: S3: the segment lies in the static part of every block.
                unsafe { ptr::copy_nonoverlapping(segment.image.as_ptr(), start, segment.image.len()) };
            }
        }
    }
}

impl LateSegment {
    /// Stores the image, unless something was already stored there.
    fn tell(&self, base: usize) {
        let start = base.wrapping_add_signed(self.offset) as *const AtomicU8;
        // SAFETY: S3: the segment lies in the static part of every block, and blocks are never unmapped.
        let place = unsafe { std::slice::from_raw_parts(start, self.image.len()) };
        // Relaxed: code that runs under the block learns of the library from the caller of `synchronise`, after this.
        if place.iter().all(|byte| byte.load(Ordering::Relaxed) == 0) {
            for (byte, &value) in place.iter().zip(&self.image) {
                byte.store(value, Ordering::Relaxed);
            }
        }
    }
}

impl TlsLayout {
    /// To be called when a library may have been loaded: every library that took a place in the static block gets that
    /// place in the runtime's blocks too. Costs a fresh block, some microseconds.
    ///
    /// The same caller passes the result to [`TlsLayout::pin`]. The runtime's critical section that covers this call
    /// must have ended by then.
    #[must_use]
    pub fn synchronise(&self) -> Vec<CString> {
        // The loader's count of loads would show cheaply that there was no load. But the count rises when a file is
        // mapped, long before its thread-locals have a place: a caller that looks in between would note a load that it
        // has not seen.
        self.late.state.with(|state| self.look(state))
    }

    /// Like [`synchronise`](Self::synchronise), where the loader's lock must not be taken; the libraries are pinned at
    /// the next load that is announced.
    #[cold]
    pub(super) fn catch_up(&self, generation: usize) {
        let _ = self.late.state.with(|state| {
            let found = self.look(state);
            // These libraries are not pinned yet, and must be offered again.
            state.pinned.retain(|name| !found.contains(name));
            found
        });
        // Relaxed: a hint.
        self.late.generation.fetch_max(generation, Ordering::Relaxed);
    }

    /// Keeps libraries loaded for the life of the process.
    pub fn pin(&self, names: Vec<CString>) {
        for name in names {
            modules::pin(&name);
        }
    }

    fn look(&self, state: &mut State) -> Vec<CString> {
        let Some(fresh) = Fresh::allocate(self) else {
            // Without memory for a table, no other caller gets a block either; the next load tries again.
            return Vec::new();
        };
        // After the block was made: every module that the block knows is in the loader's list already.
        let modules = modules::all();
        let known = self.late.list().map_or(&[][..], Vec::as_slice);
        let below = self.static_bytes - self.tcb_bytes;
        let mut placed: Vec<(usize, isize)> = (1..=fresh.dtv.length())
            .filter(|&module| !state.at_start.iter().any(|&(known, _)| known == module))
            .filter_map(|module| Some((module, static_offset(fresh.dtv, fresh.base, below, module)?)))
            .collect();
        placed.sort_by_key(|&(_, offset)| offset);
        let is_known = |&(module, offset): &(usize, isize)| {
            known
                .iter()
                .any(|segment| segment.module == module && segment.offset == offset)
        };
        if placed.iter().any(|place| !is_known(place)) {
            let lowest_at_start = state.at_start.iter().map(|&(_, offset)| offset).min().unwrap_or(0);
            let mut list: Vec<LateSegment> = Vec::new();
            for (index, &(module, offset)) in placed.iter().enumerate() {
                let next = placed.get(index + 1).map(|&(_, next)| next);
                let end = next.unwrap_or(lowest_at_start);
                let info = modules.iter().find(|info| info.id == module);
                let bytes = info.map_or((end - offset).max(0) as usize, |info: &Module| info.total_bytes);
                list.push(LateSegment {
                    module,
                    offset,
                    image: fresh.copy(offset, bytes),
                    is_reset: info.is_some(),
                });
            }
            for segment in list
                .iter()
                .filter(|segment| !is_known(&(segment.module, segment.offset)))
            {
                if segment.image.iter().any(|&byte| byte != 0) {
                    registry::for_each(|base| segment.tell(base));
                }
            }
            self.late.publish(list);
        }
        let mut to_pin = Vec::new();
        for module in modules
            .iter()
            .filter(|module| placed.iter().any(|&(id, _)| id == module.id))
        {
            if !state.pinned.contains(&module.name) {
                state.pinned.push(module.name.clone());
                to_pin.push(module.name.clone());
            }
        }
        // Relaxed: a hint.
        self.late
            .generation
            .fetch_max(fresh.dtv.generation(), Ordering::Relaxed);
        to_pin
    }
}
