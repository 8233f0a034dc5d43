//! What this process's glibc on x86_64 keeps in an identity block, and where (thread-local storage variant II: the
//! segments lie *below* the control block).
//!
//! ```text
//!   block start                                   FS base                    block end: 16-byte aligned, top of the slot
//!   | surplus | segments of the modules ....... | struct pthread ........... |
//!   |<--------- static_bytes - tcb_bytes -------->|<-------- tcb_bytes -------->|
//! ```
//!
//! The runtime uses these symbols of glibc. It looks all of them up with dlsym, so that a missing symbol is an answer
//! and not a link error:
//!
//! | symbol | use |
//! |---|---|
//! | `_dl_get_tls_static_info` | size and alignment of a static block |
//! | `_dl_allocate_tls(tcb)` | dtv and initial images for a control block at an address that the runtime chooses |
//! | `_dl_deallocate_tls(tcb, false)` | the inverse: frees the dtv and the segments that were loaded lazily |
//! | `_thread_db_sizeof_pthread`, `_thread_db_pthread_tid` | size of struct pthread, place of its tid: exported for debuggers |
//! | `_thread_db_pthread_list` | place of the links in the list of all threads |
//! | `__tls_get_addr` | proves that the runtime reads the dtv correctly |
//! | `__ctype_init` | fills the locale tables' pointers of the running block |
//! | `__call_tls_dtors` | runs the destructors of the running block |
//! | `__res_state`, `__res_nclose` | the running block's resolver state, and its end |
//! | `__cxa_thread_atexit_impl` | registers a destructor, which shows where the list of destructors begins |
//! | `pthread_setcancelstate`, `pthread_setcanceltype` | show which bytes hold the state of cancellation, which recycling resets |
//! | `__rseq_offset` | place of the restartable-sequences area |
//!
//! # The files
//! [`dtv`] reads a block's table of modules, [`modules`] the loader's list of them. [`late`] serves libraries that take
//! a place in the block after the start. [`probe`] finds what the C library keeps per thread, by observation.
//! [`registry`] knows all blocks. [`robust`] ends the robust mutexes. [`scratch`] makes blocks to look at. [`block`]
//! builds and recycles blocks. This file holds what they learnt.

mod block;
mod dtv;
mod late;
mod modules;
mod probe;
mod registry;
mod robust;
mod scratch;

use super::Unsupported;
use crate::switch;
use dtv::Dtv;
use late::Late;
use modules::{Module, Segment, static_offset};
use probe::{ALLOCATOR_WORDS_MAX, Probe};
use scratch::{Fresh, Scratch};
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

pub use block::{Identity, StackOf, stack_of};
pub(super) use modules::segments_of_caller;

type VoidFunction = unsafe extern "C" fn();

/// Offset of the dtv's address in the head of the control block (`tcbhead_t`), fixed by the x86_64 ABI between glibc
/// and compilers.
const TCB_DTV: isize = 0x08;

/// `sizeof (struct __res_state)`, public in `resolv.h`.
const RESOLVER_BYTES: usize = 568;

type DlAllocateTls = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type DlDeallocateTls = unsafe extern "C" fn(*mut c_void, bool);

/// Where a thread's resolver state is, and the function that ends it.
#[derive(Clone, Copy, Debug)]
struct Resolver {
    /// Offset of the word that names the state.
    word: isize,
    /// Offset of the state, in the control block.
    state: isize,
    /// `__res_nclose`: closes the resolver's sockets and gives up its share of the configuration.
    close: unsafe extern "C" fn(*mut c_void),
}

/// Places in a block, as offsets from the FS base, and their values in a fresh block.
///
/// As a rule no place has changed. So the values are compared first: the switch that follows waits for every store
/// before it, but not for loads. The places are in rows of a fixed length, which the compiler unrolls: a loop whose end
/// the processor mispredicts costs more than its work. The last row is filled up with places that are there already.
#[derive(Debug)]
struct FreshPlaces<T, const ROW: usize>(Vec<[(isize, T); ROW]>);

impl<T: Copy + PartialEq, const ROW: usize> FreshPlaces<T, ROW> {
    fn of(places: &[(isize, T)]) -> Self {
        let row = |places: &[(isize, T)]| std::array::from_fn(|index| *places.get(index).unwrap_or(&places[0]));
        Self(places.chunks(ROW).map(row).collect())
    }

    /// # Safety
    /// The block is the caller's, and nothing is owned by what is overwritten (S3).
    #[inline(always)]
    unsafe fn restore(&self, base: usize) {
        for row in &self.0 {
            let mut changed = false;
            for &(offset, value) in row {
                // SAFETY: S3: the caller promises: the block is the caller's, and nothing is owned by what is
                // overwritten.
                changed |= unsafe { word_at(base, offset).cast::<T>().read() } != value;
            }
            if changed {
                // SAFETY: S3: the caller promises: the block is the caller's, and nothing is owned by what is
                // overwritten.
                unsafe { Self::restore_row(row, base) };
            }
        }
    }

    /// # Safety
    /// As for [`restore`](Self::restore).
    #[cold]
    unsafe fn restore_row(row: &[(isize, T); ROW], base: usize) {
        for &(offset, value) in row {
            // SAFETY: S3: the caller promises what `restore` asks.
            unsafe { word_at(base, offset).cast::<T>().write(value) };
        }
    }
}

/// What this process's C library was found to do: sizes and places in a block.
#[derive(Debug)]
pub struct TlsLayout {
    static_bytes: usize,
    alignment: usize,
    tcb_bytes: usize,
    tid_offset: isize,
    list_offset: Option<isize>,
    rseq_offset: Option<isize>,
    robust_offset: Option<isize>,
    errno_offset: isize,
    /// Offsets of the words that hold the start and the length of the thread's stack.
    stack_words: Option<(isize, isize)>,
    resolver: Option<Resolver>,
    /// Offset of the head of the list of thread-local destructors.
    destructors_offset: isize,
    /// Offset of the pending error of `dlopen` and related calls.
    dl_error_offset: Option<isize>,
    /// The dtv generation of a fresh block when the facts were learnt. A block with this generation has touched no
    /// module that came later.
    generation: usize,
    /// Whether there were modules then whose segments are made at the first touch; if so, the generation says nothing.
    has_lazy_modules: bool,
    /// The segments that get their images again: those of every module but the C library and the loader.
    segments: Vec<Segment>,
    /// Words of the C library's segment, and their values in a fresh block.
    fresh_words: FreshPlaces<usize, 12>,
    /// Bytes of the control block, and their values in a fresh block.
    fresh_bytes: FreshPlaces<u8, 2>,
    /// The process's locale, and the offsets of the words that hold its three tables.
    locale: Option<(usize, [isize; 3])>,
    /// Offsets from the FS base of malloc's words.
    allocator_words: [isize; ALLOCATOR_WORDS_MAX],
    allocator_word_count: usize,
    late: Late,
    allocate: DlAllocateTls,
    deallocate: DlDeallocateTls,
    ctype_init: VoidFunction,
    call_destructors: VoidFunction,
}

// SAFETY: S2: the raw pointers in `TlsLayout` are addresses of loaded, immutable images and functions.
unsafe impl Send for TlsLayout {}
// SAFETY: S2: only `late` is ever written after construction, and it has a lock and atomics.
unsafe impl Sync for TlsLayout {}

static FACTS: OnceLock<Result<TlsLayout, Unsupported>> = OnceLock::new();

/// The facts of this process. They are learnt and tested at the first call, which must come from an OS thread's own
/// stack.
///
/// # Errors
/// [`Unsupported`] says which piece is missing or misbehaves.
pub fn facts() -> Result<&'static TlsLayout, &'static Unsupported> {
    FACTS.get_or_init(learn).as_ref()
}

/// The facts, if they have been learnt.
pub fn known_facts() -> Option<&'static TlsLayout> {
    FACTS.get()?.as_ref().ok()
}

fn find(search: *mut c_void, name: &CStr) -> Result<*mut c_void, Unsupported> {
    // SAFETY: S7: the name is a C string, and `search` one of dlsym's two ways.
    let address = unsafe { libc::dlsym(search, name.as_ptr()) };
    if address.is_null() {
        return Err(Unsupported(format!(
            "the C library does not export {}",
            name.to_string_lossy()
        )));
    }
    Ok(address)
}

fn symbol(name: &CStr) -> Result<*mut c_void, Unsupported> {
    find(libc::RTLD_DEFAULT, name)
}

/// The C library's own definition, where this program may have a definition too.
fn next_symbol(name: &CStr) -> Result<*mut c_void, Unsupported> {
    find(libc::RTLD_NEXT, name)
}

fn word_at(base: usize, offset: isize) -> *mut usize {
    base.wrapping_add_signed(offset) as *mut usize
}

/// # Safety
/// The word lies in a block that the caller owns, or under which it runs (S3).
pub(super) unsafe fn read_word(base: usize, offset: isize) -> usize {
    // SAFETY: S3: the caller promises: the word lies in a block that the caller owns, or under which it runs.
    unsafe { word_at(base, offset).read() }
}

/// # Safety
/// As for [`read_word`].
pub(super) unsafe fn write_word(base: usize, offset: isize, value: usize) {
    // SAFETY: S3: the caller promises what `read_word` asks.
    unsafe { word_at(base, offset).write(value) }
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

/// The offset of the robust list's head. The kernel knows where the worker's head lies; its place relative to the
/// control block is the same in every block.
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

/// The functions that are looked up by name.
struct Named {
    allocate: DlAllocateTls,
    deallocate: DlDeallocateTls,
    ctype_init: VoidFunction,
    call_destructors: VoidFunction,
}

impl Named {
    fn look_up() -> Result<Named, Unsupported> {
        Ok(Named {
            // SAFETY: S7: glibc's signature of this function.
            allocate: unsafe { std::mem::transmute::<*mut c_void, DlAllocateTls>(symbol(c"_dl_allocate_tls")?) },
            // SAFETY: S7: glibc's signature of this function.
            deallocate: unsafe { std::mem::transmute::<*mut c_void, DlDeallocateTls>(symbol(c"_dl_deallocate_tls")?) },
            // SAFETY: S7: glibc's signature of this function.
            ctype_init: unsafe { std::mem::transmute::<*mut c_void, VoidFunction>(symbol(c"__ctype_init")?) },
            // SAFETY: S7: glibc's signature of this function.
            call_destructors: unsafe { std::mem::transmute::<*mut c_void, VoidFunction>(symbol(c"__call_tls_dtors")?) },
        })
    }
}

fn learn() -> Result<TlsLayout, Unsupported> {
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
    let named = Named::look_up()?;
    let scratch = Scratch::map(static_bytes + alignment)?;
    let base = (scratch.top - tcb_bytes) & !(alignment - 1);
    let dtv = scratch.allocate(&named, base)?;
    let mut facts = TlsLayout {
        static_bytes,
        alignment,
        tcb_bytes,
        tid_offset,
        list_offset,
        rseq_offset,
        robust_offset: robust_offset(tcb_bytes),
        errno_offset: errno_offset(),
        stack_words: None,
        resolver: None,
        destructors_offset: 0,
        dl_error_offset: None,
        generation: dtv.generation(),
        has_lazy_modules: dtv.has_untouched(),
        segments: Vec::new(),
        fresh_words: FreshPlaces::of(&[]),
        fresh_bytes: FreshPlaces::of(&[]),
        locale: None,
        allocator_words: [0; ALLOCATOR_WORDS_MAX],
        allocator_word_count: 0,
        late: Late::new(dtv, Vec::new()),
        allocate: named.allocate,
        deallocate: named.deallocate,
        ctype_init: named.ctype_init,
        call_destructors: named.call_destructors,
    };
    let modules = modules::all();
    let c_library = facts.enter_modules(&modules, dtv, base)?;
    // The scratch block takes the tid of the calling thread, which may hold the loader's lock: a constructor may have
    // started the runtime.
    // SAFETY: S3: the running thread's own tid.
    let tid = unsafe { word_at(switch::identity_base(), tid_offset).cast::<u32>().read() };
    // SAFETY: S3: the scratch block has its dtv and images, and nobody runs under it.
    unsafe { facts.complete(base, tid, scratch.bottom) };
    facts.prove_dtv(&modules, dtv, base)?;
    let probe = Probe::of_scratch(c_library, tcb_bytes, base)?;
    facts.take_over(&probe, c_library, base)?;
    // The scratch block is kept for ever: malloc's thread cache that the probe made is reachable through it only.
    Ok(facts)
}

/// Offsets from the FS base of the two words that malloc has with every glibc since 2.26. A pair, since a loop over any
/// number of words costs as much as the rest of a light switch.
#[derive(Clone, Copy, Debug)]
pub struct AllocatorPair([isize; 2]);

impl AllocatorPair {
    /// The value where malloc does not have two words, or there are no identities.
    pub const fn unusual() -> Self {
        Self([0; 2])
    }

    /// Like [`TlsLayout::carry_allocator`]. Returns `false`, with nothing done, where the number of words is unusual.
    ///
    /// # Safety
    /// As for [`TlsLayout::carry_allocator`].
    #[inline(always)]
    pub unsafe fn carry(&self, from: usize, to: usize) -> bool {
        let [first, second] = self.0;
        if first == 0 {
            return false;
        }
        // SAFETY: S3: the caller's contract; the offset lies in the C library's segment of every block.
        unsafe { carry_word(from, to, first) };
        // SAFETY: S3: the offset lies in that segment too, and `to` is the caller's to write.
        unsafe { carry_word(from, to, second) };
        true
    }
}

/// # Safety
/// `offset` lies in both blocks, and the caller is the one who may write `to` (S3).
#[inline(always)]
unsafe fn carry_word(from: usize, to: usize, offset: isize) {
    // SAFETY: S3: the caller promises: `offset` lies in both blocks, and the caller is the one who may write `to`.
    let word = unsafe { read_word(from, offset) };
    // As a rule the same worker ran both before, and a comparison is cheaper than a store.
    // SAFETY: S3: the caller promises: `offset` lies in both blocks, and the caller is the one who may write `to`.
    if unsafe { read_word(to, offset) } != word {
        // SAFETY: S3: `offset` lies in `to`, which is the caller's to write.
        unsafe { write_word(to, offset, word) };
    }
}

impl TlsLayout {
    /// The number of bytes that a block takes at the top of a stack.
    pub fn block_bytes(&self) -> usize {
        self.static_bytes + self.alignment
    }

    /// The area of restartable sequences that the C library has registered for the thread with this control block.
    pub fn rseq_area(&self, base: usize) -> Option<usize> {
        self.rseq_offset.map(|offset| base.wrapping_add_signed(offset))
    }

    /// The number of words that malloc keeps per thread, for reports.
    pub fn allocator_words(&self) -> usize {
        self.allocator_word_count
    }

    /// The offsets of malloc's words, for callers that carry them often.
    pub fn allocator_pair(&self) -> AllocatorPair {
        match self.allocator_words[..self.allocator_word_count] {
            [first, second] => AllocatorPair([first, second]),
            _ => AllocatorPair::unusual(),
        }
    }

    /// Makes the words of `from` continue in `to`. The worker that has left block `from` for block `to` calls this.
    ///
    /// # Safety
    /// Both are built blocks, or the identity of an OS thread; the calling worker ran under `from` until just now and
    /// runs under `to`, nobody runs under `from`, and nothing was allocated since the switch (S3).
    #[cold]
    #[inline(never)]
    pub unsafe fn carry_allocator(&self, from: usize, to: usize) {
        for &offset in &self.allocator_words[..self.allocator_word_count] {
            // SAFETY: S3: the caller's contract; the offset lies in the C library's segment of every block.
            unsafe { carry_word(from, to, offset) };
        }
    }

    /// Takes the place of every static module from the scratch block; returns the C library's segment.
    fn enter_modules(&mut self, all: &[Module], dtv: Dtv, base: usize) -> Result<Segment, Unsupported> {
        let below = self.static_bytes - self.tcb_bytes;
        let mut c_library = None;
        for module in all {
            let Some(segment) = module.segment_in(dtv, base, below) else {
                continue;
            };
            if module.is_c_library() {
                c_library = Some(segment);
            } else if !module.is_loader() {
                self.segments.push(segment);
                if !module.name.is_empty() {
                    modules::pin(&module.name);
                }
            }
        }
        let at_start = (1..=dtv.length())
            .filter_map(|module| Some((module, static_offset(dtv, base, below, module)?)))
            .collect();
        self.late = Late::new(dtv, at_start);
        c_library
            .ok_or_else(|| Unsupported("the C library's own segment was not found (statically linked?)".to_string()))
    }

    /// Proves that the table of modules is read as the C library reads it.
    fn prove_dtv(&self, all: &[Module], dtv: Dtv, base: usize) -> Result<(), Unsupported> {
        let wrong = || Unsupported("a block's table of modules is not laid out as expected".to_string());
        if !dtv.owns_nothing() {
            return Err(wrong());
        }
        let below = self.static_bytes - self.tcb_bytes;
        // SAFETY: S7: the signature that the x86_64 ABI gives it.
        let address_of = unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const [usize; 2]) -> *mut c_void>(symbol(
                c"__tls_get_addr",
            )?)
        };
        for module in all
            .iter()
            .filter(|module| static_offset(dtv, base, below, module.id).is_some())
        {
            let mut question = Question {
                address_of,
                index: [module.id, 0],
                answer: 0,
            };
            // SAFETY: S3: the block is complete, nobody runs under it, and the function does not unwind.
            unsafe { switch::with_identity(base, Question::ask, (&raw mut question).cast()) };
            if Some(question.answer) != dtv.segment(module.id) {
                return Err(wrong());
            }
        }
        Ok(())
    }

    fn take_over(&mut self, probe: &Probe, c_library: Segment, base: usize) -> Result<(), Unsupported> {
        if probe.errno != base.wrapping_add_signed(self.errno_offset) {
            return Err(Unsupported("errno did not move with the identity".to_string()));
        }
        let words = probe.allocator.offsets();
        if !probe.allocator.are_all_known() || words.len() > ALLOCATOR_WORDS_MAX {
            return Err(Unsupported(
                "malloc changes more of the C library's segment than can be carried".to_string(),
            ));
        }
        self.allocator_words[..words.len()].copy_from_slice(words);
        self.allocator_word_count = words.len();
        self.destructors_offset = probe
            .destructors
            .ok_or_else(|| Unsupported("the list of thread-local destructors was not found".to_string()))?;
        self.dl_error_offset = probe.dl_error;
        self.locale = probe.locale;
        self.fresh_bytes = FreshPlaces::of(&probe.cancel_bytes[..probe.cancel_byte_count]);
        self.ask_a_thread(c_library);
        let mut words = probe.fresh_words();
        if let Some((_, tables)) = self.locale {
            words.retain(|(offset, _)| !tables.contains(offset));
        }
        if let Some(resolver) = self.resolver {
            words.retain(|&(offset, _)| offset != resolver.word);
        }
        self.fresh_words = FreshPlaces::of(&words);
        Ok(())
    }

    fn ask_a_thread(&mut self, c_library: Segment) {
        let answer = probe::ask_a_thread(c_library, self.tcb_bytes, self.block_bytes());
        self.stack_words = answer.stack;
        let Some(((word, state), close)) = answer.resolver.zip(symbol(c"__res_nclose").ok()) else {
            return;
        };
        self.resolver = Some(Resolver {
            word,
            state,
            // SAFETY: S7: `void res_nclose(res_state)`, since glibc 2.2.
            close: unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(close) },
        });
    }
}

/// A call of `__tls_get_addr` under the scratch block.
struct Question {
    address_of: unsafe extern "C" fn(*const [usize; 2]) -> *mut c_void,
    index: [usize; 2],
    answer: usize,
}

impl Question {
    unsafe extern "C" fn ask(argument: *mut u8) {
        // SAFETY: S1: `prove_dtv` passes its own question.
        let question = unsafe { &mut *argument.cast::<Question>() };
        // SAFETY: S7: a loaded module and the first byte of its segment.
        question.answer = unsafe { (question.address_of)(&question.index) } as usize;
    }
}
