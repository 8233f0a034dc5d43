//! Sockets as a C program uses them: shutdown, options, addresses, control data, several messages in one call.

use super::{check, check_int, message, owned, timespec};
use libc::c_int;
use std::io::{self, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// socket(2), closed on exec.
pub fn socket(domain: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, 0) }).map(owned)
}

/// socketpair(2) of Unix sockets, closed on exec.
pub fn socketpair(kind: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    // SAFETY: S7: a place for two numbers.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr()) })?;
    Ok((owned(pair[0] as usize), owned(pair[1] as usize)))
}

/// listen(2) on a socket that listens: changes how many connections may wait.
pub fn listen_again(fd: RawFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// shutdown(2)
pub fn shutdown(fd: RawFd, how: c_int) -> io::Result<()> {
    // SAFETY: S7: integer arguments.
    check_int(unsafe { libc::shutdown(fd, how) }).map(drop)
}

/// setsockopt(2) of an integer of SOL_SOCKET.
pub fn set_option(fd: RawFd, option: c_int, value: c_int) -> io::Result<()> {
    let bytes = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: S5: the value lives for the call, with its own size.
    check_int(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, ptr::from_ref(&value).cast(), bytes) }).map(drop)
}

/// Sets SO_LINGER to so many seconds.
pub fn set_linger(fd: RawFd, seconds: c_int) -> io::Result<()> {
    let value = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    let bytes = size_of_val(&value) as libc::socklen_t;
    // SAFETY: S5: the value lives for the call, with its own size.
    check_int(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            ptr::from_ref(&value).cast(),
            bytes,
        )
    })
    .map(drop)
}

/// getsockopt(2) of SO_ERROR, which takes the error away.
pub fn take_error(fd: RawFd) -> io::Result<c_int> {
    let mut value = 0;
    let mut bytes = size_of::<c_int>() as libc::socklen_t;
    let place = ptr::from_mut(&mut value).cast();
    // SAFETY: S5: places for the value and its size, which live for the call.
    check_int(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &mut bytes) })?;
    Ok(value)
}

/// accept(2) without a place for the peer's address.
pub fn accept(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: S7: null places are allowed.
    check_int(unsafe { libc::accept(fd, ptr::null_mut(), ptr::null_mut()) }).map(owned)
}

/// accept4(2) without a place for the peer's address.
pub fn accept4(fd: RawFd, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: S7: null places are allowed.
    check_int(unsafe { libc::accept4(fd, ptr::null_mut(), ptr::null_mut(), flags) }).map(owned)
}

fn ipv4_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

/// bind(2) to an address of IPv4.
pub fn bind(fd: RawFd, address: SocketAddrV4) -> io::Result<()> {
    let address = ipv4_address(address);
    let bytes = size_of_val(&address) as libc::socklen_t;
    // SAFETY: S5: the address is read during the call.
    check_int(unsafe { libc::bind(fd, ptr::from_ref(&address).cast(), bytes) }).map(drop)
}

/// connect(2) to an address of IPv4.
pub fn connect(fd: RawFd, address: SocketAddrV4) -> io::Result<()> {
    let address = ipv4_address(address);
    let bytes = size_of_val(&address) as libc::socklen_t;
    // SAFETY: S5: the address is read during the call.
    check_int(unsafe { libc::connect(fd, ptr::from_ref(&address).cast(), bytes) }).map(drop)
}

/// The address of an abstract Unix name, and its length.
fn abstract_address(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    for (place, byte) in address.sun_path[1..].iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    let bytes = size_of::<libc::sa_family_t>() + 1 + name.len();
    (address, bytes as libc::socklen_t)
}

/// connect(2) to an abstract Unix name.
pub fn connect_abstract(fd: RawFd, name: &[u8]) -> io::Result<()> {
    let (address, bytes) = abstract_address(name);
    // SAFETY: S5: the address is read during the call.
    check_int(unsafe { libc::connect(fd, ptr::from_ref(&address).cast(), bytes) }).map(drop)
}

/// bind(2) to an abstract Unix name.
pub fn bind_abstract(fd: RawFd, name: &[u8]) -> io::Result<()> {
    let (address, bytes) = abstract_address(name);
    // SAFETY: S5: the address is read during the call.
    check_int(unsafe { libc::bind(fd, ptr::from_ref(&address).cast(), bytes) }).map(drop)
}

/// recvfrom(2) without a place for the sender's address.
pub fn recvfrom(fd: RawFd, bytes: &mut [u8], flags: c_int) -> io::Result<usize> {
    let (place, length) = (bytes.as_mut_ptr().cast(), bytes.len());
    // SAFETY: S5: the slice is lent for the call; null places for the address are allowed.
    check(unsafe { libc::recvfrom(fd, place, length, flags, ptr::null_mut(), ptr::null_mut()) })
}

/// sendmsg(2) to an abstract Unix name.
pub fn sendmsg_to(fd: RawFd, name: &[u8], bytes: &[u8]) -> io::Result<usize> {
    let (mut address, length) = abstract_address(name);
    let mut slice = io::IoSlice::new(bytes);
    let mut message = message(ptr::from_mut(&mut slice).cast(), 1);
    message.msg_name = ptr::from_mut(&mut address).cast();
    message.msg_namelen = length;
    // SAFETY: S5: message, address and slice are lent for the call, which only reads them.
    check(unsafe { libc::sendmsg(fd, &message, 0) })
}

/// What recvmsg(2) with room for control data brought.
#[derive(Debug)]
pub struct Received {
    /// How many bytes.
    pub length: usize,
    /// Level and type of each control message.
    pub control: Vec<(c_int, c_int)>,
    /// The descriptors that came along.
    pub rights: Vec<OwnedFd>,
}

const CONTROL_WORDS: usize = 32;

/// recvmsg(2) with room for control data.
pub fn recvmsg_with_control(fd: RawFd, bytes: &mut [u8], flags: c_int) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut slice = IoSliceMut::new(bytes);
    let mut message = message(ptr::from_mut(&mut slice).cast(), 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: S5: message, slice and room are lent for the call.
    let length = check(unsafe { libc::recvmsg(fd, &mut message, flags) })?;
    let used = (message.msg_controllen as usize).div_ceil(8);
    let (mut kinds, mut rights) = (Vec::new(), Vec::new());
    let mut rest = &control[..used];
    // A header is a word with the length of header and data, then level and type in one word; data follow.
    while let [bytes, kind, data @ ..] = rest {
        let words = (*bytes as usize).div_ceil(8);
        let kind = ((*kind & 0xffff_ffff) as c_int, (*kind >> 32) as c_int);
        if kind == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let count = (*bytes as usize - 16) / 4;
            let numbers = data.iter().flat_map(|word| [*word & 0xffff_ffff, *word >> 32]);
            rights.extend(numbers.take(count).map(|number| owned(number as usize)));
        }
        kinds.push(kind);
        rest = &rest[words..];
    }
    Ok(Received {
        length,
        control: kinds,
        rights,
    })
}

/// sendmsg(2) that gives a descriptor along with the bytes.
pub fn send_with_right(fd: RawFd, bytes: &[u8], right: RawFd) -> io::Result<usize> {
    let kind = libc::SOL_SOCKET as u64 | (libc::SCM_RIGHTS as u64) << 32;
    let mut control = [16 + 4, kind, right as u64];
    let mut slice = io::IoSlice::new(bytes);
    let mut message = message(ptr::from_mut(&mut slice).cast(), 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: S5: message, slice and control data are lent for the call, which only reads them.
    check(unsafe { libc::sendmsg(fd, &message, 0) })
}

/// recvmmsg(2) of up to `count` messages of up to 64 bytes; `timeout` is the call's own.
pub fn recvmmsg(fd: RawFd, count: usize, flags: c_int, timeout: Option<Duration>) -> io::Result<Vec<Vec<u8>>> {
    let mut rooms = vec![[0_u8; 64]; count];
    let mut slices: Vec<_> = rooms.iter_mut().map(|room| IoSliceMut::new(room)).collect();
    let header = |slice: &mut IoSliceMut<'_>| libc::mmsghdr {
        msg_hdr: message(ptr::from_mut(slice).cast(), 1),
        msg_len: 0,
    };
    let mut headers: Vec<_> = slices.iter_mut().map(header).collect();
    let mut timeout = timeout.map(timespec);
    let timeout = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let vector = headers.as_mut_ptr();
    // SAFETY: S5: headers, slices, rooms and timeout are lent for the call.
    let received = check_int(unsafe { libc::recvmmsg(fd, vector, count as u32, flags, timeout) })?;
    let lengths: Vec<_> = headers[..received]
        .iter()
        .map(|header| header.msg_len as usize)
        .collect();
    let messages = rooms.iter().zip(lengths);
    Ok(messages.map(|(room, length)| room[..length].to_vec()).collect())
}

/// sendmmsg(2) without addresses; returns how many messages were sent.
pub fn sendmmsg(fd: RawFd, messages: &[&[u8]], flags: c_int) -> io::Result<usize> {
    let mut slices: Vec<_> = messages.iter().map(|bytes| io::IoSlice::new(bytes)).collect();
    let header = |slice: &mut io::IoSlice<'_>| libc::mmsghdr {
        msg_hdr: message(ptr::from_mut(slice).cast(), 1),
        msg_len: 0,
    };
    let mut headers: Vec<_> = slices.iter_mut().map(header).collect();
    let (vector, count) = (headers.as_mut_ptr(), headers.len() as u32);
    // SAFETY: S5: headers and slices are lent for the call, which changes only the lengths in the headers.
    check_int(unsafe { libc::sendmmsg(fd, vector, count, flags) })
}
