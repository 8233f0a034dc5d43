//! What does the guide say of each symbol? This is the table from which `docs/guide/hooks.md` is made.
//!
//! A test compares the table with the symbols that `silken-interpose` defines: each is in one row. Another compares the
//! page with the table. `SILKEN_BLESS=1 cargo test -p silken --lib hook::guide` writes the page anew.

use silken_interpose::SYMBOLS;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Some symbols that behave alike.
struct GuideRow {
    symbols: &'static str,
    /// What happens when a coroutine calls.
    does: &'static str,
    /// What a cancellation, or a `timeout` that is over, does to a call that waits.
    interrupted: &'static str,
    /// Which limits of its own a call has.
    limits: &'static str,
}

struct GuideSection {
    title: &'static str,
    rows: &'static [GuideRow],
}

const FAILS: &str = "ECANCELED, ETIMEDOUT; some descriptors [wait on](cancellation.md#calls-that-go-on)";
const ENDS: &str = "waits to its end";
const NEVER: &str = "does not wait";
const NONE: &str = "–";
const MODE: &str = "O_NONBLOCK, MSG_DONTWAIT, SO_RCVTIMEO, SO_SNDTIMEO";

const fn row(symbols: &'static str, does: &'static str, interrupted: &'static str, limits: &'static str) -> GuideRow {
    GuideRow {
        symbols,
        does,
        interrupted,
        limits,
    }
}

const SECTIONS: &[GuideSection] = &[
    GuideSection {
        title: "Sockets, pipes and files",
        rows: &[
            row(
                "read write readv writev __read_chk",
                "parks on sockets, pipes and other pollable files, and on a regular file that is not in memory (a pool thread reads it); a terminal is written to by a pool thread",
                FAILS,
                MODE,
            ),
            row(
                "recv send recvfrom sendto recvmsg sendmsg __recv_chk __recvfrom_chk",
                "parks",
                FAILS,
                MODE,
            ),
            row(
                "recvmmsg sendmmsg",
                "parks",
                FAILS,
                "as above, and the timeout of `recvmmsg`, which the kernel looks at between two messages",
            ),
            row(
                "preadv2 preadv64v2",
                "as `readv` at the file's position, with flags by a pool thread; as `preadv` at an offset, with flags by a plain call",
                "at the file's position as `readv`; at an offset waits to its end",
                "O_NONBLOCK, RWF_NOWAIT",
            ),
            row(
                "pwritev2 pwritev64v2",
                "as `writev` at the file's position, with flags by a pool thread; at an offset a plain call, which blocks the worker if it waits",
                "at the file's position as `writev`; at an offset waits to its end",
                "O_NONBLOCK, RWF_NOWAIT",
            ),
            row(
                "pread pread64 preadv preadv64 __pread_chk __pread64_chk",
                "copies what is in memory; io_uring or a pool thread reads the rest, and the caller parks",
                ENDS,
                NONE,
            ),
            row(
                "fsync fdatasync syncfs sync_file_range msync sync",
                "parks; io_uring (`fsync`, `fdatasync`) or a pool thread calls",
                ENDS,
                NONE,
            ),
            row(
                "splice tee vmsplice sendfile sendfile64",
                "parks; a pool thread copies from file to file",
                FAILS,
                "O_NONBLOCK, SPLICE_F_NONBLOCK",
            ),
            row("accept accept4", "parks", FAILS, "O_NONBLOCK, SO_RCVTIMEO"),
            row(
                "connect",
                "parks; gives way during bursts of connects",
                FAILS,
                "O_NONBLOCK, SO_SNDTIMEO",
            ),
            row(
                "shutdown",
                "wakes the waiters of both ends that this process has",
                NEVER,
                NONE,
            ),
        ],
    },
    GuideSection {
        title: "Several descriptors",
        rows: &[
            row(
                "poll ppoll __poll_chk __ppoll_chk select pselect",
                "parks; with a signal mask, or with a descriptor that cannot be waited for, a pool thread waits",
                "ECANCELED, ETIMEDOUT; of pipes and eventfds alone, and on a pool thread: waits to its end",
                "the call's timeout",
            ),
            row(
                "epoll_wait epoll_pwait epoll_pwait2",
                "as `poll`",
                "EINTR once, then waits to its end",
                "the call's timeout",
            ),
        ],
    },
    GuideSection {
        title: "Time and turns",
        rows: &[
            row(
                "sleep usleep nanosleep clock_nanosleep",
                "parks; for clocks other than the monotonic, the real-time and the boot-time one, a pool thread sleeps",
                "returns early, as after a signal",
                "the call's time",
            ),
            row("sched_yield", "lets others run", NEVER, NONE),
        ],
    },
    GuideSection {
        title: "Locks",
        rows: &[
            row(
                "syscall",
                "`SYS_futex` parks on private words; on words that processes share a pool thread waits. `SYS_close` and other calls that change descriptors or make processes are noted. Every other number goes to the kernel, and blocks the worker if it waits",
                "a futex: returns once as if woken, then waits to its end",
                "the futex's timeout",
            ),
            row(
                "sem_wait sem_timedwait sem_clockwait",
                "parks; for a semaphore that processes share a pool thread waits, unless it can be taken at once",
                ENDS,
                "the call's time",
            ),
            row(
                "sem_post",
                "wakes a coroutine that waits for the semaphore, from threads and signal handlers too",
                NEVER,
                NONE,
            ),
            row("pthread_barrier_wait", "parks; a pool thread waits", ENDS, NONE),
            row(
                "pthread_mutexattr_setprotocol",
                "refuses priority inheritance and ceilings (ENOTSUP), on threads too",
                NEVER,
                NONE,
            ),
            row(
                "flock",
                "parks; one pool thread waits for all equal calls",
                ENDS,
                "LOCK_NB",
            ),
            row(
                "fcntl fcntl64",
                "F_SETLKW and F_OFD_SETLKW: as `flock`. Changes of O_NONBLOCK and copies of descriptors are noted",
                ENDS,
                NONE,
            ),
        ],
    },
    GuideSection {
        title: "Message queues and System V",
        rows: &[
            row(
                "mq_send mq_timedsend mq_receive mq_timedreceive",
                "parks",
                "ECANCELED, ETIMEDOUT",
                "O_NONBLOCK, the call's time",
            ),
            row(
                "msgsnd msgrcv semop semtimedop",
                "parks if it has to wait; a pool thread waits",
                ENDS,
                "IPC_NOWAIT, the timeout of `semtimedop`",
            ),
        ],
    },
    GuideSection {
        title: "Names",
        rows: &[row(
            "getaddrinfo getnameinfo",
            "parks; one of at most 64 threads asks, once for all equal questions at the same time",
            ENDS,
            "the resolver's own",
        )],
    },
    GuideSection {
        title: "Children, threads and signals",
        rows: &[
            row(
                "wait waitpid wait4 waitid",
                "parks for one process; for any child, and for stops, one pool thread waits for all equal calls",
                "for one process: ECANCELED, ETIMEDOUT after 100 ms. Else waits to its end",
                "WNOHANG",
            ),
            row(
                "pthread_join pthread_timedjoin_np pthread_clockjoin_np pthread_tryjoin_np thrd_join",
                "of an OS thread: parks, a pool thread joins. Of oneself EDEADLK, of a coroutine EINVAL",
                ENDS,
                "the call's time",
            ),
            row(
                "sigwait sigwaitinfo sigtimedwait",
                "parks",
                "ECANCELED, ETIMEDOUT",
                "the timeout of `sigtimedwait`",
            ),
            row("sigsuspend pause", "parks; a pool thread waits", ENDS, NONE),
            row(
                "_Fork vfork __vfork",
                "the child leaves what the runtime knows of descriptors and waiters alone",
                NEVER,
                NONE,
            ),
            row(
                "pthread_exit thrd_exit",
                "ends the process, with a message",
                NEVER,
                NONE,
            ),
            row(
                "pthread_create",
                "makes an OS thread, unless std makes the handle of a named coroutine",
                NEVER,
                NONE,
            ),
            row(
                "pthread_kill pthread_sigqueue",
                "to oneself: the worker's thread gets the signal. To another coroutine: ESRCH",
                NEVER,
                NONE,
            ),
            row("pthread_getattr_np", "of a coroutine: its stack", NEVER, NONE),
            row(
                "pthread_getaffinity_np pthread_getschedparam pthread_getname_np",
                "of oneself: the worker's. Of another coroutine: ESRCH",
                NEVER,
                NONE,
            ),
            row(
                "pthread_setaffinity_np pthread_setschedparam pthread_setschedprio pthread_setname_np pthread_cancel",
                "of a coroutine: ENOTSUP",
                NEVER,
                NONE,
            ),
            row("pthread_getcpuclockid", "of a coroutine: ENOENT", NEVER, NONE),
            row(
                "pthread_detach thrd_detach",
                "of a coroutine: EINVAL, `thrd_error`",
                NEVER,
                NONE,
            ),
            row(
                "pthread_key_create __pthread_key_create pthread_key_delete tss_create tss_delete",
                "the key is noted: its destructor runs at the end of each coroutine that set it",
                NEVER,
                NONE,
            ),
            row("sigaltstack", "sets nothing, and says that none was set", NEVER, NONE),
        ],
    },
    GuideSection {
        title: "Making and closing descriptors",
        rows: &[
            row(
                "close",
                "the number's waiters get EBADF; a pool thread closes what may wait (SO_LINGER, inotify)",
                ENDS,
                NONE,
            ),
            row(
                "close_range closefrom fclose pclose closedir mq_close login_tty",
                "as `close`, but the call itself may wait in the kernel",
                NEVER,
                NONE,
            ),
            row(
                "dup dup2 dup3",
                "noted; waiters of a number that is replaced go on with the new file",
                NEVER,
                NONE,
            ),
            row(
                "open open64 openat openat64 creat creat64 __open_2 __open64_2 __openat_2 __openat64_2 fopen fopen64 freopen freopen64",
                "the new number is noted; for a FIFO whose other end is not open, a pool thread waits",
                ENDS,
                "O_NONBLOCK",
            ),
            row(
                "socket socketpair pipe pipe2 eventfd ioctl setsockopt",
                "noted: kind, mode, timeouts and other options",
                NEVER,
                NONE,
            ),
            row(
                "epoll_create epoll_create1 timerfd_create signalfd inotify_init inotify_init1 fanotify_init memfd_create pidfd_open pidfd_getfd open_by_handle_at posix_openpt getpt openpty forkpty shm_open mq_open opendir popen tmpfile tmpfile64 mkstemp mkstemp64 mkostemp mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64",
                "the new number is noted",
                NEVER,
                NONE,
            ),
        ],
    },
    GuideSection {
        title: "Libraries",
        rows: &[row(
            "dlopen dlmopen",
            "the thread-locals of a library that is loaded are added to the identities",
            NEVER,
            NONE,
        )],
    },
];

const HEAD: &str = "# The hooks, symbol by symbol

<!-- Made from the table in crates/runtime/src/hook/guide.rs, by SILKEN_BLESS=1 cargo test -p silken --lib hook::guide -->

silken defines these symbols of the C library in your program. A call from a coroutine is answered as the table says; a call from an OS thread goes to the C
library. What is not here is the C library's own: if it waits, it blocks the worker, and [another thread continues as the worker](what-blocks.md#calls-that-nobody-sees).

*Cancelled* is what a call that waits does when its coroutine is cancelled or a `timeout` around it is over; [cancellation](cancellation.md) explains it. A call that need
not wait is never refused. *Its own limits* are those of the C function, and hold as they do on a thread.
";

fn page() -> String {
    let mut page = HEAD.to_string();
    for section in SECTIONS {
        write!(
            page,
            "\n## {}\n\n| symbols | on a coroutine | cancelled | its own limits |\n|---|---|---|---|\n",
            section.title
        )
        .unwrap();
        for row in section.rows {
            let symbols: Vec<_> = row.symbols.split(' ').map(|symbol| format!("`{symbol}`")).collect();
            writeln!(
                page,
                "| {} | {} | {} | {} |",
                symbols.join(", "),
                row.does,
                row.interrupted,
                row.limits
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn each_symbol_is_in_one_row() {
    let mut rows = BTreeMap::new();
    let all = SECTIONS.iter().flat_map(|section| section.rows);
    for symbol in all.flat_map(|row| row.symbols.split(' ')) {
        *rows.entry(symbol).or_insert(0) += 1;
    }
    let not_once: Vec<_> = rows.iter().filter(|(_, count)| **count != 1).collect();
    assert!(not_once.is_empty(), "in several rows: {not_once:?}");
    let missing: Vec<_> = SYMBOLS.iter().filter(|symbol| !rows.contains_key(*symbol)).collect();
    assert!(missing.is_empty(), "in no row: {missing:?}");
    let unknown: Vec<_> = rows.keys().filter(|symbol| !SYMBOLS.contains(symbol)).collect();
    assert!(unknown.is_empty(), "not defined: {unknown:?}");
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/hooks.md");
    if std::env::var_os("SILKEN_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/guide/hooks.md is not made from this table: run with SILKEN_BLESS=1"
    );
}
