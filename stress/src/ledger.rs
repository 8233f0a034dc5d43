//! What must balance: tokens, which are the messages, and the flows they take.
//!
//! A [`Token`] cannot be copied by safe code, so one that is received twice shows as an end too many, and one that is
//! lost as an end too few. Numbers alone could hide one of each, so the sums of the tokens' own numbers are kept beside
//! them.
//!
//! A [`Flow`] is one channel's book. A send that said Ok is entered, so is a receive. There is no blocking point
//! between an operation and its entry, so cancellation cannot fall in between: whatever was interrupted, at the end
//! both sides must be equal, with what is still in the channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of things, and the sum of their numbers.
#[derive(Debug, Default)]
struct Tally {
    count: AtomicU64,
    sum: AtomicU64,
}

impl Tally {
    fn enter(&self, id: u64) {
        // Ordering::Relaxed, here and below: read when all who write have been joined.
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(id, Ordering::Relaxed);
    }

    fn totals(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.sum.load(Ordering::Relaxed))
    }
}

/// The tokens of a round.
#[derive(Debug, Default)]
pub struct Ledger {
    next: AtomicU64,
    made: Tally,
    ended: Tally,
}

impl Ledger {
    /// A new token.
    pub fn token(self: &Arc<Self>) -> Token {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.made.enter(id);
        Token {
            id,
            ledger: self.clone(),
        }
    }

    /// How many tokens there have been.
    pub fn made(&self) -> u64 {
        self.made.totals().0
    }

    /// Whether each token made has ended, once.
    ///
    /// # Errors
    /// What does not balance.
    pub fn check(&self) -> Result<(), String> {
        let (made, ended) = (self.made.totals(), self.ended.totals());
        if made == ended {
            return Ok(());
        }
        Err(format!(
            "tokens (count, sum of numbers): made {made:?}, ended {ended:?}"
        ))
    }
}

/// A message: counted when it is made and when it is dropped.
#[derive(Debug)]
pub struct Token {
    id: u64,
    ledger: Arc<Ledger>,
}

impl Token {
    /// Its number, unique in its round.
    pub fn id(&self) -> u64 {
        self.id
    }
}

/// Another token: for channels that give the same to all.
impl Clone for Token {
    fn clone(&self) -> Self {
        self.ledger.token()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.ledger.ended.enter(self.id);
    }
}

/// The book of one channel.
#[derive(Debug, Default)]
pub struct Flow {
    sent: Tally,
    received: Tally,
}

impl Flow {
    /// Sends a token by `send`, and enters it if that said Ok. Says whether it did.
    pub fn send<E>(&self, token: Token, send: impl FnOnce(Token) -> Result<(), E>) -> bool {
        let id = token.id();
        let sent = send(token).is_ok();
        if sent {
            self.sent.enter(id);
        }
        sent
    }

    /// Enters what was sent by other means.
    pub fn sent(&self, id: u64) {
        self.sent.enter(id);
    }

    /// Enters what was received, and drops it.
    pub fn received(&self, token: Token) {
        self.received.enter(token.id());
    }

    /// How many were sent, and received.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent.totals().0, self.received.totals().0)
    }

    /// Whether what was sent was received.
    ///
    /// # Errors
    /// What does not balance.
    pub fn check(&self) -> Result<(), String> {
        let (sent, received) = (self.sent.totals(), self.received.totals());
        if sent == received {
            return Ok(());
        }
        Err(format!(
            "messages (count, sum of numbers): sent {sent:?}, received {received:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_token_and_a_lost_message_are_noticed() {
        let ledger = Arc::new(Ledger::default());
        let flow = Flow::default();
        let (tx, rx) = std::sync::mpsc::channel();
        assert!(flow.send(ledger.token(), |token| tx.send(token)));
        assert!(flow.check().is_err());
        assert!(ledger.check().is_err());
        flow.received(rx.recv().unwrap());
        assert_eq!(flow.check(), Ok(()));
        assert_eq!(ledger.check(), Ok(()));
        std::mem::forget(ledger.token());
        assert!(ledger.check().is_err());
    }
}
