//! What foreign code gets when it calls the C library: the answers to the symbols of `silken-interpose`.
//!
//! # Vocabulary
//! A *symbol* is an exported name of the C library; a *hook* is our answer to it; *next* is the function that would have been called
//! without us. A hook *passes* when it calls next and nothing else.
//!
//! # Who is answered
//! A hook parks the caller only where [`on_coroutine`] finds one that may be parked: a coroutine outside critical sections. OS threads, the
//! time before the runtime starts, the child of a fork and the runtime's own code pass straight through. What *wakes* (a futex wake, a
//! `close`) works from everywhere, for an OS thread may wake a coroutine; a critical section too, since the runtime uses libraries there whose locks
//! coroutines may wait for.
//!
//! # What a hook keeps
//! * The contract of the C function, errno included (S7): errno is written last, on the identity that runs then, and not on success.
//! * It never unwinds: there are C frames above it. Cancellation is therefore an error number or an early return, never a panic, and
//!   a futex wait is not cancellable at all: behind it stands a lock, and std has no way to say that it did not get it.
//! * It holds no lock while it parks.
//! * Arguments that are wrong are the kernel's to refuse: a hook that cannot make sense of them passes.
//!
//! # After a fork
//! The child has the coroutine that forked and no worker to switch to. Its critical section is entered there and never left, so every wait passes. Wakes
//! still look at the copied table of waiters, where nobody is left to wake; as after every fork of a process with threads, only
//! what a signal handler may call is sure to work.
//!
//! # The files
//! | file | symbols |
//! |---|---|
//! | `futex` | `syscall(SYS_futex, ..)`: every lock of std, parking_lot and what is built on them |
//! | `sleep` | the sleeping family |
//! | `io`, `io_parts` | calls that move data |
//! | `accept_connect` | `accept`, `connect` |
//! | `poll` | several descriptors at once |
//! | `select`, `epoll` | the same, asked otherwise |
//! | `join` | `pthread_join` |
//! | `process` | waiting for child processes |
//! | `names` | `getaddrinfo`, `getnameinfo` |
//! | `file_lock` | `flock` and the locks of `fcntl` |
//! | `fd` | calls that make, change and close descriptors |
//! | `misc` | `sched_yield`, what a thread may ask about stacks and keys, libraries that are loaded |
//!
//! # Rejected
//! *Passing when the wait would be short* (a spin, a poll): whoever calls has spun already. *A per-thread switch that turns hooks off*: the
//! critical section of the coroutine is that switch, and it moves with the coroutine.

mod accept_connect;
mod epoll;
mod errno;
mod fd;
mod file_lock;
mod futex;
mod io;
mod join;
mod misc;
mod names;
mod patience;
mod poll;
mod process;
mod select;
mod sleep;

use crate::coroutine::{Core, Critical, current_core};
use silken_interpose::Hooks;

/// The answers; what has no entry passes.
static HOOKS: Hooks = Hooks {
    syscall: futex::syscall,
    clock_nanosleep: sleep::clock_nanosleep,
    nanosleep: sleep::nanosleep,
    usleep: sleep::usleep,
    sleep: sleep::sleep,
    read: io::read,
    write: io::write,
    readv: io::readv,
    writev: io::writev,
    recv: io::recv,
    send: io::send,
    recvfrom: io::recvfrom,
    sendto: io::sendto,
    recvmsg: io::recvmsg,
    sendmsg: io::sendmsg,
    accept: accept_connect::accept,
    accept4: accept_connect::accept4,
    connect: accept_connect::connect,
    poll: poll::poll,
    ppoll: poll::ppoll,
    close: fd::close,
    dup: fd::dup,
    dup2: fd::dup2,
    dup3: fd::dup3,
    fcntl: fd::fcntl,
    ioctl: fd::ioctl,
    setsockopt: fd::setsockopt,
    socket: fd::socket,
    socketpair: fd::socketpair,
    pipe: fd::pipe,
    pipe2: fd::pipe2,
    eventfd: fd::eventfd,
    flock: file_lock::flock,
    select: select::select,
    pselect: select::pselect,
    epoll_wait: epoll::epoll_wait,
    epoll_pwait: epoll::epoll_pwait,
    epoll_pwait2: epoll::epoll_pwait2,
    wait: process::wait,
    waitpid: process::waitpid,
    wait4: process::wait4,
    waitid: process::waitid,
    pthread_join: join::pthread_join,
    getaddrinfo: names::getaddrinfo,
    getnameinfo: names::getnameinfo,
    sched_yield: misc::sched_yield,
    pthread_getattr_np: misc::pthread_getattr_np,
    sigaltstack: misc::sigaltstack,
    ..Hooks::PASS
};

/// From now on the C library's symbols know of coroutines. Idempotent.
pub(crate) fn install() {
    silken_interpose::link();
    crate::sched::set_key_destructors(misc::run_key_destructors);
    silken_interpose::set_library_hook(misc::library_loaded);
    silken_interpose::install(&HOOKS);
}

/// The running coroutine, if the caller may park it.
#[inline(always)]
pub(crate) fn on_coroutine() -> Option<&'static Core> {
    current_core().filter(|_| !Critical::is_entered())
}

/// Sets the errno of the identity that runs.
fn set_errno(number: libc::c_int) {
    // SAFETY: S3: asked for at each use: no address is kept over a park.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: S3: errno of the caller, which lives as long as the caller.
    unsafe { place.write(number) }
}
