//! What is on an interrupted stack, from the fault to the coroutine's entry: only Rust of this executable, or something
//! else?
//!
//! After an overflow a coroutine never runs again. That is sound only if no frame on its stack holds a lock that the
//! whole process needs. Rust code of the program may hold locks of the program. A C library may hold its own locks, and
//! the loader's or malloc's locks stop every thread. The frame that faulted says little: a callback of
//! `dl_iterate_phdr` is Rust, and its caller holds the loader's lock. So the signal handler looks at the whole chain.
//!
//! # The walk
//! `_Unwind_Backtrace` of libgcc_s, which std links, steps from the handler through the signal's frame into the
//! interrupted frames. Frames count from the interrupted program counter on. The walk ends at the coroutine's entry.
//! The answer is "unknown" if the walk ends elsewhere (code without unwind tables), or if a frame lies outside the
//! stack or not above the frame before it. The last two conditions bound the walk by the stack's size, whatever the
//! tables say. The walk takes about a microsecond a frame, so some milliseconds for a default stack.
//!
//! A coroutine's stack may continue on segments (`segment/`). The walk begins on the newest one. Each frame of the
//! crossing ends a segment: the frames behind it must lie on the next older stack. So the walk is bounded by the sizes
//! of all stacks together. The crossing itself is ours and holds nothing.
//!
//! # Who was called
//! The runtime's own functions may have changed what others rely on when they run out of stack: a coroutine that was
//! taken out of a wait list and not queued yet would wait for ever. They are Rust, and not all of them are critical
//! sections. So the innermost function that is not of Rust's own library must not be the runtime's. Functions of the
//! runtime further out have called code of the program, and expect that it may not return.
//!
//! # May that be done in a handler?
//! To find the unwind table of an address, libgcc asks the loader. `_dl_find_object` (glibc 2.35, used by GCC 12 and
//! newer) takes no lock. Older versions use `dl_iterate_phdr`, which takes the loader's lock, and the interrupted
//! coroutine may hold that lock. So [`prepare`] looks whether the library that has `_Unwind_Backtrace` imports
//! `_dl_find_object`; if not, the answer is always "unknown". Programs that register tables of generated code
//! (`__register_frame`) make GCC 12 take a lock of libgcc's first. Nothing that waits ever holds this lock, except
//! inside libgcc, and a fault there is not walked: the fault's own address is looked at before the walk.
//!
//! The first call of libgcc sets up tables and makes the loader bind symbols; `prepare` makes one call for that reason.
//! The unwinder uses a few KiB of the alternate stack.

use crate::backtrace::{_Unwind_Backtrace, _Unwind_GetCFA, _Unwind_GetIPInfo, Frame, GO_ON, STOP};
use crate::symbols::{self, Author, BATCH, Owner};
use crate::{segment, switch, trap};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;

/// What lies on a stack between its entry and an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Functions of Rust in the executable, and nothing else. The innermost one that is not of Rust's own library is
    /// not the runtime's.
    Rust,
    /// Functions of Rust, but the runtime was called: it is the innermost that is not Rust's own library.
    Runtime,
    /// A function outside the executable's text: a shared library.
    Library,
    /// A function of the executable that is not known to be Rust.
    Foreign,
    /// The executable has no symbol table to tell Rust from the rest.
    NoSymbols,
    /// The stack cannot be walked.
    Unknown,
}

/// Learns what [`look`] needs. Not for signal handlers.
pub fn prepare() {
    trap::in_executable(0);
    is_lock_free();
}

/// Whether the walk takes no lock.
pub(crate) fn is_lock_free() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        unsafe extern "C" fn count(_: *mut Frame, frames: *mut c_void) -> c_int {
            // SAFETY: S7: the counter that is passed below.
            unsafe { *frames.cast::<usize>() += 1 };
            GO_ON
        }
        let mut frames = 0usize;
        // SAFETY: S7: the visitor keeps to the callback's contract.
        unsafe { _Unwind_Backtrace(count, (&raw mut frames).cast()) };
        frames > 0 && imports(_Unwind_Backtrace as *const () as usize, b"_dl_find_object")
    })
}

/// Finds out what is on a stack that was interrupted at `program_counter`. `stacks` are the stack in use and then the
/// older ones that it continues, each as a whole with its guard. To be called in the handler of the signal that
/// interrupted the stack; async-signal-safe after [`prepare`], if the iterator is.
pub fn look(program_counter: usize, stacks: &mut dyn Iterator<Item = Range<usize>>) -> Frames {
    if !trap::in_executable(program_counter) {
        return Frames::Library;
    }
    if !is_lock_free() {
        return Frames::Unknown;
    }
    let Some(stack) = stacks.next() else {
        return Frames::Unknown;
    };
    let mut walk = Walk {
        begins_at: Some(program_counter),
        stack,
        older: stacks,
        last_address: 0,
        addresses: [0; BATCH],
        count: 0,
        author: Author::Std,
        found: None,
    };
    // SAFETY: S6: async-signal-safe, as the head of the file says; the visitor keeps to the callback's contract.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    walk.found.unwrap_or(Frames::Unknown)
}

unsafe extern "C" fn visit(context: *mut Frame, walk: *mut c_void) -> c_int {
    // SAFETY: S7: the walk that `look` passed, of which this is the only reference meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
    let mut is_exact = 0;
    // SAFETY: S7: libgcc's own context, during its callback.
    let program_counter = unsafe { _Unwind_GetIPInfo(context, &raw mut is_exact) };
    // SAFETY: S7: as for the program counter.
    let stack_pointer = unsafe { _Unwind_GetCFA(context) };
    walk.found = walk.frame(program_counter, is_exact != 0, stack_pointer);
    if walk.found.is_some() { STOP } else { GO_ON }
}

struct Walk<'a> {
    /// Frames before this program counter are the handler's.
    begins_at: Option<usize>,
    /// The range in which the next stack pointer must lie.
    stack: Range<usize>,
    /// The older stacks on which the chain goes on.
    older: &'a mut dyn Iterator<Item = Range<usize>>,
    last_address: usize,
    /// Addresses that have not been looked up in the symbols yet, each once.
    addresses: [usize; BATCH],
    count: usize,
    /// Who has written the innermost function that is not of Rust's own library, as far as the walk has come.
    author: Author,
    found: Option<Frames>,
}

impl Walk<'_> {
    /// Looks at a frame; returns the answer once it is known.
    fn frame(&mut self, program_counter: usize, is_exact: bool, stack_pointer: usize) -> Option<Frames> {
        if self.begins_at.is_some_and(|begin| begin != program_counter) {
            return None;
        }
        self.begins_at = None;
        if !self.stack.contains(&stack_pointer) {
            return Some(Frames::Unknown);
        }
        self.stack.start = stack_pointer + 1;
        // A return address may lie behind the function, if the function's last instruction is the call.
        let address = program_counter.wrapping_sub(usize::from(!is_exact));
        if switch::entry_code().contains(&address) {
            return Some(self.judge().unwrap_or(Frames::Rust));
        }
        if segment::crossing_code().contains(&address) {
            // The frames behind it lie on the next older stack.
            return match self.older.next() {
                Some(stack) => {
                    self.stack = stack;
                    None
                }
                None => Some(Frames::Unknown),
            };
        }
        if !trap::in_executable(address) {
            return Some(Frames::Library);
        }
        if self.author == Author::Std {
            self.author = symbols::author(address);
            if self.author == Author::Runtime {
                return Some(Frames::Runtime);
            }
        }
        // A recursion repeats the same few addresses, thousands of times.
        if address == self.last_address || self.addresses[..self.count].contains(&address) {
            return None;
        }
        self.last_address = address;
        self.addresses[self.count] = address;
        self.count += 1;
        if self.count == BATCH { self.judge() } else { None }
    }

    /// Looks up the gathered addresses in the symbols; `None` if all of them are Rust.
    fn judge(&mut self) -> Option<Frames> {
        let gathered = std::mem::take(&mut self.count);
        match symbols::owner(&self.addresses[..gathered]) {
            Owner::Rust => None,
            Owner::Other => Some(Frames::Foreign),
            Owner::Unknown => Some(Frames::NoSymbols),
        }
    }
}

/// A loaded module, during the loader's visit.
struct Module<'a> {
    base: usize,
    headers: &'a [libc::Elf64_Phdr],
}

impl Module<'_> {
    /// The addresses of a segment.
    fn range(&self, header: &libc::Elf64_Phdr) -> Range<usize> {
        let start = self.base.wrapping_add(header.p_vaddr as usize);
        start..start.wrapping_add(header.p_memsz as usize)
    }

    fn segments(&self) -> impl Iterator<Item = &libc::Elf64_Phdr> {
        self.headers.iter().filter(|header| header.p_type == libc::PT_LOAD)
    }
}

/// Asks the module in which `address` lies.
fn ask_module<R>(address: usize, mut ask: impl FnMut(&Module<'_>) -> R) -> Option<R> {
    struct Question<'a, R> {
        address: usize,
        ask: &'a mut dyn FnMut(&Module<'_>) -> R,
        answer: Option<R>,
    }
    unsafe extern "C" fn visit<R>(info: *mut libc::dl_phdr_info, _size: usize, question: *mut c_void) -> c_int {
        // SAFETY: S7: the question that `ask_module` passed.
        let question = unsafe { &mut *question.cast::<Question<'_, R>>() };
        // SAFETY: S7: dl_iterate_phdr hands a valid record.
        let info = unsafe { &*info };
        // SAFETY: S7: the loader keeps `dlpi_phnum` headers there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let module = Module {
            base: info.dlpi_addr as usize,
            headers,
        };
        let is_this = module
            .segments()
            .any(|header| module.range(header).contains(&question.address));
        if is_this {
            question.answer = Some((question.ask)(&module));
        }
        c_int::from(is_this)
    }
    let mut question = Question {
        address,
        ask: &mut ask,
        answer: None,
    };
    // SAFETY: S7: the visitor keeps to the callback's contract.
    unsafe { libc::dl_iterate_phdr(Some(visit::<R>), (&raw mut question).cast()) };
    question.answer
}

/// The segment of code in which `address` lies.
pub(crate) fn text_of_module(address: usize) -> Option<Range<usize>> {
    let text = ask_module(address, |module| {
        let is_text =
            |header: &&libc::Elf64_Phdr| header.p_flags & libc::PF_X != 0 && module.range(header).contains(&address);
        module.segments().find(is_text).map(|header| module.range(header))
    });
    text.flatten()
}

/// Whether the module that `address` lies in imports (or has) a dynamic symbol of this name.
fn imports(address: usize, symbol: &[u8]) -> bool {
    let answer = ask_module(address, |module| {
        let dynamic = module.headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC);
        // SAFETY: S7: the segment of a loaded module, and no module goes while the loader calls us.
        let names = dynamic.and_then(|header| unsafe { dynamic_names(module.base, module.range(header).start) });
        names.is_some_and(|names| names.split(|byte| *byte == 0).any(|name| name == symbol))
    });
    answer.unwrap_or(false)
}

/// The names of a module's dynamic symbols.
///
/// # Safety
/// `dynamic` is the address of the `PT_DYNAMIC` segment of a loaded module with load address `base`, which stays loaded
/// (S7).
unsafe fn dynamic_names(base: usize, dynamic: usize) -> Option<&'static [u8]> {
    const END: usize = 0;
    const NAMES: usize = 5;
    const NAMES_BYTES: usize = 10;
    let mut entry = std::ptr::with_exposed_provenance::<[usize; 2]>(dynamic);
    let (mut start, mut bytes) = (None, None);
    loop {
        // SAFETY: S7: the array is ended by an entry with the tag 0.
        let [tag, value] = unsafe { *entry };
        match tag {
            END => break,
            NAMES => start = Some(value),
            NAMES_BYTES => bytes = Some(value),
            _ => {}
        }
        entry = entry.wrapping_add(1);
    }
    let (start, bytes) = (start?, bytes?);
    // glibc has added the base already; the kernel's vDSO, for example, has not.
    let start = if start < base { base.wrapping_add(start) } else { start };
    // SAFETY: S7: what the module says of itself, mapped and never written.
    Some(unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(start), bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_platform_finds_tables_without_a_lock() {
        // glibc 2.35 has the symbol; a libgcc that is built beside it uses the symbol.
        let backtrace = _Unwind_Backtrace as *const () as usize;
        assert!(imports(backtrace, b"_Unwind_Backtrace"));
        assert!(!imports(backtrace, b"_dl_find_no_object"));
        // SAFETY: S7: a name with its end.
        let has_symbol = unsafe { !libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()).is_null() };
        assert_eq!(is_lock_free(), has_symbol);
    }

    fn walk(older: &mut dyn Iterator<Item = Range<usize>>) -> Walk<'_> {
        trap::in_executable(0);
        Walk {
            begins_at: Some(10),
            stack: 1000..2000,
            older,
            last_address: 0,
            addresses: [0; BATCH],
            count: 0,
            // The functions here are this crate's, and so the runtime's.
            author: Author::Other,
            found: None,
        }
    }

    #[test]
    fn frames_must_ascend_and_lie_on_the_stack() {
        let rust = walk as *const () as usize;
        let mut none = std::iter::empty();
        let mut walk = walk(&mut none);
        assert_eq!(walk.frame(7, false, 5), None, "a frame of the handler");
        walk.begins_at = Some(rust);
        assert_eq!(walk.frame(rust, true, 1000), None);
        assert_eq!(walk.frame(rust + 1, false, 1008), None);
        assert_eq!(walk.count, 1, "one address once");
        assert_eq!(
            walk.frame(rust, true, 1008),
            Some(Frames::Unknown),
            "not above the one before"
        );
        assert_eq!(walk.frame(rust, true, 2000), Some(Frames::Unknown), "not on the stack");
    }

    #[test]
    fn the_chain_ends_at_the_entry() {
        let rust = walk as *const () as usize;
        let entry = switch::entry_code().start + 1;
        let (mut none, mut none_either) = (std::iter::empty(), std::iter::empty());
        let mut all_rust = walk(&mut none);
        all_rust.begins_at = Some(rust);
        assert_eq!(all_rust.frame(rust, true, 1000), None);
        assert_eq!(all_rust.frame(entry, false, 1100), Some(Frames::Rust));
        let mut library = walk(&mut none_either);
        library.begins_at = Some(rust);
        assert_eq!(library.frame(rust, true, 1000), None);
        assert_eq!(
            library.frame(libc::qsort as *const () as usize, false, 1100),
            Some(Frames::Library)
        );
    }

    #[test]
    fn the_runtime_must_not_be_what_was_called() {
        let of_runtime = walk as *const () as usize;
        let of_std = std::mem::drop::<String> as *const () as usize;
        let mut none = std::iter::empty();
        let mut walk = walk(&mut none);
        walk.author = Author::Std;
        walk.begins_at = Some(of_std);
        assert_eq!(walk.frame(of_std, true, 1000), None);
        assert_eq!(walk.frame(of_runtime, true, 1100), Some(Frames::Runtime));
        walk.author = Author::Other;
        assert_eq!(walk.frame(of_runtime, true, 1200), None, "it has called other code");
    }

    #[test]
    fn a_crossing_leads_to_the_next_older_stack() {
        let rust = walk as *const () as usize;
        let crossing = segment::crossing_code().start + 1;
        let entry = switch::entry_code().start + 1;
        let mut older = std::iter::once(100..200);
        let mut walk = walk(&mut older);
        walk.begins_at = Some(rust);
        assert_eq!(walk.frame(rust, true, 1000), None);
        assert_eq!(walk.frame(crossing, false, 1999), None);
        assert_eq!(walk.count, 1, "the crossing is not looked up");
        assert_eq!(walk.frame(rust + 1, false, 150), None);
        assert_eq!(walk.frame(entry, false, 160), Some(Frames::Rust));
        walk.stack = 1000..2000;
        assert_eq!(
            walk.frame(crossing, false, 1001),
            Some(Frames::Unknown),
            "no older stack is left"
        );
    }
}
