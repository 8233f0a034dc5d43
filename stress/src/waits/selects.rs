//! Selects over a rendezvous, a bounded and an unbounded channel, whose other sides are selects as well. Exactly one
//! operation of each may happen.

use super::{Part, Wait};
use crate::ledger::{Flow, Ledger, Token};
use crate::plan::Rng;
use silken::channel::{self, Receiver, Select, Sender, after};
use silken::select;
use std::sync::Arc;

pub(super) struct Selects {
    lanes: [Lane; 3],
    ledger: Arc<Ledger>,
}

struct Lane {
    tx: Sender<Token>,
    rx: Receiver<Token>,
    flow: Flow,
}

impl Lane {
    fn new((tx, rx): (Sender<Token>, Receiver<Token>)) -> Self {
        Self {
            tx,
            rx,
            flow: Flow::default(),
        }
    }

    fn received<E>(&self, result: Result<Token, E>) {
        if let Ok(token) = result {
            self.flow.received(token);
        }
    }

    fn sent<E>(&self, id: u64, result: Result<(), E>) {
        if result.is_ok() {
            self.flow.sent(id);
        }
    }
}

impl Selects {
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        let channels = [channel::bounded(0), channel::bounded(2), channel::unbounded()];
        Self {
            lanes: channels.map(Lane::new),
            ledger: ledger.clone(),
        }
    }

    fn receive_any(&self) {
        let [meet, ring, queue] = &self.lanes;
        select! {
            recv(meet.rx) -> token => meet.received(token),
            recv(ring.rx) -> token => ring.received(token),
            recv(queue.rx) -> token => queue.received(token),
        }
    }

    fn exchange(&self, part: &mut Part) {
        let [meet, ring, queue] = &self.lanes;
        let (first, second) = (part.token(), part.token());
        let ids = (first.id(), second.id());
        let timeout = part.moment();
        if part.rng.chance(50) {
            select! {
                send(meet.tx, first) -> result => meet.sent(ids.0, result),
                recv(meet.rx) -> token => meet.received(token),
                send(ring.tx, second) -> result => ring.sent(ids.1, result),
                recv(queue.rx) -> token => queue.received(token),
                default(timeout) => {}
            }
        } else {
            select! {
                biased;
                recv(queue.rx) -> token => queue.received(token),
                recv(after(timeout)) -> _ => {}
                send(meet.tx, first) -> result => meet.sent(ids.0, result),
                send(ring.tx, second) -> result => ring.sent(ids.1, result),
                recv(ring.rx) -> token => ring.received(token),
            }
        }
    }

    /// The dynamic form, with more arms than lie on the stack.
    fn exchange_dynamic(&self, part: &mut Part) {
        let mut select = Select::new();
        let mut arms = Vec::new();
        for _ in 0..1 + part.rng.below(10) {
            let lane = &self.lanes[part.rng.below(3)];
            if part.rng.chance(50) {
                select.recv(&lane.rx);
                arms.push((lane, None));
            } else {
                let token = part.token();
                let id = token.id();
                select.send(&lane.tx, token);
                arms.push((lane, Some(id)));
            }
        }
        let chosen = if part.rng.chance(50) {
            select.select_timeout(part.moment()).ok()
        } else {
            Some(select.select())
        };
        if let Some(chosen) = chosen {
            match arms[chosen.index()] {
                (lane, None) => lane.received(chosen.recv(&lane.rx)),
                (lane, Some(id)) => lane.sent(id, chosen.send(&lane.tx)),
            }
        }
    }
}

impl Wait for Selects {
    fn part(&self, part: &mut Part) {
        for _ in 0..1 + part.rng.below(3) {
            match part.rng.below(4) {
                0 => self.exchange(part),
                1 => self.exchange_dynamic(part),
                2 => {
                    part.pause();
                    let lane = &self.lanes[part.rng.below(3)];
                    lane.flow.send(part.token(), |token| lane.tx.send(token));
                }
                _ => self.receive_any(),
            }
        }
    }

    fn stir(&self, rng: &mut Rng) {
        let lane = &self.lanes[rng.below(3)];
        if rng.chance(60) {
            lane.flow.send(self.ledger.token(), |token| lane.tx.try_send(token));
        } else {
            lane.received(lane.rx.try_recv());
        }
    }

    fn release(&self) {
        for lane in &self.lanes {
            lane.tx.close();
        }
    }

    fn check(&self) -> Result<(), String> {
        for lane in &self.lanes {
            while let Ok(token) = lane.rx.try_recv() {
                lane.flow.received(token);
            }
            lane.flow.check()?;
            if (lane.tx.len(), lane.tx.try_send(self.ledger.token()).is_ok()) != (0, false) {
                return Err("the closed channel has messages or takes some".to_string());
            }
        }
        Ok(())
    }
}
