//! What does foreign code get when it calls the C library? The answers to the symbols of `silken-interpose`.
//!
//! # Vocabulary
//! A *symbol* is an exported name of the C library. A *hook* is our answer to it. *Next* is the function that would
//! have been called without us. A hook *passes* when it calls next and does nothing else.
//!
//! # Which callers are answered
//! A hook parks the caller only where [`caller`](call::caller) finds a coroutine outside critical sections, which is
//! the one caller that may be parked. OS threads, the time before the runtime starts, the child of a fork and the
//! runtime's own code pass straight through. A *wake* (a futex wake, a `close`) works from everywhere, since an OS
//! thread may wake a coroutine. It works in a critical section too, since the runtime uses libraries there whose locks
//! coroutines may wait for.
//!
//! # What a hook keeps
//! * It keeps the contract of the C function, errno included (S7). errno is written last, on the identity that runs
//!   then, and not on success.
//! * It never unwinds, since there are C frames above it. Cancellation is therefore an error number or an early return,
//!   never a panic (`io::interruption`).
//! * It holds no lock while it parks.
//! * It leaves wrong arguments to the kernel, which refuses them: a hook that cannot make sense of its arguments
//!   passes.
//!
//! # After a fork
//! The child has the coroutine that forked, and no worker to switch to. The coroutine enters a critical section there
//! and never leaves it, so every wait passes. Wakes, and calls that change descriptors, pass as well: the epolls are
//! shared with the parent, and locks may be held by threads that the child does not have. As after every fork of a
//! process with threads, only functions that a signal handler may call are sure to work. For children that are made in
//! other ways see `process` and `sys/linux/process.rs`.
//!
//! # The files
//! | file | symbols |
//! |---|---|
//! | `guide` | what the guide says of each symbol, for tests |
//! | `call` | the frame of every hook: who calls, the answer, errno |
//! | `futex` | `syscall(SYS_futex, ..)`: every lock of std, parking_lot and what is built on them |
//! | `sleep` | the sleeping family |
//! | `data` | calls that move data: `crate::io` |
//! | `copy` | calls that move data from one descriptor to another |
//! | `disk` | reads of regular files; calls that write back: `io::disk` |
//! | `batch` | several messages in a call; vectored calls with flags |
//! | `lent` | calls of the C library that are made on another thread |
//! | `accept_connect` | `accept`, `connect`: `io::accept`, `io::connect` |
//! | `poll` | several descriptors at once |
//! | `select`, `epoll` | several descriptors at once, through other functions |
//! | `signals` | waiting for signals |
//! | `semaphores` | semaphores and barriers of POSIX |
//! | `queues` | message queues; queues and semaphores of System V |
//! | `join` | `pthread_join` |
//! | `process` | waiting for child processes; `_Fork`, `vfork` |
//! | `names` | `getaddrinfo`, `getnameinfo` |
//! | `file_lock` | `flock` and the locks of `fcntl` |
//! | `fd` | calls that make, change and close descriptors |
//! | `makers` | the many calls that make a descriptor of which only the number is known, and those that close one inside libc |
//! | `fifo` | opening a FIFO |
//! | `raw_calls` | those of all these calls that are made through `syscall` |
//! | `adopt` | threads that become coroutines |
//! | `pthread` | functions that take a `pthread_t`; what std makes for a future coroutine; the end of a thread |
//! | `thread` | `sched_yield`, what a thread may ask about stacks and keys, libraries that are loaded |
//!
//! # Rejected
//! *Passing when the wait would be short* (a spin, a poll): the caller has spun already. *A per-thread switch that
//! turns hooks off*: the critical section of the coroutine is that switch, and it moves with the coroutine.

mod accept_connect;
pub(crate) mod adopt;
mod batch;
mod call;
mod copy;
mod data;
mod disk;
mod epoll;
mod fd;
mod fifo;
mod file_lock;
mod futex;
#[cfg(all(test, not(loom)))]
mod guide;
mod join;
mod lent;
mod makers;
mod names;
mod poll;
mod process;
mod pthread;
mod queues;
mod raw_calls;
mod select;
mod semaphores;
mod signals;
mod sleep;
mod thread;

use silken_interpose::{Frameless, Hooks};
use std::sync::{Once, OnceLock};

/// The hooks. A symbol without an entry passes.
static HOOKS: Hooks = Hooks {
    syscall: futex::syscall,
    clock_nanosleep: sleep::clock_nanosleep,
    nanosleep: sleep::nanosleep,
    usleep: sleep::usleep,
    sleep: sleep::sleep,
    read: data::read,
    write: data::write,
    readv: data::readv,
    writev: data::writev,
    recv: data::recv,
    send: data::send,
    recvfrom: data::recvfrom,
    sendto: data::sendto,
    recvmsg: makers::recvmsg,
    sendmsg: makers::sendmsg,
    accept: accept_connect::accept,
    accept4: accept_connect::accept4,
    connect: accept_connect::connect,
    shutdown: fd::shutdown,
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
    sched_yield: thread::sched_yield,
    pthread_getattr_np: thread::pthread_getattr_np,
    sigaltstack: thread::sigaltstack,
    fclose: makers::fclose,
    pclose: makers::pclose,
    closedir: makers::closedir,
    mq_close: makers::mq_close,
    mq_send: queues::mq_send,
    mq_timedsend: queues::mq_timedsend,
    mq_receive: queues::mq_receive,
    mq_timedreceive: queues::mq_timedreceive,
    msgsnd: queues::msgsnd,
    sem_wait: semaphores::sem_wait,
    sem_timedwait: semaphores::sem_timedwait,
    sem_clockwait: semaphores::sem_clockwait,
    sem_post: semaphores::sem_post,
    pthread_barrier_wait: semaphores::pthread_barrier_wait,
    msgrcv: queues::msgrcv,
    semop: queues::semop,
    semtimedop: queues::semtimedop,
    close_range: makers::close_range,
    closefrom: makers::closefrom,
    login_tty: makers::login_tty,
    fopen: makers::fopen,
    fopen64: makers::fopen64,
    freopen: makers::freopen,
    freopen64: makers::freopen64,
    popen: makers::popen,
    tmpfile: makers::tmpfile,
    tmpfile64: makers::tmpfile64,
    opendir: makers::opendir,
    creat: makers::creat,
    creat64: makers::creat64,
    __open_2: makers::__open_2,
    __open64_2: makers::__open64_2,
    __openat_2: makers::__openat_2,
    __openat64_2: makers::__openat64_2,
    timerfd_create: makers::timerfd_create,
    inotify_init: makers::inotify_init,
    inotify_init1: makers::inotify_init1,
    fanotify_init: makers::fanotify_init,
    signalfd: makers::signalfd,
    memfd_create: makers::memfd_create,
    epoll_create: makers::epoll_create,
    epoll_create1: makers::epoll_create1,
    pidfd_open: makers::pidfd_open,
    pidfd_getfd: makers::pidfd_getfd,
    open_by_handle_at: makers::open_by_handle_at,
    posix_openpt: makers::posix_openpt,
    getpt: makers::getpt,
    openpty: makers::openpty,
    forkpty: makers::forkpty,
    shm_open: makers::shm_open,
    mkstemp: makers::mkstemp,
    mkstemp64: makers::mkstemp64,
    mkostemp: makers::mkostemp,
    mkostemp64: makers::mkostemp64,
    mkstemps: makers::mkstemps,
    mkstemps64: makers::mkstemps64,
    mkostemps: makers::mkostemps,
    mkostemps64: makers::mkostemps64,
    recvmmsg: batch::recvmmsg,
    sendmmsg: batch::sendmmsg,
    pread: disk::pread,
    pread64: disk::pread64,
    preadv: disk::preadv,
    preadv64: disk::preadv64,
    fsync: disk::fsync,
    fdatasync: disk::fdatasync,
    syncfs: disk::syncfs,
    sync_file_range: disk::sync_file_range,
    msync: disk::msync,
    sync: disk::sync,
    preadv2: batch::preadv2,
    preadv64v2: batch::preadv64v2,
    pwritev2: batch::pwritev2,
    pwritev64v2: batch::pwritev64v2,
    splice: copy::splice,
    tee: copy::tee,
    vmsplice: copy::vmsplice,
    sendfile: copy::sendfile,
    sendfile64: copy::sendfile64,
    sigwait: signals::sigwait,
    sigwaitinfo: signals::sigwaitinfo,
    sigtimedwait: signals::sigtimedwait,
    sigsuspend: signals::sigsuspend,
    pause: signals::pause,
    open: makers::open,
    open64: makers::open64,
    openat: makers::openat,
    openat64: makers::openat64,
    mq_open: makers::mq_open,
    _Fork: process::_Fork,
    pthread_create: pthread::pthread_create,
    pthread_kill: pthread::pthread_kill,
    pthread_sigqueue: pthread::pthread_sigqueue,
    pthread_setaffinity_np: pthread::pthread_setaffinity_np,
    pthread_getaffinity_np: pthread::pthread_getaffinity_np,
    pthread_getcpuclockid: pthread::pthread_getcpuclockid,
    pthread_setschedparam: pthread::pthread_setschedparam,
    pthread_getschedparam: pthread::pthread_getschedparam,
    pthread_setschedprio: pthread::pthread_setschedprio,
    pthread_setname_np: pthread::pthread_setname_np,
    pthread_getname_np: pthread::pthread_getname_np,
    pthread_cancel: pthread::pthread_cancel,
    pthread_detach: pthread::pthread_detach,
    pthread_tryjoin_np: pthread::pthread_tryjoin_np,
    pthread_timedjoin_np: pthread::pthread_timedjoin_np,
    pthread_clockjoin_np: pthread::pthread_clockjoin_np,
    thrd_join: pthread::thrd_join,
    thrd_detach: pthread::thrd_detach,
};

/// The actions around the symbols for which no frame of ours may be on the stack.
static FRAMELESS: Frameless = Frameless {
    before_vfork: process::before_vfork,
    after_vfork: process::after_vfork,
    before_thread_exit: pthread::before_thread_exit,
};

/// The reason why foreign code's calls do not come here; `None` if they do.
pub(crate) fn why_unheard() -> Option<&'static str> {
    static EFFECTIVE: OnceLock<bool> = OnceLock::new();
    let reason = "the program found its C library before the module that has silken, as happens with a cdylib that is loaded late";
    (!EFFECTIVE.get_or_init(silken_interpose::is_effective)).then_some(reason)
}

/// Reports that reason, once: otherwise a wait in std would block its worker without any message.
fn report_if_unheard() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(reason) = why_unheard() {
            crate::sys::report(&[
                "silken: std's blocking calls are not answered here, and block their worker: ",
                reason,
                "\n",
            ]);
        }
    });
}

/// Makes the C library's symbols answer coroutines from now on. Idempotent.
pub(crate) fn install() {
    silken_interpose::link();
    report_if_unheard();
    crate::sched::set_key_destructors(thread::run_key_destructors);
    silken_interpose::install_frameless(&FRAMELESS);
    silken_interpose::set_library_hook(thread::library_loaded);
    silken_interpose::install(&HOOKS);
    if why_unheard().is_none() {
        crate::coroutine::note_hooks();
    }
}
