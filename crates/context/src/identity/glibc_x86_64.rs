//! Identity blocks of glibc on x86_64 (thread-local storage variant II: the segments lie *below* the control block).
//!
//! ```text
//!   block start                                   FS base                    block end (16-byte aligned, top of the stack slot)
//!   | surplus | segments of the modules ....... | struct pthread ........... |
//!   |<--------- static_size - tcb_size -------->|<-------- tcb_size -------->|
//! ```
//!
//! What is used of glibc, all looked up with dlsym so that a missing piece is an answer and not a link error:
//!
//! | symbol | what for |
//! |---|---|
//! | `_dl_get_tls_static_info` | size and alignment of a static block |
//! | `_dl_allocate_tls(tcb)` | dtv and initial images for a control block at an address of ours |
//! | `_dl_deallocate_tls(tcb, false)` | its inverse: frees the dtv and what was loaded lazily |
//! | `_thread_db_sizeof_pthread`, `_thread_db_pthread_tid` | size of struct pthread, place of its tid: exported for debuggers |
//! | `_thread_db_pthread_list` | place of the links in the list of all threads |
//! | `__ctype_init` | fills the locale tables' pointers of the running block |
//! | `__call_tls_dtors` | runs the destructors of the running block |
//! | `__rseq_offset` | place of the restartable-sequences area |

use super::Unsupported;
use crate::switch;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Offsets in the head of the control block (`tcbhead_t`), fixed by the x86_64 ABI between glibc and compilers.
const TCB_SELF: isize = 0x00;
const TCB_DTV: isize = 0x08;
const TCB_THREAD: isize = 0x10;
const TCB_MULTIPLE_THREADS: isize = 0x18;
const TCB_STACK_GUARD: isize = 0x28;
const TCB_POINTER_GUARD: isize = 0x30;
const TCB_FEATURE_1: isize = 0x48;

/// In `struct rseq`: `cpu_id` follows `cpu_id_start`; this value says "registration failed", so that `sched_getcpu` asks the kernel.
const RSEQ_CPU_ID: isize = 4;
const RSEQ_CPU_ID_REGISTRATION_FAILED: u32 = -2i32 as u32;

/// More changed words than this after a first malloc are not the two that we know how to carry.
const ALLOCATOR_WORDS_MAX: usize = 4;

type DlAllocateTls = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type DlDeallocateTls = unsafe extern "C" fn(*mut c_void, bool);
type VoidFunction = unsafe extern "C" fn();

/// One module's thread-local segment within a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Of its first byte, from the FS base (negative).
    pub(super) offset: isize,
    image: *const u8,
    image_bytes: usize,
    pub(super) total_bytes: usize,
}

/// What this process's C library was found to do.
#[derive(Debug)]
pub struct Facts {
    static_bytes: usize,
    alignment: usize,
    tcb_bytes: usize,
    tid_offset: isize,
    list_offset: Option<isize>,
    rseq_offset: Option<isize>,
    robust_offset: Option<isize>,
    errno_offset: isize,
    /// Dtv generation of a block that has touched no module loaded later.
    generation: AtomicUsize,
    /// Segments to be given their image again: every module but the C library and the loader.
    segments: Vec<Segment>,
    /// Offsets from the FS base of malloc's words.
    allocator_words: [isize; ALLOCATOR_WORDS_MAX],
    allocator_word_count: usize,
    allocate: DlAllocateTls,
    deallocate: DlDeallocateTls,
    ctype_init: VoidFunction,
    call_destructors: VoidFunction,
}

// SAFETY: S2: the raw pointers in Facts are addresses of loaded, immutable images and functions.
unsafe impl Send for Facts {}
// SAFETY: S2: as above; nothing in Facts is ever written after construction.
unsafe impl Sync for Facts {}

/// The facts of this process, learnt and tested at the first call, which must come from an OS thread's own stack.
///
/// # Errors
/// [`Unsupported`] says which piece is missing or misbehaves.
pub fn facts() -> Result<&'static Facts, &'static Unsupported> {
    static FACTS: OnceLock<Result<Facts, Unsupported>> = OnceLock::new();
    FACTS.get_or_init(learn).as_ref()
}

/// One built identity block. A plain value: the memory belongs to the stack at whose top it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(usize);

fn symbol(name: &CStr) -> Result<*mut c_void, Unsupported> {
    // SAFETY: S7: the name is a C string; RTLD_DEFAULT searches every loaded module.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if address.is_null() {
        return Err(Unsupported(format!(
            "the C library does not export {}",
            name.to_string_lossy()
        )));
    }
    Ok(address)
}

fn word_at(base: usize, offset: isize) -> *mut usize {
    base.wrapping_add_signed(offset) as *mut usize
}

/// # Safety
/// The word lies in a block that the caller owns, or under which it runs (S3).
pub(super) unsafe fn read_word(base: usize, offset: isize) -> usize {
    // SAFETY: S3: the caller's contract.
    unsafe { word_at(base, offset).read() }
}

/// # Safety
/// As for [`read_word`].
pub(super) unsafe fn write_word(base: usize, offset: isize, value: usize) {
    // SAFETY: S3: the caller's contract.
    unsafe { word_at(base, offset).write(value) }
}

pub(super) struct Module {
    pub(super) name: String,
    pub(super) segment: Segment,
}

/// The thread-local segments of all loaded modules, as the calling thread has them.
pub(super) fn modules() -> Vec<Module> {
    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
        // SAFETY: S7: dl_iterate_phdr hands a valid record.
        let info = unsafe { &*info };
        // SAFETY: S7: `data` is the vector that `modules` passed.
        let found = unsafe { &mut *data.cast::<Vec<Module>>() };
        if info.dlpi_tls_data.is_null() {
            return 0;
        }
        // SAFETY: S7: the loader keeps `dlpi_phnum` headers there for the life of the module.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        // SAFETY: S7: a module's name is a C string.
        let name = unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned();
        for header in headers.iter().filter(|header| header.p_type == libc::PT_TLS) {
            let image = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize) as *const u8;
            let offset = (info.dlpi_tls_data as isize).wrapping_sub(switch::identity_base() as isize);
            found.push(Module {
                name: name.clone(),
                segment: Segment {
                    offset,
                    image,
                    image_bytes: header.p_filesz as usize,
                    total_bytes: header.p_memsz as usize,
                },
            });
        }
        0
    }
    let mut found: Vec<Module> = Vec::new();
    // SAFETY: S7: the visitor keeps to the callback's contract and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    found
}

pub(super) fn is_c_library(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.starts_with("libc.so") || file.starts_with("libc-")
}

pub(super) fn is_loader(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.starts_with("ld-linux") || file.starts_with("ld-") || file.starts_with("ld.so")
}

fn static_info() -> Result<(usize, usize), Unsupported> {
    let address = symbol(c"_dl_get_tls_static_info")?;
    // SAFETY: S7: glibc's signature of this function since 2.3.
    let function = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut usize, *mut usize)>(address) };
    let (mut size, mut align) = (0, 0);
    // SAFETY: S7: both out-pointers are valid.
    unsafe { function(&mut size, &mut align) };
    Ok((size, align))
}

/// Reads the `index`th 32-bit word of a debugger descriptor.
fn descriptor(name: &CStr, index: usize) -> Result<u32, Unsupported> {
    let address = symbol(name)?.cast::<u32>();
    let word = address.wrapping_add(index);
    // SAFETY: S7: descriptors are arrays of three words (`sizeof`: one) of constant data; callers ask within.
    Ok(unsafe { word.read() })
}

/// The kernel knows where the worker's robust list head lies; its place relative to the control block is the same in every block.
fn robust_offset(tcb_bytes: usize) -> Option<isize> {
    let mut head = 0usize;
    let mut length = 0usize;
    // SAFETY: S7: get_robust_list of the calling thread writes two words.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &mut head, &mut length) };
    let offset = head.checked_sub(switch::identity_base())?;
    (result == 0 && head != 0 && offset < tcb_bytes).then_some(offset as isize)
}

fn errno_offset() -> isize {
    // SAFETY: S7: always valid for the calling thread.
    let address = unsafe { libc::__errno_location() };
    (address as isize).wrapping_sub(switch::identity_base() as isize)
}

fn learn() -> Result<Facts, Unsupported> {
    if !switch::identity_switch_supported() {
        return Err(Unsupported("the kernel or the processor has no FSGSBASE".to_string()));
    }
    let (static_bytes, alignment) = static_info()?;
    let tcb_bytes = descriptor(c"_thread_db_sizeof_pthread", 0)? as usize;
    // A field descriptor is {size in bits, count, offset}.
    let tid_offset = descriptor(c"_thread_db_pthread_tid", 2)? as isize;
    if tcb_bytes >= static_bytes || !alignment.is_power_of_two() || tid_offset as usize >= tcb_bytes {
        return Err(Unsupported(format!(
            "an unknown block layout: {static_bytes} bytes, control block {tcb_bytes}"
        )));
    }
    let list_offset = descriptor(c"_thread_db_pthread_list", 2)
        .ok()
        .map(|offset| offset as isize);
    let rseq_offset = symbol(c"__rseq_offset").ok().map(|address| {
        // SAFETY: S7: __rseq_offset is a constant ptrdiff_t.
        unsafe { address.cast::<isize>().read() }
    });
    let mut facts = Facts {
        static_bytes,
        alignment,
        tcb_bytes,
        tid_offset,
        list_offset,
        rseq_offset,
        robust_offset: robust_offset(tcb_bytes),
        errno_offset: errno_offset(),
        generation: AtomicUsize::new(0),
        segments: Vec::new(),
        allocator_words: [0; ALLOCATOR_WORDS_MAX],
        allocator_word_count: 0,
        // SAFETY: S7: glibc's signatures of these functions.
        allocate: unsafe { std::mem::transmute::<*mut c_void, DlAllocateTls>(symbol(c"_dl_allocate_tls")?) },
        // SAFETY: S7: as above.
        deallocate: unsafe { std::mem::transmute::<*mut c_void, DlDeallocateTls>(symbol(c"_dl_deallocate_tls")?) },
        // SAFETY: S7: as above.
        ctype_init: unsafe { std::mem::transmute::<*mut c_void, VoidFunction>(symbol(c"__ctype_init")?) },
        // SAFETY: S7: as above.
        call_destructors: unsafe { std::mem::transmute::<*mut c_void, VoidFunction>(symbol(c"__call_tls_dtors")?) },
    };
    let below = static_bytes - tcb_bytes;
    let mut c_library = None;
    for module in modules() {
        let in_static_block = module.segment.offset < 0 && module.segment.offset.unsigned_abs() <= below;
        if is_c_library(&module.name) {
            c_library = Some(module.segment);
        } else if !is_loader(&module.name) && in_static_block {
            facts.segments.push(module.segment);
        }
    }
    let Some(c_library) = c_library else {
        return Err(Unsupported(
            "the C library's own segment was not found (statically linked?)".to_string(),
        ));
    };
    facts.test_and_discover(c_library)?;
    Ok(facts)
}

/// Offsets from the FS base of the two words that malloc has with every glibc since 2.26: a loop over any number costs as much as the rest of a
/// light switch.
#[derive(Clone, Copy, Debug)]
pub struct AllocatorPair([isize; 2]);

impl AllocatorPair {
    /// There are not two, or there are no identities.
    pub const fn unusual() -> Self {
        Self([0; 2])
    }

    /// As [`Facts::carry_allocator`], or `false`, with nothing done, where the number of words is unusual.
    ///
    /// # Safety
    /// As for [`Facts::carry_allocator`].
    #[inline(always)]
    pub unsafe fn carry(&self, from: usize, to: usize) -> bool {
        let [first, second] = self.0;
        if first == 0 {
            return false;
        }
        // SAFETY: S3: the caller's contract; the offset lies in the C library's segment of every block.
        unsafe { carry_word(from, to, first) };
        // SAFETY: S3: as above.
        unsafe { carry_word(from, to, second) };
        true
    }
}

/// # Safety
/// `offset` lies in both blocks, and the caller is the one who may write `to` (S3).
#[inline(always)]
unsafe fn carry_word(from: usize, to: usize, offset: isize) {
    // SAFETY: S3: the caller's contract.
    let word = unsafe { read_word(from, offset) };
    // As a rule the same worker ran both before: a comparison is cheaper than a store.
    // SAFETY: S3: the caller's contract.
    if unsafe { read_word(to, offset) } != word {
        // SAFETY: S3: as above.
        unsafe { write_word(to, offset, word) };
    }
}

impl Facts {
    /// Bytes that a block takes at the top of a stack.
    pub fn block_bytes(&self) -> usize {
        self.static_bytes + self.alignment
    }

    /// The words that malloc keeps per thread, for reports.
    pub fn allocator_words(&self) -> usize {
        self.allocator_word_count
    }

    /// Where malloc's words lie, for whoever carries them often.
    pub fn allocator_pair(&self) -> AllocatorPair {
        match self.allocator_words[..self.allocator_word_count] {
            [first, second] => AllocatorPair([first, second]),
            _ => AllocatorPair::unusual(),
        }
    }

    /// The words of `from` continue in `to`: called by the worker that has left block `from` for block `to`.
    ///
    /// # Safety
    /// Both are built blocks, or the identity of an OS thread; the calling worker ran under `from` until just now and runs under `to`, nobody runs
    /// under `from`, and nothing was allocated since the switch (S3).
    #[cold]
    #[inline(never)]
    pub unsafe fn carry_allocator(&self, from: usize, to: usize) {
        for &offset in &self.allocator_words[..self.allocator_word_count] {
            // SAFETY: S3: the caller's contract; the offset lies in the C library's segment of every block.
            unsafe { carry_word(from, to, offset) };
        }
    }

    /// Runs the thread-local destructors of the running block (user code: it may block, it may abort the process by panicking).
    pub fn run_destructors(&self) {
        // SAFETY: S7: glibc's own thread exit calls it in the same way: on the block that ends, with no locks held.
        unsafe { (self.call_destructors)() };
    }

    /// A scratch block proves that the layout is as assumed, and shows malloc's words.
    fn test_and_discover(&mut self, c_library: Segment) -> Result<(), Unsupported> {
        let bytes = 16 * 4096 + self.block_bytes();
        // SAFETY: S1: a fresh anonymous mapping.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(Unsupported("no memory for the self-test".to_string()));
        }
        let top = memory.cast::<u8>().wrapping_add(bytes & !4095);
        // SAFETY: S3: zeroed memory below `top`, used by nobody.
        let (identity, _) =
            unsafe { Identity::build(self, top) }.ok_or_else(|| Unsupported("_dl_allocate_tls failed".to_string()))?;
        // SAFETY: S3: the dtv pointer of a built block.
        let dtv = unsafe { read_word(identity.0, TCB_DTV) };
        // SAFETY: S3: the first entry of a dtv is its generation.
        let generation = unsafe { read_word(dtv, 0) };
        self.generation = AtomicUsize::new(generation);
        let mut probe = Probe {
            segment: c_library,
            base: identity.0,
            changed: [0; ALLOCATOR_WORDS_MAX + 1],
            count: 0,
            errno: 0,
        };
        // SAFETY: S3: nobody runs under the scratch block; the probe does not unwind.
        unsafe { switch::with_identity(identity.0, Probe::run, (&raw mut probe).cast()) };
        let expected = identity.0.wrapping_add_signed(self.errno_offset);
        if probe.errno != expected {
            return Err(Unsupported("errno did not move with the identity".to_string()));
        }
        if probe.count > ALLOCATOR_WORDS_MAX {
            return Err(Unsupported(format!(
                "malloc changes {} words of the C library's segment",
                probe.count
            )));
        }
        self.allocator_words[..probe.count].copy_from_slice(&probe.changed[..probe.count]);
        self.allocator_word_count = probe.count;
        // The scratch block is kept for ever: malloc's thread cache that the probe made is reachable through it only.
        Ok(())
    }
}

/// What the self-test does under the scratch identity. Fixed memory: it must not allocate except on purpose.
struct Probe {
    segment: Segment,
    base: usize,
    changed: [isize; ALLOCATOR_WORDS_MAX + 1],
    count: usize,
    errno: usize,
}

const PROBE_SEGMENT_WORDS: usize = 512;

impl Probe {
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: S1: `test_and_discover` passes its own Probe.
        let probe = unsafe { &mut *argument.cast::<Probe>() };
        // SAFETY: S7: valid for whatever identity runs.
        probe.errno = unsafe { libc::__errno_location() } as usize;
        let words = (probe.segment.total_bytes / 8).min(PROBE_SEGMENT_WORDS);
        let mut before = [0usize; PROBE_SEGMENT_WORDS];
        for (index, slot) in before.iter_mut().enumerate().take(words) {
            // SAFETY: S3: within the C library's segment of the scratch block.
            *slot = unsafe { read_word(probe.base, probe.segment.offset + 8 * index as isize) };
        }
        // SAFETY: S7: malloc and free under a complete identity.
        let pointer = unsafe { libc::malloc(64) };
        // The compiler may not remove the pair.
        std::hint::black_box(pointer);
        // SAFETY: S7: the pointer comes from malloc.
        unsafe { libc::free(pointer) };
        for (index, old) in before.iter().enumerate().take(words) {
            let offset = probe.segment.offset + 8 * index as isize;
            // SAFETY: S3: as above.
            let now = unsafe { read_word(probe.base, offset) };
            if now != *old && probe.count <= ALLOCATOR_WORDS_MAX {
                probe.changed[probe.count] = offset;
                probe.count += 1;
            }
        }
    }
}

/// Identity values above every tid that the kernel hands out (`pid_max` is at most 2^22): the owner field of recursive and error-checking mutexes.
const FAKE_TID_BASE: u32 = 1 << 30;

impl Identity {
    /// Builds a block that ends at `top`; returns it and the (16-byte aligned) end of what is left below it. `None` when the C library
    /// has no memory for the block's table of modules.
    ///
    /// # Safety
    /// `top` is 16-byte aligned and at least [`Facts::block_bytes`] below it are zeroed, writable and the caller's (S1, S3). The calling
    /// thread has a complete identity.
    pub unsafe fn build(facts: &Facts, top: *mut u8) -> Option<(Identity, *mut u8)> {
        let base = (top as usize - facts.tcb_bytes) & !(facts.alignment - 1);
        let identity = Identity(base);
        // SAFETY: S3: the caller gives the memory.
        unsafe { identity.fill(facts) }?;
        let bottom = (base + facts.tcb_bytes - facts.static_bytes) & !15;
        Some((identity, bottom as *mut u8))
    }

    /// # Safety
    /// The block is zeroed and the caller's (S3).
    unsafe fn fill(self, facts: &Facts) -> Option<()> {
        let base = self.0;
        // SAFETY: S3, S7: as pthread_create does with the memory of a new thread.
        let allocated = unsafe { (facts.allocate)(base as *mut c_void) };
        if allocated.is_null() {
            return None;
        }
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
        if let Some(offset) = facts.rseq_offset {
            // SAFETY: S3: the rseq area of the new block, which the kernel never hears of.
            unsafe {
                word_at(base, offset + RSEQ_CPU_ID)
                    .cast::<u32>()
                    .write(RSEQ_CPU_ID_REGISTRATION_FAILED)
            };
        }
        if let Some(offset) = facts.list_offset {
            // fork's child takes the running thread out of the list of all threads, in which a block of ours never was: a ring of one.
            let list = base.wrapping_add_signed(offset);
            for link in [offset, offset + 8] {
                // SAFETY: S3: the two links of the new block's list entry.
                unsafe { write_word(base, link, list) };
            }
        }
        if let Some(offset) = facts.robust_offset {
            let head = base.wrapping_add_signed(offset);
            // SAFETY: S3: an empty list points to itself.
            unsafe { write_word(base, offset, head) };
            // SAFETY: S3: glibc's `robust_prev` lies just below the head.
            unsafe { write_word(base, offset - 8, head) };
        }
        unsafe extern "C" fn call(argument: *mut u8) {
            // SAFETY: S7: `fill` passes a function of this signature.
            let function = unsafe { std::mem::transmute::<*mut u8, VoidFunction>(argument) };
            // SAFETY: S7: __ctype_init has no preconditions but a complete block.
            unsafe { function() };
        }
        // SAFETY: S3: the block is complete and nobody runs under it.
        unsafe { switch::with_identity(base, call, facts.ctype_init as *mut u8) };
        Some(())
    }

    /// The thread pointer of the block.
    #[inline(always)]
    pub fn base(self) -> usize {
        self.0
    }

    /// Gives the block a tid that no other live block has, as owner of recursive and error-checking mutexes.
    ///
    /// # Safety
    /// The block is built and nobody else runs under it (S3).
    #[inline(always)]
    pub unsafe fn set_tid(self, facts: &Facts, serial: u32) {
        let tid = FAKE_TID_BASE | (serial & (FAKE_TID_BASE - 1));
        // SAFETY: S3: the caller's contract.
        unsafe { word_at(self.0, facts.tid_offset).cast::<u32>().write(tid) };
    }

    /// Makes the block as new for the next coroutine: initial images everywhere but in the C library, errno zero. Destructors have run.
    /// Returns `false` when the block has touched modules that were loaded later and must be rebuilt ([`Identity::rebuild`]).
    ///
    /// # Safety
    /// Destructors have run, and no value in a thread-local of the block is used again. The block may be the running one (S3).
    #[inline]
    pub unsafe fn reset(self, facts: &Facts) -> bool {
        let base = self.0;
        for segment in &facts.segments {
            let start = base.wrapping_add_signed(segment.offset) as *mut u8;
            // SAFETY: S3: the segment lies in the block; the image is immutable.
            unsafe { std::ptr::copy_nonoverlapping(segment.image, start, segment.image_bytes) };
            let zeroed = segment.total_bytes - segment.image_bytes;
            // SAFETY: S3: the rest of the same segment.
            unsafe { std::ptr::write_bytes(start.wrapping_add(segment.image_bytes), 0, zeroed) };
        }
        // SAFETY: S3: errno of the block.
        unsafe { word_at(base, facts.errno_offset).cast::<c_int>().write(0) };
        // SAFETY: S3: the dtv pointer of a built block.
        let dtv = unsafe { read_word(base, TCB_DTV) };
        // SAFETY: S3: its generation.
        let generation = unsafe { read_word(dtv, 0) };
        // Relaxed: a stale value costs one rebuild.
        generation == facts.generation.load(Ordering::Relaxed)
    }

    /// Builds the block anew, after modules were loaded that it has touched. `None` when the C library has no memory.
    ///
    /// # Safety
    /// Nobody runs under the block (S3).
    #[must_use]
    pub unsafe fn rebuild(self, facts: &Facts) -> Option<()> {
        // SAFETY: S7: the inverse of the allocate in `fill`; the block itself is not freed.
        unsafe { (facts.deallocate)(self.0 as *mut c_void, false) };
        let start = self.0 + facts.tcb_bytes - facts.static_bytes;
        // SAFETY: S3: the block is the caller's.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, facts.static_bytes) };
        // SAFETY: S3: zeroed above.
        unsafe { self.fill(facts) }?;
        // SAFETY: S3: the dtv pointer of a built block.
        let dtv = unsafe { read_word(self.0, TCB_DTV) };
        // SAFETY: S3: its generation: blocks built from now on are as new as this one.
        let generation = unsafe { read_word(dtv, 0) };
        // Relaxed: as in `reset`.
        facts.generation.store(generation, Ordering::Relaxed);
        Some(())
    }
}
