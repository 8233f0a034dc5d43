//! What the C library keeps per thread, found by observation.
//!
//! The C library's segment and control block are private. But the changes that a call of one of its functions makes
//! there tell which function a word belongs to. Every change is provoked under a scratch block, and looked at before
//! any other code runs there.
//!
//! | provoked by | changes | the word at recycling |
//! |---|---|---|
//! | `malloc` | the thread's cache and arena | left alone: it travels with the worker |
//! | `strerror`, `strsignal` of unknown numbers | buffers on the heap | left alone: the next call reuses them |
//! | a failing `dlsym` | the pending error, on the heap | `dlerror` is called at the end until it is gone |
//! | `__cxa_thread_atexit_impl` | the list of destructors, and a cache | as fresh; the list is empty by then |
//! | `pthread_setcancelstate`, `pthread_setcanceltype` | bytes of the control block | as fresh |
//! | nothing | locale, ctype tables, errno, h_errno, resolver, static buffers | as fresh |
//!
//! "As fresh" is the value that the word had in the scratch block when that block was new. The ctype tables are an
//! exception: a new thread finds those of the process's locale, which `setlocale` may have changed since, so they are
//! read from the locale (`struct __locale_struct` is public: 13 categories, then the tables).
//!
//! A word that owns memory and is not in the table would be overwritten, and its memory would be lost once per
//! coroutine that uses it: a leak, and no more. glibc 2.36 has no such word: its buffers of `strerror` lie in the
//! control block, which stays.
//!
//! A helper thread on a stack with an unusual address and size shows where the control block notes them, and that the
//! thread's resolver state lies in the control block.

use super::modules::Segment;
use super::{VoidFunction, next_symbol, read_word, symbol};
use crate::switch;
use std::ffi::{c_char, c_int, c_void};

/// If more words than this change after a first malloc, the runtime cannot carry them.
pub(super) const ALLOCATOR_WORDS_MAX: usize = 4;
/// More changed words than this after any other provocation are not understood.
const CHANGES_MAX: usize = 8;
const SEGMENT_WORDS: usize = 512;
const TCB_WORDS: usize = 512;

/// In `struct __locale_struct`: the three ctype tables follow the categories.
pub(super) const LOCALE_TABLES: isize = 13 * 8;

/// Words that changed: offsets from the FS base.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    offsets: [isize; CHANGES_MAX],
    /// The number of changed words; may exceed the room in `offsets`.
    count: usize,
}

impl Changes {
    fn add(&mut self, offset: isize) {
        if let Some(place) = self.offsets.get_mut(self.count) {
            *place = offset;
        }
        self.count += 1;
    }

    pub(super) fn offsets(&self) -> &[isize] {
        &self.offsets[..self.count.min(CHANGES_MAX)]
    }

    pub(super) fn are_all_known(&self) -> bool {
        self.count <= CHANGES_MAX
    }

    fn the_only(&self) -> Option<isize> {
        (self.count == 1).then_some(self.offsets[0])
    }
}

/// What the probe found.
#[derive(Clone, Copy)]
pub(super) struct Probe {
    /// The C library's segment.
    segment: Segment,
    tcb_bytes: usize,
    base: usize,
    register: unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, *const c_void) -> c_int,
    call_destructors: VoidFunction,
    fresh: [usize; SEGMENT_WORDS],
    pub(super) errno: usize,
    pub(super) allocator: Changes,
    /// Words that own memory on the heap and stay.
    pub(super) buffers: Changes,
    /// The head of the list of thread-local destructors.
    pub(super) destructors: Option<isize>,
    /// The pending error of `dlopen` and related calls.
    pub(super) dl_error: Option<isize>,
    /// Bytes of the control block, with their fresh values.
    pub(super) cancel_bytes: [(isize, u8); CHANGES_MAX],
    pub(super) cancel_byte_count: usize,
    /// The process's locale, and the offsets of the words that hold its three tables.
    pub(super) locale: Option<(usize, [isize; 3])>,
}

unsafe extern "C" {
    fn __ctype_b_loc() -> *const usize;
    fn __ctype_tolower_loc() -> *const usize;
    fn __ctype_toupper_loc() -> *const usize;
}

impl Probe {
    /// Observes the C library under the scratch block `base`, which is new.
    pub(super) fn of_scratch(segment: Segment, tcb_bytes: usize, base: usize) -> Result<Probe, super::Unsupported> {
        let mut probe = Probe {
            segment,
            tcb_bytes,
            base,
            // SAFETY: S7: the signature that the C++ ABI gives it.
            register: unsafe {
                std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, *const c_void) -> c_int,
                >(symbol(c"__cxa_thread_atexit_impl")?)
            },
            // SAFETY: S7: glibc's signature of this function.
            call_destructors: unsafe { std::mem::transmute::<*mut c_void, VoidFunction>(symbol(c"__call_tls_dtors")?) },
            fresh: [0; SEGMENT_WORDS],
            errno: 0,
            allocator: Changes::default(),
            buffers: Changes::default(),
            destructors: None,
            dl_error: None,
            cancel_bytes: [(0, 0); CHANGES_MAX],
            cancel_byte_count: 0,
            locale: None,
        };
        // SAFETY: S3: nobody runs under the scratch block; the probe does not unwind.
        unsafe { switch::with_identity(base, Probe::run, (&raw mut probe).cast()) };
        Ok(probe)
    }

    fn words(&self) -> usize {
        (self.segment.total_bytes / 8).min(SEGMENT_WORDS)
    }

    fn offset(&self, word: usize) -> isize {
        self.segment.offset + 8 * word as isize
    }

    fn look(&self) -> [usize; SEGMENT_WORDS] {
        let mut seen = [0; SEGMENT_WORDS];
        for (word, place) in seen.iter_mut().enumerate().take(self.words()) {
            // SAFETY: S3: within the C library's segment of the scratch block.
            *place = unsafe { read_word(self.base, self.offset(word)) };
        }
        seen
    }

    fn changes_since(&self, before: &[usize; SEGMENT_WORDS], matters: impl Fn(usize) -> bool) -> Changes {
        let now = self.look();
        let mut changes = Changes::default();
        for word in 0..self.words() {
            if now[word] != before[word] && matters(now[word]) {
                changes.add(self.offset(word));
            }
        }
        changes
    }

    /// The offset and value of the words that are made as fresh at recycling, because no provocation showed that they
    /// are to be kept.
    pub(super) fn fresh_words(&self) -> Vec<(isize, usize)> {
        let kept = [
            self.allocator.offsets(),
            self.buffers.offsets(),
            self.dl_error.as_slice(),
        ]
        .concat();
        (0..self.words())
            .map(|word| (self.offset(word), self.fresh[word]))
            .filter(|(offset, _)| !kept.contains(offset))
            .collect()
    }

    /// Runs under the scratch block. Uses fixed memory: it allocates only on purpose.
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: S1: `of_scratch` passes its own Probe.
        let probe = unsafe { &mut *argument.cast::<Probe>() };
        // SAFETY: S7: valid for whatever identity runs.
        probe.errno = unsafe { libc::__errno_location() } as usize;
        probe.fresh = probe.look();
        probe.watch_malloc();
        probe.watch_buffers();
        probe.watch_destructors();
        probe.watch_dl_error();
        probe.watch_cancellation();
        probe.watch_locale();
    }

    fn watch_malloc(&mut self) {
        let before = self.look();
        // SAFETY: S7: malloc and free under a complete identity.
        let pointer = unsafe { libc::malloc(64) };
        // The compiler may not remove the pair.
        std::hint::black_box(pointer);
        // SAFETY: S7: the pointer comes from malloc.
        unsafe { libc::free(pointer) };
        self.allocator = self.changes_since(&before, |_| true);
    }

    #[expect(clippy::disallowed_methods, reason = "what it does to its thread is the question")]
    fn watch_buffers(&mut self) {
        const NOT_A_NUMBER: c_int = 0x7fff_1234;
        let before = self.look();
        // SAFETY: S7: any number may be asked for.
        std::hint::black_box(unsafe { libc::strerror(NOT_A_NUMBER) });
        // SAFETY: S7: any number may be asked for.
        std::hint::black_box(unsafe { libc::strsignal(NOT_A_NUMBER) });
        // errno may have changed too; an address on the heap is larger than any error number.
        self.buffers = self.changes_since(&before, |now| now > 1 << 32 && now.is_multiple_of(8));
    }

    fn watch_destructors(&mut self) {
        unsafe extern "C" fn nothing(_: *mut c_void) {}
        let before = self.look();
        let own = Probe::run as *const c_void;
        // SAFETY: S7: a destructor that asks for nothing, of an object in this module.
        if unsafe { (self.register)(nothing, std::ptr::null_mut(), own) } != 0 {
            return;
        }
        let registered = self.look();
        // SAFETY: S7: runs the one destructor.
        unsafe { (self.call_destructors)() };
        let after = self.look();
        let mut heads = Changes::default();
        for word in 0..self.words() {
            if before[word] == 0 && registered[word] != 0 && after[word] == 0 {
                heads.add(self.offset(word));
            }
        }
        self.destructors = heads.the_only();
    }

    fn watch_dl_error(&mut self) {
        let before = self.look();
        // SAFETY: S7: a name that nobody exports.
        if !unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"silken: no such symbol".as_ptr()) }.is_null() {
            return;
        }
        let pending = self.look();
        // The first call reports the error, the second forgets it.
        for _ in 0..2 {
            // SAFETY: S7: takes nothing.
            unsafe { libc::dlerror() };
        }
        let after = self.look();
        let mut words = Changes::default();
        for word in 0..self.words() {
            if before[word] == 0 && pending[word] != 0 && after[word] == 0 {
                words.add(self.offset(word));
            }
        }
        self.dl_error = words.the_only();
    }

    fn watch_cancellation(&mut self) {
        type Set = unsafe extern "C" fn(c_int, *mut c_int) -> c_int;
        const DISABLE: c_int = 1;
        const ASYNCHRONOUS: c_int = 1;
        let mut before = [0; TCB_WORDS];
        let words = (self.tcb_bytes / 8).min(TCB_WORDS);
        for (word, place) in before.iter_mut().enumerate().take(words) {
            // SAFETY: S3: within the scratch block's control block.
            *place = unsafe { read_word(self.base, 8 * word as isize) };
        }
        for (name, value) in [
            (c"pthread_setcancelstate", DISABLE),
            (c"pthread_setcanceltype", ASYNCHRONOUS),
        ] {
            let Ok(set) = next_symbol(name) else { return };
            // SAFETY: S7: POSIX's signature of both.
            let set = unsafe { std::mem::transmute::<*mut c_void, Set>(set) };
            let mut old = 0;
            // SAFETY: S7: a known value and a place for the old one. State first: nothing is acted upon.
            unsafe { set(value, &mut old) };
        }
        for (word, old) in before.iter().enumerate().take(words) {
            // SAFETY: S3: within the scratch block's control block.
            let now = unsafe { read_word(self.base, 8 * word as isize) };
            for (byte, (old, now)) in old.to_le_bytes().into_iter().zip(now.to_le_bytes()).enumerate() {
                if old != now && self.cancel_byte_count < CHANGES_MAX {
                    self.cancel_bytes[self.cancel_byte_count] = ((8 * word + byte) as isize, old);
                    self.cancel_byte_count += 1;
                }
            }
        }
    }

    fn watch_locale(&mut self) {
        // SAFETY: S7: takes nothing; the address of a word of the running identity.
        let tables = [unsafe { __ctype_b_loc() }, unsafe { __ctype_tolower_loc() }, unsafe {
            __ctype_toupper_loc()
        }];
        let offsets = tables.map(|table| (table as isize).wrapping_sub(self.base as isize));
        let in_segment = |offset: isize| (self.segment.offset..self.offset(self.words())).contains(&offset);
        if !offsets.into_iter().all(in_segment) {
            return;
        }
        let values = offsets.map(|offset| self.fresh[((offset - self.segment.offset) / 8) as usize]);
        // SAFETY: S7: the "C" locale is built in.
        let other = unsafe { libc::newlocale(libc::LC_ALL_MASK, c"C".as_ptr(), std::ptr::null_mut()) };
        if other.is_null() {
            return;
        }
        // SAFETY: S7: a locale; the running identity is the scratch block's.
        let own = unsafe { libc::uselocale(other) };
        let changed = self.changes_since(&self.fresh, |now| now == other as usize);
        // SAFETY: S7: what the identity had.
        unsafe { libc::uselocale(own) };
        // SAFETY: S7: made above and used no more.
        unsafe { libc::freelocale(other) };
        let Some(word) = changed.the_only() else { return };
        let global = self.fresh[((word - self.segment.offset) / 8) as usize];
        // SAFETY: S7: the process's locale, a `struct __locale_struct`.
        let there = [0, 1, 2].map(|table| unsafe { read_word(global, LOCALE_TABLES + 8 * table) });
        if there == values {
            self.locale = Some((global, offsets));
        }
    }
}

/// What a thread's control block says of the thread's own stack and resolver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Helper {
    /// Offsets of the stack's lowest address and of its size.
    pub(super) stack: Option<(isize, isize)>,
    /// Offsets of the word that names the resolver state, and of that state in the control block.
    pub(super) resolver: Option<(isize, isize)>,
}

struct Question {
    segment: Segment,
    tcb_bytes: usize,
    low: usize,
    bytes: usize,
    answer: Helper,
}

/// Starts a thread and looks at its control block. Finds nothing if no thread can be made.
pub(super) fn ask_a_thread(segment: Segment, tcb_bytes: usize, block_bytes: usize) -> Helper {
    // Neither number is a likely value of any other word.
    let bytes = (64 * 1024 + block_bytes).next_multiple_of(4096) + 0x4d30;
    let mapped = bytes.next_multiple_of(4096) + 4096;
    let (protection, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: S1: a fresh mapping at an address of the kernel's choice.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, kind, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Helper::default();
    }
    let low = memory.wrapping_byte_add(0x2b0);
    let mut question = Question {
        segment,
        tcb_bytes,
        low: low as usize,
        bytes,
        answer: Helper::default(),
    };
    if run_thread(low, bytes, &mut question).is_some() {
        // SAFETY: S1: the thread was joined.
        unsafe { libc::munmap(memory, mapped) };
    }
    question.answer
}

fn run_thread(low: *mut c_void, bytes: usize, question: &mut Question) -> Option<()> {
    unsafe extern "C" {
        fn pthread_attr_setstack(attributes: *mut libc::pthread_attr_t, low: *mut c_void, bytes: usize) -> c_int;
    }
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let mut thread = 0;
    // SAFETY: S7: a place for attributes.
    if unsafe { libc::pthread_attr_init(attributes) } != 0 {
        return None;
    }
    // SAFETY: S7: memory that is the thread's alone until it is joined.
    let mut error = unsafe { pthread_attr_setstack(attributes, low, bytes) };
    if error == 0 {
        let argument = std::ptr::from_mut(question).cast();
        // SAFETY: S7: the question outlives the thread, which is joined below.
        error = unsafe { libc::pthread_create(&mut thread, attributes, look_at_oneself, argument) };
    }
    // SAFETY: S7: initialised above.
    unsafe { libc::pthread_attr_destroy(attributes) };
    if error != 0 {
        return None;
    }
    // SAFETY: S7: made above, joined once.
    (unsafe { libc::pthread_join(thread, std::ptr::null_mut()) } == 0).then_some(())
}

extern "C" fn look_at_oneself(argument: *mut c_void) -> *mut c_void {
    // SAFETY: S1: `ask_a_thread` passes its own question and waits.
    let question = unsafe { &mut *argument.cast::<Question>() };
    let base = switch::identity_base();
    let mut low = Changes::default();
    let mut bytes = Changes::default();
    for offset in (0..question.tcb_bytes as isize).step_by(8) {
        // SAFETY: S3: the thread's own control block.
        let word = unsafe { read_word(base, offset) };
        if word == question.low {
            low.add(offset);
        }
        if word == question.bytes {
            bytes.add(offset);
        }
    }
    question.answer.stack = low.the_only().zip(bytes.the_only());
    question.answer.resolver = own_resolver(question.segment, question.tcb_bytes, base);
    std::ptr::null_mut()
}

fn own_resolver(segment: Segment, tcb_bytes: usize, base: usize) -> Option<(isize, isize)> {
    let state = symbol(c"__res_state").ok()?;
    // SAFETY: S7: `res_state __res_state(void)`, since glibc 2.2.
    let state = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *mut c_char>(state) };
    // SAFETY: S7: takes nothing.
    let state = unsafe { state() } as usize;
    let offset = state.checked_sub(base)?;
    if offset + super::RESOLVER_BYTES > tcb_bytes {
        return None;
    }
    let mut words = Changes::default();
    for word in 0..(segment.total_bytes / 8).min(SEGMENT_WORDS) {
        let place = segment.offset + 8 * word as isize;
        // SAFETY: S3: the C library's segment of the running thread.
        if unsafe { read_word(base, place) } == state {
            words.add(place);
        }
    }
    Some((words.the_only()?, offset as isize))
}
