//! Channels of many senders and receivers. Each coroutine has ends of its own, so the counts of ends are tested as
//! well.
//!
//! Half of the stations end by closing the channel, which gives the senders' tokens back. In the other half the channel
//! stays open and two *servers* come at the end, one that receives until it is cancelled and one that sends while
//! somebody still receives: nobody may need more than a partner to go on.

use super::{Counted, Part, Wait};
use crate::ledger::{Flow, Ledger, Token};
use crate::plan::Rng;
use silken::JoinHandle;
use silken::channel::{self, Receiver, Sender, TryRecvError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

pub(super) struct Channel {
    tx: Sender<Token>,
    rx: Receiver<Token>,
    flow: Flow,
    closes: bool,
    released: AtomicBool,
    receiving: Arc<AtomicUsize>,
    servers: Mutex<Vec<JoinHandle<()>>>,
    ledger: Arc<Ledger>,
    this: Weak<Self>,
}

impl Channel {
    pub(super) fn station(capacity: usize, rng: &mut Rng, ledger: &Arc<Ledger>) -> Arc<dyn Wait> {
        Arc::new_cyclic(|this| {
            let (tx, rx) = match capacity {
                usize::MAX => channel::unbounded(),
                _ => channel::bounded(capacity),
            };
            Self {
                tx,
                rx,
                flow: Flow::default(),
                closes: rng.chance(50),
                released: AtomicBool::new(false),
                receiving: Arc::default(),
                servers: Mutex::default(),
                ledger: ledger.clone(),
                this: this.clone(),
            }
        })
    }

    fn send(&self, tx: &Sender<Token>, part: &mut Part) {
        let token = part.token();
        match part.rng.below(4) {
            0 => self.flow.send(token, |token| tx.try_send(token)),
            1 => {
                let timeout = part.moment();
                self.flow.send(token, |token| tx.send_timeout(token, timeout))
            }
            _ => self.flow.send(token, |token| tx.send(token)),
        };
    }

    fn receive(&self, rx: &Receiver<Token>, part: &mut Part) {
        let _receiving = Counted::new(&self.receiving);
        // SeqCst: pairs with the release. Either it sees this receiver counted, or this receiver sees it.
        fence(Ordering::SeqCst);
        if self.released.load(Ordering::Relaxed) {
            return;
        }
        let token = match part.rng.below(5) {
            0 => rx.try_recv().ok(),
            1 => rx.recv_timeout(part.moment()).ok(),
            2 => rx.recv_deadline(Instant::now() + part.moment()).ok(),
            _ => rx.recv().ok(),
        };
        if let Some(token) = token {
            self.flow.received(token);
        }
    }
}

impl Wait for Channel {
    fn part(&self, part: &mut Part) {
        let sends = part.index.is_multiple_of(2);
        let (tx, rx) = (self.tx.clone(), self.rx.clone());
        for _ in 0..1 + part.rng.below(3) {
            if sends {
                if part.rng.chance(50) {
                    part.pause();
                }
                self.send(&tx, part);
            } else {
                self.receive(&rx, part);
            }
        }
    }

    fn stir(&self, rng: &mut Rng) {
        if rng.chance(50) {
            self.flow.send(self.ledger.token(), |token| self.tx.try_send(token));
        } else if let Ok(token) = self.rx.try_recv() {
            self.flow.received(token);
        }
    }

    fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `receive`.
        fence(Ordering::SeqCst);
        if self.closes {
            self.tx.close();
            return;
        }
        let this = self.this.upgrade().expect("the caller has it");
        let receiver = silken::spawn(move || {
            let rx = this.rx.clone();
            while let Ok(token) = rx.recv() {
                this.flow.received(token);
            }
        });
        let this = self.this.upgrade().expect("the caller has it");
        let sender = silken::spawn(move || {
            while this.receiving.load(Ordering::Relaxed) > 0 {
                this.flow.send(this.ledger.token(), |token| this.tx.send(token));
                silken::yield_now();
            }
        });
        self.servers.lock().unwrap().extend([sender, receiver]);
    }

    fn check(&self) -> Result<(), String> {
        let servers = std::mem::take(&mut *self.servers.lock().unwrap());
        for (index, server) in servers.into_iter().enumerate() {
            if index == 1 {
                server.cancel();
            }
            match server.join() {
                Err(error) if !error.is_cancelled() => return Err(format!("a server: {error}")),
                _ => {}
            }
        }
        while let Ok(token) = self.rx.try_recv() {
            self.flow.received(token);
        }
        self.flow.check()?;
        let ends = (self.tx.sender_count(), self.tx.receiver_count(), self.tx.len());
        if ends != (1, 1, 0) {
            return Err(format!("senders, receivers, messages: {ends:?}"));
        }
        if self.closes {
            return match (self.tx.send(self.ledger.token()), self.rx.try_recv()) {
                (Err(_), Err(TryRecvError::Disconnected)) => Ok(()),
                outcome => Err(format!("the closed channel: {outcome:?}")),
            };
        }
        self.cycle()
    }
}

impl Channel {
    /// One message from a coroutine to its maker, and nobody else there to take it.
    fn cycle(&self) -> Result<(), String> {
        if let Ok(token) = self.rx.try_recv() {
            return Err(format!("token {} came from nowhere", token.id()));
        }
        let token = self.ledger.token();
        let (id, tx) = (token.id(), self.tx.clone());
        let sender = silken::spawn(move || tx.send(token).is_ok());
        let received = self.rx.recv().map(|token| token.id());
        let sent = sender.join().map_err(|error| error.to_string())?;
        if (sent, received) != (true, Ok(id)) {
            return Err(format!("sent {id} ({sent}), received {received:?}"));
        }
        if self.tx.try_send(self.ledger.token()).is_ok() != (self.tx.capacity() != Some(0)) {
            return Err("a waiter was left behind, or the room was".to_string());
        }
        drop(self.rx.try_recv());
        Ok(())
    }
}
