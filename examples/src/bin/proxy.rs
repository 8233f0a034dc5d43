//! A TCP proxy with 500 connections at the same time, a server behind it, and the clients in front of it.
//!
//! For each connection the proxy opens one to the server, and copies both directions on two coroutines of a scope.
//! When one side has sent all, the proxy closes that direction and goes on with the other one (half-close).
//! A third coroutine watches: when no byte has come for a while, it cancels both. The proxy counts the bytes.
//! The server answers only after it has seen the end of the request, so the replies prove the half-close.
//!
//! Run it: `cargo run --release -p silken-examples --bin proxy`

#![forbid(unsafe_code)]

use silken::channel::{RecvTimeoutError, Sender, bounded};
use silken::sync::Semaphore;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const CLIENTS: usize = 500;
const IDLE: Duration = Duration::from_secs(3);
const GREETING: &[u8; 6] = b"hello\n";

#[derive(Default)]
struct Proxy {
    sent: AtomicU64,
    received: AtomicU64,
    idle: AtomicUsize,
}

/// Copies from one socket to the other until the end, then closes that direction. Reports each piece to the watcher.
fn copy(mut from: &TcpStream, mut to: &TcpStream, bytes: &AtomicU64, active: Sender<()>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        to.write_all(&buffer[..count])?;
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        let _ = active.try_send(()); // when the channel is full, the watcher has something to read
    }
}

impl Proxy {
    /// Serves one client, until both directions have ended or nothing has come for a while.
    fn serve_client(&self, client: &TcpStream, server: SocketAddr) -> io::Result<()> {
        let server = &TcpStream::connect(server)?;
        let (active, activity) = bounded(1);
        silken::scope(|s| {
            let also_active = active.clone();
            s.spawn(move || copy(client, server, &self.sent, active));
            s.spawn(move || copy(server, client, &self.received, also_active));
            loop {
                match activity.recv_timeout(IDLE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => break, // both have ended
                    Err(RecvTimeoutError::Timeout) => {
                        self.idle.fetch_add(1, Ordering::Relaxed);
                        s.cancel(); // the reads fail
                        break;
                    }
                }
            }
        });
        Ok(())
    }
}

/// The server behind the proxy: greets, reads the whole request, and sends it back in reverse order.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(GREETING)?;
    let mut request = Vec::new();
    stream.read_to_end(&mut request)?; // ends when the client has closed its direction
    request.reverse();
    stream.write_all(&request)
}

/// Serves each connection on a coroutine of its own, until it is cancelled.
fn accept_all(listener: &TcpListener, serve: impl Fn(TcpStream) -> io::Result<()> + Sync) {
    silken::scope(|s| {
        while let Ok((stream, _)) = listener.accept() {
            s.spawn(|| serve(stream));
        }
    });
}

/// Connects, waits until all are connected, sends a request, and checks the reply. Gives the length of the request.
fn ask(proxy: SocketAddr, number: usize, connecting: &Semaphore, everybody: &Barrier) -> io::Result<u64> {
    // The kernel queues 128 connections that are not accepted yet. So at most 50 clients connect at the same time.
    let permit = connecting.acquire().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(proxy)?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting)?;
    assert_eq!(&greeting, GREETING);
    drop(permit);
    everybody.wait();
    let mut request: Vec<u8> = (0..number * 100).map(|i| (i * number) as u8).collect();
    stream.write_all(&request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    request.reverse();
    assert!(reply == request);
    Ok(request.len() as u64)
}

/// Each connection takes four descriptors here. When fewer are allowed, runs the program again with a higher limit.
fn raise_descriptor_limit() -> io::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let soft_limit = limits
        .split_once("Max open files")
        .and_then(|(_, rest)| rest.split_whitespace().next());
    let is_enough = soft_limit
        .and_then(|limit| limit.parse().ok())
        .is_none_or(|limit: usize| limit >= 4 * CLIENTS + 100);
    if is_enough || std::env::args().len() > 1 {
        return Ok(());
    }
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 4096 && exec \"$0\" again"])
        .arg(std::env::current_exe()?);
    Err(shell.exec()) // returns only when it has failed
}

#[silken::main]
fn main() -> Result<(), Box<dyn Error>> {
    raise_descriptor_limit()?;
    let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (front_address, back_address) = (front.local_addr()?, back.local_addr()?);
    let proxy = Proxy::default();
    let serve_client = |client: TcpStream| proxy.serve_client(&client, back_address);
    let (connecting, everybody) = (Semaphore::new(50), Barrier::new(CLIENTS));
    let (connecting, everybody) = (&connecting, &everybody);
    let (replies, silent) = silken::scope(|s| {
        s.spawn(|| accept_all(&back, answer));
        s.spawn(|| accept_all(&front, serve_client));
        let silent = s.spawn(move || -> io::Result<Vec<u8>> {
            let mut all = Vec::new();
            TcpStream::connect(front_address)?.read_to_end(&mut all)?;
            Ok(all)
        });
        let ask = |n| s.spawn(move || ask(front_address, n, connecting, everybody));
        let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
        let replies: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        let silent = silent.join();
        s.cancel(); // ends the two accept loops
        (replies, silent)
    });
    let mut requested = 0;
    for reply in replies {
        requested += reply??;
    }
    let greetings = ((CLIENTS + 1) * GREETING.len()) as u64;
    assert_eq!(silent??, GREETING); // it got a greeting, and then it was cut off
    assert_eq!(proxy.sent.into_inner(), requested);
    assert_eq!(proxy.received.into_inner(), requested + greetings);
    assert_eq!(proxy.idle.into_inner(), 1);
    println!("{CLIENTS} connections at a time, {requested} bytes and back, all right; 1 idle connection was cut off");
    Ok(())
}
