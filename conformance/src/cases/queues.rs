//! Message queues, semaphores and barriers of POSIX; queues and semaphores of System V.

use crate::help::{LONG, SHORT, UNITS, code, name, still_wait};
use crate::raw::ipc::{Barrier, MessageQueue, Semaphore, Semaphores, SystemQueue};
use crate::{Executor, join_all};
use libc::{E2BIG, EAGAIN, EBADF, EIDRM, EINVAL, EMSGSIZE, ENOMSG, ETIMEDOUT, IPC_NOWAIT, SEM_UNDO};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The most bytes of a message in these cases.
const BYTES: usize = 64;

fn queue(messages: usize) -> Arc<MessageQueue> {
    Arc::new(MessageQueue::new(&name(), 0, messages, BYTES).unwrap())
}

/// More receivers than workers wait; each gets one message.
pub fn each_message_goes_to_one_receiver(ex: &dyn Executor) {
    let queue = queue(4);
    let receivers = ex.start_each(UNITS, {
        let queue = queue.clone();
        move |_| {
            let mut message = [0; BYTES];
            let (count, _) = queue.receive(&mut message).unwrap();
            assert_eq!(count, 8);
            u64::from_le_bytes(message[..8].try_into().unwrap())
        }
    });
    still_wait(&receivers);
    let sender = ex.start(move || (0..UNITS as u64).for_each(|number| queue.send(&number.to_le_bytes(), 0).unwrap()));
    let mut received: Vec<_> = receivers.into_iter().map(|unit| unit.join()).collect();
    received.sort_unstable();
    assert!(received.into_iter().eq(0..UNITS as u64));
    sender.join();
}

/// Senders wait while the queue is full, and nothing is lost or doubled.
pub fn a_full_queue_holds_senders_back(ex: &dyn Executor) {
    let queue = queue(2);
    let senders = ex.start_each(UNITS, {
        let queue = queue.clone();
        move |unit| {
            for number in 0..20_u64 {
                queue.send(&(unit as u64 * 20 + number).to_le_bytes(), 0).unwrap();
            }
        }
    });
    still_wait(&senders);
    let receiver = ex.start(move || {
        let mut all: Vec<_> = (0..UNITS * 20)
            .map(|_| {
                let mut message = [0; BYTES];
                queue.receive(&mut message).unwrap();
                u64::from_le_bytes(message[..8].try_into().unwrap())
            })
            .collect();
        all.sort_unstable();
        all
    });
    assert!(receiver.join().into_iter().eq(0..UNITS as u64 * 20));
    join_all(senders);
}

/// The most urgent message comes first, the oldest of them before.
pub fn messages_have_an_order(ex: &dyn Executor) {
    let received = ex.start(|| {
        let queue = queue(4);
        for (text, priority) in [("low", 1), ("high", 9), ("high too", 9), ("none", 0)] {
            queue.send(text.as_bytes(), priority).unwrap();
        }
        let next = || {
            let mut message = [0; BYTES];
            let (count, priority) = queue.receive(&mut message).unwrap();
            (String::from_utf8(message[..count].to_vec()).unwrap(), priority)
        };
        [next(), next(), next(), next()]
    });
    let expected = [("high", 9), ("high too", 9), ("low", 1), ("none", 0)];
    assert_eq!(
        received.join(),
        expected.map(|(text, priority)| (text.to_string(), priority))
    );
}

/// The timed forms give up in time, and not before; a time that is past is asked about only if the call would wait.
pub fn timed_forms_give_up(ex: &dyn Executor) {
    let unit = ex.start(|| {
        let queue = queue(1);
        let mut message = [0; BYTES];
        let start = Instant::now();
        assert_eq!(code(queue.receive_timeout(&mut message, SHORT)), ETIMEDOUT);
        assert!(start.elapsed() >= SHORT);
        queue.send_timeout(b"one", 0, Duration::ZERO).unwrap();
        let start = Instant::now();
        assert_eq!(code(queue.send_timeout(b"two", 0, SHORT)), ETIMEDOUT);
        assert!(start.elapsed() >= SHORT);
        let past = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        assert_eq!(queue.receive_until(&mut message, past).unwrap(), 3);
        assert_eq!(code(queue.receive_until(&mut message, past)), ETIMEDOUT);
        for (tv_sec, tv_nsec) in [(1, 1_000_000_000), (1, -1), (-1, 0)] {
            let time = libc::timespec { tv_sec, tv_nsec };
            assert_eq!(code(queue.receive_until(&mut message, time)), EINVAL);
        }
    });
    unit.join();
}

/// A message that comes within the time ends a timed wait.
pub fn a_timed_wait_is_ended_by_a_message(ex: &dyn Executor) {
    let queue = queue(1);
    let receiver = ex.start({
        let queue = queue.clone();
        move || queue.receive_timeout(&mut [0; BYTES], LONG).unwrap()
    });
    let sender = ex.start(move || {
        sleep(SHORT);
        queue.send(b"there", 0).unwrap();
    });
    sender.join();
    assert_eq!(receiver.join(), 5);
}

/// With O_NONBLOCK no call waits; other errors are the kernel's.
pub fn errors_of_queues(ex: &dyn Executor) {
    let unit = ex.start(|| {
        let queue = MessageQueue::new(&name(), libc::O_NONBLOCK, 1, BYTES).unwrap();
        let mut message = [0; BYTES];
        assert_eq!(code(queue.receive(&mut message)), EAGAIN);
        assert_eq!(code(queue.receive_timeout(&mut message, LONG)), EAGAIN);
        queue.send(b"x", 0).unwrap();
        assert_eq!(code(queue.send(b"y", 0)), EAGAIN);
        assert_eq!(code(queue.send(&[0; BYTES + 1], 0)), EMSGSIZE);
        assert_eq!(code(queue.receive(&mut [0; BYTES - 1])), EMSGSIZE);
        assert_eq!(code(queue.send(b"z", u32::MAX)), EINVAL);
        queue.close();
        assert_eq!(code(queue.send(b"y", 0)), EBADF);
    });
    unit.join();
}

/// The number of a queue that is closed goes to another one, whose waits work.
pub fn a_number_is_used_again(ex: &dyn Executor) {
    let unit = ex.start(|| {
        for _ in 0..20 {
            let queue = MessageQueue::new(&name(), 0, 1, BYTES).unwrap();
            assert_eq!(
                code(queue.receive_timeout(&mut [0; BYTES], Duration::from_millis(1))),
                ETIMEDOUT
            );
            queue.send(b"x", 0).unwrap();
            assert_eq!(queue.receive(&mut [0; BYTES]).unwrap(), (1, 0));
            queue.close();
        }
    });
    unit.join();
}

/// Receivers of one kind wait while other kinds are there; each message goes to one of them.
pub fn kinds_of_messages(ex: &dyn Executor) {
    let queue = Arc::new(SystemQueue::new().unwrap());
    let receivers = ex.start_each(UNITS, {
        let queue = queue.clone();
        move |unit| queue.receive(unit as i64 % 2 + 1, 0).unwrap()
    });
    still_wait(&receivers);
    let sender = ex.start(move || {
        for number in 0..UNITS as u64 {
            queue.send(number as i64 % 2 + 1, number, 0).unwrap();
        }
    });
    let mut received: Vec<_> = receivers.into_iter().map(|unit| unit.join()).collect();
    received.sort_unstable_by_key(|(_, number)| *number);
    assert!(received.iter().map(|(_, number)| *number).eq(0..UNITS as u64));
    assert!(received.iter().all(|(kind, number)| *kind == *number as i64 % 2 + 1));
    sender.join();
}

/// Waits end with an error when the object is removed; calls that do not wait say so.
pub fn removal_and_errors(ex: &dyn Executor) {
    let queue = Arc::new(SystemQueue::new().unwrap());
    let semaphores = Arc::new(Semaphores::new(1).unwrap());
    let receivers = ex.start_each(UNITS, {
        let (queue, semaphores) = (queue.clone(), semaphores.clone());
        move |unit| match unit % 2 {
            0 => code(queue.receive(0, 0)),
            _ => code(semaphores.operate(&[(0, -1, 0)])),
        }
    });
    still_wait(&receivers);
    let unit = ex.start(move || {
        assert_eq!(code(queue.receive(0, IPC_NOWAIT)), ENOMSG);
        assert_eq!(code(queue.receive(0, libc::MSG_COPY)), EINVAL);
        assert_eq!(code(queue.send(0, 1, 0)), EINVAL, "kinds begin at 1");
        assert_eq!(code(semaphores.operate(&[(0, -1, IPC_NOWAIT)])), EAGAIN);
        assert_eq!(code(semaphores.operate(&[])), EINVAL);
        assert_eq!(code(semaphores.operate(&[(0, 1, 0); 501])), E2BIG);
        queue.remove();
        semaphores.remove();
    });
    unit.join();
    let codes: Vec<_> = receivers.into_iter().map(|unit| unit.join()).collect();
    assert!(codes.iter().all(|code| *code == EIDRM), "{codes:?}");
}

/// Semaphores as locks: several operations happen together or not at all.
pub fn operations_happen_together(ex: &dyn Executor) {
    let semaphores = Arc::new(Semaphores::new(2).unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let start = ex.start({
        let semaphores = semaphores.clone();
        move || semaphores.operate(&[(0, 1, 0), (1, 1, 0)]).unwrap()
    });
    start.join();
    let units = ex.start_each(UNITS, {
        let count = count.clone();
        move |_| {
            for _ in 0..20 {
                // Taken by the process, not by the thread: what is undone at its end is nothing.
                semaphores.operate(&[(0, -1, SEM_UNDO), (1, -1, SEM_UNDO)]).unwrap();
                let before = count.load(SeqCst);
                std::thread::yield_now();
                count.store(before + 1, SeqCst);
                semaphores.operate(&[(0, 1, SEM_UNDO), (1, 1, SEM_UNDO)]).unwrap();
            }
        }
    });
    join_all(units);
    assert_eq!(count.load(SeqCst), UNITS * 20);
}

/// A timed operation gives up in time and takes nothing.
pub fn a_timed_operation_gives_up(ex: &dyn Executor) {
    let unit = ex.start(|| {
        let semaphores = Semaphores::new(2).unwrap();
        semaphores.operate(&[(0, 1, 0)]).unwrap();
        let start = Instant::now();
        let both = [(0, -1, 0), (1, -1, 0)];
        assert_eq!(code(semaphores.operate_timeout(&both, SHORT)), EAGAIN);
        assert!(start.elapsed() >= SHORT);
        assert_eq!(code(semaphores.operate_timeout(&both, Duration::ZERO)), EAGAIN);
        semaphores.operate_timeout(&[(0, -1, 0)], Duration::ZERO).unwrap();
    });
    unit.join();
}

/// More units than workers wait for a semaphore of C; each post lets one of them go on.
pub fn a_semaphore_of_c(ex: &dyn Executor) {
    let semaphore = Arc::new(Semaphore::new(1));
    semaphore.wait().unwrap();
    let units = ex.start_each(UNITS, {
        let semaphore = semaphore.clone();
        move |_| semaphore.wait().unwrap()
    });
    still_wait(&units);
    let poster = ex.start({
        let semaphore = semaphore.clone();
        move || (0..UNITS).for_each(|_| semaphore.post())
    });
    poster.join();
    join_all(units);
    let unit = ex.start(move || {
        let start = Instant::now();
        assert_eq!(code(semaphore.wait_timeout(SHORT)), ETIMEDOUT);
        assert!(start.elapsed() >= SHORT);
        semaphore.post();
        semaphore.wait_timeout(Duration::ZERO).unwrap();
    });
    unit.join();
}

/// A barrier of C, in several rounds: nobody is a round ahead, and one is chosen in each.
pub fn a_barrier_of_c(ex: &dyn Executor) {
    const ROUNDS: usize = 5;
    let barrier = Arc::new(Barrier::new(UNITS as u32));
    let arrived = Arc::new(AtomicUsize::new(0));
    let units = ex.start_each(UNITS, move |_| {
        let mut chosen = 0;
        for round in 1..=ROUNDS {
            arrived.fetch_add(1, SeqCst);
            chosen += usize::from(barrier.wait());
            assert_eq!(arrived.load(SeqCst), round * UNITS);
            chosen += usize::from(barrier.wait());
        }
        chosen
    });
    let chosen: usize = units.into_iter().map(|unit| unit.join()).sum();
    assert_eq!(chosen, 2 * ROUNDS);
}
