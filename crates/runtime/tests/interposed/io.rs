//! Corners of the I/O hooks that only this layer knows; what std promises in general is the conformance suite's.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(20);

fn run<T: Send>(workers: usize, body: impl FnOnce() -> T + Send) -> T {
    silken::Runtime::builder()
        .workers(workers)
        .build()
        .unwrap()
        .run(body)
        .unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn recv(fd: RawFd, buffer: &mut [u8], flags: i32) -> Result<usize, i32> {
    // SAFETY: S7: a live buffer.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(count).map_err(|_| errno())
}

fn poll(entries: &mut [(RawFd, i16)], timeout_ms: i32) -> (i32, Vec<i16>) {
    let mut list: Vec<_> = entries
        .iter()
        .map(|(fd, events)| libc::pollfd {
            fd: *fd,
            events: *events,
            revents: 0,
        })
        .collect();
    // SAFETY: S7: a live array.
    let count = unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout_ms) };
    (count, list.iter().map(|entry| entry.revents).collect())
}

#[test]
fn many_small_requests_on_one_worker_and_on_two() {
    for workers in [1, 2] {
        run(workers, || {
            let (near, far) = tcp_pair();
            let server = silken::spawn(move || {
                let mut buffer = [0; 4096];
                let mut far = far;
                loop {
                    match far.read(&mut buffer).unwrap() {
                        0 => return,
                        count => far.write_all(&buffer[..count]).unwrap(),
                    }
                }
            });
            let mut near = near;
            for round in 0..2_000_u32 {
                near.write_all(&round.to_le_bytes()).unwrap();
                let mut back = [0; 4];
                near.read_exact(&mut back).unwrap();
                assert_eq!(u32::from_le_bytes(back), round);
            }
            drop(near);
            server.join().unwrap();
        });
    }
}

#[test]
fn an_end_behind_a_short_read_is_seen() {
    run(1, || {
        for pause in [Duration::ZERO, SOON] {
            let (mut near, mut far) = tcp_pair();
            let peer = silken::spawn(move || {
                far.write_all(b"warm").unwrap();
                silken::sleep(SOON);
                far.write_all(b"abc").unwrap();
                silken::sleep(pause);
                far.shutdown(Shutdown::Write).unwrap();
                far
            });
            let mut buffer = [0; 64];
            let mut counts = Vec::new();
            while let count @ 1.. = near.read(&mut buffer).unwrap() {
                counts.push(count);
            }
            assert_eq!(counts, [4, 3]);
            assert_eq!(near.read(&mut buffer).unwrap(), 0, "the end stays");
            drop(peer.join().unwrap());
        }
    });
}

#[test]
fn a_reset_reaches_the_parked_reader() {
    run(1, || {
        let (mut near, far) = tcp_pair();
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: S7: a live option value.
        let set = unsafe {
            libc::setsockopt(
                far.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of_val(&linger) as u32,
            )
        };
        assert_eq!(set, 0);
        let reader = silken::spawn(move || near.read(&mut [0; 8]).unwrap_err().kind());
        silken::sleep(SOON);
        drop(far);
        assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn waitall_fills_the_buffer_or_ends_with_the_stream() {
    run(1, || {
        let (near, mut far) = tcp_pair();
        let fd = near.as_raw_fd();
        let reader = silken::spawn(move || {
            let mut buffer = [0; 10];
            let peeked = recv(fd, &mut buffer, libc::MSG_WAITALL | libc::MSG_PEEK).unwrap();
            let taken = recv(fd, &mut buffer, libc::MSG_WAITALL).unwrap();
            let text = buffer.to_vec();
            (peeked, taken, text, recv(fd, &mut buffer, libc::MSG_WAITALL).unwrap())
        });
        for part in [b"01", b"23", b"45", b"67", b"89", b"ab"] {
            far.write_all(part).unwrap();
            silken::sleep(SOON / 4);
        }
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reader.join().unwrap(), (10, 10, b"0123456789".to_vec(), 2));
    });
}

#[test]
fn a_large_blocking_send_is_whole() {
    const TOTAL: usize = 8 << 20;
    run(2, || {
        let (tcp_near, tcp_far) = tcp_pair();
        let (unix_near, unix_far) = UnixStream::pair().unwrap();
        let (pipe_reader, pipe_writer) = std::io::pipe().unwrap();
        let pairs: [(Box<dyn Read + Send>, RawFd); 3] = [
            (Box::new(tcp_near), tcp_far.into_raw_fd()),
            (Box::new(unix_near), unix_far.into_raw_fd()),
            (Box::new(pipe_reader), pipe_writer.into_raw_fd()),
        ];
        for (mut reader, fd) in pairs {
            let sender = silken::spawn(move || {
                let data: Vec<u8> = (0..TOTAL).map(|at| (at % 251) as u8).collect();
                let (head, tail) = data.split_at(TOTAL / 3);
                let parts = [head, tail].map(|part| libc::iovec {
                    iov_base: part.as_ptr().cast_mut().cast(),
                    iov_len: part.len(),
                });
                // SAFETY: S7: one call for everything.
                let vectored = unsafe { libc::writev(fd, parts.as_ptr(), 2) };
                // SAFETY: S7: one call for everything.
                let plain = unsafe { libc::write(fd, data.as_ptr().cast(), TOTAL) };
                // SAFETY: S7: ours to close.
                unsafe { libc::close(fd) };
                (vectored, plain)
            });
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            assert_eq!(sender.join().unwrap(), (TOTAL as isize, TOTAL as isize));
            assert_eq!(received.len(), 2 * TOTAL);
            assert!(
                received
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| usize::from(*byte) == at % TOTAL % 251)
            );
        }
    });
}

#[test]
fn a_copy_shares_mode_and_timeout() {
    run(1, || {
        let (mut near, mut far) = tcp_pair();
        let copy = near.try_clone().unwrap();
        let would_block = |stream: &mut TcpStream| stream.read(&mut [0; 8]).unwrap_err().kind();
        copy.set_nonblocking(true).unwrap();
        assert_eq!(would_block(&mut near), ErrorKind::WouldBlock);
        copy.set_nonblocking(false).unwrap();
        copy.set_read_timeout(Some(SOON)).unwrap();
        let start = Instant::now();
        assert_eq!(would_block(&mut near), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= SOON);
        copy.set_read_timeout(None).unwrap();
        let writer = silken::spawn(move || {
            silken::sleep(SOON * 3);
            far.write_all(b"x").unwrap();
        });
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
        writer.join().unwrap();
    });
}

#[test]
fn closing_wakes_the_parked_and_the_number_starts_afresh() {
    run(1, || {
        let (near, _far) = tcp_pair();
        // A number that nobody else is given.
        // SAFETY: S7: names no memory.
        let fd = unsafe { libc::fcntl(near.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 700) };
        drop(near);
        let parked = silken::spawn(move || recv(fd, &mut [0; 8], 0));
        let polling = silken::spawn(move || poll(&mut [(fd, libc::POLLIN)], -1));
        silken::sleep(SOON);
        // SAFETY: S7: ours to close, while others use it: that is the test.
        assert_eq!(unsafe { libc::close(fd) }, 0);
        assert_eq!(parked.join().unwrap(), Err(libc::EBADF));
        assert_eq!(polling.join().unwrap(), (1, vec![libc::POLLNVAL]));

        let (pipe_reader, mut writer) = std::io::pipe().unwrap();
        // SAFETY: S7: the number is free again.
        assert_eq!(unsafe { libc::dup2(pipe_reader.as_raw_fd(), fd) }, fd);
        drop(pipe_reader);
        // SAFETY: S7: the copy that was just made.
        let mut reader = unsafe { std::io::PipeReader::from_raw_fd(fd) };
        let late = silken::spawn(move || {
            silken::sleep(SOON);
            writer.write_all(b"pipe").unwrap();
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "pipe");
        late.join().unwrap();
    });
}

#[test]
fn cancellation_ends_a_hooked_wait_with_an_error() {
    run(1, || {
        let (near, _far) = tcp_pair();
        let fd = near.as_raw_fd();
        let reader = silken::spawn(move || (recv(fd, &mut [0; 8], 0), poll(&mut [(fd, libc::POLLIN)], -1).0, errno()));
        silken::sleep(SOON);
        reader.cancel();
        assert_eq!(reader.join().unwrap(), (Err(libc::ECANCELED), -1, libc::ECANCELED));
    });
}

#[test]
fn what_cannot_be_polled_is_simply_done() {
    run(1, || {
        let mut zero = std::fs::File::open("/dev/zero").unwrap();
        let mut buffer = [1; 16];
        zero.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, [0; 16]);
        let null = std::fs::File::create("/dev/null").unwrap();
        assert_eq!((&null).write(&buffer).unwrap(), 16);
        let path = std::env::temp_dir().join(format!("silken-io-{}", std::process::id()));
        std::fs::write(&path, b"text").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let entries = &mut [(file.as_raw_fd(), libc::POLLIN), (-1, libc::POLLIN)];
        assert_eq!(poll(entries, -1), (1, vec![libc::POLLIN, 0]));
    });
}

#[test]
fn poll_is_level_triggered_and_keeps_its_timeout() {
    run(1, || {
        let (near, mut far) = tcp_pair();
        let (quiet, _peer) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let mut entries = [(near.as_raw_fd(), libc::POLLIN), (quiet.as_raw_fd(), libc::POLLIN)];
        assert_eq!(poll(&mut entries, 20), (0, vec![0, 0]));
        assert!(start.elapsed() >= SOON);
        let writer = silken::spawn(move || {
            silken::sleep(SOON);
            far.write_all(b"xy").unwrap();
            far
        });
        for _ in 0..2 {
            assert_eq!(poll(&mut entries, -1), (1, vec![libc::POLLIN, 0]));
        }
        let mut many = vec![(quiet.as_raw_fd(), libc::POLLIN); 20];
        many[11] = (near.as_raw_fd(), libc::POLLIN | libc::POLLOUT);
        assert_eq!(poll(&mut many, -1).1[11], libc::POLLIN | libc::POLLOUT);
        // A short read, then poll: nothing there, and no stale answer when there is.
        assert_eq!((&near).read(&mut [0; 8]).unwrap(), 2);
        assert_eq!(poll(&mut entries[..1], 5), (0, vec![0]));
        let mut far = writer.join().unwrap();
        far.write_all(b"z").unwrap();
        assert_eq!(poll(&mut entries[..1], -1), (1, vec![libc::POLLIN]));
    });
}

#[test]
fn datagrams_are_not_merged_by_the_short_read_rule() {
    run(1, || {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let reader = silken::spawn(move || {
            let mut buffer = [0; 64];
            (0..3)
                .map(|_| receiver.recv_from(&mut buffer).unwrap().0)
                .collect::<Vec<_>>()
        });
        silken::sleep(SOON);
        for text in ["a", "bcd", ""] {
            sender.send_to(text.as_bytes(), to).unwrap();
        }
        assert_eq!(reader.join().unwrap(), [1, 3, 0]);
    });
}

#[test]
fn acceptors_of_one_listener_share_the_connections() {
    run(2, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acceptors: Vec<_> = (0..4)
            .map(|_| {
                let listener = listener.try_clone().unwrap();
                silken::spawn(move || (0..10).map(|_| listener.accept().unwrap().0).collect::<Vec<_>>().len())
            })
            .collect();
        let clients: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(
            acceptors
                .into_iter()
                .map(|acceptor| acceptor.join().unwrap())
                .sum::<usize>(),
            clients.len()
        );
    });
}

#[test]
fn connects_report_what_came_of_them() {
    run(1, || {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(
            TcpStream::connect(free).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // SAFETY: S7: names no memory.
        let flags = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "the mode is as it was");
    });
}

#[test]
fn a_full_unix_backlog_is_waited_for() {
    run(1, || {
        let path = std::env::temp_dir().join(format!("silken-backlog-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: S7: names no memory. The smallest backlog.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                silken::spawn(move || UnixStream::connect(path).unwrap())
            })
            .collect();
        silken::sleep(SOON);
        let accepted: Vec<_> = (0..4).map(|_| listener.accept().unwrap()).collect();
        let connected: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert_eq!(accepted.len(), connected.len());
        std::fs::remove_file(path).unwrap();
    });
}

/// One event tells of the connect, the data and the end together; the read that empties the socket takes the end along.
#[test]
fn a_peer_that_answers_and_goes_while_connect_waits_is_seen_to_end() {
    run(1, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = silken::spawn(move || (0..20).for_each(|_| listener.accept().unwrap().0.write_all(b"x").unwrap()));
        let clients: Vec<_> = (0..20)
            .map(|_| {
                silken::spawn(move || {
                    let mut text = String::new();
                    TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
                    text
                })
            })
            .collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap() == "x"));
        server.join().unwrap();
    });
}

/// A call, and its result.
macro_rules! called {
    ($($what:literal: $call:expr,)*) => {
        [$({
            // SAFETY: S7: descriptors of ours; what is bad is refused.
            let result = unsafe { $call } as isize;
            ($what, if result == -1 { errno() } else { 0 })
        }),*]
    };
}

/// Each call with a bad address in each place that a hook reads itself, and what comes of it.
fn refused() -> Vec<(&'static str, i32)> {
    let (socket, _peer) = UnixStream::pair().unwrap();
    let (read_end, write_end) = std::io::pipe().unwrap();
    let [fd, reader, writer] = [socket.as_raw_fd(), read_end.as_raw_fd(), write_end.as_raw_fd()];
    // In the first page, which is never there.
    let bad: usize = 64;
    let parts = std::ptr::without_provenance::<libc::iovec>(bad);
    let header = std::ptr::without_provenance_mut::<libc::msghdr>(bad);
    let entries = std::ptr::without_provenance_mut::<libc::pollfd>(bad);
    let set = std::ptr::without_provenance_mut::<libc::fd_set>(bad);
    let time = std::ptr::without_provenance::<libc::timespec>(bad);
    let no_set = std::ptr::null_mut();
    // SAFETY: S7: all zeros is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (parts.cast_mut(), 3);
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    called! {
        "readv of a socket": libc::readv(fd, parts, 2),
        "readv of a pipe": libc::readv(reader, parts, 2),
        "writev to a socket": libc::writev(fd, parts, 2),
        "writev to a pipe": libc::writev(writer, parts, 2),
        "recvmsg": libc::recvmsg(fd, header, 0),
        "sendmsg": libc::sendmsg(fd, header, 0),
        "recvmsg's parts": libc::recvmsg(fd, &mut message, 0),
        "sendmsg's parts": libc::sendmsg(fd, &message, 0),
        "poll": libc::poll(entries, 1, 10),
        "poll of many": libc::poll(entries, 20, 10),
        "select": libc::select(5, set, no_set, no_set, std::ptr::null_mut()),
        "nanosleep": libc::nanosleep(time, std::ptr::null_mut()),
        "a good nanosleep": libc::nanosleep(&at_once, std::ptr::null_mut()),
    }
    .to_vec()
}

#[test]
fn bad_addresses_are_refused_as_on_a_thread() {
    let on_a_thread = refused();
    assert_eq!(
        on_a_thread.iter().filter(|(_, errno)| *errno == libc::EFAULT).count(),
        on_a_thread.len() - 1
    );
    for workers in [1, 2] {
        assert_eq!(run(workers, refused), on_a_thread);
    }
}

/// Accepts where nobody listens, or with flags that there are not.
fn accepts() -> Vec<i32> {
    let (near, _far) = UnixStream::pair().unwrap();
    let (tcp, _other) = tcp_pair();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    [
        (near.as_raw_fd(), 0),
        (tcp.as_raw_fd(), 0),
        (udp.as_raw_fd(), 0),
        (reader.as_raw_fd(), 0),
        (-1, 0),
    ]
    .into_iter()
    .chain([(listener.as_raw_fd(), 1 << 20)])
    .map(|(fd, flags)| {
        // SAFETY: S7: no address is asked for.
        let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        assert_eq!(accepted, -1);
        errno()
    })
    .collect()
}

#[test]
fn an_accept_that_nobody_can_answer_is_refused_at_once() {
    let on_a_thread = accepts();
    assert_eq!(
        on_a_thread,
        [
            libc::EINVAL,
            libc::EINVAL,
            libc::EOPNOTSUPP,
            libc::ENOTSOCK,
            libc::EBADF,
            libc::EINVAL
        ]
    );
    assert_eq!(run(1, accepts), on_a_thread);
}

/// Forgets what is in memory of a file whose bytes are on the disk, where the file system can.
fn forget(file: &File) {
    // SAFETY: S7: it takes numbers.
    let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(refused, 0);
}

fn preadv2(file: &File, buffer: &mut [u8], offset: i64, flags: i32) -> Result<usize, i32> {
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: S5: one part, which is the buffer.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset, flags) };
    usize::try_from(count).map_err(|_| errno())
}

/// Whether others run on the caller's worker while it reads the file from this offset on.
fn others_run_meanwhile(file: &File, content: &[u8], offset: usize) -> bool {
    let turns = AtomicUsize::new(0);
    let ends = AtomicBool::new(false);
    silken::scope(|s| {
        s.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                silken::yield_now();
            }
        });
        silken::yield_now();
        let mut read = vec![0; content.len()];
        let before = turns.load(Ordering::Relaxed);
        let count = preadv2(file, &mut read, offset as i64, 0);
        let after = turns.load(Ordering::Relaxed);
        ends.store(true, Ordering::Relaxed);
        assert_eq!(count, Ok(content.len() - offset));
        assert!(read[..content.len() - offset] == content[offset..]);
        after > before
    })
}

/// While a `preadv2` at an offset waits for the disk, the worker runs others.
#[test]
fn a_preadv2_at_an_offset_parks() {
    let content: Vec<u8> = (0..1 << 20).map(|at: usize| (at / 5) as u8).collect();
    let path = std::env::temp_dir().join(format!("silken-cold-reads-{}", std::process::id()));
    std::fs::write(&path, &content).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.sync_all().unwrap();
    let runtime = silken::Runtime::builder().workers(1).hand_off(None).preempt(None);
    let has_parked = runtime.build().unwrap().run(|| {
        // A disk may be so fast that a read need not wait: it is ahead of the tries. The plain call never parks.
        (0..30).any(|_| {
            forget(&file);
            // It is in memory all the same (tmpfs), or the kernel does not tell.
            let cannot_tell = preadv2(&file, &mut [0], 4096, libc::RWF_NOWAIT) != Err(libc::EAGAIN);
            forget(&file);
            cannot_tell || others_run_meanwhile(&file, &content, 4096)
        })
    });
    assert!(has_parked.unwrap(), "the reads have kept their worker");
}
