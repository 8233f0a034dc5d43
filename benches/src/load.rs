//! What loads the echo servers? N connections, each with one request outstanding (a closed loop), every reply compared
//! with its request.
//!
//! A request is 64 bytes that name the connection and count up, so a reply that belongs to another connection or comes
//! twice is an error and not a sample. The window opens after a warm-up and is bounded by the clock; at both of its
//! ends the generator reads the server's CPU clock, and the figure is the difference over the replies counted between.
//!
//! A closed loop hides a connection that is never served, since it records nothing. So the ages of the requests still
//! outstanding at the end are recorded too when they exceed the median, and connections without any reply in the window
//! are counted.

use crate::echo::{BUFFER_BYTES, MESSAGE_BYTES};
use crate::epoll::{self, Epoll};
use crate::figure::{Sample, print_sample};
use crate::machine;
use hdrhistogram::Histogram;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const WARM_UP: Duration = Duration::from_millis(500);
/// Connections opened between two proofs that the server has accepted them all: below the smallest listen backlog in
/// use (128).
const CONNECT_BATCH: usize = 64;

/// Entry of the child: port, server process, connections, window in milliseconds.
pub fn child(arguments: &[String]) -> ExitCode {
    machine::bound_child();
    machine::raise_file_limit();
    machine::pin_to_cpu(1);
    let numbers: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let [port, server, connections, window_ms] = numbers[..] else {
        return ExitCode::from(2);
    };
    let measured = Load::connect(port as u16, connections as usize)
        .and_then(|load| load.run(server as i32, Duration::from_millis(window_ms)));
    match measured {
        Ok(sample) => {
            print_sample(&sample);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: load generator: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nanoseconds, to within one percent. Its memory is fixed, so that counting allocates nothing.
fn latency_histogram() -> Histogram<u64> {
    const LONGEST_NS: u64 = 120_000_000_000;
    Histogram::new_with_max(LONGEST_NS, 2).expect("these bounds are valid")
}

struct Connection {
    stream: TcpStream,
    sequence: u64,
    received_bytes: usize,
    reply: [u8; MESSAGE_BYTES],
    sent_at: Instant,
    replies_in_window: u64,
}

impl Connection {
    fn request(&self, index: usize) -> [u8; MESSAGE_BYTES] {
        let mut message = [0x5a; MESSAGE_BYTES];
        message[..8].copy_from_slice(&(index as u64).to_le_bytes());
        message[MESSAGE_BYTES - 8..].copy_from_slice(&self.sequence.to_le_bytes());
        message
    }

    fn send(&mut self, index: usize, now: Instant) -> io::Result<()> {
        self.sequence += 1;
        self.received_bytes = 0;
        self.sent_at = now;
        let sent = epoll::send(self.stream.as_raw_fd(), &self.request(index))?;
        if sent == MESSAGE_BYTES {
            Ok(())
        } else {
            Err(io::Error::other("a request was cut short"))
        }
    }

    /// Takes what has arrived; whether the reply is complete.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let mut buffer = [0; BUFFER_BYTES];
        let count = match epoll::receive(self.stream.as_raw_fd(), &mut buffer) {
            Ok(0) => return Err(io::Error::other("the server closed a connection")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let end = self.received_bytes + count;
        let place = self
            .reply
            .get_mut(self.received_bytes..end)
            .ok_or_else(|| io::Error::other("too long a reply"))?;
        place.copy_from_slice(&buffer[..count]);
        self.received_bytes = end;
        if end == MESSAGE_BYTES && self.reply != self.request(index) {
            return Err(io::Error::other("a reply differs from its request"));
        }
        Ok(end == MESSAGE_BYTES)
    }
}

struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    events: Vec<libc::epoll_event>,
}

impl Load {
    fn connect(port: u16, count: usize) -> io::Result<Load> {
        let mut load = Load {
            epoll: Epoll::new()?,
            connections: Vec::with_capacity(count),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024],
        };
        for index in 0..count {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            let now = Instant::now();
            let mut connection = Connection {
                stream,
                sequence: 0,
                received_bytes: 0,
                reply: [0; MESSAGE_BYTES],
                sent_at: now,
                replies_in_window: 0,
            };
            if index % CONNECT_BATCH == CONNECT_BATCH - 1 || index == count - 1 {
                prove_accepted(&mut connection, index)?;
            }
            load.epoll.add(connection.stream.as_raw_fd(), index as u64)?;
            load.connections.push(connection);
        }
        Ok(load)
    }

    fn run(mut self, server: i32, window: Duration) -> io::Result<Sample> {
        let now = Instant::now();
        for (index, connection) in self.connections.iter_mut().enumerate() {
            connection.send(index, now)?;
        }
        let mut warm_up = latency_histogram();
        self.drive(Instant::now() + WARM_UP, &mut warm_up)?;
        self.connections
            .iter_mut()
            .for_each(|connection| connection.replies_in_window = 0);
        let mut latencies = latency_histogram();
        let (cpu_before, begin) = (machine::process_cpu_ns(server)?, Instant::now());
        self.drive(begin + window, &mut latencies)?;
        let (cpu_after, elapsed) = (machine::process_cpu_ns(server)?, begin.elapsed());
        let requests = latencies.len() as f64;
        if requests == 0.0 {
            return Err(io::Error::other("no reply in the whole window"));
        }
        self.record_outstanding(&mut latencies);
        let unserved = self
            .connections
            .iter()
            .filter(|connection| connection.replies_in_window == 0)
            .count();
        let cpu_ns = (cpu_after - cpu_before) as f64;
        let pair = |key: &str, value: f64| (key.to_owned(), value);
        Ok(vec![
            pair("value", cpu_ns / 1e3 / requests),
            pair("p50_us", latencies.value_at_quantile(0.5) as f64 / 1e3),
            pair("p99_us", latencies.value_at_quantile(0.99) as f64 / 1e3),
            pair("longest_ms_max", latencies.max() as f64 / 1e6),
            pair("krequests_per_s", requests / 1e3 / elapsed.as_secs_f64()),
            pair("busy_percent", 100.0 * cpu_ns / elapsed.as_nanos() as f64),
            pair("unserved_max", unserved as f64),
        ])
    }

    fn drive(&mut self, until: Instant, latencies: &mut Histogram<u64>) -> io::Result<()> {
        loop {
            let count = self.epoll.wait(&mut self.events, 100)?;
            for event in &self.events[..count] {
                let index = event.u64 as usize;
                let connection = &mut self.connections[index];
                if connection.receive(index)? {
                    let now = Instant::now();
                    latencies.saturating_record((now - connection.sent_at).as_nanos() as u64);
                    connection.replies_in_window += 1;
                    connection.send(index, now)?;
                }
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    fn record_outstanding(&self, latencies: &mut Histogram<u64>) {
        let (now, usual_ns) = (Instant::now(), latencies.value_at_quantile(0.5));
        for connection in &self.connections {
            let age_ns = (now - connection.sent_at).as_nanos() as u64;
            if age_ns > usual_ns {
                latencies.saturating_record(age_ns);
            }
        }
    }
}

/// One echo on the newest connection: accept is first in, first out, so all earlier ones have been accepted too.
fn prove_accepted(connection: &mut Connection, index: usize) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(connection.stream.as_raw_fd(), 0)?;
    connection.send(index, Instant::now())?;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }];
    while epoll.wait(&mut events, 5_000)? == 1 {
        if connection.receive(index)? {
            return Ok(());
        }
    }
    Err(io::Error::other("the server does not answer a new connection"))
}
