//! How to have the kernel make calls asynchronously: `io_uring(7)`, over the crate `io-uring`.
//!
//! A [`Uring`] is a pair of queues that the process shares with the kernel: *operations* go in, their *completions*
//! come out, with the number that the caller gave each operation. Its descriptor is pollable, and each completion is an
//! edge there. The crate makes and maps the queues and knows their layouts. The ring is entered by `sys::raw`, so that
//! no hook and no errno is met.
//!
//! # What the kernel does with an operation
//! It tries the operation while it takes it. A read whose pages are not in the page cache starts the disk, and goes on
//! when they have come: in the thread that has handed it in, which the kernel interrupts for that. An operation that
//! can only be made by waiting is made by a thread of the kernel's (`io-wq`). If the thread that handed an operation in
//! has ended when it could go on, the operation is given up (ECANCELED, or EFAULT for a read).
//!
//! Two things follow. The taking itself may wait, for the disk's queue or for what the file system has to read to find
//! the pages; that blocks the caller's worker. And if some other call blocks the thread so that nothing interrupts it
//! (a network mount that hangs), the reads that it has handed in end after that call.
//!
//! # Rejected
//! *IOSQE_ASYNC*, by which `io-wq` makes the reads too: neither of these two things would be, but a read costs twice as
//! much of the processors' time, as much as with a pool of our own. *SQPOLL*: a thread of the kernel's that polls the
//! queue saves the entering, and costs a core. *DEFER_TASKRUN*: the interruption is saved, but then one thread must
//! hand in and take out, and a worker changes its thread.

use super::file;
use super::raw::{self, Errno};
use io_uring::{IoUring, opcode, squeue, types};
use libc::{c_int, c_uint, iovec};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// The room for operations. They are handed in one by one, so more than one is here only after the kernel has refused.
const OPERATIONS: u32 = 32;

/// The room for completions. What does not fit the kernel keeps aside (IORING_FEAT_NODROP).
const COMPLETIONS: u32 = 512;

const ENTER_GETEVENTS: usize = 1;

/// The most threads that the kernel makes for the operations of one of our threads that can only be made by waiting.
/// The kernel's own limit is four per processor core, and then a slow disk would keep the others waiting.
const THREADS_MAX: c_uint = 64;

/// One call for the kernel to make.
pub(crate) struct RingOperation(squeue::Entry);

impl RingOperation {
    /// `preadv(2)`.
    pub(crate) fn read(fd: c_int, parts: *const iovec, count: c_int, offset: u64) -> Self {
        let entry = opcode::Readv::new(types::Fd(fd), parts, count as u32);
        Self(entry.offset(offset).build())
    }

    /// `fsync(2)`, or `fdatasync(2)`.
    pub(crate) fn write_back(fd: c_int, data_only: bool) -> Self {
        let flags = if data_only {
            types::FsyncFlags::DATASYNC
        } else {
            types::FsyncFlags::empty()
        };
        Self(opcode::Fsync::new(types::Fd(fd)).flags(flags).build())
    }
}

/// A ring is made when a call needs it. If the program has closed a standard descriptor by then, it counts on getting
/// that number by its next open, so the ring gets another one.
fn off_standard_numbers(ring: IoUring) -> Result<IoUring, Errno> {
    const FIRST: RawFd = libc::STDERR_FILENO + 1;
    if ring.as_raw_fd() >= FIRST {
        return Ok(ring);
    }
    let other = file::duplicate_from(ring.as_raw_fd(), FIRST)?;
    // SAFETY: S5: a descriptor of a ring with these parameters, which nobody else owns.
    let moved = unsafe { IoUring::from_fd(other.into_raw(), ring.params().clone()) };
    moved.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::ENOMEM)))
}

/// An io_uring. Its owner calls one of its functions at a time.
pub(crate) struct Uring {
    queues: IoUring,
    /// How many operations were put into the queue.
    pushed: u64,
}

impl Uring {
    /// Makes a ring. ENOSYS, EPERM: this process cannot have any. May write errno and meet hooks: the caller is in a
    /// critical section.
    pub(crate) fn new() -> Result<Self, Errno> {
        let errno = crate::sys::errno();
        let made = IoUring::builder()
            .setup_clamp()
            .dontfork()
            .setup_cqsize(COMPLETIONS)
            .build(OPERATIONS);
        if let Ok(ring) = &made {
            // Kernels before 5.15 refuse, and have no such limit. The second number is that of sockets and pipes.
            let _ = ring.submitter().register_iowq_max_workers(&mut [THREADS_MAX, 0]);
        }
        crate::sys::set_errno(errno);
        let ring = made.map_err(|error: io::Error| Errno(error.raw_os_error().unwrap_or(libc::ENOSYS)))?;
        let ring = off_standard_numbers(ring)?;
        // Kernels without it (before 5.5) drop completions, or read the list of parts after the call has returned.
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_submit_stable() {
            return Err(Errno::NOSYS);
        }
        Ok(Self {
            queues: ring,
            pushed: 0,
        })
    }

    /// The ring's descriptor, to be watched for `EPOLLIN`.
    pub(crate) fn fd(&self) -> RawFd {
        self.queues.as_raw_fd()
    }

    /// Puts an operation into the queue, and returns its place in the order of all. Its completion will have the number
    /// `data`. `None`: the queue is full.
    ///
    /// # Safety
    /// What the operation names is lent to the kernel until its completion has come (S5).
    pub(crate) unsafe fn push(&mut self, operation: &RingOperation, data: u64) -> Option<u64> {
        let entry = operation.0.clone().user_data(data);
        // SAFETY: S5: the caller's promise.
        unsafe { self.queues.submission().push(&entry) }.ok()?;
        self.pushed += 1;
        Some(self.pushed - 1)
    }

    /// How many operations the kernel has taken out of the queue: those in the places below.
    pub(crate) fn taken(&mut self) -> u64 {
        self.pushed - self.queues.submission().len() as u64
    }

    /// Hands in what is in the queue. The kernel may take a part of it. An error says why it has taken nothing.
    pub(crate) fn submit(&mut self) -> Result<usize, Errno> {
        let count = self.queues.submission().len();
        self.enter(count, 0)
    }

    fn enter(&self, submitted: usize, flags: usize) -> Result<usize, Errno> {
        // SAFETY: S5: the operations' memory is lent to the kernel: the contract of `push`.
        unsafe { raw::syscall6(libc::SYS_io_uring_enter, self.fd() as usize, submitted, 0, flags, 0, 0) }
    }

    /// Takes out all completions: each one's number and result.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(u64, Result<usize, Errno>)) {
        loop {
            for completion in self.queues.completion() {
                let result = completion.result();
                let result = if result < 0 {
                    Err(Errno(-result))
                } else {
                    Ok(result as usize)
                };
                each(completion.user_data(), result);
            }
            // What the kernel has kept aside moves into the room that is free now.
            if !self.queues.submission().cq_overflow() || self.enter(0, ENTER_GETEVENTS).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A ring, unless this machine has none.
    fn ring() -> Option<Uring> {
        match Uring::new() {
            Ok(ring) => Some(ring),
            Err(errno) => {
                eprintln!("no io_uring here: {errno:?}");
                None
            }
        }
    }

    fn part(buffer: &mut [u8]) -> iovec {
        iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        }
    }

    #[test]
    fn completions_have_the_numbers_and_results_of_their_operations() {
        let Some(mut ring) = ring() else { return };
        let mut file = tempfile();
        file.write_all(b"0123456789").unwrap();
        let (mut head, mut tail) = ([0; 4], [0; 4]);
        let parts = [part(&mut head), part(&mut tail)];
        let operations = [
            RingOperation::read(file.as_raw_fd(), &parts[0], 1, 0),
            RingOperation::read(file.as_raw_fd(), &parts[1], 1, 8),
            RingOperation::read(-1, &parts[0], 1, 0),
            RingOperation::write_back(file.as_raw_fd(), true),
        ];
        for (number, operation) in operations.iter().enumerate() {
            // SAFETY: S5: the buffers outlive the loop below, which waits for all completions.
            assert_eq!(unsafe { ring.push(operation, number as u64) }, Some(number as u64));
        }
        assert_eq!(ring.taken(), 0);
        assert_eq!(ring.submit(), Ok(4));
        assert_eq!(ring.taken(), 4);
        let mut results = [None; 4];
        while results.iter().any(Option::is_none) {
            ring.drain(|number, result| results[number as usize] = Some(result));
        }
        let expected = [Ok(4), Ok(2), Err(Errno::BADF), Ok(0)].map(Some);
        assert_eq!(results, expected);
        assert_eq!((&head, &tail[..2]), (b"0123", &b"89"[..]));
    }

    #[test]
    fn more_completions_than_there_is_room_for_all_come() {
        let Some(mut ring) = ring() else { return };
        let mut seen = vec![0; 5 * COMPLETIONS as usize];
        for number in 0..seen.len() {
            // SAFETY: S5: names no memory.
            let pushed = unsafe { ring.push(&RingOperation::read(-1, std::ptr::null(), 0, 0), number as u64) };
            assert!(pushed.is_some());
            assert_eq!(ring.submit(), Ok(1));
        }
        while seen.contains(&0) {
            ring.drain(|number, _| seen[number as usize] += 1);
        }
        assert!(seen.iter().all(|count| *count == 1));
    }

    #[test]
    fn a_full_queue_refuses() {
        let Some(mut ring) = ring() else { return };
        let operation = RingOperation::read(-1, std::ptr::null(), 0, 0);
        // SAFETY: S5: names no memory.
        let pushed = std::iter::from_fn(|| unsafe { ring.push(&operation, 0) }).count();
        assert_eq!(pushed, OPERATIONS as usize);
        assert_eq!(ring.submit(), Ok(pushed));
        // SAFETY: S5: names no memory.
        assert_eq!(unsafe { ring.push(&operation, 0) }, Some(pushed as u64));
    }

    fn tempfile() -> std::fs::File {
        use std::os::fd::FromRawFd;
        // SAFETY: S5: the name is a C string that outlives the call.
        let fd = unsafe { raw::syscall2(libc::SYS_memfd_create, c"uring".as_ptr() as usize, 0) }.unwrap();
        // SAFETY: S5: the descriptor is new, so the File is its only owner.
        unsafe { std::fs::File::from_raw_fd(fd as i32) }
    }
}
