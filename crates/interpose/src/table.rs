//! Which symbols are hooked? This is the list: name, C prototype, and the action to take before the next definition is
//! known.
//!
//! `for_each_symbol!(m)` passes the whole list to the macro `m`. Three files read it: `lib.rs` makes the fields of
//! [`Hooks`](crate::Hooks) from it, `next.rs` the real functions, `symbols.rs` the exported definitions. A symbol is
//! therefore one entry here, and cannot have two prototypes that drift apart.
//!
//! *Fixed* symbols have the prototype of their man page. *Variadic* symbols are written `(named; optional)`. They are
//! defined and hooked as if the optional arguments were always there. On x86_64 System V that is sound. A variadic call
//! passes integer and pointer arguments exactly as a fixed call does (rdi, rsi, rdx, rcx, r8, r9, then the stack at
//! rsp+8). It only adds, in `al`, how many vector registers are used, and a fixed callee ignores `al`. If the caller
//! leaves the optional argument out, the definition reads a register with unrelated contents and passes them on without
//! looking at them, as glibc's own `va_arg` does. `syscall` takes its seventh word from the stack. glibc's definition
//! loads the same word unconditionally, so code that may call glibc's definition may call this one. The upper half of
//! an `int` argument may hold garbage: hooks must narrow it before they compare.
//!
//! The block after `=>` is the *kernel form*. It is used only while the next definition is being looked up (see
//! `next.rs`). It must call nothing but the kernel, and must keep the contract of the C function, errno included.
//!
//! A function that is no system call has no kernel form: it fails with EAGAIN (`unavailable!`) while the lookup lasts.
//!
//! Not in this list: the functions that make and delete keys (`keys.rs` records them, and nothing is left to hook);
//! `dlopen` and `dlmopen` (`library.rs` reports the load); `pthread_mutexattr_setprotocol` (it refuses from the start);
//! `vfork`, `pthread_exit` and `thrd_exit`, for which no frame of this crate may be on the stack (`frameless.rs`); and
//! the second names that forward to a hook of this list: `fcntl64` and the fortified `__*_chk` (`symbols.rs`).

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
                /// `select(2)`, which writes the remaining time to `timeout`.
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
                /// `getaddrinfo(3)`. No kernel form exists: it fails with "try again" while definitions are looked up.
                fn getaddrinfo(
                    node: *const c_char, service: *const c_char, hints: *const addrinfo, results: *mut *mut addrinfo
                ) -> c_int
                    => { let _ = (node, service, hints, results); libc::EAI_AGAIN }
                /// `getnameinfo(3)`. No kernel form exists: it fails with "try again" while definitions are looked up.
                fn getnameinfo(
                    address: *const sockaddr, address_bytes: socklen_t, host: *mut c_char, host_bytes: socklen_t,
                    service: *mut c_char, service_bytes: socklen_t, flags: c_int
                ) -> c_int
                    => {
                        let _ = (address, address_bytes, host, host_bytes, service, service_bytes, flags);
                        libc::EAI_AGAIN
                    }
                /// `fclose(3)`. No kernel form exists: the stream stays open.
                fn fclose(stream: *mut FILE) -> c_int
                    => { unavailable!(stream; libc::EOF) }
                /// `pclose(3)`. No kernel form exists: the stream stays open.
                fn pclose(stream: *mut FILE) -> c_int
                    => { unavailable!(stream; -1) }
                /// `closedir(3)`. No kernel form exists: the stream stays open.
                fn closedir(directory: *mut DIR) -> c_int
                    => { unavailable!(directory; -1) }
                /// `mq_close(3)`.
                fn mq_close(queue: mqd_t) -> c_int
                    => { kernel!(libc::SYS_close, queue) }
                /// `mq_send(3)`.
                fn mq_send(queue: mqd_t, message: *const c_char, bytes: size_t, priority: c_uint) -> c_int
                    => { kernel!(libc::SYS_mq_timedsend, queue, message, bytes, priority, 0_usize) }
                /// `mq_timedsend(3)`.
                fn mq_timedsend(
                    queue: mqd_t, message: *const c_char, bytes: size_t, priority: c_uint, time: *const timespec
                ) -> c_int
                    => { kernel!(libc::SYS_mq_timedsend, queue, message, bytes, priority, time) }
                /// `mq_receive(3)`.
                fn mq_receive(queue: mqd_t, message: *mut c_char, bytes: size_t, priority: *mut c_uint) -> ssize_t
                    => { kernel!(libc::SYS_mq_timedreceive, queue, message, bytes, priority, 0_usize) }
                /// `mq_timedreceive(3)`.
                fn mq_timedreceive(
                    queue: mqd_t, message: *mut c_char, bytes: size_t, priority: *mut c_uint, time: *const timespec
                ) -> ssize_t
                    => { kernel!(libc::SYS_mq_timedreceive, queue, message, bytes, priority, time) }
                /// `sem_wait(3)`. No kernel form exists.
                fn sem_wait(semaphore: *mut sem_t) -> c_int
                    => { unavailable!(semaphore; -1) }
                /// `sem_timedwait(3)`. No kernel form exists.
                fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int
                    => { unavailable!(semaphore, time; -1) }
                /// `sem_clockwait(3)`; glibc has it since 2.30. No kernel form exists.
                fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int
                    => { unavailable!(semaphore, clock, time; -1) }
                /// `sem_post(3)`. No kernel form exists.
                fn sem_post(semaphore: *mut sem_t) -> c_int
                    => { unavailable!(semaphore; -1) }
                /// `pthread_barrier_wait(3)`: returns the error number. No kernel form exists.
                fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int
                    => { let _ = barrier; libc::EAGAIN }
                /// `msgsnd(2)`.
                fn msgsnd(queue: c_int, message: *const c_void, bytes: size_t, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_msgsnd, queue, message, bytes, flags) }
                /// `msgrcv(2)`.
                fn msgrcv(queue: c_int, message: *mut c_void, bytes: size_t, kind: c_long, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_msgrcv, queue, message, bytes, kind, flags) }
                /// `semop(2)`.
                fn semop(set: c_int, operations: *mut sembuf, count: size_t) -> c_int
                    => { kernel!(libc::SYS_semop, set, operations, count) }
                /// `semtimedop(2)`.
                fn semtimedop(
                    set: c_int, operations: *mut sembuf, count: size_t, timeout: *const timespec
                ) -> c_int
                    => { kernel!(libc::SYS_semtimedop, set, operations, count, timeout) }
                /// `close_range(2)`; glibc has it since 2.34.
                fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_close_range, first, last, flags) }
                /// `closefrom(3)`; glibc has it since 2.34.
                fn closefrom(first: c_int) -> ()
                    => { let _: c_int = kernel!(libc::SYS_close_range, first.max(0), c_uint::MAX, 0); }
                /// `login_tty(3)`. No kernel form exists.
                fn login_tty(fd: c_int) -> c_int
                    => { unavailable!(fd; -1) }
                /// `fopen(3)`. No kernel form exists.
                fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE
                    => { unavailable!(path, mode; ptr::null_mut()) }
                /// `fopen64(3)`. No kernel form exists.
                fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE
                    => { unavailable!(path, mode; ptr::null_mut()) }
                /// `freopen(3)`. No kernel form exists.
                fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE
                    => { unavailable!(path, mode, stream; ptr::null_mut()) }
                /// `freopen64(3)`. No kernel form exists.
                fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE
                    => { unavailable!(path, mode, stream; ptr::null_mut()) }
                /// `popen(3)`. No kernel form exists.
                fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE
                    => { unavailable!(command, mode; ptr::null_mut()) }
                /// `tmpfile(3)`. No kernel form exists.
                fn tmpfile() -> *mut FILE
                    => { unavailable!(; ptr::null_mut()) }
                /// `tmpfile64(3)`. No kernel form exists.
                fn tmpfile64() -> *mut FILE
                    => { unavailable!(; ptr::null_mut()) }
                /// `opendir(3)`. No kernel form exists.
                fn opendir(path: *const c_char) -> *mut DIR
                    => { unavailable!(path; ptr::null_mut()) }
                /// `creat(2)`.
                fn creat(path: *const c_char, mode: mode_t) -> c_int
                    => { kernel!(libc::SYS_creat, path, mode) }
                /// `creat64(2)`.
                fn creat64(path: *const c_char, mode: mode_t) -> c_int
                    => { kernel!(libc::SYS_creat, path, mode) }
                /// Fortified `open` without a mode.
                fn __open_2(path: *const c_char, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_open, path, flags) }
                /// Fortified `open` without a mode.
                fn __open64_2(path: *const c_char, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_open, path, flags) }
                /// Fortified `openat` without a mode.
                fn __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_openat, directory, path, flags) }
                /// Fortified `openat` without a mode.
                fn __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_openat, directory, path, flags) }
                /// `timerfd_create(2)`.
                fn timerfd_create(clock: c_int, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_timerfd_create, clock, flags) }
                /// `inotify_init(2)`.
                fn inotify_init() -> c_int
                    => { kernel!(libc::SYS_inotify_init) }
                /// `inotify_init1(2)`.
                fn inotify_init1(flags: c_int) -> c_int
                    => { kernel!(libc::SYS_inotify_init1, flags) }
                /// `fanotify_init(2)`.
                fn fanotify_init(flags: c_uint, event_flags: c_uint) -> c_int
                    => { kernel!(libc::SYS_fanotify_init, flags, event_flags) }
                /// `signalfd(2)`.
                fn signalfd(fd: c_int, mask: *const sigset_t, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_signalfd4, fd, mask, raw::KERNEL_SIGSET_BYTES, flags) }
                /// `memfd_create(2)`; glibc has it since 2.27.
                fn memfd_create(name: *const c_char, flags: c_uint) -> c_int
                    => { kernel!(libc::SYS_memfd_create, name, flags) }
                /// `epoll_create(2)`.
                fn epoll_create(size: c_int) -> c_int
                    => { kernel!(libc::SYS_epoll_create, size) }
                /// `epoll_create1(2)`.
                fn epoll_create1(flags: c_int) -> c_int
                    => { kernel!(libc::SYS_epoll_create1, flags) }
                /// `pidfd_open(2)`; glibc has it since 2.36.
                fn pidfd_open(pid: pid_t, flags: c_uint) -> c_int
                    => { kernel!(libc::SYS_pidfd_open, pid, flags) }
                /// `pidfd_getfd(2)`; glibc has it since 2.36.
                fn pidfd_getfd(pid_fd: c_int, target: c_int, flags: c_uint) -> c_int
                    => { kernel!(libc::SYS_pidfd_getfd, pid_fd, target, flags) }
                /// `open_by_handle_at(2)`.
                fn open_by_handle_at(mount: c_int, handle: *mut c_void, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_open_by_handle_at, mount, handle, flags) }
                /// `posix_openpt(3)`.
                fn posix_openpt(flags: c_int) -> c_int
                    => { kernel!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/ptmx".as_ptr(), flags) }
                /// `getpt(3)`.
                fn getpt() -> c_int
                    => { kernel!(libc::SYS_openat, libc::AT_FDCWD, c"/dev/ptmx".as_ptr(), libc::O_RDWR) }
                /// `openpty(3)`. No kernel form exists.
                fn openpty(
                    main: *mut c_int, subordinate: *mut c_int, name: *mut c_char, mode: *const termios, size: *const winsize
                ) -> c_int
                    => { unavailable!(main, subordinate, name, mode, size; -1) }
                /// `forkpty(3)`. No kernel form exists.
                fn forkpty(
                    main: *mut c_int, name: *mut c_char, mode: *const termios, size: *const winsize
                ) -> pid_t
                    => { unavailable!(main, name, mode, size; -1) }
                /// `shm_open(3)`. No kernel form exists.
                fn shm_open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int
                    => { unavailable!(name, flags, mode; -1) }
                /// `mkstemp(3)`. No kernel form exists.
                fn mkstemp(template: *mut c_char) -> c_int
                    => { unavailable!(template; -1) }
                /// `mkstemp64(3)`. No kernel form exists.
                fn mkstemp64(template: *mut c_char) -> c_int
                    => { unavailable!(template; -1) }
                /// `mkostemp(3)`. No kernel form exists.
                fn mkostemp(template: *mut c_char, flags: c_int) -> c_int
                    => { unavailable!(template, flags; -1) }
                /// `mkostemp64(3)`. No kernel form exists.
                fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int
                    => { unavailable!(template, flags; -1) }
                /// `mkstemps(3)`. No kernel form exists.
                fn mkstemps(template: *mut c_char, suffix_bytes: c_int) -> c_int
                    => { unavailable!(template, suffix_bytes; -1) }
                /// `mkstemps64(3)`. No kernel form exists.
                fn mkstemps64(template: *mut c_char, suffix_bytes: c_int) -> c_int
                    => { unavailable!(template, suffix_bytes; -1) }
                /// `mkostemps(3)`. No kernel form exists.
                fn mkostemps(template: *mut c_char, suffix_bytes: c_int, flags: c_int) -> c_int
                    => { unavailable!(template, suffix_bytes, flags; -1) }
                /// `mkostemps64(3)`. No kernel form exists.
                fn mkostemps64(template: *mut c_char, suffix_bytes: c_int, flags: c_int) -> c_int
                    => { unavailable!(template, suffix_bytes, flags; -1) }
                /// `recvmmsg(2)`.
                fn recvmmsg(
                    fd: c_int, messages: *mut mmsghdr, message_count: c_uint, flags: c_int, timeout: *mut timespec
                ) -> c_int
                    => { kernel!(libc::SYS_recvmmsg, fd, messages, message_count, flags, timeout) }
                /// `sendmmsg(2)`.
                fn sendmmsg(fd: c_int, messages: *mut mmsghdr, message_count: c_uint, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_sendmmsg, fd, messages, message_count, flags) }
                /// `splice(2)`.
                fn splice(
                    from: c_int, from_offset: *mut i64, to: c_int, to_offset: *mut i64, bytes: size_t, flags: c_uint
                ) -> ssize_t
                    => { kernel!(libc::SYS_splice, from, from_offset, to, to_offset, bytes, flags) }
                /// `tee(2)`.
                fn tee(from: c_int, to: c_int, bytes: size_t, flags: c_uint) -> ssize_t
                    => { kernel!(libc::SYS_tee, from, to, bytes, flags) }
                /// `vmsplice(2)`.
                fn vmsplice(fd: c_int, parts: *const iovec, part_count: size_t, flags: c_uint) -> ssize_t
                    => { kernel!(libc::SYS_vmsplice, fd, parts, part_count, flags) }
                /// `sendfile(2)`.
                fn sendfile(to: c_int, from: c_int, offset: *mut off_t, bytes: size_t) -> ssize_t
                    => { kernel!(libc::SYS_sendfile, to, from, offset, bytes) }
                /// `sendfile64(3)`.
                fn sendfile64(to: c_int, from: c_int, offset: *mut i64, bytes: size_t) -> ssize_t
                    => { kernel!(libc::SYS_sendfile, to, from, offset, bytes) }
                /// `pread(2)`.
                fn pread(fd: c_int, buffer: *mut c_void, bytes: size_t, offset: off_t) -> ssize_t
                    => { kernel!(libc::SYS_pread64, fd, buffer, bytes, offset) }
                /// `pread64(2)`.
                fn pread64(fd: c_int, buffer: *mut c_void, bytes: size_t, offset: i64) -> ssize_t
                    => { kernel!(libc::SYS_pread64, fd, buffer, bytes, offset) }
                /// `preadv(2)`. The kernel takes the offset in two halves, the second of which is zero here.
                fn preadv(fd: c_int, parts: *const iovec, part_count: c_int, offset: off_t) -> ssize_t
                    => { kernel!(libc::SYS_preadv, fd, parts, part_count, offset, 0) }
                /// `preadv64(3)`.
                fn preadv64(fd: c_int, parts: *const iovec, part_count: c_int, offset: i64) -> ssize_t
                    => { kernel!(libc::SYS_preadv, fd, parts, part_count, offset, 0) }
                /// `fsync(2)`.
                fn fsync(fd: c_int) -> c_int
                    => { kernel!(libc::SYS_fsync, fd) }
                /// `fdatasync(2)`.
                fn fdatasync(fd: c_int) -> c_int
                    => { kernel!(libc::SYS_fdatasync, fd) }
                /// `syncfs(2)`.
                fn syncfs(fd: c_int) -> c_int
                    => { kernel!(libc::SYS_syncfs, fd) }
                /// `sync_file_range(2)`.
                fn sync_file_range(fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int
                    => { kernel!(libc::SYS_sync_file_range, fd, offset, bytes, flags) }
                /// `msync(2)`.
                fn msync(address: *mut c_void, bytes: size_t, flags: c_int) -> c_int
                    => { kernel!(libc::SYS_msync, address, bytes, flags) }
                /// `sync(2)`.
                fn sync() -> ()
                    => { let _: c_int = kernel!(libc::SYS_sync); }
                /// `preadv2(2)`; glibc has it since 2.26. The kernel takes the offset in two halves, the second of
                /// which is zero here.
                fn preadv2(fd: c_int, parts: *const iovec, part_count: c_int, offset: off_t, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_preadv2, fd, parts, part_count, offset, 0, flags) }
                /// `preadv64v2(3)`.
                fn preadv64v2(fd: c_int, parts: *const iovec, part_count: c_int, offset: i64, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_preadv2, fd, parts, part_count, offset, 0, flags) }
                /// `pwritev2(2)`; glibc has it since 2.26. The kernel takes the offset in two halves, as for `preadv2`.
                fn pwritev2(fd: c_int, parts: *const iovec, part_count: c_int, offset: off_t, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_pwritev2, fd, parts, part_count, offset, 0, flags) }
                /// `pwritev64v2(3)`.
                fn pwritev64v2(fd: c_int, parts: *const iovec, part_count: c_int, offset: i64, flags: c_int) -> ssize_t
                    => { kernel!(libc::SYS_pwritev2, fd, parts, part_count, offset, 0, flags) }
                /// `sigwait(3)`: returns the error number. No kernel form exists.
                fn sigwait(set: *const sigset_t, number: *mut c_int) -> c_int
                    => { let _ = (set, number); libc::EAGAIN }
                /// `sigwaitinfo(2)`.
                fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int
                    => { kernel!(libc::SYS_rt_sigtimedwait, set, info, 0_usize, raw::KERNEL_SIGSET_BYTES) }
                /// `sigtimedwait(2)`.
                fn sigtimedwait(set: *const sigset_t, info: *mut siginfo_t, timeout: *const timespec) -> c_int
                    => { kernel!(libc::SYS_rt_sigtimedwait, set, info, timeout, raw::KERNEL_SIGSET_BYTES) }
                /// `sigsuspend(2)`.
                fn sigsuspend(mask: *const sigset_t) -> c_int
                    => { kernel!(libc::SYS_rt_sigsuspend, mask, raw::KERNEL_SIGSET_BYTES) }
                /// `pause(2)`.
                fn pause() -> c_int
                    => { kernel!(libc::SYS_pause) }
                /// `_Fork(3)`: `fork` without the handlers of `pthread_atfork`; glibc has it since 2.34.
                fn _Fork() -> pid_t
                    => { kernel!(libc::SYS_fork) }
                /// `pthread_create(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_create(
                    thread: *mut pthread_t, attributes: *const pthread_attr_t, routine: Routine, argument: *mut c_void
                ) -> c_int
                    => { let _ = (thread, attributes, routine, argument); libc::EAGAIN }
                /// `pthread_kill(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int
                    => { let _ = (thread, signal); libc::EAGAIN }
                /// `pthread_sigqueue(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: sigval) -> c_int
                    => { let _ = (thread, signal, value); libc::EAGAIN }
                /// `pthread_setaffinity_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_setaffinity_np(thread: pthread_t, set_bytes: size_t, set: *const cpu_set_t) -> c_int
                    => { let _ = (thread, set_bytes, set); libc::EAGAIN }
                /// `pthread_getaffinity_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_getaffinity_np(thread: pthread_t, set_bytes: size_t, set: *mut cpu_set_t) -> c_int
                    => { let _ = (thread, set_bytes, set); libc::EAGAIN }
                /// `pthread_getcpuclockid(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_getcpuclockid(thread: pthread_t, clock: *mut clockid_t) -> c_int
                    => { let _ = (thread, clock); libc::EAGAIN }
                /// `pthread_setschedparam(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_setschedparam(thread: pthread_t, policy: c_int, parameters: *const sched_param) -> c_int
                    => { let _ = (thread, policy, parameters); libc::EAGAIN }
                /// `pthread_getschedparam(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_getschedparam(thread: pthread_t, policy: *mut c_int, parameters: *mut sched_param) -> c_int
                    => { let _ = (thread, policy, parameters); libc::EAGAIN }
                /// `pthread_setschedprio(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int
                    => { let _ = (thread, priority); libc::EAGAIN }
                /// `pthread_setname_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int
                    => { let _ = (thread, name); libc::EAGAIN }
                /// `pthread_getname_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_getname_np(thread: pthread_t, name: *mut c_char, name_bytes: size_t) -> c_int
                    => { let _ = (thread, name, name_bytes); libc::EAGAIN }
                /// `pthread_cancel(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_cancel(thread: pthread_t) -> c_int
                    => { let _ = thread; libc::EAGAIN }
                /// `pthread_detach(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_detach(thread: pthread_t) -> c_int
                    => { let _ = thread; libc::EAGAIN }
                /// `pthread_tryjoin_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int
                    => { let _ = (thread, value); libc::EAGAIN }
                /// `pthread_timedjoin_np(3)`. No kernel form exists, so it fails while definitions are looked up.
                fn pthread_timedjoin_np(thread: pthread_t, value: *mut *mut c_void, deadline: *const timespec) -> c_int
                    => { let _ = (thread, value, deadline); libc::EAGAIN }
                /// `pthread_clockjoin_np(3)`; glibc has it since 2.31. No kernel form exists.
                fn pthread_clockjoin_np(
                    thread: pthread_t, value: *mut *mut c_void, clock: clockid_t, deadline: *const timespec
                ) -> c_int
                    => { let _ = (thread, value, clock, deadline); libc::EAGAIN }
                /// `thrd_join(3)`. No kernel form exists.
                fn thrd_join(thread: pthread_t, result: *mut c_int) -> c_int
                    => { let _ = (thread, result); THRD_ERROR }
                /// `thrd_detach(3)`. No kernel form exists.
                fn thrd_detach(thread: pthread_t) -> c_int
                    => { let _ = thread; THRD_ERROR }
            }
            variadic {
                /// `fcntl(2)`. It is also `fcntl64`: both are one function where `off_t` has 64 bits.
                fn fcntl(fd: c_int, command: c_int; argument: usize) -> c_int
                    => { kernel!(libc::SYS_fcntl, fd, command, argument) }
                /// `ioctl(2)`.
                fn ioctl(fd: c_int, request: c_ulong; argument: usize) -> c_int
                    => { kernel!(libc::SYS_ioctl, fd, request, argument) }
                /// `syscall(2)`, through which std and parking_lot reach the futex.
                fn syscall(
                    number: c_long; a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long
                ) -> c_long
                    => { kernel!(number, a, b, c, d, e, f) }
                /// `open(2)`.
                fn open(path: *const c_char, flags: c_int; mode: mode_t) -> c_int
                    => { kernel!(libc::SYS_open, path, flags, mode) }
                /// `open64(2)`.
                fn open64(path: *const c_char, flags: c_int; mode: mode_t) -> c_int
                    => { kernel!(libc::SYS_open, path, flags, mode) }
                /// `openat(2)`.
                fn openat(directory: c_int, path: *const c_char, flags: c_int; mode: mode_t) -> c_int
                    => { kernel!(libc::SYS_openat, directory, path, flags, mode) }
                /// `openat64(2)`.
                fn openat64(directory: c_int, path: *const c_char, flags: c_int; mode: mode_t) -> c_int
                    => { kernel!(libc::SYS_openat, directory, path, flags, mode) }
                /// `mq_open(3)`. No kernel form exists.
                fn mq_open(name: *const c_char, flags: c_int; mode: mode_t, attributes: *mut mq_attr) -> mqd_t
                    => { unavailable!(name, flags, mode, attributes; -1) }
            }
        }
    };
}
