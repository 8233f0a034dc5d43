//! Children of this process, made in every way: nothing in the parent changes on their account.

use super::{PATIENCE, SOON, alone, runtime};
use libc::{c_int, c_long, pid_t};
use std::arch::global_asm;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

unsafe extern "C" {
    fn _Fork() -> pid_t;
    /// `vfork`, then in the child: what `in_vfork_child` does with the argument, and its result as exit status.
    fn silken_test_vfork(argument: usize) -> pid_t;
}

// A caller of `vfork` has to keep its frame while the child uses it, which Rust cannot promise.
global_asm!(
    ".globl silken_test_vfork",
    "silken_test_vfork:",
    "push rbx",
    "mov rbx, rdi",
    "call vfork@PLT",
    "test eax, eax",
    "jne 2f",
    "mov rdi, rbx",
    "call {child}",
    "mov edi, eax",
    "call _exit@PLT",
    "2: pop rbx",
    "ret",
    child = sym in_vfork_child,
);

/// What the child of `vfork` is to do.
struct Errand {
    close: RawFd,
    /// From here it reads `reads` times, which waits.
    source: RawFd,
    reads: c_int,
}

extern "C" fn in_vfork_child(errand: usize) -> c_int {
    // SAFETY: S7: the parent's, who waits.
    let errand = unsafe { &*ptr::with_exposed_provenance::<Errand>(errand) };
    meddle(errand.close);
    let mut byte = 0_u8;
    let mut done = 0;
    for _ in 0..errand.reads {
        // SAFETY: S7: room for one byte.
        done += unsafe { libc::read(errand.source, (&raw mut byte).cast(), 1) } as c_int;
    }
    done
}

/// What children do to descriptors before they call exec. Async-signal-safe.
fn meddle(fd: RawFd) {
    // SAFETY: S7: no pointer.
    let mode = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: S7: no pointer; unchanged, for the description is the parent's as well.
    unsafe { libc::fcntl(fd, libc::F_SETFL, mode) };
    // SAFETY: S7: no pointer.
    let copy = unsafe { libc::dup(fd) };
    // SAFETY: S7: no pointer.
    unsafe { libc::dup2(copy, fd) };
    // SAFETY: S7: no pointer; the child's descriptors are its own.
    unsafe { libc::close(fd) };
    // SAFETY: S7: no pointer.
    unsafe { libc::dup2(copy, fd) };
    // SAFETY: S7: numbers only.
    unsafe { libc::syscall(libc::SYS_close, fd as c_long) };
    // SAFETY: S7: no pointer.
    unsafe { libc::dup3(copy, fd, libc::O_CLOEXEC) };
    // SAFETY: S7: no pointer.
    unsafe { libc::close_range(fd as u32, fd as u32, 0) };
    // SAFETY: S7: a constant path.
    let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) };
    for fd in [copy, opened] {
        // SAFETY: S7: no pointer.
        unsafe { libc::close(fd) };
    }
}

fn reap(pid: pid_t) -> c_int {
    assert!(pid > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: S7: our own child, and a place for the status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child died: {status:#x}");
    libc::WEXITSTATUS(status)
}

/// Runs `body` in a child that `fork` makes.
fn child(fork: impl Fn() -> pid_t, body: impl Fn()) {
    let pid = fork();
    if pid == 0 {
        body();
        // SAFETY: S7: leaves at once.
        unsafe { libc::_exit(3) };
    }
    assert_eq!(reap(pid), 3);
}

fn forks(fd: RawFd) {
    // SAFETY: S7: the child makes async-signal-safe calls only; so in all of these.
    child(|| unsafe { libc::fork() }, || meddle(fd));
    // SAFETY: S7: the child makes async-signal-safe calls only.
    child(|| unsafe { _Fork() }, || meddle(fd));
    // SAFETY: S7: the child makes async-signal-safe calls only.
    child(|| unsafe { libc::syscall(libc::SYS_fork) } as pid_t, || meddle(fd));
    let clone = || {
        // SAFETY: S7: as above: a child with a copy of the memory and of the stack.
        unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as c_long, 0, 0, 0, 0) as pid_t }
    };
    child(clone, || meddle(fd));
}

fn vfork(fd: RawFd) {
    let errand = Errand {
        close: fd,
        source: -1,
        reads: 0,
    };
    // SAFETY: S7: the errand outlives the child's use of it.
    let pid = unsafe { silken_test_vfork((&raw const errand).expose_provenance()) };
    assert_eq!(reap(pid), 0);
}

/// As a daemon does it: the grandchild goes on when its parent has ended.
fn double_fork(fd: RawFd) {
    let (mut near, far) = UnixStream::pair().unwrap();
    // SAFETY: S7: as in `forks`.
    let fork = || unsafe { libc::fork() };
    child(fork, || {
        // SAFETY: S7: no pointer.
        unsafe { libc::setsid() };
        if fork() == 0 {
            // SAFETY: S7: no pointer; everything but the line to the test.
            unsafe { libc::close_range(0, far.as_raw_fd() as u32 - 1, 0) };
            meddle(fd);
            // SAFETY: S7: one byte of a constant.
            unsafe { libc::write(far.as_raw_fd(), c"d".as_ptr().cast(), 1) };
            // SAFETY: S7: leaves at once.
            unsafe { libc::_exit(0) };
        }
    });
    let mut byte = [0];
    near.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"d");
}

fn commands(fd: RawFd) {
    let mut plain = Command::new("true");
    assert!(plain.status().unwrap().success());
    let mut prepared = Command::new("true");
    // SAFETY: S7: async-signal-safe calls only.
    unsafe {
        prepared.pre_exec(move || {
            meddle(fd);
            Ok(())
        })
    };
    assert!(prepared.status().unwrap().success());
}

/// How a case is run somewhere.
type Run = fn(&silken::Runtime, Make, RawFd);

/// Makes children of which some have closed the descriptor.
type Make = fn(RawFd);

/// A reader that is parked while children are made is woken by what is written after.
fn from(run: Run) {
    let _alone = alone();
    let ways: [(&str, Make); 4] = [
        ("fork", forks),
        ("vfork", vfork),
        ("double fork", double_fork),
        ("command", commands),
    ];
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for (name, make) in ways {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let fd = far.as_raw_fd();
            let reader = runtime.spawn(move || {
                let mut bytes = [0; 2];
                far.read_exact(&mut bytes).map(|()| bytes)
            });
            std::thread::sleep(SOON);
            run(&runtime, make, fd);
            near.write_all(b"ab").unwrap();
            let read = reader
                .join_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("{name}, {workers} workers: the reader is still parked"));
            assert_eq!(read.unwrap().unwrap(), *b"ab", "{name}");
        }
    }
}

#[test]
fn of_the_main_program_leave_a_parked_reader_alone() {
    from(|_, make, fd| make(fd));
}

#[test]
fn of_a_thread_leave_a_parked_reader_alone() {
    from(|_, make, fd| std::thread::spawn(move || make(fd)).join().unwrap());
}

#[test]
fn of_a_coroutine_leave_a_parked_reader_alone() {
    from(|runtime, make, fd| runtime.spawn(move || make(fd)).join().unwrap());
}

/// The child stands on the stack of the coroutine that made it: a wait there must block it, not park the coroutine.
#[test]
fn a_wait_in_a_vfork_child_of_a_coroutine_blocks_the_child() {
    let _alone = alone();
    let runtime = runtime(1);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (spare, _peer) = UnixStream::pair().unwrap();
    let (source, close) = (reader.as_raw_fd(), spare.as_raw_fd());
    let feeder = std::thread::spawn(move || {
        for _ in 0..3 {
            std::thread::sleep(SOON);
            writer.write_all(b"x").unwrap();
        }
    });
    let maker = runtime.spawn(move || {
        let errand = Errand {
            close,
            source,
            reads: 3,
        };
        // SAFETY: S7: the errand outlives the child's use of it.
        let done = reap(unsafe { silken_test_vfork((&raw const errand).expose_provenance()) });
        // The section in which the child was made has ended: this parks, and lets the other coroutine run.
        let other = silken::spawn(|| 5).join().unwrap();
        (done, other)
    });
    let result = maker
        .join_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("the coroutine does not come back"));
    assert_eq!(result.unwrap(), (3, 5));
    feeder.join().unwrap();
}

/// A child that leaves `main`, or drops what it has, does not wait for workers that only the parent has.
#[test]
fn a_child_drops_its_runtime() {
    let _alone = alone();
    for parked in [0, 3] {
        let mut kept = Some(runtime(2));
        let coroutines: Vec<_> = (0..parked)
            .map(|_| kept.as_ref().unwrap().spawn(silken::park))
            .collect();
        std::thread::sleep(SOON);
        // SAFETY: S7: the child ends here; what it calls besides is what the case is about.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: S7: a number.
            unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
            drop(kept.take());
            // SAFETY: S7: leaves at once.
            unsafe { libc::_exit(4) };
        }
        assert_eq!(reap(pid), 4);
        coroutines.iter().for_each(|coroutine| coroutine.coroutine().unpark());
        for coroutine in coroutines {
            coroutine.join_timeout(PATIENCE).expect("the parent's goes on").unwrap();
        }
        drop(kept.take());
    }
}
