//! Channels for one value, for everybody, for the latest.

use super::{Part, Wait};
use crate::ledger::{Flow, Ledger, Token};
use crate::plan::Rng;
use silken::channel::{RecvTimeoutError, broadcast, oneshot, watch};
use std::collections::VecDeque;

use std::sync::{Arc, Mutex};

/// Pairs of coroutines, each with a channel of its own. Who comes too late finds that its partner has gone.
pub(super) struct Oneshots {
    waiting: Mutex<VecDeque<oneshot::Sender<Token>>>,
    flow: Flow,
}

impl Oneshots {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            flow: Flow::default(),
        }
    }

    fn receive(&self, part: &mut Part) {
        let (tx, mut rx) = oneshot::channel();
        self.waiting.lock().unwrap().push_back(tx);
        let token = match part.rng.below(4) {
            0 => rx.recv_timeout(part.moment()).ok(),
            1 => {
                part.pause();
                rx.try_recv().ok()
            }
            _ => rx.recv().ok(),
        };
        if let Some(token) = token {
            self.flow.received(token);
        }
    }
}

impl Wait for Oneshots {
    fn part(&self, part: &mut Part) {
        if part.index.is_multiple_of(2) {
            return self.receive(part);
        }
        part.pause();
        let tx = self.waiting.lock().unwrap().pop_front();
        if let Some(tx) = tx {
            if part.rng.chance(20) {
                part.pause();
            }
            self.flow.send(part.token(), |token| tx.send(token));
        }
    }

    fn release(&self) {
        let senders = std::mem::take(&mut *self.waiting.lock().unwrap());
        drop(senders);
    }

    fn ends_by_cancel(&self) -> bool {
        // The sender of a receiver that comes after the release stays in the queue.
        true
    }

    fn check(&self) -> Result<(), String> {
        drop(std::mem::take(&mut *self.waiting.lock().unwrap()));
        let (sent, received) = self.flow.counts();
        // A value that was given to a receiver that then goes is dropped with the channel, so there may be more sent
        // than received.
        if received > sent {
            return Err(format!("{sent} sent, {received} received"));
        }
        let (tx, rx) = oneshot::channel();
        let receiver = silken::spawn(move || rx.recv());
        silken::yield_now();
        match (tx.send(7), receiver.join()) {
            (Ok(()), Ok(Ok(7))) => Ok(()),
            outcome => Err(format!("the next pair: {outcome:?}")),
        }
    }
}

/// One sender, many receivers that may lag.
pub(super) struct Broadcast {
    sender: Mutex<Option<broadcast::Sender<Token>>>,
    ledger: Arc<Ledger>,
}

impl Broadcast {
    pub(super) fn new(rng: &mut Rng, ledger: &Arc<Ledger>) -> Self {
        Self {
            sender: Mutex::new(Some(broadcast::channel(1 + rng.below(8)).0)),
            ledger: ledger.clone(),
        }
    }

    fn subscribe(&self) -> Option<broadcast::Receiver<Token>> {
        Some(self.sender.lock().unwrap().as_ref()?.subscribe())
    }
}

impl Wait for Broadcast {
    fn part(&self, part: &mut Part) {
        let Some(mut receiver) = self.subscribe() else {
            return;
        };
        for _ in 0..1 + part.rng.below(4) {
            let result = match part.rng.below(4) {
                0 => receiver.recv_timeout(part.moment()).is_ok(),
                _ => receiver.recv().is_ok(),
            };
            if !result && receiver.sender_count() == 0 {
                break;
            }
        }
    }

    fn stir(&self, rng: &mut Rng) {
        // Clones and drops tokens, which never wait, under the lock.
        if let Some(sender) = self.sender.lock().unwrap().as_ref() {
            for _ in 0..1 + rng.below(3) {
                let _ = sender.send(self.ledger.token());
            }
        }
    }

    fn release(&self) {
        let sender = self.sender.lock().unwrap().take();
        drop(sender);
    }

    fn check(&self) -> Result<(), String> {
        let (sender, mut receiver) = broadcast::channel(2);
        let reader = silken::spawn(move || receiver.recv().map(|token: Token| token.id()));
        sender.send(self.ledger.token()).map_err(|error| format!("{error:?}"))?;
        match reader.join() {
            Ok(Ok(_)) if sender.is_empty() => Ok(()),
            outcome => Err(format!("a value for all: {outcome:?}, {} kept", sender.len())),
        }
    }
}

/// One value, many who watch it.
pub(super) struct Watch {
    sender: Mutex<Option<watch::Sender<Token>>>,
    ledger: Arc<Ledger>,
}

impl Watch {
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            sender: Mutex::new(Some(watch::channel(ledger.token()).0)),
            ledger: ledger.clone(),
        }
    }
}

impl Wait for Watch {
    fn part(&self, part: &mut Part) {
        let receiver = self.sender.lock().unwrap().as_ref().map(watch::Sender::subscribe);
        let Some(mut receiver) = receiver else {
            return;
        };
        for _ in 0..1 + part.rng.below(3) {
            let more = match part.rng.below(4) {
                0 => receiver.changed_timeout(part.moment()) != Err(RecvTimeoutError::Disconnected),
                1 => {
                    let seen = receiver.borrow().id();
                    receiver.wait_for(|token| token.id() > seen).is_ok()
                }
                _ => receiver.changed().is_ok(),
            };
            if !more {
                break;
            }
        }
    }

    fn stir(&self, _rng: &mut Rng) {
        // Sends on a clone: a value that is borrowed makes the sender wait, and the next who subscribes shall not wait
        // for that.
        let receivers = self.sender.lock().unwrap().as_ref().map(watch::Sender::clone);
        if let Some(sender) = receivers {
            let _ = sender.send(self.ledger.token());
        }
    }

    fn release(&self) {
        let sender = self.sender.lock().unwrap().take();
        drop(sender);
    }

    fn check(&self) -> Result<(), String> {
        let (sender, mut receiver) = watch::channel(0);
        let watcher = silken::spawn(move || receiver.wait_for(|&value| value == 2).is_ok());
        let sent = (sender.send(1).is_ok(), sender.send(2).is_ok());
        match watcher.join() {
            Ok(true) => Ok(()),
            outcome => Err(format!("the value that was waited for: {sent:?}, {outcome:?}")),
        }
    }
}
