//! A forked child has no workers: it is an ordinary process.

use super::on_all;
use std::time::Duration;

/// Forks, runs `child` in the child, and returns its exit status.
fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: S7: the child only does what the test says, and leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        // SAFETY: S7: leaves at once, without the parent's exit handlers.
        0 => unsafe { libc::_exit(child()) },
        pid => {
            let mut status = 0;
            // SAFETY: S7: waits for our own child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status), "the child died: {status}");
            libc::WEXITSTATUS(status)
        }
    }
}

#[test]
fn in_the_child_waits_block_the_thread_and_spawns_fail() {
    on_all(|| {
        let status = fork(|| {
            std::thread::sleep(Duration::from_millis(1));
            let (mut reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
            let error = silken::Builder::new().spawn(|| ()).map(drop).unwrap_err();
            std::io::Write::write_all(&mut writer, b"x").unwrap();
            let mut byte = [0];
            std::io::Read::read_exact(&mut reader, &mut byte).unwrap();
            if error.kind() == std::io::ErrorKind::Other && byte == *b"x" {
                7
            } else {
                1
            }
        });
        assert_eq!(status, 7);
        // The parent goes on.
        assert_eq!(silken::spawn(|| 5).join().unwrap(), 5);
    });
}

/// The coroutine that forks returns in the child as well, where it is the last one: the others are the parent's.
#[test]
fn a_child_that_returns_from_its_coroutine_ends() {
    on_all(|| {
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stop = is_over.clone();
        let other = silken::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                silken::yield_now();
            }
            std::io::Write::write_all(&mut &writer, &std::process::id().to_ne_bytes()).unwrap();
        });
        // SAFETY: S7: the child returns at once.
        let pid = silken::spawn(|| unsafe { libc::fork() }).join().unwrap();
        assert!(pid > 0);
        let mut status = 0;
        // SAFETY: S7: waits for our own child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status}");
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        other.join().unwrap();
        let mut told = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut told).unwrap();
        assert_eq!(
            told,
            std::process::id().to_ne_bytes(),
            "nobody but the parent ran the other"
        );
    });
}
