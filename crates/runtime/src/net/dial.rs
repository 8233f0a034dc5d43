//! How does a client connect to the first of several addresses that answers? By *Happy Eyeballs* (RFC 8305).
//!
//! # Protocol
//! A name often has addresses of both families, and one family may lead nowhere: its packets vanish, and a connect
//! waits for minutes. So the addresses are tried in turn, families alternating, and the next attempt begins when the
//! one before it has failed, or after [`ATTEMPT_DELAY`]. The attempts that have begun go on. The first that succeeds is
//! the connection, and the others are closed. If all fail, the error is that of the last one.
//!
//! One coroutine does this. The sockets are in O_NONBLOCK, and it waits until any of them is writable, or the next
//! attempt or the end is due. Then SO_ERROR tells what became of each. The winner gets the mode in which calls wait.
//!
//! A single address without a time limit needs none of this: the plain connect waits for it.
//!
//! # Rejected
//! *A coroutine for each attempt*: the attempts share one deadline and one result, and need no stacks.

use super::socket::Socket;
use crate::coroutine::Outcome;
use crate::driver::fd_table;
use crate::driver::readiness::{Direction, PollSlot};
use crate::io::caller::caller;
use crate::io::interruption::refused;
use crate::io::sockets;
use crate::sys::address::KernelAddress;
use crate::sys::raw::Errno;
use crate::sys::{clock, socket};
use crate::wait::deadline_after;
use crate::wait::descriptor::wait_any;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

/// How long an attempt is alone: the Connection Attempt Delay, as RFC 8305 recommends it.
const ATTEMPT_DELAY_NS: u64 = 250_000_000;

/// Connects a stream to the first of the addresses that answers.
pub(super) fn dial(addresses: &[SocketAddr], timeout: Option<Duration>) -> io::Result<OwnedFd> {
    if timeout == Some(Duration::ZERO) {
        let text = "a timeout of zero would let no attempt begin";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if let ([address], None) = (addresses, timeout) {
        let address = KernelAddress::from(*address);
        let socket = Socket::new(sockets::stream_socket(address.family(), 0)?);
        sockets::connect(socket.fd(), &address)?;
        return Ok(socket.into_known());
    }
    Attempts {
        waiting: alternate(addresses),
        begun: Vec::new(),
        next_ns: 0,
        end_ns: timeout.map(deadline_after),
        last_error: None,
    }
    .run()
}

/// The addresses with their families in turn, in their own order within each family. The first stays the first.
fn alternate(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first() else {
        return VecDeque::new();
    };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut turns = VecDeque::with_capacity(addresses.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

struct Attempts {
    waiting: VecDeque<SocketAddr>,
    /// The sockets whose connects have begun and not ended.
    begun: Vec<Socket<OwnedFd>>,
    /// When the next attempt begins, if none fails before.
    next_ns: u64,
    end_ns: Option<u64>,
    last_error: Option<io::Error>,
}

impl Attempts {
    fn run(mut self) -> io::Result<OwnedFd> {
        loop {
            let now_ns = clock::now_ns();
            if self.end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                let text = "no address has answered in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            if self.begun.is_empty() || now_ns >= self.next_ns {
                match self.waiting.pop_front() {
                    Some(address) => {
                        self.next_ns = now_ns.saturating_add(ATTEMPT_DELAY_NS);
                        if let Some(connected) = self.begin(address)? {
                            return Ok(connected);
                        }
                        continue;
                    }
                    None if self.begun.is_empty() => {
                        let none = || io::Error::new(io::ErrorKind::InvalidInput, "there is no address to connect to");
                        return Err(self.last_error.unwrap_or_else(none));
                    }
                    None => {}
                }
            }
            if let Some(connected) = self.look_or_wait()? {
                return Ok(connected);
            }
        }
    }

    /// Begins an attempt. Returns the socket if it is connected at once, as over the loopback device.
    fn begin(&mut self, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
        match sockets::begin_connect(&KernelAddress::from(address)) {
            Ok((new, true)) => return self.win(Socket::new(new)).map(Some),
            Ok((new, false)) => self.begun.push(Socket::new(new)),
            Err(error) => {
                self.last_error = Some(error);
                self.next_ns = 0;
            }
        }
        Ok(None)
    }

    /// Takes the attempts that have ended. Waits if there is none.
    fn look_or_wait(&mut self) -> io::Result<Option<OwnedFd>> {
        let parks = caller().is_some();
        // The looks at the table come before the kernel is asked, so that no event is lost between the two.
        let slots: Vec<_> = self.begun.iter().map(|socket| slot(parks, socket.number())).collect();
        let mut has_ended = false;
        for index in (0..self.begun.len()).rev() {
            let fd = self.begun[index].number();
            if socket::events_now(fd, libc::POLLOUT) == 0 {
                continue;
            }
            has_ended = true;
            let ended = self.begun.swap_remove(index);
            match socket::so_error(fd).map_err(io::Error::from) {
                Ok(0) => return self.win(ended).map(Some),
                Ok(number) => self.last_error = Some(io::Error::from_raw_os_error(number)),
                Err(error) => self.last_error = Some(error),
            }
            // The next attempt need not wait for one that has failed.
            self.next_ns = 0;
        }
        if !has_ended {
            let next_ns = (!self.waiting.is_empty()).then_some(self.next_ns);
            self.wait(&slots, next_ns.into_iter().chain(self.end_ns).min())?;
        }
        Ok(None)
    }

    fn wait(&self, slots: &[Option<PollSlot>], until_ns: Option<u64>) -> io::Result<()> {
        if slots.iter().all(Option::is_some) {
            return match wait_any(slots, until_ns)? {
                Outcome::Cancelled => Err(refused().into()),
                _ => Ok(()),
            };
        }
        let entry = |socket: &Socket<OwnedFd>| libc::pollfd {
            fd: socket.number(),
            events: libc::POLLOUT,
            revents: 0,
        };
        let mut entries: Vec<_> = self.begun.iter().map(entry).collect();
        let timeout_ns = until_ns.map(|until_ns| until_ns.saturating_sub(clock::now_ns()));
        match socket::poll_now(&mut entries, timeout_ns) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes the attempt the connection.
    fn win(&self, socket: Socket<OwnedFd>) -> io::Result<OwnedFd> {
        sockets::make_blocking(socket.fd())?;
        Ok(socket.into_known())
    }
}

/// A place to wait for the end of a connect. `None` on a thread, and beyond the table.
fn slot(parks: bool, fd: RawFd) -> Option<PollSlot> {
    let entry = parks.then(|| fd_table::entry(fd)).flatten()?;
    Some(entry.poll_slot(fd, Direction::Write))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_and_keep_their_order() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let turns = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternate(&given), turns);
        let given = addresses(&["1.0.0.1:1", "1.0.0.2:1"]);
        assert_eq!(alternate(&given), given);
        assert!(alternate(&[]).is_empty());
    }
}
