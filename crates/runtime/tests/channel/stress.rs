//! Seeded mixtures of everything, for a while: no message lost, none doubled, each dropped once, order kept per sender.

use super::Cast;
use fastrand::Rng;
use silken::channel::*;
use silken::select;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A message that knows its sender and its number, and is counted while it lives.
struct Message {
    sender: u64,
    number: u64,
    alive: Arc<AtomicUsize>,
}

impl Message {
    fn new(sender: u64, number: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        let alive = alive.clone();
        Self { sender, number, alive }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends `count` messages by all means; those that are refused are sent again.
fn send_all(tx: &Sender<Message>, sender: u64, count: u64, alive: &Arc<AtomicUsize>, random: &mut Rng) {
    for number in 0..count {
        let mut message = Message::new(sender, number, alive);
        loop {
            let short = Duration::from_micros(random.u64(..50));
            let refused = match random.u64(..4) {
                0 => tx.send(message).err().map(SendError::into_inner),
                1 => tx.try_send(message).err().map(TrySendError::into_inner),
                2 => tx.send_timeout(message, short).err().map(SendTimeoutError::into_inner),
                _ => {
                    let mut select = Select::new();
                    let sends = select.send(tx, message);
                    match select.select_timeout(short).map(|operation| operation.send(tx)) {
                        Ok(sent) => sent.err().map(SendError::into_inner),
                        Err(SelectTimeoutError) => select.take(sends, tx),
                    }
                }
            };
            match refused {
                None => break,
                Some(refused) => message = refused,
            }
            silken::yield_now();
        }
    }
}

/// Receives by all means until the channel ends.
fn receive_all(rx: &Receiver<Message>, random: &mut Rng) -> Vec<(u64, u64)> {
    let mut received = Vec::new();
    let idle = never::<u8>();
    loop {
        let short = Duration::from_micros(random.u64(..50));
        let message = match random.u64(..4) {
            0 => rx.recv().map_err(RecvTimeoutError::from),
            1 => rx.recv_timeout(short),
            2 => rx.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
            _ => select! {
                recv(rx) -> message => message.map_err(RecvTimeoutError::from),
                recv(idle) -> _ => unreachable!(),
                recv(after(short)) -> _ => Err(RecvTimeoutError::Timeout),
            },
        };
        match message {
            Ok(message) => received.push((message.sender, message.number)),
            Err(RecvTimeoutError::Timeout) => silken::yield_now(),
            Err(RecvTimeoutError::Disconnected) => return received,
        }
    }
}

fn play(cast: Cast, seed: u64) {
    const COUNT: u64 = 100;
    let mut random = Rng::with_seed(seed);
    let capacity = [0, 1, 2, 50, usize::MAX][random.usize(..5)];
    let (senders, receivers) = (random.u64(1..=4), random.u64(1..=4));
    let alive = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = bounded(capacity);
    let sending: Vec<_> = (0..senders)
        .map(|sender| {
            let (tx, alive) = (tx.clone(), alive.clone());
            let mut random = Rng::with_seed(seed ^ (sender + 1) << 32);
            cast.spawn(move || send_all(&tx, sender, COUNT, &alive, &mut random))
        })
        .collect();
    drop(tx);
    let receiving: Vec<_> = (0..receivers)
        .map(|receiver| {
            let rx = rx.clone();
            let mut random = Rng::with_seed(seed ^ (receiver + 1) << 48);
            cast.spawn(move || receive_all(&rx, &mut random))
        })
        .collect();
    drop(rx);
    sending.into_iter().for_each(|sender| sender.join());
    let mut numbers: HashMap<u64, Vec<u64>> = HashMap::new();
    for receiver in receiving {
        let mut last = HashMap::new();
        for (sender, number) in receiver.join() {
            let previous = last.insert(sender, number);
            assert!(previous < Some(number), "seed {seed}: out of order");
            numbers.entry(sender).or_default().push(number);
        }
    }
    for sender in 0..senders {
        let mut got = numbers.remove(&sender).unwrap_or_default();
        got.sort_unstable();
        assert!(got.iter().copied().eq(0..COUNT), "seed {seed}: lost or doubled");
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0, "seed {seed}: drops");
}

fn stress(cast: Cast, first_seed: u64) {
    let begun = Instant::now();
    let mut seeds = Rng::with_seed(first_seed);
    while begun.elapsed() < Duration::from_millis(700) {
        play(cast, seeds.u64(..));
    }
}

#[test]
fn by_threads() {
    stress(Cast::Threads, 11);
}

#[test]
fn by_coroutines() {
    super::in_runtimes(|| stress(Cast::Coroutines, 22));
}

#[test]
fn by_both() {
    super::in_runtimes(|| stress(Cast::Mixed, 33));
}
