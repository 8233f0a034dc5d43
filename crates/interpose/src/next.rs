//! What is the next definition of each symbol, that is, the function that would have been called without this crate?
//!
//! Each symbol has a *slot*: an atomic function address that is never null. The slot starts with the symbol's `early`
//! function, which looks up all definitions and then continues through the slot. From then on a call is one load and
//! one jump. The lookup happens in `.init_array`, or earlier if the constructor of a shared library first calls one of
//! our symbols. So nothing here calls `dlsym` after `main` has started, and signal handlers may use every function that
//! the C library allows them to use.
//!
//! **The race and the recursion.** `dlsym` may itself call one of our symbols: an allocator linked into the program
//! reads /proc when it starts. Meanwhile a thread that a constructor has made may call one too. Both find the lookup
//! *in progress* and take the `kernel` form of their symbol, which depends on nothing else. Waiting would deadlock the
//! recursion, and telling the two cases apart would need a thread-local. A symbol that this C library does not have
//! keeps the kernel form.
//!
//! Slots are Relaxed. The address of code publishes no data, and the code was mapped before the program ran.

use core::ffi::CStr;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use libc::{
    DIR, FILE, addrinfo, c_char, c_int, c_long, c_uint, c_ulong, c_void, clockid_t, cpu_set_t, epoll_event, fd_set,
    id_t, idtype_t, iovec, mmsghdr, mode_t, mq_attr, mqd_t, msghdr, nfds_t, off_t, pid_t, pollfd, pthread_attr_t,
    pthread_barrier_t, pthread_key_t, pthread_mutexattr_t, pthread_t, rusage, sched_param, sem_t, sembuf, siginfo_t,
    sigset_t, sigval, size_t, sockaddr, socklen_t, ssize_t, stack_t, termios, timespec, timeval, winsize,
};

use crate::{Routine, raw};

/// The destructor that `pthread_key_create` takes. It runs on the value at the end of the thread.
pub type Destructor = Option<unsafe extern "C" fn(*mut c_void)>;

const UNRESOLVED: u8 = 0;
const RESOLVING: u8 = 1;
const RESOLVED: u8 = 2;

/// `UNRESOLVED` → `RESOLVING` (one winner) → `RESOLVED`, never back.
static STATE: AtomicU8 = AtomicU8::new(UNRESOLVED);

/// Looks up every definition, once. Returns false while another thread, or an outer caller on this stack, is doing so.
pub(crate) fn resolve() -> bool {
    // Acquire on failure: pairs with the Release below: a thread that sees `RESOLVED` sees slots that have left
    // `early`.
    match STATE.compare_exchange(UNRESOLVED, RESOLVING, Ordering::Relaxed, Ordering::Acquire) {
        Ok(_) => {
            // First the symbols without a kernel form (pthread keys), since an allocator that dlsym calls may need
            // them.
            resolve_unhooked();
            resolve_hooked();
            prefer_interceptors();
            // Release: pairs with the Acquire above.
            STATE.store(RESOLVED, Ordering::Release);
            true
        }
        Err(state) => state == RESOLVED,
    }
}

// A sanitizer that is linked into the executable has its own definitions. Our definitions are called in their place,
// but the sanitizer must hear of each thread. The second name of its `pthread_create` is weak here: it is null without
// a sanitizer.
core::arch::global_asm!(
    ".weak __interceptor_pthread_create",
    ".pushsection .data.rel.ro.silken_interceptors, \"aw\", @progbits",
    ".balign 8",
    ".globl silken_interceptor_of_pthread_create",
    ".hidden silken_interceptor_of_pthread_create",
    "silken_interceptor_of_pthread_create: .quad __interceptor_pthread_create",
    ".popsection",
);

unsafe extern "C" {
    /// The address of a sanitizer's `pthread_create`, or null.
    static silken_interceptor_of_pthread_create: *mut c_void;
}

/// Makes the sanitizer's definition, if there is one, the next definition, instead of the function that it would call.
fn prefer_interceptors() {
    // SAFETY: S7: the word above, written by the loader.
    let interceptor = unsafe { silken_interceptor_of_pthread_create };
    if !interceptor.is_null() {
        slot::pthread_create.store(interceptor, Ordering::Relaxed);
    }
}

fn find(slot: &AtomicPtr<c_void>, name: &CStr, kernel_form: *mut c_void) {
    // SAFETY: S7: a name that ends in NUL; RTLD_NEXT starts after the object that holds this call, which is the one
    // that holds our definitions.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    slot.store(if found.is_null() { kernel_form } else { found }, Ordering::Relaxed);
}

/// A system call with the C convention for errors, as the type that the symbol returns.
macro_rules! kernel {
    ($number:expr $(, $argument:expr)*) => {
        raw::set_errno_of(number_of!(@result $number $(, $argument)*)) as _
    };
}

/// A system call for a symbol that returns the error number itself.
macro_rules! number_of {
    (@result $number:expr $(, $argument:expr)*) => {{
        let given: &[usize] = &[$( $argument as usize ),*];
        let mut arguments = [0_usize; 6];
        arguments[..given.len()].copy_from_slice(given);
        // SAFETY: S7: the caller of the symbol owes the contract of the C function, which is that of the call.
        unsafe { raw::system_call($number, arguments) }
    }};
    ($number:expr $(, $argument:expr)*) => { -number_of!(@result $number $(, $argument)*) as _ };
}

macro_rules! ppoll_in_kernel {
    ($($argument:ident),*) => {
        // SAFETY: S7: the caller owes the contract of ppoll.
        raw::set_errno_of(unsafe { raw::ppoll($($argument),*) }) as _
    };
}

macro_rules! pselect_in_kernel {
    ($($argument:ident),*) => {
        // SAFETY: S7: the caller owes the contract of pselect.
        raw::set_errno_of(unsafe { raw::pselect($($argument),*) }) as _
    };
}

/// The answer of a C function that is no system call while definitions are looked up: a temporary failure.
macro_rules! unavailable {
    ($($argument:ident),*; $value:expr) => {{
        let _ = ($($argument),*);
        raw::set_errno(libc::EAGAIN);
        $value
    }};
}

/// `thrd_error` of C11's threads.
const THRD_ERROR: c_int = 2;

/// One module per lookup state for a list of symbols; `$finish` is the function that fills the list's slots.
macro_rules! define {
    ($finish:ident, $slot:ident, $early:ident, $kernel:ident; $(
        $(#[$meta:meta])* fn $name:ident($($p:ident: $t:ty),*) -> $r:ty, called $real:ty => $body:block
    )*) => {
        #[allow(non_upper_case_globals)]
        pub(crate) mod $slot {
            use super::*;
            $( pub(crate) static $name: AtomicPtr<c_void> = AtomicPtr::new($early::$name as *mut c_void); )*
        }

        mod $early {
            use super::*;
            $(
                #[cold]
                pub(super) unsafe extern "C" fn $name($($p: $t),*) -> $r {
                    if resolve() {
                        // SAFETY: S7: our caller's arguments under our caller's contract; the slot has left `early`.
                        unsafe { super::$name($($p),*) }
                    } else {
                        // SAFETY: S7: our caller's arguments under our caller's contract.
                        unsafe { $kernel::$name($($p),*) }
                    }
                }
            )*
        }

        mod $kernel {
            use super::*;
            $(
                #[allow(clippy::unnecessary_cast)]
                pub(super) unsafe extern "C" fn $name($($p: $t),*) -> $r $body
            )*
        }

        fn $finish() {
            $( find(&$slot::$name, const { to_c(concat!(stringify!($name), "\0")) }, $kernel::$name as *mut c_void); )*
        }

        $(
            $(#[$meta])*
            ///
            /// # Safety
            /// The contract of the C function.
            #[inline]
            pub unsafe extern "C" fn $name($($p: $t),*) -> $r {
                let address = $slot::$name.load(Ordering::Relaxed);
                // SAFETY: S7: the slot holds what dlsym found under this name, which has the C prototype, or one of our
                // functions of the same parameters (for a variadic prototype: `table.rs` says why they match).
                let real = unsafe { mem::transmute::<*mut c_void, $real>(address) };
                // SAFETY: S7: the caller's arguments under the caller's contract.
                unsafe { real($($p),*) }
            }
        )*
    };
}

const fn to_c(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a symbol's name holds a NUL"),
    }
}

macro_rules! define_hooked {
    (
        fixed { $( $(#[$fm:meta])* fn $fixed:ident($($fp:ident: $ft:ty),*) -> $fr:ty => $fb:block )* }
        variadic { $(
            $(#[$vm:meta])* fn $variadic:ident($($vp:ident: $vt:ty),*; $($op:ident: $ot:ty),*) -> $vr:ty => $vb:block
        )* }
    ) => {
        define! { resolve_hooked, slot, early, kernel_form;
            $( $(#[$fm])* fn $fixed($($fp: $ft),*) -> $fr, called unsafe extern "C" fn($($ft),*) -> $fr => $fb )*
            $(
                $(#[$vm])* fn $variadic($($vp: $vt,)* $($op: $ot),*) -> $vr,
                called unsafe extern "C" fn($($vt,)* ...) -> $vr => $vb
            )*
        }
    };
}

for_each_symbol!(define_hooked);

unsafe extern "C" {
    /// What the fortified functions call when the buffer is too small; it ends the process.
    fn __chk_fail() -> !;
}

/// The kernel form of a fortified function. Such a function is called only to fail.
macro_rules! overflow {
    ($($argument:ident),*) => {{
        let _ = ($($argument),*);
        // SAFETY: S7: takes nothing and ends the process.
        unsafe { __chk_fail() }
    }};
}

define! { resolve_unhooked, unhooked_slot, unhooked_early, unhooked_kernel_form;
    /// `pthread_key_create(3)`, not recorded. It has no kernel form and fails while definitions are looked up. It is
    /// the first symbol to be looked up.
    fn pthread_key_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int,
    called unsafe extern "C" fn(*mut pthread_key_t, Destructor) -> c_int => { let _ = (key, destructor); libc::EAGAIN }
    /// `pthread_key_delete(3)`, not recorded. It has no kernel form and fails while definitions are looked up.
    fn pthread_key_delete(key: pthread_key_t) -> c_int,
    called unsafe extern "C" fn(pthread_key_t) -> c_int => { let _ = key; libc::EINVAL }
    /// `pthread_exit(3)`. While definitions are looked up the thread ends without its destructors.
    fn pthread_exit(value: *mut c_void) -> c_int, called unsafe extern "C" fn(*mut c_void) -> c_int
        => { let _ = value; kernel!(libc::SYS_exit, 0) }
    /// `thrd_exit(3)`. While definitions are looked up the thread ends without its destructors.
    fn thrd_exit(result: c_int) -> c_int, called unsafe extern "C" fn(c_int) -> c_int
        => { let _ = result; kernel!(libc::SYS_exit, 0) }
    /// Fortified `read`, called only to report the overflow.
    fn __read_chk(fd: c_int, buffer: *mut c_void, bytes: size_t, buffer_bytes: size_t) -> ssize_t,
    called unsafe extern "C" fn(c_int, *mut c_void, size_t, size_t) -> ssize_t
        => { overflow!(fd, buffer, bytes, buffer_bytes) }
    /// Fortified `pread`, called only to report the overflow.
    fn __pread_chk(fd: c_int, buffer: *mut c_void, bytes: size_t, offset: off_t, buffer_bytes: size_t) -> ssize_t,
    called unsafe extern "C" fn(c_int, *mut c_void, size_t, off_t, size_t) -> ssize_t
        => { overflow!(fd, buffer, bytes, offset, buffer_bytes) }
    /// Fortified `recv`, called only to report the overflow.
    fn __recv_chk(fd: c_int, buffer: *mut c_void, bytes: size_t, buffer_bytes: size_t, flags: c_int) -> ssize_t,
    called unsafe extern "C" fn(c_int, *mut c_void, size_t, size_t, c_int) -> ssize_t
        => { overflow!(fd, buffer, bytes, buffer_bytes, flags) }
    /// Fortified `recvfrom`, called only to report the overflow.
    fn __recvfrom_chk(
        fd: c_int, buffer: *mut c_void, bytes: size_t, buffer_bytes: size_t, flags: c_int,
        address: *mut sockaddr, address_bytes: *mut socklen_t
    ) -> ssize_t,
    called unsafe extern "C" fn(
        c_int, *mut c_void, size_t, size_t, c_int, *mut sockaddr, *mut socklen_t
    ) -> ssize_t
        => { overflow!(fd, buffer, bytes, buffer_bytes, flags, address, address_bytes) }
    /// Fortified `poll`, called only to report the overflow.
    fn __poll_chk(entries: *mut pollfd, entry_count: nfds_t, timeout_ms: c_int, entries_bytes: size_t) -> c_int,
    called unsafe extern "C" fn(*mut pollfd, nfds_t, c_int, size_t) -> c_int
        => { overflow!(entries, entry_count, timeout_ms, entries_bytes) }
    /// Fortified `ppoll`, called only to report the overflow.
    fn __ppoll_chk(
        entries: *mut pollfd, entry_count: nfds_t, timeout: *const timespec, mask: *const sigset_t, entries_bytes: size_t
    ) -> c_int,
    called unsafe extern "C" fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t, size_t) -> c_int
        => { overflow!(entries, entry_count, timeout, mask, entries_bytes) }
    /// `tss_create(3)`, not recorded. It has no kernel form and fails with 2 (`thrd_error`) while definitions are
    /// looked up.
    fn tss_create(key: *mut pthread_key_t, destructor: Destructor) -> c_int,
    called unsafe extern "C" fn(*mut pthread_key_t, Destructor) -> c_int => { let _ = (key, destructor); 2 }
    /// `tss_delete(3)`, not recorded. It has no kernel form and does nothing while definitions are looked up.
    fn tss_delete(key: pthread_key_t) -> (),
    called unsafe extern "C" fn(pthread_key_t) -> () => { let _ = key; }
    /// `pthread_mutexattr_setprotocol(3)`, without the refusals of the exported symbol. It has no kernel form and fails
    /// while definitions are looked up.
    fn pthread_mutexattr_setprotocol(attributes: *mut pthread_mutexattr_t, protocol: c_int) -> c_int,
    called unsafe extern "C" fn(*mut pthread_mutexattr_t, c_int) -> c_int
        => { let _ = (attributes, protocol); libc::EAGAIN }
    /// `dlopen(3)`, which is not reported to the listener. It has no kernel form and fails while definitions are looked
    /// up.
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void,
    called unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void
        => { let _ = (name, flags); core::ptr::null_mut() }
    /// `dlmopen(3)`, which is not reported to the listener. It has no kernel form and fails while definitions are
    /// looked up.
    fn dlmopen(namespace: c_long, name: *const c_char, flags: c_int) -> *mut c_void,
    called unsafe extern "C" fn(c_long, *const c_char, c_int) -> *mut c_void
        => { let _ = (namespace, name, flags); core::ptr::null_mut() }
}

/// The address of the next `dlopen`, for code that jumps there.
pub(crate) fn dlopen_address() -> *mut c_void {
    resolve();
    unhooked_slot::dlopen.load(Ordering::Relaxed)
}

/// The address of the next `dlmopen`, for code that jumps there.
pub(crate) fn dlmopen_address() -> *mut c_void {
    resolve();
    unhooked_slot::dlmopen.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library (through the slots) and the kernel (through the kernel forms) must give the same answers.
    #[test]
    fn kernel_forms_keep_the_contract() {
        let mut fds = [0; 2];
        assert_eq!(
            // SAFETY: S7: room for two descriptors.
            unsafe { kernel_form::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) },
            0
        );
        let [reader, writer] = fds;
        let bytes = *b"abc";
        assert_eq!(
            // SAFETY: S7: three bytes to read from.
            unsafe { kernel_form::write(writer, bytes.as_ptr().cast(), 3) },
            3
        );
        let mut entry = pollfd {
            fd: reader,
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = timespec { tv_sec: 5, tv_nsec: 0 };
        assert_eq!(
            // SAFETY: S7: one entry and valid pointers.
            unsafe { kernel_form::ppoll(&mut entry, 1, &timeout, ptr::null()) },
            1
        );
        assert_eq!((entry.revents, timeout.tv_sec), (libc::POLLIN, 5));
        let mut back = [0_u8; 3];
        assert_eq!(
            // SAFETY: S7: three bytes to write to.
            unsafe { kernel_form::read(reader, back.as_mut_ptr().cast(), 3) },
            3
        );
        assert_eq!(back, bytes);
        assert_eq!(
            // SAFETY: S7: no pointer.
            unsafe { kernel_form::fcntl(reader, libc::F_GETFD, 0) },
            libc::FD_CLOEXEC
        );
        for fd in fds {
            // SAFETY: S7: a descriptor of ours.
            assert_eq!(unsafe { kernel_form::close(fd) }, 0);
        }
    }

    #[test]
    fn kernel_forms_report_errors_as_the_c_functions_do() {
        raw::set_errno(0);
        // SAFETY: S7: a bad descriptor is an error.
        assert_eq!(unsafe { kernel_form::close(-1) }, -1);
        assert_eq!(raw::errno(), libc::EBADF);
        raw::set_errno(7);
        let request = timespec { tv_sec: 0, tv_nsec: -1 };
        // SAFETY: S7: readable, and no time.
        let error = unsafe { kernel_form::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &request, ptr::null_mut()) };
        assert_eq!((error, raw::errno()), (libc::EINVAL, 7));
        assert_eq!(
            // SAFETY: S7: readable, and no time.
            unsafe { kernel_form::nanosleep(&request, ptr::null_mut()) },
            -1
        );
        assert_eq!(raw::errno(), libc::EINVAL);
        // SAFETY: S7: no pointer.
        assert_eq!(unsafe { kernel_form::sleep(0) }, 0);
        // SAFETY: S7: no pointer.
        assert_eq!(unsafe { kernel_form::usleep(1) }, 0);
    }

    #[test]
    fn start_up_has_moved_every_slot() {
        assert_eq!(STATE.load(Ordering::Relaxed), RESOLVED);
        assert_ne!(slot::recv.load(Ordering::Relaxed), early::recv as *mut c_void);
        assert_ne!(slot::recv.load(Ordering::Relaxed), kernel_form::recv as *mut c_void);
    }
}
