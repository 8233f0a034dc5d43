//! Which code of shared libraries may be interrupted by an injected call?
//!
//! Code outside the executable is left alone as a rule: it may hold locks, or use words that stay with the OS thread.
//! But a program that copies large buffers, or computes sines, spends nearly all of its time there. Two kinds of
//! library code hold nothing and keep nothing: the functions of the C library that only read and write the memory that
//! they are given (`memcpy`, `strlen`, …), and the whole library of mathematics. They are *pure*.
//!
//! # Protocol
//! Not every call of such a function is the program's: `realloc` copies while it holds a lock of malloc's. So the
//! handler walks the frames, from the interrupted one outwards. All must be pure, up to the first that is not; and that
//! one must lie in the executable's text. What holds there for code of the executable (critical sections, marked
//! allocators, signal handlers) is then checked as for the executable's own instructions.
//!
//! The places are learnt before the first signal. A function of the C library that has several versions is found as the
//! program finds it, by `dlsym`, which answers with the version for this processor. Its extent is that of its unwind
//! record. The library of mathematics is the module that has `sin`, unless that is the C library itself.
//!
//! # Rejected
//! *A list of the other libraries that are safe*: nobody can know what `libz` of some system links. *Walking the frames
//! of each interruption*: the frame of the instruction answers nearly always, and the walk costs microseconds.

use crate::backtrace::{_Unwind_Backtrace, _Unwind_GetIPInfo, Frame, GO_ON, STOP, extent_of};
use crate::frames::{is_lock_free, text_of_module};
use crate::trap::in_executable;
use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;

/// Functions that read and write the memory that they are given, and call at most each other.
const FUNCTIONS: &[&CStr] = &[
    c"memcpy",
    c"memmove",
    c"mempcpy",
    c"memset",
    c"memcmp",
    c"bcmp",
    c"memchr",
    c"memrchr",
    c"rawmemchr",
    c"memmem",
    c"memccpy",
    c"strlen",
    c"strnlen",
    c"strchr",
    c"strchrnul",
    c"strrchr",
    c"strcmp",
    c"strncmp",
    c"strcpy",
    c"stpcpy",
    c"strncpy",
    c"strcat",
    c"strncat",
    c"strspn",
    c"strcspn",
    c"strpbrk",
    c"strstr",
    c"wmemset",
    c"wmemchr",
    c"wcslen",
];

/// The walk goes no further than this: the handler's own frames, and calls of pure functions among each other.
const FRAMES_MAX: u32 = 32;

static PLACES: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// Learns where such code lies. Not for signal handlers.
pub fn prepare() {
    PLACES.get_or_init(|| {
        if !is_lock_free() {
            return Vec::new();
        }
        let mut places: Vec<_> = FUNCTIONS
            .iter()
            .filter_map(|name| extent_of(address_of(name)?))
            .collect();
        places.extend(mathematics());
        places.retain(|place| !in_executable(place.start));
        places
    });
}

fn address_of(name: &CStr) -> Option<usize> {
    // SAFETY: S7: a name with its end.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then(|| address.expose_provenance())
}

fn mathematics() -> Option<Range<usize>> {
    let module = text_of_module(address_of(c"sin")?)?;
    let is_c_library = module.contains(&address_of(c"malloc")?) || module.contains(&address_of(c"dlsym")?);
    (!is_c_library).then_some(module)
}

/// Whether the code is pure.
pub(super) fn is_pure(address: usize) -> bool {
    PLACES
        .get()
        .is_some_and(|places| places.iter().any(|place| place.contains(&address)))
}

/// Whether the interrupted code, which is pure, works for code of the executable. In the handler of the signal that has
/// interrupted it; async-signal-safe after [`prepare`].
pub(super) fn works_for_executable(program_counter: usize) -> bool {
    let mut walk = Walk {
        begins_at: Some(program_counter),
        frames: 0,
        answer: false,
    };
    // SAFETY: S6: async-signal-safe, as `frames.rs` explains; the visitor keeps to the callback's contract.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    walk.answer
}

struct Walk {
    /// Frames before this program counter are the handler's.
    begins_at: Option<usize>,
    frames: u32,
    answer: bool,
}

unsafe extern "C" fn visit(context: *mut Frame, walk: *mut c_void) -> c_int {
    // SAFETY: S7: the walk that `works_for_executable` passed, of which this is the only reference meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let mut is_exact = 0;
    // SAFETY: S7: libgcc's own context, during its callback.
    let program_counter = unsafe { _Unwind_GetIPInfo(context, &raw mut is_exact) };
    if walk.goes_on(program_counter, is_exact != 0) {
        GO_ON
    } else {
        STOP
    }
}

impl Walk {
    fn goes_on(&mut self, program_counter: usize, is_exact: bool) -> bool {
        self.frames += 1;
        if self.frames > FRAMES_MAX {
            return false;
        }
        if self.begins_at.is_some_and(|begin| begin != program_counter) {
            return true;
        }
        self.begins_at = None;
        // A return address may lie behind the function, if the function's last instruction is the call.
        let address = program_counter.wrapping_sub(usize::from(!is_exact));
        self.answer = in_executable(address);
        !self.answer && is_pure(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_of_this_system_are_found() {
        prepare();
        for name in [c"memcpy", c"memset", c"memmove", c"memcmp", c"strlen"] {
            let address = address_of(name).expect("the C library has it");
            assert!(is_pure(address), "{name:?}");
        }
        for name in [c"malloc", c"realloc", c"qsort", c"dlsym", c"write"] {
            let address = address_of(name).expect("the C library has it");
            assert!(!is_pure(address), "{name:?}");
        }
    }

    #[test]
    fn frames_must_be_pure_up_to_the_executable() {
        prepare();
        let memcpy = address_of(c"memcpy").expect("the C library has it");
        let malloc = address_of(c"malloc").expect("the C library has it");
        let executable = frames_must_be_pure_up_to_the_executable as *const () as usize + 1;
        let walk = |frames: &[usize]| {
            let mut walk = Walk {
                begins_at: Some(memcpy),
                frames: 0,
                answer: false,
            };
            let _ = frames.iter().all(|address| walk.goes_on(*address, *address == memcpy));
            walk.answer
        };
        assert!(
            walk(&[executable, memcpy, executable]),
            "the handler is in the executable"
        );
        assert!(walk(&[memcpy, memcpy + 1, executable]));
        assert!(!walk(&[memcpy, malloc + 1, executable]));
        assert!(!walk(&[memcpy]));
        assert!(!walk(&[executable]));
    }
}
