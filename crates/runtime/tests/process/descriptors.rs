//! Numbers that are closed where no hook for `close` sees it, and handed out again: who waits for the new file is
//! woken.
//!
//! Each closer with each maker. The old file has been waited for, so its entry says "registered".

use super::{PATIENCE, SOON, alone, runtime};
use crate::unseen::sleep_unseen;
use libc::{c_int, c_long};
use std::arch::asm;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn __open_2(path: *const libc::c_char, flags: c_int) -> c_int;
    fn __open64_2(path: *const libc::c_char, flags: c_int) -> c_int;
    fn __openat_2(directory: c_int, path: *const libc::c_char, flags: c_int) -> c_int;
    fn __openat64_2(directory: c_int, path: *const libc::c_char, flags: c_int) -> c_int;
    fn inotify_init() -> c_int;
    fn getpt() -> c_int;
}

type Closer = (&'static str, fn(RawFd));

const CLOSERS: &[Closer] = &[
    ("fclose", |fd| {
        // SAFETY: S7: a descriptor of ours and a mode.
        let stream = unsafe { libc::fdopen(fd, c"r".as_ptr()) };
        // SAFETY: S7: just opened.
        assert_eq!(unsafe { libc::fclose(stream) }, 0);
    }),
    ("close_range", |fd| {
        // SAFETY: S7: no pointer.
        assert_eq!(unsafe { libc::close_range(fd as u32, fd as u32, 0) }, 0);
    }),
    ("syscall(close)", |fd| {
        // SAFETY: S7: no pointer.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close, fd as c_long) }, 0);
    }),
    ("syscall(close_range)", |fd| {
        let fd = fd as c_long;
        // SAFETY: S7: no pointer.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) }, 0);
    }),
    ("inline close", |fd| {
        let mut result = libc::SYS_close;
        // SAFETY: S7: the kernel's convention; a descriptor of ours.
        unsafe {
            asm!("syscall", inout("rax") result, in("rdi") fd as u64, out("rcx") _, out("r11") _, options(nostack))
        };
        assert_eq!(result, 0);
    }),
];

/// Makes the new descriptor, and what makes it readable.
type Make = Box<dyn FnOnce() -> (RawFd, Box<dyn FnOnce()>)>;

/// How one waits for it.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Read,
    Poll,
}

type Maker = (&'static str, Wait, fn() -> Make);

fn fifo(open: impl Fn(*const libc::c_char) -> RawFd + 'static) -> Make {
    let path: PathBuf = std::env::temp_dir().join(format!("silken-fifo-{}", std::process::id()));
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let _ = std::fs::remove_file(&path);
    // SAFETY: S7: a path with its NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    Box::new(move || {
        let fd = open(name.as_ptr());
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (fd, Box::new(move || writer.write_all(b"12345678").unwrap()))
    })
}

fn timer(make: fn() -> c_int) -> Make {
    Box::new(move || {
        let fd = make();
        let start = move || {
            // SAFETY: S7: zero is no time.
            let mut time: libc::itimerspec = unsafe { std::mem::zeroed() };
            time.it_value.tv_nsec = 1_000_000;
            // SAFETY: S7: a live timer and a valid time.
            assert_eq!(unsafe { libc::timerfd_settime(fd, 0, &time, ptr::null_mut()) }, 0);
        };
        (fd, Box::new(start))
    })
}

fn watch(make: fn() -> c_int) -> Make {
    Box::new(move || {
        let fd = make();
        let folder = std::env::temp_dir().join(format!("silken-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let name = CString::new(folder.to_str().unwrap()).unwrap();
        // SAFETY: S7: a path with its NUL.
        assert!(unsafe { libc::inotify_add_watch(fd, name.as_ptr(), libc::IN_CREATE) } >= 0);
        let change = move || {
            std::fs::write(folder.join("new"), b"").unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
        };
        (fd, Box::new(change))
    })
}

/// An epoll that has an event as soon as its socket has.
fn epoll(make: fn() -> c_int) -> Make {
    let (near, mut far) = UnixStream::pair().unwrap();
    Box::new(move || {
        let fd = make();
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: S7: live descriptors and a valid event.
        let added = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, near.as_raw_fd(), &mut event) };
        assert_eq!(added, 0);
        let feed = move || {
            far.write_all(b"x").unwrap();
            // Both stay until the process ends: the epoll is still to be asked.
            std::mem::forget((near, far));
        };
        (fd, Box::new(feed))
    })
}

/// A terminal; what is written to its other side arrives.
fn terminal(make: fn() -> (c_int, Option<c_int>)) -> Make {
    Box::new(move || {
        let (fd, other) = make();
        let other = other.unwrap_or_else(|| {
            // SAFETY: S7: a terminal of ours.
            assert_eq!(unsafe { libc::grantpt(fd) }, 0);
            // SAFETY: S7: a terminal of ours.
            assert_eq!(unsafe { libc::unlockpt(fd) }, 0);
            // SAFETY: S7: a terminal of ours.
            unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY) }
        });
        assert!(other >= 0);
        // SAFETY: S7: made just above, owned by nobody.
        let mut other = unsafe { std::fs::File::from_raw_fd(other) };
        let feed = move || {
            other.write_all(b"a line\n").unwrap();
            std::mem::forget(other);
        };
        (fd, Box::new(feed))
    })
}

/// Room for what goes beside the bytes of a message.
type Control = [u64; 8];

/// A message of one part, with all of the room.
fn message_of(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: S7: zero is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control);
    message
}

/// A socket that arrives in a message.
fn passed(receive: fn(RawFd, *mut libc::msghdr) -> isize) -> Make {
    let (carrier, far) = UnixStream::pair().unwrap();
    let (payload, mut feeder) = UnixStream::pair().unwrap();
    send_descriptor(far.as_raw_fd(), payload.as_raw_fd());
    drop(payload);
    Box::new(move || {
        let mut byte = 0_u8;
        let mut part = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let mut control = Control::default();
        let mut message = message_of(&mut part, &mut control);
        assert_eq!(receive(carrier.as_raw_fd(), &mut message), 1);
        // SAFETY: S7: a message that has been received.
        let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        // SAFETY: S7: one header has been received.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: S7: one number has been received.
        let fd = unsafe { data.cast::<c_int>().read_unaligned() };
        let feed = move || {
            feeder.write_all(b"12345678").unwrap();
            drop((carrier, far, feeder));
        };
        (fd, Box::new(feed))
    })
}

fn send_descriptor(socket: RawFd, fd: RawFd) {
    let byte = 7_u8;
    let mut part = libc::iovec {
        iov_base: (&raw const byte).cast_mut().cast(),
        iov_len: 1,
    };
    let mut control = Control::default();
    let mut message = message_of(&mut part, &mut control);
    // SAFETY: S7: arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<c_int>() as u32) } as usize;
    // SAFETY: S7: a message with room for a header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    // SAFETY: S7: a message with room for a header.
    let header = unsafe { &mut *header };
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: S7: arithmetic.
    header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<c_int>() as u32) } as usize;
    // SAFETY: S7: the header's data begin behind it.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: S7: room for one number.
    unsafe { data.cast::<c_int>().write_unaligned(fd) };
    // SAFETY: S7: a whole message.
    assert_eq!(unsafe { libc::sendmsg(socket, &message, 0) }, 1);
}

/// One of two numbers that a call makes; the other feeds it.
fn pair(make: fn(&mut [c_int; 2]) -> c_int) -> Make {
    Box::new(move || {
        let mut fds = [0; 2];
        assert_eq!(make(&mut fds), 0);
        // SAFETY: S7: made just above, owned by nobody.
        let mut feeder = unsafe { std::fs::File::from_raw_fd(fds[1]) };
        (fds[0], Box::new(move || feeder.write_all(b"12345678").unwrap()))
    })
}

fn counter(make: fn() -> c_int) -> Make {
    Box::new(move || {
        let fd = make();
        let feed = move || {
            // SAFETY: S7: eight bytes.
            assert_eq!(unsafe { libc::write(fd, (&raw const ONE).cast(), 8) }, 8);
        };
        (fd, Box::new(feed))
    })
}

static ONE: u64 = 1;

fn accepted(accept: fn(RawFd) -> c_int) -> Make {
    let path = std::env::temp_dir().join(format!("silken-accept-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let mut near = UnixStream::connect(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Box::new(move || {
        let fd = accept(listener.as_raw_fd());
        (fd, Box::new(move || near.write_all(b"12345678").unwrap()))
    })
}

fn ended_child(make: fn(libc::pid_t) -> c_int) -> Make {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = std::process::Command::new("cat")
        .stdin(reader)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    Box::new(move || {
        let fd = make(child.id() as libc::pid_t);
        let end = move || {
            drop(writer);
            child.wait().unwrap();
        };
        (fd, Box::new(end))
    })
}

const READ_WRITE: c_int = libc::O_RDWR | libc::O_CLOEXEC;
const HERE: c_int = libc::AT_FDCWD;

/// A call of the C library.
macro_rules! c {
    ($call:expr) => {
        // SAFETY: S7: paths with their NUL, places with room, or no pointer.
        unsafe { $call }
    };
}

const MAKERS: &[Maker] = &[
    ("open", Wait::Read, || fifo(|path| c!(libc::open(path, READ_WRITE)))),
    ("open64", Wait::Read, || fifo(|path| c!(libc::open64(path, READ_WRITE)))),
    ("openat", Wait::Read, || {
        fifo(|path| c!(libc::openat(HERE, path, READ_WRITE)))
    }),
    ("openat64", Wait::Read, || {
        fifo(|path| c!(libc::openat64(HERE, path, READ_WRITE)))
    }),
    ("__open_2", Wait::Read, || fifo(|path| c!(__open_2(path, READ_WRITE)))),
    ("__open64_2", Wait::Read, || {
        fifo(|path| c!(__open64_2(path, READ_WRITE)))
    }),
    ("__openat_2", Wait::Read, || {
        fifo(|path| c!(__openat_2(HERE, path, READ_WRITE)))
    }),
    ("__openat64_2", Wait::Read, || {
        fifo(|path| c!(__openat64_2(HERE, path, READ_WRITE)))
    }),
    ("syscall(openat)", Wait::Read, || {
        fifo(|path| c!(libc::syscall(libc::SYS_openat, HERE, path, READ_WRITE, 0)) as c_int)
    }),
    ("fopen", Wait::Read, || {
        let open = |path| c!(libc::fopen(path, c"r+".as_ptr()));
        fifo(move |path| c!(libc::fileno(open(path))))
    }),
    ("freopen", Wait::Read, || {
        let stream = c!(libc::fopen(c"/dev/null".as_ptr(), c"r".as_ptr()));
        let stream = stream.expose_provenance();
        fifo(move |path| {
            let stream = c!(libc::freopen(
                path,
                c"r+".as_ptr(),
                ptr::with_exposed_provenance_mut(stream)
            ));
            c!(libc::dup(libc::fileno(stream)))
        })
    }),
    ("timerfd_create", Wait::Read, || {
        timer(|| c!(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)))
    }),
    ("syscall(timerfd_create)", Wait::Read, || {
        timer(|| c!(libc::syscall(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0)) as c_int)
    }),
    ("inotify_init", Wait::Read, || watch(|| c!(inotify_init()))),
    ("inotify_init1", Wait::Read, || watch(|| c!(libc::inotify_init1(0)))),
    ("epoll_create", Wait::Poll, || epoll(|| c!(libc::epoll_create(1)))),
    ("epoll_create1", Wait::Poll, || epoll(|| c!(libc::epoll_create1(0)))),
    ("posix_openpt", Wait::Read, || {
        terminal(|| (c!(libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY)), None))
    }),
    ("getpt", Wait::Read, || terminal(|| (c!(getpt()), None))),
    ("openpty", Wait::Read, || {
        terminal(|| {
            let (mut fd, mut other) = (0, 0);
            let made = c!(libc::openpty(
                &mut fd,
                &mut other,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut()
            ));
            assert_eq!(made, 0);
            (fd, Some(other))
        })
    }),
    ("recvmsg", Wait::Read, || {
        passed(|fd, message| c!(libc::recvmsg(fd, message, 0)))
    }),
    ("syscall(recvmsg)", Wait::Read, || {
        passed(|fd, message| c!(libc::syscall(libc::SYS_recvmsg, fd, message, 0)) as isize)
    }),
    ("recvmmsg", Wait::Read, || {
        passed(|fd, message| {
            let mut batch = libc::mmsghdr {
                msg_hdr: c!(message.read()),
                msg_len: 0,
            };
            let count = c!(libc::recvmmsg(fd, &mut batch, 1, 0, ptr::null_mut()));
            c!(message.write(batch.msg_hdr));
            count as isize
        })
    }),
    ("syscall(accept)", Wait::Read, || {
        accepted(|fd| c!(libc::syscall(libc::SYS_accept, fd, 0, 0)) as c_int)
    }),
    ("syscall(pipe2)", Wait::Read, || {
        pair(|fds| c!(libc::syscall(libc::SYS_pipe2, fds.as_mut_ptr(), libc::O_CLOEXEC)) as c_int)
    }),
    ("syscall(socketpair)", Wait::Read, || {
        pair(|fds| {
            let (domain, kind) = (libc::AF_UNIX, libc::SOCK_STREAM);
            c!(libc::syscall(libc::SYS_socketpair, domain, kind, 0, fds.as_mut_ptr()) as c_int)
        })
    }),
    ("syscall(eventfd2)", Wait::Read, || {
        counter(|| c!(libc::syscall(libc::SYS_eventfd2, 0, 0)) as c_int)
    }),
    ("pidfd_open", Wait::Poll, || {
        ended_child(|pid| c!(libc::syscall(libc::SYS_pidfd_open, pid, 0)) as c_int)
    }),
    ("popen", Wait::Read, || {
        Box::new(|| {
            let stream = c!(libc::popen(c"sleep 0.1; echo 1234567".as_ptr(), c"r".as_ptr()));
            (c!(libc::fileno(stream)), Box::new(|| ()))
        })
    }),
];

/// A number that has been waited for.
fn registered(runtime: &silken::Runtime) -> (RawFd, OwnedFd) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let fd = reader.into_raw_fd();
    let first = runtime.spawn(move || {
        let mut byte = [0];
        // SAFETY: S7: one byte.
        unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) }
    });
    std::thread::sleep(SOON / 10);
    writer.write_all(b"x").unwrap();
    assert_eq!(first.join().unwrap(), 1);
    (fd, writer.into())
}

fn wait(fd: RawFd, how: Wait) -> bool {
    if how == Wait::Poll {
        let mut entry = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: S7: one entry.
        return unsafe { libc::poll(&mut entry, 1, -1) } == 1;
    }
    let mut bytes = [0; 64];
    // SAFETY: S7: a live descriptor, that is left open.
    let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
    file.read(&mut bytes).unwrap() > 0
}

#[test]
fn closed_out_of_sight_and_made_again_wake_their_waiters() {
    let _alone = alone();
    let runtime = runtime(2);
    let mut stuck = Vec::new();
    for (closer, close) in CLOSERS {
        for (maker, how, prepare) in MAKERS {
            let make = prepare();
            let (old, _writer) = registered(&runtime);
            close(old);
            let (new, feed) = make();
            assert!(new >= 0, "{maker}: {}", std::io::Error::last_os_error());
            if *maker != "freopen" {
                assert_eq!(old, new, "{closer}, {maker}: the number was not handed out again");
            }
            let how = *how;
            let reader = runtime.spawn(move || wait(new, how));
            std::thread::sleep(SOON / 10);
            feed();
            match reader.join_timeout(PATIENCE) {
                Ok(result) => assert!(result.unwrap(), "{closer}, {maker}"),
                Err(_) => stuck.push(format!("{closer} and {maker}")),
            }
            // SAFETY: S7: ours; a stream above it leaks.
            unsafe { libc::close(new) };
            assert!(stuck.len() < 3, "still parked: {stuck:?}");
        }
    }
    assert!(stuck.is_empty(), "still parked: {stuck:?}");
}

/// A reader that is parked learns that its number is given up, as with `close`.
#[test]
fn closed_inside_libc_tell_who_is_parked() {
    let _alone = alone();
    let runtime = runtime(2);
    for (closer, close) in CLOSERS.iter().filter(|(name, _)| !name.starts_with("inline")) {
        let (fd, _writer) = registered(&runtime);
        let reader = runtime.spawn(move || {
            let mut byte = [0];
            // SAFETY: S7: one byte.
            let result = unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) };
            (result, std::io::Error::last_os_error().raw_os_error())
        });
        std::thread::sleep(SOON);
        close(fd);
        let told = reader
            .join_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{closer}: still parked"));
        assert_eq!(told.unwrap(), (-1, Some(libc::EBADF)), "{closer}");
    }
}

/// errno is what the C function leaves, and a failed call forgets nothing.
#[test]
fn that_are_not_made_leave_errno() {
    let _alone = alone();
    let runtime = runtime(1);
    let unit = runtime.spawn(|| {
        // SAFETY: S7: a path with its NUL.
        let fd = unsafe { libc::open(c"/no such file".as_ptr(), libc::O_RDONLY) };
        assert_eq!(
            (fd, std::io::Error::last_os_error().raw_os_error()),
            (-1, Some(libc::ENOENT))
        );
        // SAFETY: S7: a path and a mode.
        let stream = unsafe { libc::fopen(c"/no such file".as_ptr(), c"r".as_ptr()) };
        assert!(stream.is_null());
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT));
        // SAFETY: S7: no pointer.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close, -1) }, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
        // A mode is passed on.
        let path = std::env::temp_dir().join(format!("silken-mode-{}", std::process::id()));
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: S7: a path with its NUL.
        let fd = unsafe { libc::open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o640) };
        assert!(fd >= 0);
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        // SAFETY: S7: ours.
        assert_eq!(unsafe { libc::close(fd) }, 0);
        mode & 0o777 & !0o22
    });
    assert_eq!(unit.join().unwrap(), 0o640 & !0o22);
}

/// The runtime's own threads look at files of `/proc` and of cgroups while it runs. They hold these open, so the lowest
/// free number stays the same for the program.
#[test]
fn are_not_taken_in_passing() {
    let _alone = alone();
    let runtime = silken::Runtime::builder()
        .preempt(Duration::from_millis(1))
        .spare_threads(0)
        .build()
        .unwrap();
    let (over, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let spawn = |work: fn()| {
        let (over, begun) = (over.clone(), begun.clone());
        runtime.spawn(move || {
            begun.fetch_add(1, SeqCst);
            while !over.load(SeqCst) {
                work();
            }
        })
    };
    // Loops that compete for the CPUs, and calls that block a worker: the monitor and the other workers ask about both.
    let computing: Vec<_> = (0..3).map(|_| spawn(std::hint::spin_loop)).collect();
    let blocking = spawn(|| sleep_unseen(Duration::from_millis(20)));
    let ticking = spawn(|| std::thread::sleep(Duration::from_millis(1)));
    while begun.load(SeqCst) < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Longer than the second after which the limits of the machine are read again.
    let end = Instant::now() + Duration::from_millis(2500);
    let mut numbers = BTreeMap::new();
    while Instant::now() < end {
        let file = std::fs::File::open("/dev/null").unwrap();
        *numbers.entry(file.as_raw_fd()).or_insert(0) += 1;
    }
    over.store(true, SeqCst);
    for unit in computing.into_iter().chain([blocking, ticking]) {
        unit.join().unwrap();
    }
    assert_eq!(numbers.len(), 1, "{numbers:?}");
}
