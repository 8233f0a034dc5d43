//! The clients of the store: closed-loop, every reply checked to the last byte. `std` only, like the server.
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
//! counts as a request but not in the histogram.
//!
//! *The gate.* All connections are made first, at most [`CONNECTING_MAX`] at a time so that the listen queue never
//! overflows (a SYN that is dropped comes again a second later), then all start at once. The measured window reaches
//! from the opening of the gate to the last reply.

use crate::measure::Histogram;
use crate::store_server::Spawn;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests of one round.
pub const ROUND_REQUESTS: u64 = 8;
const CONNECTING_MAX: usize = 64;
const BUFFER_BYTES: usize = 512;
/// More rounds than anybody makes.
const OUT_OF_THE_WAY: i64 = i64::MAX / 2;

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

/// All clients of one case.
pub struct Crowd {
    plan: Plan,
    state: Mutex<State>,
    may_connect: Condvar,
    gate: Condvar,
    milestone: Condvar,
    answered: AtomicU64,
    /// Latency of what was answered at once.
    pub latency: Histogram,
}

#[derive(Default)]
struct State {
    spawned: usize,
    connecting: usize,
    ready: usize,
    finished: usize,
    gone: usize,
    rounds: u64,
    opened: Option<Instant>,
    /// Nobody starts any more: some connection failed, or could not be had.
    abandoned: bool,
    trouble: Option<String>,
    wrong: u64,
    first_wrong: Option<String>,
}

impl Crowd {
    /// Nobody is there yet.
    pub fn new(plan: Plan) -> Crowd {
        Crowd {
            plan,
            state: Mutex::default(),
            may_connect: Condvar::new(),
            gate: Condvar::new(),
            milestone: Condvar::new(),
            answered: AtomicU64::new(0),
            latency: Histogram::new(),
        }
    }

    /// Starts all clients and waits until they are connected. The error kind of a refused spawn is kept.
    pub fn gather(self: &Arc<Self>, address: SocketAddr, spawn: &Spawn) -> io::Result<()> {
        for number in 0..self.plan.connections {
            let crowd = Arc::clone(self);
            self.lock().spawned += 1;
            if let Err(error) = spawn(Box::new(move || crowd.client(number, address))) {
                self.lock().spawned -= 1;
                self.abandon(None);
                return Err(error);
            }
        }
        self.wait_until(|state| state.ready == self.plan.connections || state.abandoned);
        self.trouble()
    }

    /// Opens the gate and waits for the last reply. Returns early when a connection breaks.
    pub fn run(&self) -> io::Result<Duration> {
        let opened = Instant::now();
        self.lock().opened = Some(opened);
        self.gate.notify_all();
        self.wait_until(|state| state.finished == self.plan.connections || state.abandoned);
        let elapsed = opened.elapsed();
        self.trouble().map(|()| elapsed)
    }

    /// Waits until the last client has closed its connection.
    pub fn disperse(&self) {
        self.wait_until(|state| state.gone == state.spawned);
    }

    /// Has the shared count been raised once for each round? Asks by a connection of its own.
    pub fn check_total(&self, address: SocketAddr) -> io::Result<()> {
        let mut conversation = Conversation::enter(address)?;
        let rounds = self.rounds();
        if rounds > 0 {
            write!(conversation.request, "GET total").expect("writing into a String does not fail");
            conversation.expect(self, format_args!("VALUE {rounds}"))?;
        }
        conversation.leave(self)
    }

    /// Rounds made by all clients together.
    pub fn rounds(&self) -> u64 {
        self.lock().rounds
    }

    /// How many replies were wrong, and the first of them.
    pub fn wrong(&self) -> (u64, Option<String>) {
        let state = self.lock();
        (state.wrong, state.first_wrong.clone())
    }

    /// Counts something that was not as it must be.
    pub fn found_wrong(&self, what: String) {
        let mut state = self.lock();
        state.wrong += 1;
        state.first_wrong.get_or_insert(what);
    }

    /// One phrase for the progress line.
    pub fn progress(&self) -> String {
        let state = self.lock();
        let total = self.plan.connections;
        match state.opened {
            None => format!("{} of {total} connected", state.ready),
            // Relaxed: a count for the eye.
            Some(_) => format!(
                "{} requests answered, {} clients done",
                self.answered.load(Ordering::Relaxed),
                state.finished
            ),
        }
    }

    fn client(&self, number: usize, address: SocketAddr) {
        if let Err(error) = self.visit(number, address) {
            self.abandon(Some(format!("connection {number}: {error}")));
        }
        self.lock().gone += 1;
        self.milestone.notify_one();
    }

    fn visit(&self, number: usize, address: SocketAddr) -> io::Result<()> {
        let Some(mut conversation) = self.connect(address)? else {
            return Ok(());
        };
        let mut state = self.lock();
        state.ready += 1;
        if state.ready == self.plan.connections {
            self.milestone.notify_one();
        }
        let opened = loop {
            if state.abandoned {
                return Ok(());
            }
            match state.opened {
                Some(opened) => break opened,
                None => state = self.gate.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        let rounds = self.converse(&mut conversation, number, opened)?;
        let mut state = self.lock();
        state.rounds += rounds;
        state.finished += 1;
        let last = state.finished == self.plan.connections;
        drop(state);
        if last {
            self.milestone.notify_one();
        }
        conversation.leave(self)
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Option<Conversation>> {
        let mut state = self.lock();
        while state.connecting == CONNECTING_MAX && !state.abandoned {
            state = self.may_connect.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned {
            return Ok(None);
        }
        state.connecting += 1;
        drop(state);
        let conversation = Conversation::enter(address);
        self.lock().connecting -= 1;
        self.may_connect.notify_one();
        conversation.map(Some)
    }

    /// All rounds of one client; the head of the file says why each reply is known.
    fn converse(&self, talk: &mut Conversation, number: usize, opened: Instant) -> io::Result<u64> {
        let partner = Some(number ^ 1)
            .filter(|partner| *partner < self.plan.connections)
            .unwrap_or(number);
        let (mut made, mut total) = (0, 0);
        while made < self.plan.rounds && self.plan.budget.is_none_or(|budget| opened.elapsed() < budget) {
            let round = made + 1;
            let value = round * 31 + number as u64;
            talk.ask(self, format_args!("SET v{number} {value}"), format_args!("OK"))?;
            talk.ask(self, format_args!("GET v{number}"), format_args!("VALUE {value}"))?;
            talk.ask(self, format_args!("INCR n{number}"), format_args!("VALUE {round}"))?;
            talk.ask(self, format_args!("GET n{number}"), format_args!("VALUE {round}"))?;
            total = talk.count(self, total)?;
            talk.ask(self, format_args!("GET none{number}"), format_args!("NONE"))?;
            talk.ask(self, format_args!("INCR p{partner}"), format_args!("VALUE {round}"))?;
            talk.wait(
                self,
                format_args!("WAIT p{number} {round}"),
                format_args!("READY {round}"),
            )?;
            made = round;
        }
        talk.request.clear();
        write!(talk.request, "SET p{partner} {OUT_OF_THE_WAY}").expect("writing into a String does not fail");
        talk.expect(self, format_args!("OK"))?;
        Ok(made)
    }

    fn answered(&self, sent: Option<Instant>) {
        // Relaxed: a count for the progress line.
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(sent) = sent {
            self.latency
                .record(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    fn abandon(&self, trouble: Option<String>) {
        let mut state = self.lock();
        state.abandoned = true;
        if state.trouble.is_none() {
            state.trouble = trouble;
        }
        drop(state);
        self.gate.notify_all();
        self.may_connect.notify_all();
        self.milestone.notify_one();
    }

    fn trouble(&self) -> io::Result<()> {
        self.lock()
            .trouble
            .clone()
            .map_or(Ok(()), |trouble| Err(io::Error::other(trouble)))
    }

    /// Only the one that started the clients waits for milestones.
    fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        while !reached(&state) {
            state = self.milestone.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let reader = BufReader::with_capacity(BUFFER_BYTES, stream);
        let mut conversation = Conversation {
            reader,
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

    /// One request that is answered at once.
    fn ask(
        &mut self,
        crowd: &Crowd,
        request: std::fmt::Arguments<'_>,
        expected: std::fmt::Arguments<'_>,
    ) -> io::Result<()> {
        self.compose(request);
        let sent = Instant::now();
        self.expect(crowd, expected)?;
        crowd.answered(Some(sent));
        Ok(())
    }

    /// One request that is answered when the partner lets it.
    fn wait(
        &mut self,
        crowd: &Crowd,
        request: std::fmt::Arguments<'_>,
        expected: std::fmt::Arguments<'_>,
    ) -> io::Result<()> {
        self.compose(request);
        self.expect(crowd, expected)?;
        crowd.answered(None);
        Ok(())
    }

    /// Raises the shared count, which must have grown since this client last saw it.
    fn count(&mut self, crowd: &Crowd, last: u64) -> io::Result<u64> {
        self.compose(format_args!("INCR total"));
        let sent = Instant::now();
        self.exchange()?;
        crowd.answered(Some(sent));
        match number_in(&self.reply) {
            Some(total) if total > last => Ok(total),
            _ => {
                crowd.found_wrong(format!("INCR total after {last}: {:?}", self.reply));
                Ok(last)
            }
        }
    }

    /// Sends what was composed and compares the reply.
    fn expect(&mut self, crowd: &Crowd, expected: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.exchange()?;
        self.expected.clear();
        writeln!(self.expected, "{expected}").expect("writing into a String does not fail");
        if self.reply != self.expected {
            crowd.found_wrong(format!(
                "{}: {:?} instead of {:?}",
                self.request.trim_end(),
                self.reply,
                self.expected
            ));
        }
        Ok(())
    }

    fn compose(&mut self, request: std::fmt::Arguments<'_>) {
        self.request.clear();
        self.request
            .write_fmt(request)
            .expect("writing into a String does not fail");
    }

    fn exchange(&mut self) -> io::Result<()> {
        self.request.push('\n');
        let mut writer = self.reader.get_ref();
        writer.write_all(self.request.as_bytes())?;
        if self.receive()? == 0 { Err(closed()) } else { Ok(()) }
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.reply.clear();
        self.reader.read_line(&mut self.reply)
    }

    /// Says goodbye; the server must close, and say nothing more.
    fn leave(mut self, crowd: &Crowd) -> io::Result<()> {
        self.compose(format_args!("QUIT"));
        self.expect(crowd, format_args!("BYE"))?;
        if self.receive()? != 0 {
            crowd.found_wrong(format!("after BYE: {:?}", self.reply));
        }
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::other("the server closed the connection")
}

/// The number of a `VALUE n` reply, if it is written as the server writes it.
fn number_in(reply: &str) -> Option<u64> {
    let digits = reply.strip_prefix("VALUE ")?.strip_suffix('\n')?;
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Threads, spawner};
    use crate::store_server::Server;

    fn meet(plan: Plan, corrupt_request: Option<u64>) -> (Arc<Crowd>, u64) {
        let spawn = spawner::<Threads>();
        let server = Server::start(&spawn, corrupt_request).unwrap();
        let crowd = Arc::new(Crowd::new(plan));
        crowd.gather(server.address(), &spawn).unwrap();
        crowd.run().unwrap();
        crowd.disperse();
        crowd.check_total(server.address()).unwrap();
        (crowd, server.stop().log_lines)
    }

    #[test]
    fn an_honest_server_is_found_right() {
        // Five: the last connection is its own partner.
        let (crowd, log_lines) = meet(
            Plan {
                connections: 5,
                rounds: 20,
                budget: None,
            },
            None,
        );
        assert_eq!(crowd.wrong(), (0, None));
        assert_eq!(crowd.rounds(), 100);
        assert_eq!(log_lines, 2 * 6 + 100 + 5);
        assert!(crowd.latency.quantile_ns(0.5) > 0);
    }

    #[test]
    fn one_corrupted_reply_is_found_wherever_it_falls() {
        for request in 1..=ROUND_REQUESTS {
            let (crowd, _) = meet(
                Plan {
                    connections: 1,
                    rounds: 1,
                    budget: None,
                },
                Some(request),
            );
            assert_eq!(crowd.wrong().0, 1, "request {request}");
        }
    }

    #[test]
    fn clients_whose_time_is_up_leave_no_partner_waiting() {
        let plan = Plan {
            connections: 8,
            rounds: u64::MAX,
            budget: Some(Duration::from_millis(50)),
        };
        let (crowd, _) = meet(plan, None);
        assert_eq!(crowd.wrong(), (0, None));
        assert!(crowd.rounds() >= 8);
    }

    /// Refuses every job after the first `allowed` ones, as the kernel does.
    fn spawn_at_most(allowed: u64) -> Spawn {
        let (spawn, started) = (spawner::<Threads>(), AtomicU64::new(0));
        Arc::new(move |job| match started.fetch_add(1, Ordering::Relaxed) {
            number if number < allowed => spawn(job),
            _ => Err(io::Error::from(io::ErrorKind::WouldBlock)),
        })
    }

    #[test]
    fn a_refused_client_sends_the_others_home() {
        let server = Server::start(&spawner::<Threads>(), None).unwrap();
        let crowd = Arc::new(Crowd::new(Plan {
            connections: 9,
            rounds: 1,
            budget: None,
        }));
        let refused = crowd.gather(server.address(), &spawn_at_most(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(server.stop().refusal.is_none());
        crowd.disperse();
    }

    #[test]
    fn a_connection_that_nobody_can_serve_ends_the_case() {
        // Two jobs of the server's own, then two connections.
        let server = Server::start(&spawn_at_most(4), None).unwrap();
        let crowd = Arc::new(Crowd::new(Plan {
            connections: 9,
            rounds: 1,
            budget: None,
        }));
        assert!(crowd.gather(server.address(), &spawner::<Threads>()).is_err());
        assert_eq!(server.stop().refusal.unwrap().kind(), io::ErrorKind::WouldBlock);
        crowd.disperse();
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
