//! The list of hooked symbols: name, C prototype, and what to do before the next definition is known.
//!
//! `for_each_symbol!(m)` hands the whole list to the macro `m`. Three files read it: `lib.rs` makes the fields of
//! [`Hooks`](crate::Hooks) from it, `next.rs` the real functions, `symbols.rs` the exported definitions. A symbol is
//! therefore one entry here and cannot have two prototypes that drift apart.
//!
//! *Fixed* symbols have the prototype of their man page. *Variadic* ones are written `(named; optional)` and are defined
//! and hooked with the optional arguments always there. On x86_64 System V that is sound. A variadic call passes integer
//! and pointer arguments exactly as a fixed call does (rdi, rsi, rdx, rcx, r8, r9, then the stack at rsp+8); it only adds
//! in `al` how many vector registers are used, and a fixed callee ignores `al`. A caller that leaves the optional
//! argument out makes us read a register that holds something unrelated, which we hand on unread, as glibc's own
//! `va_arg` does. `syscall` takes its seventh word from the stack: glibc's definition loads the same word
//! unconditionally, so whoever may call that one may call this one. An `int` argument may have rubbish in its upper half:
//! hooks must narrow before they compare.
//!
//! The block after `=>` is the *kernel* form, used only while the next definition is being looked up (see `next.rs`).
//! It must not call anything but the kernel and must keep the contract of the C function, errno included.
//!
//! Not here: what makes and deletes keys (`keys.rs` records, nothing is left to hook), `dlopen` and `dlmopen`
//! (`library.rs` tells of the load), `pthread_mutexattr_setprotocol` (refuses from the start) and the second names
//! that forward to a hook of this list: `fcntl64` and the fortified `__*_chk` (`symbols.rs`).

macro_rules! for_each_symbol {
    ($callback:ident) => {
        $callback! {
            fixed {
                /// `read(2)`.
                fn read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t
                    => { kernel!(libc::SYS_read, fd, buffer, bytes) }
                /// `write(2)`.
                fn write(fd: c_int, buffer: *const c_void, bytes: size_t) -> ssize_t
                    => { kernel!(libc::SYS_write, fd, buffer, bytes) }
                /// `readv(2)`.
                fn readv(fd: c_int, parts: *const iovec, part_count: c_int) -> ssize_t
                    => { kernel!(libc::SYS_readv, fd, parts, part_count) }
                /// `writev(2)`.
                fn writev(fd: c_int, parts: *const iovec, part_count: c_int) -> ssize_t
                    => { kernel!(libc::SYS_writev, fd, parts, part_count) }
                /// `recv(2)`.
                fn recv(fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_recvfrom, fd, buffer, bytes, flags) }
                /// `send(2)`.
                fn send(fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_sendto, fd, buffer, bytes, flags) }
                /// `recvfrom(2)`.
                fn recvfrom(
                    fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int,
                    address: *mut sockaddr, address_bytes: *mut socklen_t
                ) -> ssize_t
                    => { kernel!(libc::SYS_recvfrom, fd, buffer, bytes, flags, address, address_bytes) }
                /// `sendto(2)`.
                fn sendto(
                    fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int,
                    address: *const sockaddr, address_bytes: socklen_t
                ) -> ssize_t
                    => { kernel!(libc::SYS_sendto, fd, buffer, bytes, flags, address, address_bytes) }
                /// `recvmsg(2)`.
                fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_recvmsg, fd, message, flags) }
                /// `sendmsg(2)`.
                fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_sendmsg, fd, message, flags) }
                /// `accept(2)`.
                fn accept(fd: c_int, address: *mut sockaddr, address_bytes: *mut socklen_t) -> c_int
                    => { kernel!(libc::SYS_accept, fd, address, address_bytes) }
                /// `accept4(2)`.
                fn accept4(
                    fd: c_int, address: *mut sockaddr, address_bytes: *mut socklen_t, flags: c_int
                ) -> c_int
                    => { kernel!(libc::SYS_accept4, fd, address, address_bytes, flags) }
                /// `connect(2)`.
                fn connect(fd: c_int, address: *const sockaddr, address_bytes: socklen_t) -> c_int
                    => { kernel!(libc::SYS_connect, fd, address, address_bytes) }
                /// `shutdown(2)`.
                fn shutdown(fd: c_int, how: c_int) -> c_int
                    => { kernel!(libc::SYS_shutdown, fd, how) }
                /// `poll(2)`.
                fn poll(entries: *mut pollfd, entry_count: nfds_t, timeout_ms: c_int) -> c_int
                    => { kernel!(libc::SYS_poll, entries, entry_count, timeout_ms) }
                /// `ppoll(2)`. The C function leaves `timeout` as it was, unlike the system call.
                fn ppoll(
                    entries: *mut pollfd, entry_count: nfds_t, timeout: *const timespec, mask: *const sigset_t
                ) -> c_int
                    => { ppoll_in_kernel!(entries, entry_count, timeout, mask) }
                /// `clock_nanosleep(2)`: returns the error number and leaves errno alone.
                fn clock_nanosleep(
                    clock: clockid_t, flags: c_int, request: *const timespec, remaining: *mut timespec
                ) -> c_int
                    => { number_of!(libc::SYS_clock_nanosleep, clock, flags, request, remaining) }
                /// `nanosleep(2)`: returns -1 and sets errno, unlike `clock_nanosleep`.
                fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int
                    => { kernel!(libc::SYS_nanosleep, request, remaining) }
                /// `usleep(3)`.
                fn usleep(duration_us: c_uint) -> c_int
                    => { raw::usleep(duration_us) }
                /// `sleep(3)`: returns the seconds that were left when a signal came, else 0.
                fn sleep(duration_s: c_uint) -> c_uint
                    => { raw::sleep(duration_s) }
                /// `sched_yield(2)`.
                fn sched_yield() -> c_int
                    => { kernel!(libc::SYS_sched_yield) }
                /// `close(2)`.
                fn close(fd: c_int) -> c_int
                    => { kernel!(libc::SYS_close, fd) }
                /// `dup(2)`.
                fn dup(fd: c_int) -> c_int
                    => { kernel!(libc::SYS_dup, fd) }
                /// `dup2(2)`.
                fn dup2(fd: c_int, target: c_int) -> c_int
                    => { kernel!(libc::SYS_dup2, fd, target) }
                /// `dup3(2)`.
                fn dup3(fd: c_int, target: c_int, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_dup3, fd, target, flags) }
                /// `setsockopt(2)`.
                fn setsockopt(
                    fd: c_int, level: c_int, name: c_int, value: *const c_void, value_bytes: socklen_t
                ) -> c_int
                    => { kernel!(libc::SYS_setsockopt, fd, level, name, value, value_bytes) }
                /// `socket(2)`.
                fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int
                    => { kernel!(libc::SYS_socket, domain, kind, protocol) }
                /// `socketpair(2)`.
                fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int
                    => { kernel!(libc::SYS_socketpair, domain, kind, protocol, fds) }
                /// `pipe(2)`.
                fn pipe(fds: *mut c_int) -> c_int
                    => { kernel!(libc::SYS_pipe, fds) }
                /// `pipe2(2)`.
                fn pipe2(fds: *mut c_int, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_pipe2, fds, flags) }
                /// `eventfd(2)`.
                fn eventfd(initial: c_uint, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_eventfd2, initial, flags) }
                /// `sigaltstack(2)`.
                fn sigaltstack(stack: *const stack_t, old_stack: *mut stack_t) -> c_int
                    => { kernel!(libc::SYS_sigaltstack, stack, old_stack) }
                /// `pthread_getattr_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int
                    => { let _ = (thread, attributes); libc::EAGAIN }
                /// `pthread_join(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int
                    => { let _ = (thread, value); libc::EAGAIN }
                /// `wait(2)`.
                fn wait(status: *mut c_int) -> pid_t
                    => { kernel!(libc::SYS_wait4, -1_isize, status) }
                /// `waitpid(2)`.
                fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t
                    => { kernel!(libc::SYS_wait4, pid, status, options) }
                /// `wait4(2)`.
                fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t
                    => { kernel!(libc::SYS_wait4, pid, status, options, usage) }
                /// `waitid(2)`.
                fn waitid(id_type: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int
                    => { kernel!(libc::SYS_waitid, id_type, id, info, options) }
                /// `epoll_wait(2)`.
                fn epoll_wait(
                    fd: c_int, events: *mut epoll_event, event_count: c_int, timeout_ms: c_int
                ) -> c_int
                    => { kernel!(libc::SYS_epoll_wait, fd, events, event_count, timeout_ms) }
                /// `epoll_pwait(2)`.
                fn epoll_pwait(
                    fd: c_int, events: *mut epoll_event, event_count: c_int, timeout_ms: c_int, mask: *const sigset_t
                ) -> c_int
                    => {
                        kernel!(
                            libc::SYS_epoll_pwait, fd, events, event_count, timeout_ms, mask, raw::KERNEL_SIGSET_BYTES
                        )
                    }
                /// `epoll_pwait2(2)`; glibc has it since 2.35.
                fn epoll_pwait2(
                    fd: c_int, events: *mut epoll_event, event_count: c_int, timeout: *const timespec,
                    mask: *const sigset_t
                ) -> c_int
                    => {
                        kernel!(
                            libc::SYS_epoll_pwait2, fd, events, event_count, timeout, mask, raw::KERNEL_SIGSET_BYTES
                        )
                    }
                /// `select(2)`, which leaves in `timeout` what was left of it.
                fn select(
                    fd_count: c_int, reads: *mut fd_set, writes: *mut fd_set, exceptions: *mut fd_set,
                    timeout: *mut timeval
                ) -> c_int
                    => { kernel!(libc::SYS_select, fd_count, reads, writes, exceptions, timeout) }
                /// `pselect(2)`. The C function leaves `timeout` as it was, unlike the system call.
                fn pselect(
                    fd_count: c_int, reads: *mut fd_set, writes: *mut fd_set, exceptions: *mut fd_set,
                    timeout: *const timespec, mask: *const sigset_t
                ) -> c_int
                    => { pselect_in_kernel!(fd_count, reads, writes, exceptions, timeout, mask) }
                /// `flock(2)`.
                fn flock(fd: c_int, operation: c_int) -> c_int
                    => { kernel!(libc::SYS_flock, fd, operation) }
                /// `getaddrinfo(3)`. No kernel form exists: "try again" while definitions are looked up.
                fn getaddrinfo(
                    node: *const c_char, service: *const c_char, hints: *const addrinfo, results: *mut *mut addrinfo
                ) -> c_int
                    => { let _ = (node, service, hints, results); libc::EAI_AGAIN }
                /// `getnameinfo(3)`. No kernel form exists: "try again" while definitions are looked up.
                fn getnameinfo(
                    address: *const sockaddr, address_bytes: socklen_t, host: *mut c_char, host_bytes: socklen_t,
                    service: *mut c_char, service_bytes: socklen_t, flags: c_int
                ) -> c_int
                    => {
                        let _ = (address, address_bytes, host, host_bytes, service, service_bytes, flags);
                        libc::EAI_AGAIN
                    }
            }
            variadic {
                /// `fcntl(2)`, which is `fcntl64` too: they are one function where `off_t` has 64 bits.
                fn fcntl(fd: c_int, command: c_int; argument: usize) -> c_int
                    => { kernel!(libc::SYS_fcntl, fd, command, argument) }
                /// `ioctl(2)`.
                fn ioctl(fd: c_int, request: c_ulong; argument: usize) -> c_int
                    => { kernel!(libc::SYS_ioctl, fd, request, argument) }
                /// `syscall(2)`: the way of std and parking_lot to the futex.
                fn syscall(
                    number: c_long; a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long
                ) -> c_long
                    => { kernel!(number, a, b, c, d, e, f) }
            }
        }
    };
}
