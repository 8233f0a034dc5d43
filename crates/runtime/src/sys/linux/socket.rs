//! How the runtime makes socket calls in raw form, and what the hook layer asks about a descriptor before it decides to
//! park.
//!
//! As in `file`: foreign pointers pass through, nothing is retried, results are values. `MSG_DONTWAIT` in `flags` makes
//! one call non-blocking without touching the descriptor's mode. `accept4` and `connect` have no such flag, so the
//! hooks ask [`poll_now`] or [`fcntl_getfl`] first.

use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void, msghdr, pollfd, sockaddr, socklen_t, timeval};

use super::address::KernelAddress;
use super::clock;
use super::raw::{self, Errno};

/// `recvfrom(2)`.
///
/// # Safety
/// S5: `buffer` may be written for `length_bytes`; `address` and `address_bytes` are both null, or the second says how
/// much of the first may be written.
pub(crate) unsafe fn recvfrom(
    fd: RawFd,
    buffer: *mut c_void,
    length_bytes: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends all three.
    unsafe {
        raw::syscall6(
            libc::SYS_recvfrom,
            fd as usize,
            buffer as usize,
            length_bytes,
            flags as usize,
            address as usize,
            address_bytes as usize,
        )
    }
}

/// `sendto(2)`.
///
/// # Safety
/// S5: `buffer` may be read for `length_bytes`; `address` is null or may be read for `address_bytes`.
pub(crate) unsafe fn sendto(
    fd: RawFd,
    buffer: *const c_void,
    length_bytes: usize,
    flags: c_int,
    address: *const sockaddr,
    address_bytes: socklen_t,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends both.
    unsafe {
        raw::syscall6(
            libc::SYS_sendto,
            fd as usize,
            buffer as usize,
            length_bytes,
            flags as usize,
            address as usize,
            address_bytes as usize,
        )
    }
}

/// `recvmsg(2)`.
///
/// # Safety
/// S5: `message`, and all that it names, may be written until the call returns.
pub(crate) unsafe fn recvmsg(fd: RawFd, message: *mut msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    unsafe { raw::syscall3(libc::SYS_recvmsg, fd as usize, message as usize, flags as usize) }
}

/// `sendmsg(2)`.
///
/// # Safety
/// S5: `message`, and all that it names, may be read until the call returns.
pub(crate) unsafe fn sendmsg(fd: RawFd, message: *const msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the message.
    unsafe { raw::syscall3(libc::SYS_sendmsg, fd as usize, message as usize, flags as usize) }
}

/// `accept4(2)`; the result is the new descriptor.
///
/// # Safety
/// S5: `address` and `address_bytes` are both null, or the second says how much of the first may be written.
pub(crate) unsafe fn accept4(
    fd: RawFd,
    address: *mut sockaddr,
    address_bytes: *mut socklen_t,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends both.
    unsafe {
        raw::syscall4(
            libc::SYS_accept4,
            fd as usize,
            address as usize,
            address_bytes as usize,
            flags as usize,
        )
    }
}

/// `connect(2)`.
///
/// # Safety
/// S5: `address` may be read for `address_bytes`.
pub(crate) unsafe fn connect(fd: RawFd, address: *const sockaddr, address_bytes: socklen_t) -> Result<usize, Errno> {
    // SAFETY: S5: the caller lends the address.
    unsafe { raw::syscall3(libc::SYS_connect, fd as usize, address as usize, address_bytes as usize) }
}

/// `socket(2)`, of the default protocol.
pub(crate) fn socket(domain: c_int, kind: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: S5: names no memory.
    let fd = unsafe { raw::syscall3(libc::SYS_socket, domain as usize, kind as usize, 0) }?;
    // SAFETY: S5: the kernel has just made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `bind(2)`.
pub(crate) fn bind(fd: RawFd, address: &KernelAddress) -> Result<(), Errno> {
    let (place, bytes) = (address.as_ptr() as usize, address.bytes() as usize);
    // SAFETY: S5: a live address.
    unsafe { raw::syscall3(libc::SYS_bind, fd as usize, place, bytes) }.map(drop)
}

/// `listen(2)`.
pub(crate) fn listen(fd: RawFd, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: S5: names no memory.
    unsafe { raw::syscall2(libc::SYS_listen, fd as usize, backlog as usize) }.map(drop)
}

/// `setsockopt(2)` with an int.
pub(crate) fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    // SAFETY: S5: a live local of the length that is said.
    unsafe {
        raw::syscall5(
            libc::SYS_setsockopt,
            fd as usize,
            level as usize,
            name as usize,
            (&raw const value) as usize,
            size_of::<c_int>(),
        )
    }
    .map(drop)
}

/// Ends an attempt to connect, or a connection: `connect(2)` to no address.
pub(crate) fn disconnect(fd: RawFd) {
    // SAFETY: S5: all zeros is an address of no family.
    let nowhere: sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: S5: a live local. An error leaves the socket as it is.
    let _ = unsafe { connect(fd, &nowhere, size_of::<sockaddr>() as socklen_t) };
}

/// The socket's type: `SOCK_STREAM`, `SOCK_DGRAM`, …; ENOTSOCK if `fd` is no socket.
pub(crate) fn so_type(fd: RawFd) -> Result<c_int, Errno> {
    option_int(fd, libc::SO_TYPE)
}

/// Whether the socket may have connections to accept. Some families have a state of their own for that; for them the
/// answer is yes.
pub(crate) fn listens(fd: RawFd) -> bool {
    match option_int(fd, libc::SO_ACCEPTCONN) {
        Ok(0) => !so_domain(fd).is_ok_and(|domain| matches!(domain, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX)),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// The socket's domain: `AF_INET`, `AF_UNIX`, …
pub(crate) fn so_domain(fd: RawFd) -> Result<c_int, Errno> {
    option_int(fd, libc::SO_DOMAIN)
}

/// The socket's protocol: `IPPROTO_TCP`, `IPPROTO_UDP`, …
pub(crate) fn so_protocol(fd: RawFd) -> Result<c_int, Errno> {
    option_int(fd, libc::SO_PROTOCOL)
}

/// The pending error, which this call clears: the result of a `connect` that was waited for. 0 is success.
pub(crate) fn so_error(fd: RawFd) -> Result<c_int, Errno> {
    option_int(fd, libc::SO_ERROR)
}

/// `getsockname(2)`: the address that the socket is bound to.
pub(crate) fn name(fd: RawFd) -> Result<KernelAddress, Errno> {
    let mut address = KernelAddress::room();
    let (place, bytes) = address.places();
    // SAFETY: S5: both are live locals.
    unsafe { raw::syscall3(libc::SYS_getsockname, fd as usize, place as usize, bytes as usize) }?;
    Ok(address)
}

/// Whether a Unix socket is bound to nothing.
pub(crate) fn is_unnamed(fd: RawFd) -> bool {
    name(fd).is_ok_and(|name| name.bytes() as usize <= size_of::<libc::sa_family_t>())
}

/// Whether the socket listens.
pub(crate) fn so_accept(fd: RawFd) -> Result<bool, Errno> {
    option_int(fd, libc::SO_ACCEPTCONN).map(|listens| listens != 0)
}

/// How many bytes a blocking receive waits for, if it wants so many.
pub(crate) fn so_rcvlowat(fd: RawFd) -> Result<usize, Errno> {
    option_int(fd, libc::SO_RCVLOWAT).map(|mark| usize::try_from(mark).unwrap_or(1))
}

/// How many bytes a blocking send takes without a wait: an estimate from below, 0 if nothing can be said. Once there
/// are enough bytes, each costs the buffer less than two, including its share of network descriptors; the rest is for
/// the first few bytes.
pub(crate) fn room_to_send(fd: RawFd) -> usize {
    /// asm-generic/socket.h.
    const SO_MEMINFO: c_int = 55;
    const FIRST_FEW: usize = 16 * 1024;
    // linux/sock_diag.h: SK_MEMINFO_SNDBUF, SK_MEMINFO_WMEM_QUEUED (what TCP counts), SK_MEMINFO_WMEM_ALLOC (what
    // others count).
    const SIZE: usize = 3;
    const QUEUED: usize = 5;
    const ALLOCATED: usize = 2;
    let mut info = [0_u32; 9];
    // SAFETY: S5: any bytes are such an array.
    if unsafe { option(fd, SO_MEMINFO, &mut info) }.is_err() {
        return 0;
    }
    let used = info[QUEUED].max(info[ALLOCATED]);
    (info[SIZE].saturating_sub(used) as usize / 2).saturating_sub(FIRST_FEW)
}

/// Whether the socket reports the sender's credentials (SO_PASSCRED).
pub(crate) fn wants_credentials(fd: RawFd) -> bool {
    option_int(fd, libc::SO_PASSCRED).is_ok_and(|wants| wants != 0)
}

/// Whether the socket's close waits until pending data is sent.
pub(crate) fn lingers(fd: RawFd) -> bool {
    let mut value = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    // SAFETY: S5: any bytes are a linger.
    let asked = unsafe { option(fd, libc::SO_LINGER, &mut value) };
    asked.is_ok() && value.l_onoff != 0 && value.l_linger > 0
}

/// How long a receive may block, in ns. `None`: for ever, or `fd` is no socket.
pub(crate) fn so_rcvtimeo(fd: RawFd) -> Option<u64> {
    option_timeout(fd, libc::SO_RCVTIMEO)
}

/// How long a send or a connect may block, in ns. `None`: for ever, or `fd` is no socket.
pub(crate) fn so_sndtimeo(fd: RawFd) -> Option<u64> {
    option_timeout(fd, libc::SO_SNDTIMEO)
}

fn option_int(fd: RawFd, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    // SAFETY: S5: any bytes are an int.
    unsafe { option(fd, name, &mut value) }?;
    Ok(value)
}

fn option_timeout(fd: RawFd, name: c_int) -> Option<u64> {
    let mut value = timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: S5: any bytes are a timeval.
    unsafe { option(fd, name, &mut value) }.ok()?;
    timeval_to_timeout_ns(&value)
}

/// Converts a timeout to ns; for the kernel zero means no timeout.
fn timeval_to_timeout_ns(time: &timeval) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let microseconds = u64::try_from(time.tv_usec).ok()?;
    let timeout_ns = seconds
        .saturating_mul(clock::NS_PER_SECOND)
        .saturating_add(microseconds.saturating_mul(1_000));
    (timeout_ns != 0).then_some(timeout_ns)
}

/// `getsockopt(2)` at level `SOL_SOCKET`.
///
/// # Safety
/// S5: every bit pattern is a `T`, since the kernel writes it.
unsafe fn option<T>(fd: RawFd, name: c_int, value: &mut T) -> Result<(), Errno> {
    let mut value_bytes = mem::size_of::<T>() as socklen_t;
    // SAFETY: S5: `value` and its length outlive the call; the kernel writes no more than the length says.
    unsafe {
        raw::syscall5(
            libc::SYS_getsockopt,
            fd as usize,
            libc::SOL_SOCKET as usize,
            name as usize,
            ptr::from_mut(value) as usize,
            ptr::from_mut(&mut value_bytes) as usize,
        )
    }
    .map(drop)
}

/// `poll(2)` for the thread, with a timeout in ns: 0 only looks, `None` blocks. Returns the number of entries with
/// events.
pub(crate) fn poll_now(entries: &mut [pollfd], timeout_ns: Option<u64>) -> Result<usize, Errno> {
    loop {
        match poll_once(entries, timeout_ns) {
            // A signal was pending, which says nothing about the entries.
            Err(Errno::INTR) if timeout_ns == Some(0) => {}
            result => return result,
        }
    }
}

/// Which of the events are there now. If that cannot be asked, the answer is POLLERR, and the call that follows reports
/// why.
pub(crate) fn events_now(fd: RawFd, events: i16) -> i16 {
    let mut entries = [pollfd { fd, events, revents: 0 }];
    match poll_now(&mut entries, Some(0)) {
        Ok(_) => entries[0].revents,
        Err(_) => libc::POLLERR,
    }
}

fn poll_once(entries: &mut [pollfd], timeout_ns: Option<u64>) -> Result<usize, Errno> {
    // The kernel writes the remaining time into it.
    let mut timeout = timeout_ns.map(clock::ns_to_timespec);
    let timeout: *mut libc::timespec = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: S5: entries and timeout outlive the call; no signal mask is given.
    unsafe {
        raw::syscall5(
            libc::SYS_ppoll,
            entries.as_mut_ptr() as usize,
            entries.len(),
            timeout as usize,
            0,
            0,
        )
    }
}

/// The descriptor's status flags (`O_NONBLOCK`, …).
pub(crate) fn fcntl_getfl(fd: RawFd) -> Result<c_int, Errno> {
    // SAFETY: S5: F_GETFL names no memory.
    unsafe { raw::syscall3(libc::SYS_fcntl, fd as usize, libc::F_GETFL as usize, 0) }.map(|flags| flags as c_int)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::time::Duration;

    #[test]
    fn options_tell_sockets_apart() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (unix, _peer) = UnixStream::pair().unwrap();
        assert_eq!(so_type(tcp.as_raw_fd()), Ok(libc::SOCK_STREAM));
        assert_eq!(so_type(udp.as_raw_fd()), Ok(libc::SOCK_DGRAM));
        assert_eq!(so_domain(tcp.as_raw_fd()), Ok(libc::AF_INET));
        assert_eq!(so_domain(unix.as_raw_fd()), Ok(libc::AF_UNIX));
        assert_eq!(so_accept(tcp.as_raw_fd()), Ok(true));
        assert_eq!(so_accept(unix.as_raw_fd()), Ok(false));
        assert_eq!(so_error(unix.as_raw_fd()), Ok(0));
        let (pipe, _writer) = std::io::pipe().unwrap();
        assert_eq!(so_type(pipe.as_raw_fd()), Err(Errno::NOTSOCK));
    }

    #[test]
    fn timeouts_read_back() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert_eq!(so_rcvtimeo(socket.as_raw_fd()), None);
        socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
        assert_eq!(so_rcvtimeo(socket.as_raw_fd()), Some(1_500_000_000));
        assert_eq!(so_sndtimeo(socket.as_raw_fd()), Some(3_000_000_000));
        assert_eq!(so_sndtimeo(-1), None);
    }

    #[test]
    fn datagrams_carry_addresses() {
        let (a, b) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let to = inet(b.local_addr().unwrap().port());
        let to_bytes = size_of_val(&to) as socklen_t;
        let mut buffer = [0u8; 16];
        // SAFETY: S5: live locals, and no address asked for.
        let nothing = unsafe {
            recvfrom(
                b.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                16,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        assert_eq!(nothing, Err(Errno::AGAIN));
        // SAFETY: S5: live locals.
        let sent = unsafe {
            sendto(
                a.as_raw_fd(),
                b"hello".as_ptr().cast(),
                5,
                0,
                ptr::from_ref(&to).cast(),
                to_bytes,
            )
        };
        assert_eq!(sent, Ok(5));
        let (mut from, mut from_bytes) = (inet(0), to_bytes);
        // SAFETY: S5: live locals.
        let received = unsafe {
            recvfrom(
                b.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                16,
                0,
                ptr::from_mut(&mut from).cast(),
                &mut from_bytes,
            )
        };
        assert_eq!(received, Ok(5));
        assert_eq!(u16::from_be(from.sin_port), a.local_addr().unwrap().port());
    }

    fn inet(port: u16) -> libc::sockaddr_in {
        libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_be_bytes([127, 0, 0, 1]).to_be(),
            },
            sin_zero: [0; 8],
        }
    }

    #[test]
    fn messages_scatter_and_gather() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let mut parts = [b"ab".as_slice(), b"cde"].map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        // SAFETY: S5: all zeros is an empty message.
        let mut message: msghdr = unsafe { mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = 2;
        // SAFETY: S5: the message names live locals and static buffers.
        assert_eq!(unsafe { sendmsg(a.as_raw_fd(), &message, 0) }, Ok(5));
        let mut buffer = [0u8; 8];
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: 8,
        };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        // SAFETY: S5: the message names live locals.
        assert_eq!(unsafe { recvmsg(b.as_raw_fd(), &mut message, 0) }, Ok(5));
        assert_eq!(&buffer[..5], b"abcde");
        // SAFETY: S5: the message names live locals.
        let nothing = unsafe { recvmsg(b.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
        assert_eq!(nothing, Err(Errno::AGAIN));
    }

    #[test]
    fn a_nonblocking_connect_is_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        // SAFETY: S5: no address asked for.
        let nobody = unsafe { accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), 0) };
        assert_eq!(nobody, Err(Errno::AGAIN));
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: S5: names no memory.
        let client = unsafe { raw::syscall3(libc::SYS_socket, libc::AF_INET as usize, kind as usize, 0) };
        let client = crate::sys::file::Descriptor::new(client.unwrap() as RawFd);
        let to = inet(listener.local_addr().unwrap().port());
        // SAFETY: S5: a live local.
        let started = unsafe { connect(client.fd(), ptr::from_ref(&to).cast(), size_of_val(&to) as socklen_t) };
        assert!(matches!(started, Ok(0) | Err(Errno::INPROGRESS)));
        let mut writable = [pollfd {
            fd: client.fd(),
            events: libc::POLLOUT,
            revents: 0,
        }];
        assert_eq!(poll_now(&mut writable, None), Ok(1));
        assert_eq!(so_error(client.fd()), Ok(0));
        // SAFETY: S5: no address asked for.
        let peer = unsafe {
            accept4(
                listener.as_raw_fd(),
                ptr::null_mut(),
                ptr::null_mut(),
                libc::SOCK_NONBLOCK,
            )
        };
        let peer = crate::sys::file::Descriptor::new(peer.unwrap() as RawFd);
        assert_ne!(fcntl_getfl(peer.fd()).unwrap() & libc::O_NONBLOCK, 0);
        let refused = TcpStream::connect(("127.0.0.1", 1));
        assert!(refused.is_err());
    }

    #[test]
    fn poll_looks_waits_and_reports() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut entries = [pollfd {
            fd: b.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        assert_eq!(poll_now(&mut entries, Some(0)), Ok(0));
        let start = clock::now_ns();
        assert_eq!(poll_now(&mut entries, Some(2_500_000)), Ok(0));
        assert!(clock::now_ns() - start >= 2_500_000);
        std::io::Write::write_all(&mut &a, b"x").unwrap();
        assert_eq!(poll_now(&mut entries, None), Ok(1));
        assert_eq!(entries[0].revents, libc::POLLIN);
        assert_eq!(fcntl_getfl(b.as_raw_fd()).unwrap() & libc::O_NONBLOCK, 0);
    }
}
