//! A port of a typical may program: an echo server, its clients, and two ways to wait for several things.
//!
//! The code keeps may's names: `go!`, `scope`, `cqueue`, `select!`, `join!`, `Semphore`, `coroutine_local!`.
//! The server accepts in a loop and starts a coroutine for each connection. The clients borrow their names.
//! A `cqueue` collects what the clients report. A `select!` receives from two channels.
//! No `unsafe` is needed, neither for `spawn` nor for `cancel`.
//!
//! Run it: `cargo run --release -p silken-examples --bin may_port`

#![forbid(unsafe_code)]

use silken::cqueue::{self, PollError};
use silken::net::{TcpListener, TcpStream}; // was: may::net
use silken::sync::{Semphore, mpsc}; // was: may::sync
use silken::{JoinHandle, coroutine_local, go};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CLIENTS: usize = 50;
const ROUNDS: usize = 20;

coroutine_local!(static SENT: Cell<usize> = Cell::new(0));

/// Sends back what comes, until the client hangs up. Gives the number of bytes.
fn echo(mut stream: TcpStream) -> io::Result<usize> {
    let mut buffer = [0; 1024];
    let mut total = 0;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(total);
        }
        stream.write_all(&buffer[..count])?;
        total += count;
    }
}

/// The accept loop. Each connection posts to `ended` when it has ended, and adds its bytes to a channel.
fn start_server(listener: TcpListener, ended: Arc<Semphore>, bytes: mpsc::Sender<usize>) -> JoinHandle<()> {
    go!("acceptor", move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { break }; // an error: cancelled
            let (ended, bytes) = (ended.clone(), bytes.clone());
            go!(("connection", 64 * 1024), move || {
                bytes.send(echo(stream).unwrap_or(0)).unwrap();
                ended.post();
            });
        }
    })
}

/// Talks to the server. Gives how many bytes this coroutine has sent.
fn client(server: SocketAddr, name: &str) -> io::Result<usize> {
    let mut stream = TcpStream::connect(server)?;
    for round in 0..ROUNDS {
        let text = format!("{name} says {round}");
        stream.write_all(text.as_bytes())?;
        SENT.set(SENT.get() + text.len());
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, text.as_bytes());
    }
    Ok(SENT.get())
}

/// Runs a client for each name as an arm of a `cqueue`. The arms borrow the names, and the events come as the arms end.
fn run_clients(server: SocketAddr, names: &[String]) -> usize {
    cqueue::scope(|queue| {
        for (token, name) in names.iter().enumerate() {
            // was: go!(cqueue, token, |es| …)
            queue.add(token, move |events| {
                events.send(client(server, name).expect("the server answers"))
            });
        }
        let mut sent = 0;
        let mut seen = vec![false; names.len()];
        loop {
            match queue.poll(Some(Duration::from_secs(5))) {
                Ok(event) => {
                    assert!(!std::mem::replace(&mut seen[event.token], true));
                    sent += event.extra;
                }
                Err(PollError::Finished) => break,
                Err(PollError::Timeout) => panic!("nobody has ended for five seconds"),
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
        sent
    })
}

/// Receives from two channels with one `select!`, until all has come. An arm is an operation, and needs no coroutine.
fn select_from_two() -> (usize, u32) {
    let (word_sender, words) = mpsc::channel();
    let (number_sender, numbers) = mpsc::channel();
    let (mut letters, mut sum) = (0, 0);
    silken::scope(|scope| {
        // was: go!(scope, || …)
        scope.spawn(|| {
            ["silk", "in", "knots"]
                .iter()
                .for_each(|word| word_sender.send(*word).unwrap())
        });
        scope.spawn(|| (1..=10).for_each(|number| number_sender.send(number).unwrap()));
        for _ in 0..13 {
            silken::select! {
                recv(words) -> word => letters += word.unwrap().len(), // was: word = words.recv() =>
                recv(numbers) -> number => sum += number.unwrap(),
            }
        }
    });
    (letters, sum)
}

#[silken::main]
fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let ended = Arc::new(Semphore::new(0));
    let (bytes, echoed) = mpsc::channel();
    let server = start_server(listener, ended.clone(), bytes);

    let names: Vec<_> = (0..CLIENTS).map(|n| format!("client {n}")).collect();
    let (sent, (letters, sum)) = silken::join!(run_clients(address, &names), select_from_two());
    assert_eq!((letters, sum), (11, 55));

    for _ in 0..CLIENTS {
        ended.wait();
    }
    server.cancel(); // was: unsafe { server.coroutine().cancel() }
    server.join().expect("the loop ends by itself when accept fails");
    assert_eq!(echoed.iter().sum::<usize>(), sent);
    println!("{CLIENTS} clients sent {sent} bytes and got all of them back; {letters} letters, sum {sum}");
    Ok(())
}
