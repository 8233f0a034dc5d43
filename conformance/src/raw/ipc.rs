//! Message queues, semaphores, barriers, and queues and semaphores of System V. What is made is removed in the end.

use super::{check, check_int, timespec};
use libc::{c_int, c_long, mqd_t};
use std::cell::UnsafeCell;
use std::ffi::CString;
use std::io;
use std::mem::offset_of;
use std::time::Duration;

unsafe extern "C" {
    /// The crate `libc` does not have it.
    fn semtimedop(set: c_int, operations: *mut libc::sembuf, count: usize, timeout: *const libc::timespec) -> c_int;
}

/// A message queue of POSIX, already without a name.
#[derive(Debug)]
pub struct MessageQueue(mqd_t);

impl MessageQueue {
    /// A queue of so many messages of at most so many bytes.
    pub fn new(name: &str, flags: c_int, messages: usize, bytes: usize) -> io::Result<Self> {
        let name = CString::new(format!("/{name}")).unwrap();
        // SAFETY: S7: plain numbers, and zeroes are some.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = messages as c_long;
        attributes.mq_msgsize = bytes as c_long;
        let flags = flags | libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        // SAFETY: S5: name and attributes live during the call.
        let queue = check_int(unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &mut attributes) })?;
        // SAFETY: S5: the name lives during the call.
        check_int(unsafe { libc::mq_unlink(name.as_ptr()) })?;
        Ok(Self(queue as mqd_t))
    }

    /// mq_send(3)
    pub fn send(&self, message: &[u8], priority: u32) -> io::Result<()> {
        // SAFETY: S5: the message is lent for the call.
        let sent = unsafe { libc::mq_send(self.0, message.as_ptr().cast(), message.len(), priority) };
        check_int(sent).map(drop)
    }

    /// mq_timedsend(3), until so long from now.
    pub fn send_timeout(&self, message: &[u8], priority: u32, timeout: Duration) -> io::Result<()> {
        let time = timespec(super::clock(libc::CLOCK_REALTIME) + timeout);
        // SAFETY: S5: the message and the time are lent for the call.
        let sent = unsafe { libc::mq_timedsend(self.0, message.as_ptr().cast(), message.len(), priority, &time) };
        check_int(sent).map(drop)
    }

    /// mq_receive(3): how many bytes, and the priority.
    pub fn receive(&self, message: &mut [u8]) -> io::Result<(usize, u32)> {
        let mut priority = 0;
        // SAFETY: S5: the places are lent for the call.
        let count = unsafe { libc::mq_receive(self.0, message.as_mut_ptr().cast(), message.len(), &mut priority) };
        Ok((check(count)?, priority))
    }

    /// mq_timedreceive(3), until so long from now.
    pub fn receive_timeout(&self, message: &mut [u8], timeout: Duration) -> io::Result<usize> {
        self.receive_until(message, timespec(super::clock(libc::CLOCK_REALTIME) + timeout))
    }

    /// mq_timedreceive(3)
    pub fn receive_until(&self, message: &mut [u8], time: libc::timespec) -> io::Result<usize> {
        let (at, none) = (message.as_mut_ptr().cast(), std::ptr::null_mut());
        // SAFETY: S5: the message and the time are lent for the call.
        check(unsafe { libc::mq_timedreceive(self.0, at, message.len(), none, &time) })
    }

    /// mq_close(3). The queue must not be used any more.
    pub fn close(&self) {
        // SAFETY: S5: no memory.
        unsafe { libc::mq_close(self.0) };
    }
}

/// The messages of System V that these cases send: a kind, and a number.
#[repr(C)]
#[derive(Clone, Copy)]
struct Numbered {
    kind: c_long,
    number: u64,
}

const NUMBER_BYTES: usize = size_of::<Numbered>() - offset_of!(Numbered, number);

/// A queue of System V.
#[derive(Debug)]
pub struct SystemQueue(c_int);

impl SystemQueue {
    /// A new queue.
    pub fn new() -> io::Result<Self> {
        // SAFETY: S5: no memory.
        let queue = check_int(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) })?;
        Ok(Self(queue as c_int))
    }

    /// msgsnd(2)
    pub fn send(&self, kind: c_long, number: u64, flags: c_int) -> io::Result<()> {
        let message = Numbered { kind, number };
        // SAFETY: S5: the message is lent for the call.
        let sent = unsafe { libc::msgsnd(self.0, (&raw const message).cast(), NUMBER_BYTES, flags) };
        check_int(sent).map(drop)
    }

    /// msgrcv(2): the kind and the number.
    pub fn receive(&self, kind: c_long, flags: c_int) -> io::Result<(c_long, u64)> {
        let mut message = Numbered { kind: 0, number: 0 };
        // SAFETY: S5: the place is lent for the call.
        let received = unsafe { libc::msgrcv(self.0, (&raw mut message).cast(), NUMBER_BYTES, kind, flags) };
        check(received)?;
        Ok((message.kind, message.number))
    }

    /// Removes the queue; whoever waits for it fails.
    pub fn remove(&self) {
        // SAFETY: S5: this command takes no memory.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

impl Drop for SystemQueue {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A set of semaphores of System V, all of them 0.
#[derive(Debug)]
pub struct Semaphores(c_int);

impl Semaphores {
    /// A new set of so many.
    pub fn new(count: c_int) -> io::Result<Self> {
        // SAFETY: S5: no memory.
        let set = check_int(unsafe { libc::semget(libc::IPC_PRIVATE, count, 0o600) })?;
        Ok(Self(set as c_int))
    }

    /// semop(2): each operation is a number, what is added, and flags.
    pub fn operate(&self, operations: &[(u16, i16, c_int)]) -> io::Result<()> {
        let mut operations = Self::all(operations);
        // SAFETY: S5: the operations are lent for the call.
        let done = unsafe { libc::semop(self.0, operations.as_mut_ptr(), operations.len()) };
        check_int(done).map(drop)
    }

    /// semtimedop(2)
    pub fn operate_timeout(&self, operations: &[(u16, i16, c_int)], timeout: Duration) -> io::Result<()> {
        let mut operations = Self::all(operations);
        let time = timespec(timeout);
        // SAFETY: S5: the operations and the time are lent for the call.
        let done = unsafe { semtimedop(self.0, operations.as_mut_ptr(), operations.len(), &time) };
        check_int(done).map(drop)
    }

    fn all(operations: &[(u16, i16, c_int)]) -> Vec<libc::sembuf> {
        let one = |&(sem_num, sem_op, flags): &(u16, i16, c_int)| libc::sembuf {
            sem_num,
            sem_op,
            sem_flg: flags as i16,
        };
        operations.iter().map(one).collect()
    }

    /// Removes the set; whoever waits for it fails.
    pub fn remove(&self) {
        // SAFETY: S5: this command takes no memory.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

impl Drop for Semaphores {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A semaphore of POSIX, for the threads of this process.
#[derive(Debug)]
pub struct Semaphore(Box<UnsafeCell<libc::sem_t>>);

// SAFETY: S2: the C library's own object, made for use by several threads.
unsafe impl Send for Semaphore {}
// SAFETY: S2: the C library's own object, made for use by several threads.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    /// A semaphore with this value.
    pub fn new(value: u32) -> Self {
        // SAFETY: S7: zeroes, which sem_init overwrites.
        let semaphore = Self(Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() })));
        // SAFETY: S7: a place that stays where it is.
        assert_eq!(unsafe { libc::sem_init(semaphore.0.get(), 0, value) }, 0);
        semaphore
    }

    /// sem_wait(3)
    pub fn wait(&self) -> io::Result<()> {
        // SAFETY: S7: it was initialised.
        check_int(unsafe { libc::sem_wait(self.0.get()) }).map(drop)
    }

    /// sem_timedwait(3), until so long from now.
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<()> {
        let time = timespec(super::clock(libc::CLOCK_REALTIME) + timeout);
        // SAFETY: S5, S7: it was initialised, and the time is lent for the call.
        check_int(unsafe { libc::sem_timedwait(self.0.get(), &time) }).map(drop)
    }

    /// sem_post(3)
    pub fn post(&self) {
        // SAFETY: S7: it was initialised.
        assert_eq!(unsafe { libc::sem_post(self.0.get()) }, 0);
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: S7: nobody uses it any more.
        unsafe { libc::sem_destroy(self.0.get()) };
    }
}

/// A barrier of POSIX, for the threads of this process.
#[derive(Debug)]
pub struct Barrier(Box<UnsafeCell<libc::pthread_barrier_t>>);

// SAFETY: S2: the C library's own object, made for use by several threads.
unsafe impl Send for Barrier {}
// SAFETY: S2: the C library's own object, made for use by several threads.
unsafe impl Sync for Barrier {}

impl Barrier {
    /// A barrier for so many.
    pub fn new(count: u32) -> Self {
        // SAFETY: S7: zeroes, which pthread_barrier_init overwrites.
        let barrier = Self(Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() })));
        // SAFETY: S7: a place that stays where it is; no attributes.
        let result = unsafe { libc::pthread_barrier_init(barrier.0.get(), std::ptr::null(), count) };
        assert_eq!(result, 0);
        barrier
    }

    /// pthread_barrier_wait(3): whether the caller is the one that is chosen.
    pub fn wait(&self) -> bool {
        // SAFETY: S7: it was initialised.
        match unsafe { libc::pthread_barrier_wait(self.0.get()) } {
            0 => false,
            libc::PTHREAD_BARRIER_SERIAL_THREAD => true,
            error => panic!("{}", io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        // SAFETY: S7: nobody uses it any more.
        unsafe { libc::pthread_barrier_destroy(self.0.get()) };
    }
}
