//! Who asks the store? Closed-loop clients, every reply checked to the last byte. `std` only, like the server.
//!
//! A connection works in *rounds* of eight requests and asks again only when it has the answer. Every expected reply
//! is known beforehand, concurrency notwithstanding: a client writes keys of its own, and `p{partner}`, which nobody
//! else writes. One request in eight counts on the key that all share; its replies must grow, and its final value must
//! be the number of rounds of all clients together.
//!
//! *Partners* are the connections 2k and 2k+1. In round r each raises the other's number to r, then waits for its own
//! to get there: nobody waits for a round that the partner has not finished, so two partners cannot wait for each
//! other. Who leaves first, for its time is up, lifts the partner's number out of the way.
//!
//! *Latency* is that of the requests that are answered at once. A `WAIT` takes as long as the partner lets it take; it
//! counts as a request but not in the histogram. A round's latencies go there together, since all clients share it: one
//! histogram each would be the largest thing that a connection owns.
//!
//! *The gate.* All connections are made first, one after the other, so that the listen queue never overflows (a SYN
//! that is dropped comes again a second later). Then all start at once. The measured window reaches from the opening of
//! the gate to the last reply.

use crate::store::Spawn;
use hdrhistogram::Histogram;
use std::fmt::{Arguments, Write as _};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Requests of one round.
pub const ROUND_REQUESTS: u64 = 8;
const BUFFER_BYTES: usize = 512;
/// More rounds than anybody makes.
const OUT_OF_THE_WAY: i64 = i64::MAX / 2;
/// Latencies are counted up to here, to within one percent.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// What the clients are to do.
#[derive(Clone, Copy)]
pub struct Plan {
    /// How many of them.
    pub connections: usize,
    /// Rounds of each.
    pub rounds: u64,
    /// Time after which each ends with the round it is in.
    pub budget: Option<Duration>,
}

/// What all clients share.
pub struct Crowd {
    plan: Plan,
    gate: Barrier,
    opened: OnceLock<Instant>,
    latency: Mutex<Histogram<u64>>,
    /// How many replies were wrong, and the first of them.
    wrong: Mutex<(u64, Option<String>)>,
    /// Counts what was done.
    beats: Arc<AtomicU64>,
}

/// Clients that are connected and stand at the gate.
pub struct Gathered {
    crowd: Arc<Crowd>,
    address: SocketAddr,
    results: Receiver<io::Result<Visit>>,
}

/// What one client did.
struct Visit {
    rounds: u64,
    ended: Instant,
}

/// What all clients did.
pub struct Visits {
    /// Rounds, all together.
    pub rounds: u64,
    /// From the opening of the gate to the last reply.
    pub elapsed: Duration,
    /// Latency of what was answered at once, in nanoseconds: the median, and what one in a hundred exceeds.
    pub p50_ns: u64,
    /// See there.
    pub p99_ns: u64,
}

impl Crowd {
    /// Nobody is there yet.
    pub fn new(plan: Plan, beats: Arc<AtomicU64>) -> Arc<Crowd> {
        Arc::new(Crowd {
            plan,
            gate: Barrier::new(plan.connections + 1),
            opened: OnceLock::new(),
            latency: Mutex::new(Histogram::new_with_max(LATENCY_NS_MAX, 2).expect("these bounds are valid")),
            wrong: Mutex::default(),
            beats,
        })
    }

    /// Connects all clients, and starts each.
    pub fn gather(self: &Arc<Self>, address: SocketAddr, spawn: &Spawn) -> io::Result<Gathered> {
        let (result, results) = mpsc::channel();
        for number in 0..self.plan.connections {
            let conversation = Conversation::enter(address)?;
            let (crowd, result) = (Arc::clone(self), result.clone());
            spawn(Box::new(move || crowd.visit(number, conversation, &result)))?;
            self.beat();
        }
        Ok(Gathered {
            crowd: Arc::clone(self),
            address,
            results,
        })
    }

    /// How many replies were wrong, and the first of them.
    pub fn wrong(&self) -> (u64, Option<String>) {
        lock(&self.wrong).clone()
    }

    /// Counts something that was not as it must be.
    pub fn found_wrong(&self, what: String) {
        let mut wrong = lock(&self.wrong);
        wrong.0 += 1;
        wrong.1.get_or_insert(what);
    }

    fn beat(&self) {
        // Relaxed: a sign of life.
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    fn visit(&self, number: usize, mut conversation: Conversation, result: &Sender<io::Result<Visit>>) {
        self.gate.wait();
        let opened = *self.opened.get_or_init(Instant::now);
        let visit = self.converse(&mut conversation, number, opened).and_then(|rounds| {
            let ended = Instant::now();
            conversation.leave(self)?;
            Ok(Visit { rounds, ended })
        });
        let visit = visit.map_err(|error| io::Error::new(error.kind(), format!("connection {number}: {error}")));
        // Nobody hears it if another client has failed before.
        let _ = result.send(visit);
    }

    /// All rounds of one client; the head of the file says why each reply is known.
    fn converse(&self, talk: &mut Conversation, number: usize, opened: Instant) -> io::Result<u64> {
        let has_partner = number ^ 1 < self.plan.connections;
        let partner = if has_partner { number ^ 1 } else { number };
        let (mut made, mut total) = (0, 0);
        while made < self.plan.rounds && self.plan.budget.is_none_or(|budget| opened.elapsed() < budget) {
            let round = made + 1;
            let value = round * 31 + number as u64;
            let latencies = [
                talk.ask(self, format_args!("SET v{number} {value}"), format_args!("OK"))?,
                talk.ask(self, format_args!("GET v{number}"), format_args!("VALUE {value}"))?,
                talk.ask(self, format_args!("INCR n{number}"), format_args!("VALUE {round}"))?,
                talk.ask(self, format_args!("GET n{number}"), format_args!("VALUE {round}"))?,
                talk.count(self, &mut total)?,
                talk.ask(self, format_args!("GET none{number}"), format_args!("NONE"))?,
                talk.ask(self, format_args!("INCR p{partner}"), format_args!("VALUE {round}"))?,
            ];
            talk.ask(
                self,
                format_args!("WAIT p{number} {round}"),
                format_args!("READY {round}"),
            )?;
            let mut histogram = lock(&self.latency);
            latencies
                .iter()
                .for_each(|latency| histogram.saturating_record(*latency));
            made = round;
        }
        talk.ask(
            self,
            format_args!("SET p{partner} {OUT_OF_THE_WAY}"),
            format_args!("OK"),
        )?;
        Ok(made)
    }
}

impl Gathered {
    /// Opens the gate and waits for the last client. Then asks, by a connection of its own, whether the shared count
    /// has been raised once for each round. Ends early when a connection breaks.
    pub fn run(self) -> io::Result<Visits> {
        let crowd = &self.crowd;
        crowd.gate.wait();
        let opened = *crowd.opened.get_or_init(Instant::now);
        let (mut rounds, mut last) = (0, opened);
        for _ in 0..crowd.plan.connections {
            let panicked = || io::Error::other("a client panicked");
            let visit = self.results.recv().map_err(|_| panicked())??;
            rounds += visit.rounds;
            last = last.max(visit.ended);
        }
        let mut conversation = Conversation::enter(self.address)?;
        if rounds > 0 {
            conversation.ask(crowd, format_args!("GET total"), format_args!("VALUE {rounds}"))?;
        }
        conversation.leave(crowd)?;
        let latency = lock(&crowd.latency);
        Ok(Visits {
            rounds,
            elapsed: last - opened,
            p50_ns: latency.value_at_quantile(0.5),
            p99_ns: latency.value_at_quantile(0.99),
        })
    }
}

/// One connection, seen from the client.
struct Conversation {
    reader: BufReader<TcpStream>,
    request: String,
    reply: String,
    expected: String,
}

impl Conversation {
    fn enter(address: SocketAddr) -> io::Result<Conversation> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut conversation = Conversation {
            reader: BufReader::with_capacity(BUFFER_BYTES, stream),
            request: String::new(),
            reply: String::new(),
            expected: String::new(),
        };
        conversation.receive()?;
        if conversation.reply == "HELLO\n" {
            Ok(conversation)
        } else {
            Err(closed())
        }
    }

    /// Sends a request and compares the reply; how long that took, in nanoseconds.
    fn ask(&mut self, crowd: &Crowd, request: Arguments<'_>, expected: Arguments<'_>) -> io::Result<u64> {
        let latency_ns = self.exchange(crowd, request)?;
        self.expected.clear();
        writeln!(self.expected, "{expected}").expect("writing into a String does not fail");
        if self.reply != self.expected {
            let (request, reply, expected) = (self.request.trim_end(), &self.reply, &self.expected);
            crowd.found_wrong(format!("{request}: {reply:?} instead of {expected:?}"));
        }
        Ok(latency_ns)
    }

    /// Raises the shared count, which must have grown since this client last saw it.
    fn count(&mut self, crowd: &Crowd, last: &mut u64) -> io::Result<u64> {
        let latency_ns = self.exchange(crowd, format_args!("INCR total"))?;
        match number_in(&self.reply) {
            Some(total) if total > *last => *last = total,
            _ => crowd.found_wrong(format!("INCR total after {last}: {:?}", self.reply)),
        }
        Ok(latency_ns)
    }

    fn exchange(&mut self, crowd: &Crowd, request: Arguments<'_>) -> io::Result<u64> {
        self.request.clear();
        writeln!(self.request, "{request}").expect("writing into a String does not fail");
        let sent = Instant::now();
        self.reader.get_ref().write_all(self.request.as_bytes())?;
        if self.receive()? == 0 {
            return Err(closed());
        }
        crowd.beat();
        Ok(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.reply.clear();
        self.reader.read_line(&mut self.reply)
    }

    /// Says goodbye; the server must close, and say nothing more.
    fn leave(mut self, crowd: &Crowd) -> io::Result<()> {
        self.ask(crowd, format_args!("QUIT"), format_args!("BYE"))?;
        if self.receive()? != 0 {
            crowd.found_wrong(format!("after BYE: {:?}", self.reply));
        }
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::other("the server closed the connection")
}

/// A client that panicked reports nothing, which ends the case.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a `VALUE n` reply, if it is written as the server writes it.
fn number_in(reply: &str) -> Option<u64> {
    let digits = reply.strip_prefix("VALUE ")?.strip_suffix('\n')?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Threads, spawner};
    use crate::store::Server;

    fn meet(
        connections: usize,
        rounds: u64,
        budget: Option<Duration>,
        corrupt: Option<u64>,
    ) -> (Arc<Crowd>, Visits, u64) {
        let spawn = spawner::<Threads>();
        let server = Server::start(&spawn, corrupt).unwrap();
        let plan = Plan {
            connections,
            rounds,
            budget,
        };
        let crowd = Crowd::new(plan, Arc::default());
        let visits = crowd.gather(server.address(), &spawn).unwrap().run().unwrap();
        (crowd, visits, server.stop().unwrap())
    }

    #[test]
    fn an_honest_server_is_found_right() {
        // Five: the last connection is its own partner.
        let (crowd, visits, log_lines) = meet(5, 20, None, None);
        assert_eq!(crowd.wrong(), (0, None));
        assert_eq!((visits.rounds, log_lines), (100, 2 * 6 + 100 + 5));
        assert!(visits.p50_ns > 0 && visits.p50_ns <= visits.p99_ns);
    }

    #[test]
    fn one_corrupted_reply_is_found_wherever_it_falls() {
        for request in 1..=ROUND_REQUESTS {
            assert_eq!(meet(1, 1, None, Some(request)).0.wrong().0, 1, "request {request}");
        }
    }

    #[test]
    fn clients_whose_time_is_up_leave_no_partner_waiting() {
        let (crowd, visits, _) = meet(8, u64::MAX, Some(Duration::from_millis(50)), None);
        assert_eq!(crowd.wrong(), (0, None));
        assert!(visits.rounds >= 8);
    }

    #[test]
    fn a_connection_that_nobody_can_serve_ends_the_case() {
        // Two jobs of the server's own, then two connections.
        let (on_threads, started) = (spawner::<Threads>(), AtomicU64::new(0));
        let at_most: Spawn = Arc::new(move |job| match started.fetch_add(1, Ordering::Relaxed) {
            0..4 => on_threads(job),
            _ => Err(io::Error::from(io::ErrorKind::WouldBlock)),
        });
        let server = Server::start(&at_most, None).unwrap();
        let plan = Plan {
            connections: 9,
            rounds: 1,
            budget: None,
        };
        let crowd = Crowd::new(plan, Arc::default());
        assert!(crowd.gather(server.address(), &spawner::<Threads>()).is_err());
        assert_eq!(server.refusal().unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_canonical_numbers_count() {
        assert_eq!(number_in("VALUE 17\n"), Some(17));
        for reply in [
            "VALUE 17",
            "VALUE 017\n",
            "VALUE +17\n",
            "VALUE 17?\n",
            "VALUE \n",
            "17\n",
            "",
        ] {
            assert_eq!(number_in(reply), None, "{reply:?}");
        }
    }
}
