//! Which symbols move data through descriptors? `io` says how they wait.

use super::call::hooks;
use crate::io::{self, messages};
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use std::ptr;

hooks! {
    /// `read(2)`.
    fn read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t { io::read(fd, buffer, bytes) }
    /// `write(2)`.
    fn write(fd: c_int, buffer: *const c_void, bytes: size_t) -> ssize_t { io::write(fd, buffer, bytes) }
    /// `readv(2)`.
    fn readv(fd: c_int, parts: *const iovec, part_count: c_int) -> ssize_t { io::read_parts(fd, parts, part_count) }
    /// `writev(2)`.
    fn writev(fd: c_int, parts: *const iovec, part_count: c_int) -> ssize_t { io::write_parts(fd, parts, part_count) }
    /// `recv(2)`.
    fn recv(fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int) -> ssize_t {
        io::receive(fd, buffer, bytes, flags, ptr::null_mut(), ptr::null_mut())
    }
    /// `send(2)`.
    fn send(fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int) -> ssize_t {
        io::transmit(fd, buffer, bytes, flags, ptr::null(), 0)
    }
    /// `recvfrom(2)`.
    fn recvfrom(
        fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int, address: *mut sockaddr, address_bytes: *mut socklen_t
    ) -> ssize_t {
        io::receive(fd, buffer, bytes, flags, address, address_bytes)
    }
    /// `sendto(2)`.
    fn sendto(
        fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int, address: *const sockaddr, address_bytes: socklen_t
    ) -> ssize_t {
        io::transmit(fd, buffer, bytes, flags, address, address_bytes)
    }
    /// `recvmsg(2)`.
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        messages::receive_message(fd, message, flags)
    }
    /// `sendmsg(2)`.
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        messages::transmit_message(fd, message, flags)
    }
}
