//! silken::channel in the patterns that programs are made of, and in storms.

use super::chan::flavours;
use crate::probe::{Tally, coroutine};
use crate::rng;
use crate::{Executor, join_all};
use fastrand::Rng;
use silken::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// Many units report to one.
pub fn fan_in(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let units = ex.start_each(32, move |unit| {
            (0..10).for_each(|number| tx.send(unit * 10 + number).unwrap())
        });
        let mut seen: Vec<_> = rx.iter().collect();
        seen.sort_unstable();
        assert!((0..320).eq(seen));
        join_all(units);
    }
}

/// One unit feeds many; every one of them ends when it leaves.
pub fn fan_out(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let units = ex.start_each(16, move |_| rx.iter().sum::<usize>());
        (0..320).for_each(|number| tx.send(number).unwrap());
        drop(tx);
        assert_eq!(join_all(units).iter().sum::<usize>(), 319 * 160);
    }
}

fn pass_on(input: Receiver<u32>, output: Sender<u32>) {
    for number in input {
        if output.send(number + 1).is_err() {
            return;
        }
    }
}

/// A message runs round a ring of units.
pub fn ring(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (first, mut last) = bounded(capacity);
        let units: Vec<_> = (0..50)
            .map(|_| {
                let (output, next) = bounded(capacity);
                let input = std::mem::replace(&mut last, next);
                ex.start(move || pass_on(input, output))
            })
            .collect();
        let mut token = 0;
        for _ in 0..10 {
            first.send(token).unwrap();
            token = last.recv().unwrap();
        }
        assert_eq!(token, 500);
        drop(first);
        join_all(units);
    }
}

/// A chain of units is full of messages, and ends from its head.
pub fn pipeline(ex: &dyn Executor) {
    let (head, mut tail) = bounded(2);
    let units: Vec<_> = (0..40)
        .map(|_| {
            let (output, next) = bounded(2);
            let input = std::mem::replace(&mut tail, next);
            ex.start(move || pass_on(input, output))
        })
        .collect();
    let feeder = ex.start(move || (0..100).for_each(|number| head.send(number).unwrap()));
    assert!((40..140).eq(tail.iter()));
    feeder.join();
    join_all(units);
}

/// The end of a chain leaves, and the whole chain ends, back to its head.
pub fn pipeline_ends_from_its_tail(ex: &dyn Executor) {
    let (head, mut tail) = bounded(0);
    let units: Vec<_> = (0..20)
        .map(|_| {
            let (output, next) = bounded(0);
            let input = std::mem::replace(&mut tail, next);
            ex.start(move || pass_on(input, output))
        })
        .collect();
    let feeder = ex.start(move || (0..).take_while(|number| head.send(*number).is_ok()).count());
    assert!((20..30).eq(tail.iter().take(10)));
    drop(tail);
    assert!(feeder.join() >= 10);
    join_all(units);
}

/// The sieve of primes: a growing chain of filters over rendezvous channels.
pub fn prime_sieve(ex: &dyn Executor) {
    let (tx, mut rx) = bounded(0);
    let mut units = vec![ex.start(move || (2..).take_while(|number| tx.send(*number).is_ok()).for_each(drop))];
    let mut primes = Vec::new();
    for _ in 0..25 {
        let prime: u32 = rx.recv().unwrap();
        primes.push(prime);
        let (tx, next) = bounded(0);
        let input = std::mem::replace(&mut rx, next);
        units.push(ex.start(move || {
            for number in input.iter().filter(|number| number % prime != 0) {
                if tx.send(number).is_err() {
                    return;
                }
            }
        }));
    }
    assert_eq!((primes[0], primes[9], primes[24]), (2, 29, 97));
    drop(rx);
    join_all(units);
}

/// Requests carry the channel for their reply.
pub fn request_and_reply(ex: &dyn Executor) {
    let (requests, inbox) = bounded::<(usize, Sender<usize>)>(4);
    let servers = ex.start_each(3, move |_| {
        inbox.iter().for_each(|(number, reply)| reply.send(number * 2).unwrap())
    });
    let clients = ex.start_each(16, move |unit| {
        for number in 0..10 {
            let (reply, answer) = bounded(0);
            requests.send((unit + number, reply)).unwrap();
            assert_eq!(answer.recv(), Ok((unit + number) * 2));
        }
    });
    join_all(clients);
    join_all(servers);
}

/// A bounded channel of tokens lets so many in at a time.
pub fn tokens_limit_units(ex: &dyn Executor) {
    let (tx, rx) = bounded(3);
    let inside = Arc::new(AtomicUsize::new(0));
    join_all(ex.start_each(12, move |_| {
        for _ in 0..10 {
            tx.send(()).unwrap();
            assert!(inside.fetch_add(1, SeqCst) < 3);
            thread::yield_now();
            inside.fetch_sub(1, SeqCst);
            rx.recv().unwrap();
        }
    }));
}

/// A unit and an OS thread of std's, both ways.
pub fn with_os_thread(ex: &dyn Executor) {
    for capacity in [0, 1, 100] {
        let (tx, input) = bounded(capacity);
        let (output, rx) = bounded(capacity);
        let thread = thread::spawn(move || pass_on(input, output));
        ex.start(move || {
            for number in 0..200 {
                tx.send(number).unwrap();
                assert_eq!(rx.recv(), Ok(number + 1));
            }
        })
        .join();
        thread.join().unwrap();
    }
}

/// A unit, an isolated and a light coroutine in one chain.
pub fn across_kinds(ex: &dyn Executor) {
    let (tx, first) = bounded(0);
    let (to_second, second) = bounded(0);
    let (to_third, rx) = bounded(0);
    let isolated = silken::spawn(move || pass_on(first, to_second));
    let light = crate::probe::light().spawn(move || pass_on(second, to_third)).unwrap();
    let feeder = ex.start(move || (0..100).for_each(|number| tx.send(number).unwrap()));
    assert!((2..102).eq(rx.iter()));
    feeder.join();
    isolated.join().unwrap();
    light.join().unwrap();
}

/// Ends are cloned, sent about and dropped while others use them; each message is received or dropped once.
pub fn ends_come_and_go(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let tally = Tally::default();
        let (values, hub) = (tally.clone(), ex.shared());
        let senders = ex.start_each(4, move |_| {
            let units: Vec<_> = (0..5)
                .map(|_| {
                    let (tx, values) = (tx.clone(), values.clone());
                    hub.start(move || (0..10).filter(|_| tx.send(values.value()).is_ok()).count())
                })
                .collect();
            join_all(units).iter().sum::<usize>()
        });
        let hub = ex.shared();
        let receivers = ex.start_each(3, move |_| {
            let mut count = 0;
            loop {
                let rx = rx.clone();
                match hub.start(move || rx.iter().take(7).count()).join() {
                    0 => return count,
                    some => count += some,
                }
            }
        });
        let received: usize = join_all(receivers).iter().sum();
        let sent: usize = join_all(senders).iter().sum();
        assert_eq!((sent, received, tally.dropped()), (200, 200, 200));
    }
}

/// A receive that gives up while a message is handed to it loses none.
pub fn recv_timeout_races(ex: &dyn Executor) {
    for (tx, rx) in flavours() {
        let producer = ex.start(move || {
            for number in 0..60 {
                silken::sleep(Duration::from_micros(150));
                tx.send(number).unwrap();
            }
        });
        let mut expected = 0;
        loop {
            match rx.recv_timeout(Duration::from_micros(100)) {
                Ok(number) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        assert_eq!(expected, 60);
        producer.join();
    }
}

/// A send that gives up while a receiver takes its message has either sent it or gives it back.
pub fn send_timeout_races(ex: &dyn Executor) {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        let receiver = ex.start(move || {
            let mut seen = Vec::new();
            loop {
                silken::sleep(Duration::from_micros(150));
                match rx.try_recv() {
                    Ok(number) => seen.push(number),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return seen,
                }
            }
        });
        let mut sent = Vec::new();
        for number in 0..100 {
            match tx.send_timeout(number, Duration::from_micros(100)) {
                Ok(()) => sent.push(number),
                Err(error) => assert_eq!(error, SendTimeoutError::Timeout(number)),
            }
        }
        drop(tx);
        assert_eq!(receiver.join(), sent);
    }
}

fn random_send(tx: &Sender<crate::probe::Counted>, rng: &mut Rng, value: crate::probe::Counted) -> Option<usize> {
    let number = value.number;
    let sent = match rng.u64(..4) {
        0 => tx.try_send(value).is_ok(),
        1 => tx.send_timeout(value, Duration::from_micros(rng.u64(..100))).is_ok(),
        2 => silken::select! {
            send(tx, value) -> sent => sent.is_ok(),
            default(Duration::from_micros(50)) => false,
        },
        _ => tx.send(value).is_ok(),
    };
    sent.then_some(number)
}

fn random_recv(rx: &Receiver<crate::probe::Counted>, rng: &mut Rng) -> Result<Option<usize>, ()> {
    let gone = match rng.u64(..4) {
        0 => rx.try_recv().map_err(|error| error.is_disconnected()),
        1 => rx
            .recv_timeout(Duration::from_micros(rng.u64(..100)))
            .map_err(|error| error.is_disconnected()),
        2 => silken::select! {
            recv(rx) -> value => value.map_err(|_| true),
            default(Duration::from_micros(50)) => Err(false),
        },
        _ => rx.recv().map_err(|_| true),
    };
    match gone {
        Ok(value) => Ok(Some(value.number)),
        Err(true) => Err(()),
        Err(false) => Ok(None),
    }
}

/// Every form of every operation at once: what was accepted is what was received, each once, and all is dropped once.
pub fn storm(ex: &dyn Executor) {
    let seed = rng::seed_of("chan_storm");
    for (tx, rx) in flavours() {
        let tally = Tally::default();
        let values = tally.clone();
        let senders = ex.start_each(6, move |unit| {
            let mut rng = rng::of_unit(seed, unit);
            (0..60)
                .filter_map(|_| random_send(&tx, &mut rng, values.value()))
                .collect::<Vec<_>>()
        });
        let receivers = ex.start_each(5, move |unit| {
            let mut rng = rng::of_unit(seed, unit + 10);
            let mut seen = Vec::new();
            while let Ok(number) = random_recv(&rx, &mut rng) {
                seen.extend(number);
            }
            seen
        });
        let mut sent = join_all(senders).concat();
        let mut received = join_all(receivers).concat();
        sent.sort_unstable();
        received.sort_unstable();
        assert_eq!(sent, received);
        assert_eq!((tally.made(), tally.dropped()), (360, 360));
    }
}

/// Coroutines that were detached go on with their channels.
pub fn detached_units_go_on(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    for number in 0..20 {
        let tx = tx.clone();
        drop(coroutine(ex, move || {
            silken::sleep(Duration::from_millis(1));
            tx.send(number).unwrap();
        }));
    }
    drop(tx);
    assert_eq!(rx.iter().sum::<i32>(), 190);
}
