//! Which functions does the program call when it calls the C library? Those that this crate exports, which go through a
//! table of function pointers.
//!
//! Blocking Rust code and C libraries reach the kernel through `recv`, `poll`, `syscall` and some hundred more
//! functions. This crate exports its own definitions under those names. From an rlib they bind std's references and,
//! through the executable's dynamic symbols, those of every shared library. The crate does not know of coroutines. A
//! *dependent* is the crate that gives the answers.
//!
//! - A *symbol* is an exported name. A *hook* is the answer that the dependent gives: one field of [`Hooks`] per
//!   symbol. The *next definition* ([`next`]) is the function that would have been called without this crate.
//! - Before [`install`], each symbol goes straight to the next definition. Afterwards it goes straight to the hook, and
//!   the hook finds out whether the caller is a coroutine. A symbol costs one load, one test and one jump.
//! - Symbols run before `main`, in signal handlers, in the child of a fork and while thread-locals are torn down. So
//!   the code on their way does not allocate, lock, or use a thread-local of Rust.
//! - pthread keys are recorded from the first constructor on ([`for_each_key`]). A dependent that asks to hear of
//!   libraries that are loaded hears of them ([`set_library_hook`]). The memory-fault signals are taken before std can
//!   take them ([`fault`]).
//!
//! A dependent must call [`link`] from reachable code. The linker leaves out an archive member that no code refers to,
//! and then its symbols would silently be missing. Calls inside libc.so (`FILE*`, `system`, `popen`, glibc's own
//! futexes), the vDSO and inline `syscall` instructions are invisible to this mechanism.
//!
//! Rejected: a `Vec` of hooks or a trait object (a second load, and a heap that may not exist yet); `LD_PRELOAD` as the
//! only form (it is better if the user of an rlib has nothing to do); patching the GOT (it breaks with full RELRO, and
//! misses std).

// One of the C library's names is `_Fork`.
#![allow(non_snake_case)]

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
compile_error!("silken-interpose knows Linux with glibc on x86_64 only; turn the feature `interpose` off elsewhere");

// A static link has one definition of each name, and libc.a brings its own.
#[cfg(target_feature = "crt-static")]
compile_error!(
    "silken-interpose cannot be linked statically: build without `-C target-feature=+crt-static`, or turn silken's \
     default features off (`default-features = false`), which leaves out the hooks"
);

#[macro_use]
mod table;

pub mod fault;
mod frameless;
mod keys;
mod library;
mod main_stack;
pub mod next;
mod raw;
mod start;
mod symbols;

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{
    DIR, FILE, addrinfo, c_char, c_int, c_long, c_uint, c_ulong, c_void, clockid_t, cpu_set_t, epoll_event, fd_set,
    id_t, idtype_t, iovec, mmsghdr, mode_t, mq_attr, mqd_t, msghdr, nfds_t, off_t, pid_t, pollfd, pthread_attr_t,
    pthread_barrier_t, pthread_t, rusage, sched_param, sem_t, sembuf, siginfo_t, sigset_t, sigval, size_t, sockaddr,
    socklen_t, ssize_t, stack_t, termios, timespec, timeval, winsize,
};

pub use fault::{FatalFaultHandler, FaultHandler, rearm_fault_handler, set_fatal_fault_handler, set_fault_handler};
pub use frameless::{Frameless, install_frameless};
pub use keys::for_each_key;
pub use next::Destructor;

/// What a thread runs, as `pthread_create(3)` takes it.
pub type Routine = extern "C" fn(*mut c_void) -> *mut c_void;
pub use library::set_library_hook;
pub use symbols::SYMBOLS;

macro_rules! define_hooks {
    (
        fixed { $( $(#[$fm:meta])* fn $fixed:ident($($fp:ident: $ft:ty),*) -> $fr:ty => $fb:block )* }
        variadic { $(
            $(#[$vm:meta])* fn $variadic:ident($($vp:ident: $vt:ty),*; $($op:ident: $ot:ty),*) -> $vr:ty => $vb:block
        )* }
    ) => {
        /// The answers to all symbols. A dependent writes the hooks that it has and takes the rest from
        /// [`Hooks::PASS`].
        ///
        /// A hook keeps the contract of the C function, errno included, and never unwinds. It calls [`next`] to reach
        /// the real function: a call of the C function by its name would come back to the hook.
        #[derive(Clone, Copy)]
        pub struct Hooks {
            $( $(#[$fm])* pub $fixed: unsafe extern "C" fn($($fp: $ft),*) -> $fr, )*
            $( $(#[$vm])* pub $variadic: unsafe extern "C" fn($($vp: $vt,)* $($op: $ot),*) -> $vr, )*
        }

        impl Hooks {
            /// Every symbol goes to the next definition.
            pub const PASS: Hooks = Hooks {
                $( $fixed: next::$fixed, )*
                $( $variadic: next::$variadic, )*
            };
        }
    };
}

for_each_symbol!(define_hooks);

/// Null until `install`; afterwards a table that lives for ever.
static HOOKS: AtomicPtr<Hooks> = AtomicPtr::new(ptr::null_mut());

/// Makes `hooks` answer all symbols from now on, in all threads. It may be called again, with the same table or another
/// one.
pub fn install(hooks: &'static Hooks) {
    next::resolve();
    // Release: pairs with the Acquire in `hooks`: the hooks see what the dependent set up before.
    HOOKS.store(ptr::from_ref(hooks).cast_mut(), Ordering::Release);
}

/// Whether a table is installed.
pub fn installed() -> bool {
    hooks().is_some()
}

/// Whether calls of the C library come here, that is, whether the program's `read` is the one of this module. This is
/// false in a library that was loaded by a program without this crate: there the C library is found first.
pub fn is_effective() -> bool {
    // SAFETY: S7: a name that ends.
    let read = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"read".as_ptr()) };
    let module = module_of(ptr::from_ref(&HOOKS).cast());
    module.is_some() && module == module_of(read)
}

/// The start address of the module that contains `address`.
fn module_of(address: *const c_void) -> Option<usize> {
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: S7: any address may be asked about; the place is live.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) } != 0;
    // SAFETY: S7: zeroes are one, and the call has filled it in.
    found.then(|| unsafe { info.assume_init() }.dli_fbase as usize)
}

#[inline(always)]
fn hooks() -> Option<&'static Hooks> {
    // Acquire: pairs with the Release in `install`.
    let table = HOOKS.load(Ordering::Acquire);
    // SAFETY: S7: null or the `&'static` that `install` was given.
    unsafe { table.as_ref() }
}

/// Makes the linker take in the symbols and the start-up entry. Call it once, from reachable code.
#[inline(never)]
pub fn link() {
    core::hint::black_box(symbols::ALL);
    core::hint::black_box(&start::ENTRY);
}
