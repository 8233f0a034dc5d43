//! Tests of what the table learns, keeps and forgets.

use super::*;
use crate::sys::raw;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

/// Changes the mode behind the hooks, which another test of this process may have installed.
fn set_nonblocking_unseen(fd: RawFd, nonblocking: bool) {
    let value = i32::from(nonblocking);
    // SAFETY: S5: `value` is a live local, which the kernel reads.
    let set = unsafe {
        raw::syscall3(
            libc::SYS_ioctl,
            fd as usize,
            libc::FIONBIO as usize,
            (&raw const value) as usize,
        )
    };
    set.unwrap();
}

/// Sets SO_SNDTIMEO behind the hooks.
fn set_write_timeout_unseen(fd: RawFd, timeout: Duration) {
    let value = libc::timeval {
        tv_sec: timeout.as_secs() as _,
        tv_usec: timeout.subsec_micros().into(),
    };
    let (level, name) = (libc::SOL_SOCKET as usize, libc::SO_SNDTIMEO as usize);
    // SAFETY: S5: `value` is a live local of the length that is told.
    let set = unsafe {
        raw::syscall5(
            libc::SYS_setsockopt,
            fd as usize,
            level,
            name,
            (&raw const value) as usize,
            size_of_val(&value),
        )
    };
    set.unwrap();
}

fn fresh(fd: RawFd) -> &'static FdEntry {
    reset(fd);
    entry(fd).unwrap()
}

#[test]
fn numbers_beyond_the_table_have_no_entry() {
    assert!(entry(-1).is_none());
    assert!(existing(RawFd::MIN).is_none());
    assert!(entry((CHUNKS * CHUNK_ENTRIES) as RawFd).is_none());
    let last = (CHUNKS * CHUNK_ENTRIES - 1) as RawFd;
    assert!(existing(last).is_none());
    assert!(ptr::eq(entry(last).unwrap(), existing(last).unwrap()));
    assert!(existing(last - CHUNK_ENTRIES as RawFd).is_none());
}

#[test]
fn a_chunk_is_made_once() {
    let fd = (7 * CHUNK_ENTRIES + 3) as RawFd;
    let addresses: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| ptr::from_ref(entry(fd).unwrap()).addr()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(addresses.iter().all(|address| *address == addresses[0]));
}

#[test]
fn kinds_are_asked_once() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (stream, _peer) = UnixStream::pair().unwrap();
    let (datagram, _datagram_peer) = UnixDatagram::pair().unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let directory = std::fs::File::open("/").unwrap();
    for (fd, kind) in [
        (tcp.as_raw_fd(), FdKind::InetStream),
        (udp.as_raw_fd(), FdKind::Message),
        (stream.as_raw_fd(), FdKind::Stream),
        (datagram.as_raw_fd(), FdKind::Message),
        (pipe.as_raw_fd(), FdKind::Pollable),
        (directory.as_raw_fd(), FdKind::Plain),
    ] {
        let entry = fresh(fd);
        assert_eq!(entry.known_kind(), FdKind::Unknown);
        assert_eq!(entry.kind(fd), kind);
        assert_eq!(entry.known_kind(), kind);
        reset(fd);
        assert!(entry.is_virgin());
    }
    let nothing = 7 * CHUNK_ENTRIES as RawFd + 5;
    assert_eq!(fresh(nothing).kind(nothing), FdKind::Unknown);
    assert!(fresh(nothing).is_virgin());
}

#[test]
fn the_mode_is_asked_once_and_follows_the_hooks() {
    let (near, _far) = UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    near.set_nonblocking(true).unwrap();
    let entry = fresh(fd);
    assert!(!entry.blocks(fd));
    // No hook saw the change: the known facts are kept.
    set_nonblocking_unseen(fd, false);
    assert!(!entry.blocks(fd));
    entry.set_nonblocking(false);
    assert!(entry.blocks(fd));
    entry.begin(fd, FdKind::Stream, true);
    assert!(!entry.blocks(fd));
    assert_eq!(entry.known_kind(), FdKind::Stream);
    reset(fd);
}

#[test]
fn sharers_of_a_description_hear_of_changes() {
    let (near, _far) = UnixStream::pair().unwrap();
    let copy = near.try_clone().unwrap();
    let (fd, copy_fd) = (near.as_raw_fd(), copy.as_raw_fd());
    let (entry, copy_entry) = (fresh(fd), fresh(copy_fd));
    assert!(entry.blocks(fd));
    share(fd, copy_fd);
    assert!(entry.blocks(fd) && copy_entry.blocks(copy_fd));
    assert_eq!(entry.timeout_ns(fd, Direction::Read), None);

    copy.set_nonblocking(true).unwrap();
    copy_entry.set_nonblocking(true);
    assert!(!entry.blocks(fd), "the mode is the description's");
    copy.set_nonblocking(false).unwrap();
    copy_entry.set_nonblocking(false);
    assert!(entry.blocks(fd));

    copy.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    copy_entry.timeouts_changed();
    assert!(entry.blocks(fd));
    // The kernel rounds up to its ticks.
    assert!(
        entry
            .timeout_ns(fd, Direction::Read)
            .is_some_and(|ns| (30_000_000..50_000_000).contains(&ns))
    );
    assert_eq!(entry.timeout_ns(fd, Direction::Write), None);
    reset(fd);
    reset(copy_fd);
}

#[test]
fn timeouts_are_kept_until_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let fd = stream.as_raw_fd();
    let entry = fresh(fd);
    entry.touch();
    assert_eq!(entry.timeout_ns(fd, Direction::Write), None);
    set_write_timeout_unseen(fd, Duration::from_millis(7));
    assert_eq!(entry.timeout_ns(fd, Direction::Write), None);
    entry.timeouts_changed();
    assert!(
        entry
            .timeout_ns(fd, Direction::Write)
            .is_some_and(|ns| (7_000_000..27_000_000).contains(&ns))
    );
    reset(fd);
    assert_eq!(entry.timeouts_ns[1].load(Ordering::Relaxed), UNKNOWN_NS);
}

#[test]
fn a_range_is_forgotten_whole_and_no_more() {
    // Numbers beyond those that this process opens, across the boundary of two chunks.
    let seam = (8 * CHUNK_ENTRIES) as RawFd;
    let entries: Vec<_> = (seam - 3..seam + 3).map(|fd| entry(fd).unwrap()).collect();
    entries.iter().for_each(|entry| entry.touch());
    reset_range(seam as u32 - 2..=seam as u32 + 1, reset);
    let virgin: Vec<_> = entries.iter().map(|entry| entry.is_virgin()).collect();
    assert_eq!(virgin, [false, true, true, true, true, false]);
    reset_range(seam as u32..=u32::MAX, reset);
    assert!(entries[5].is_virgin() && !entries[0].is_virgin());
}

/// A wait that begins between the reset and the close leaves an entry that the number's next maker resets.
#[test]
fn a_look_after_a_reset_marks_the_entry() {
    let fd = (10 * CHUNK_ENTRIES) as RawFd;
    let known = entry(fd).unwrap();
    let seen = known.look(Direction::Read);
    assert!(!known.is_virgin());
    reset(fd);
    assert!(known.is_virgin());
    assert_ne!(known.readiness.look(Direction::Read), seen, "so the wait ends at once");
    // The caller looks again, and may wait now.
    let seen = known.look(Direction::Read);
    assert!(!known.is_virgin());
    known.begin(fd, FdKind::InetStream, false);
    assert_ne!(known.readiness.look(Direction::Read), seen, "the maker has reset it");
}

#[test]
fn what_is_to_be_reset_later_is_reset_by_the_next_who_asks() {
    let fd = (9 * CHUNK_ENTRIES) as RawFd;
    reset_later(fd);
    let known = entry(fd).unwrap();
    assert!(known.is_virgin(), "who knows nothing has nothing to forget");
    known.begin(fd, FdKind::InetStream, false);
    known.timeouts_ns[0].store(5, Ordering::Relaxed);
    reset_later(fd);
    reset_later(fd);
    assert_eq!(known.facts() / STALE, 2);
    assert!(ptr::eq(entry(fd).unwrap(), known));
    assert_eq!(known.facts(), OF_UNKNOWN, "it may be a copy, and nothing else is known");
    assert_eq!(known.timeouts_ns[0].load(Ordering::Relaxed), UNKNOWN_NS);
    // A copy that a signal handler made: the sharing is noted, and the number is reset later.
    known.begin(fd, FdKind::InetStream, false);
    reset_later(fd);
    share(fd - 1, fd);
    assert!(known.facts() >= STALE, "telling takes no lock");
    assert_eq!(entry(fd).unwrap().facts(), OF_UNKNOWN);
    reset(fd);
    reset(fd - 1);
}

#[test]
fn only_tcp_is_a_stream_that_a_short_read_empties() {
    let of = FdKind::of_socket;
    assert_eq!(
        of(
            libc::AF_INET6,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            libc::IPPROTO_TCP
        ),
        FdKind::InetStream
    );
    assert_eq!(of(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP), FdKind::Stream);
    assert_eq!(of(libc::AF_UNIX, libc::SOCK_STREAM, 0), FdKind::Stream);
    assert_eq!(of(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0), FdKind::Message);
    let entry = FdEntry::new();
    entry.set_kind(FdKind::InetStream);
    assert!(entry.is_inet_stream());
    entry.set_kind(FdKind::Stream);
    assert!(!entry.is_inet_stream() && !entry.is_virgin());
}
