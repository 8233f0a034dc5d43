//! std's waits, which the hooks answer. Cancellation does not interrupt its locks and channels, so a release must reach
//! everybody; it cuts sleeps short, and makes sockets fail.

use super::{Part, Wait};
use crate::ledger::{Flow, Ledger, Token};
use crate::plan::Rng;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// One receiver, which one coroutine at a time may have, and senders of which the bound makes some wait.
pub(super) struct StdChannel {
    sender: Mutex<Option<mpsc::SyncSender<Token>>>,
    receiver: Mutex<Option<mpsc::Receiver<Token>>>,
    flow: Flow,
    ledger: Arc<Ledger>,
}

impl StdChannel {
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        let (tx, rx) = mpsc::sync_channel(2);
        Self {
            sender: Mutex::new(Some(tx)),
            receiver: Mutex::new(Some(rx)),
            flow: Flow::default(),
            ledger: ledger.clone(),
        }
    }
}

impl Wait for StdChannel {
    fn part(&self, part: &mut Part) {
        let sends = !part.index.is_multiple_of(3);
        for _ in 0..1 + part.rng.below(3) {
            if sends {
                part.pause();
                let tx = self.sender.lock().unwrap().clone();
                let Some(tx) = tx else {
                    break;
                };
                self.flow.send(part.token(), |token| tx.send(token));
                continue;
            }
            // The others wait for the lock meanwhile.
            let receiver = self.receiver.lock().unwrap();
            let Some(receiver) = receiver.as_ref() else {
                break;
            };
            let token = match part.rng.below(3) {
                0 => receiver.recv_timeout(part.moment()).ok(),
                1 => receiver.try_recv().ok(),
                _ => receiver.recv().ok(),
            };
            if let Some(token) = token {
                self.flow.received(token);
            }
        }
    }

    fn stir(&self, _rng: &mut Rng) {
        let tx = self.sender.lock().unwrap().clone();
        if let Some(tx) = tx {
            self.flow.send(self.ledger.token(), |token| tx.try_send(token));
        }
    }

    fn release(&self) {
        let tx = self.sender.lock().unwrap().take();
        drop(tx);
        // Senders that wait are let go by receiving all; it ends when the last of them has dropped its end.
        let receiver = self.receiver.lock().unwrap();
        for token in receiver.iter().flatten() {
            self.flow.received(token);
        }
    }

    fn check(&self) -> Result<(), String> {
        drop(self.receiver.lock().unwrap().take());
        self.flow.check()
    }
}

/// Units, as those of silken's condition.
#[derive(Default)]
pub(super) struct StdCondvar {
    stock: Mutex<(usize, bool)>,
    more: Condvar,
    made: AtomicUsize,
    taken: AtomicUsize,
}

impl Wait for StdCondvar {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            let stock = self.stock.lock().unwrap();
            let is_none = |stock: &mut (usize, bool)| stock.0 == 0 && !stock.1;
            let mut stock = if part.rng.chance(30) {
                let timeout = part.moment();
                self.more.wait_timeout_while(stock, timeout, is_none).unwrap().0
            } else {
                self.more.wait_while(stock, is_none).unwrap()
            };
            if stock.0 > 0 {
                stock.0 -= 1;
                self.taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn stir(&self, rng: &mut Rng) {
        let mut stock = self.stock.lock().unwrap();
        stock.0 += 1;
        self.made.fetch_add(1, Ordering::Relaxed);
        if rng.chance(50) {
            drop(stock);
        }
        self.more.notify_one();
    }

    fn release(&self) {
        self.stock.lock().unwrap().1 = true;
        self.more.notify_all();
    }

    fn check(&self) -> Result<(), String> {
        let (left, _) = *self.stock.lock().unwrap();
        let (made, taken) = (self.made.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        if made == taken + left {
            return Ok(());
        }
        Err(format!("made {made}, taken {taken}, left {left}"))
    }
}

pub(super) struct StdSleep;

impl Wait for StdSleep {
    fn part(&self, part: &mut Part) {
        thread::sleep(match part.rng.chance(50) {
            true => part.moment(),
            false => Duration::from_millis(part.rng.below(200) as u64),
        });
        // std's sleep may be cut short: here the cancellation acts.
        silken::check_cancelled();
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

pub(super) struct StdPark;

impl Wait for StdPark {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            thread::park_timeout(part.moment());
            if part.rng.chance(20) {
                thread::current().unpark();
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A pair of sockets: even coroutines read from one end, odd ones write bytes into the other.
pub(super) struct Sockets {
    reader: UnixStream,
    writer: UnixStream,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Sockets {
    pub(super) fn new() -> Self {
        let (reader, writer) = UnixStream::pair().expect("two descriptors can be had");
        Self {
            reader,
            writer,
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    fn write(&self, bytes: &[u8]) {
        if let Ok(count) = (&self.writer).write(bytes) {
            self.written.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn read(&self, bytes: &mut [u8]) -> usize {
        let count = (&self.reader).read(bytes).unwrap_or(0);
        self.read.fetch_add(count, Ordering::Relaxed);
        count
    }
}

impl Wait for Sockets {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            if part.index.is_multiple_of(2) {
                self.read(&mut [0; 16]);
            } else {
                part.pause();
                self.write(&[7; 8]);
            }
        }
    }

    fn stir(&self, _rng: &mut Rng) {
        self.write(&[7]);
    }

    fn release(&self) {
        // Readers come to the end of the stream; nobody writes any more.
        let _ = self.writer.shutdown(std::net::Shutdown::Write);
    }

    fn check(&self) -> Result<(), String> {
        while self.read(&mut [0; 64]) > 0 {}
        let (written, read) = (self.written.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed));
        if written == read {
            return Ok(());
        }
        Err(format!("written {written} bytes, read {read}"))
    }
}
