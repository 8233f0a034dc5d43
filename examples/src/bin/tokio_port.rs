//! A port of a typical tokio program: a small key-value server in the manner of Redis.
//!
//! Clients send lines: `SET key value`, `GET key`, `PING`. A semaphore limits the number of connections.
//! A watch channel tells everybody that the server shuts down. A connection that is idle for too long is closed.
//! Where tokio's code says `select!` over futures, this code selects between "the socket has data" and "shut down".
//! A comment beside each place says what the tokio program has there.
//!
//! Run it: `cargo run --release -p silken-examples --bin tokio_port`

#![forbid(unsafe_code)]

use silken::Error;
use silken::channel::watch;
use silken::sync::{Semaphore, SemaphorePermit};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 10;
const CLIENTS: usize = 100;
const IDLE: Duration = Duration::from_secs(1);
const LINE_TIME: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Server {
    values: Mutex<HashMap<String, String>>,
    requests: AtomicUsize,
    idle: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Server {
    /// `async fn run(&mut self)`: accepts connections until the server shuts down, then waits for those that are open.
    fn run(&self, listener: &TcpListener, shutdown: watch::Receiver<bool>) {
        let limit = &Semaphore::new(CONNECTIONS); // no Arc: the children of a scope may borrow it
        silken::scope(|s| {
            let mut is_down = shutdown.clone();
            let acceptor = s.spawn(move || -> io::Result<()> {
                loop {
                    let permit = limit.acquire().map_err(io::Error::other)?; // acquire_owned().await
                    let (stream, _) = listener.accept()?; // accept().await
                    let shutdown = shutdown.clone();
                    s.spawn(move || self.handle(stream, shutdown, permit)); // tokio::spawn
                }
            });
            let _ = is_down.wait_for(|is_down| *is_down);
            acceptor.cancel(); // whether it waits for a permit or for a client
        });
    }

    /// Answers the lines of one client. The permit is given back when this function returns.
    fn handle(&self, stream: TcpStream, mut shutdown: watch::Receiver<bool>, _permit: SemaphorePermit<'_>) {
        let open = 1 + self.open.fetch_add(1, Ordering::Relaxed);
        self.most_open.fetch_max(open, Ordering::Relaxed);
        silken::defer!(self.open.fetch_sub(1, Ordering::Relaxed));
        let mut reader = BufReader::new(stream);
        while let Ok(Some(line)) = self.next_line(&mut reader, &mut shutdown) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer(line.trim_end());
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Waits for a line. Gives `None` when the client has hung up or is idle, or when the server shuts down.
    fn next_line(
        &self,
        reader: &mut BufReader<TcpStream>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> io::Result<Option<String>> {
        // What is in the buffer already has left the socket: then there is nothing to wait for.
        if reader.buffer().is_empty() {
            // tokio::select! { line = read_line() => …, _ = shutdown.changed() => …, _ = sleep(IDLE) => … }
            silken::select! {
                on(silken::readable(reader.get_ref())) -> () => {}
                on(shutdown.changed_arm()) -> _ => return Ok(None),
                default(IDLE) => {
                    self.idle.fetch_add(1, Ordering::Relaxed);
                    return Ok(None);
                }
            }
        }
        // time::timeout(LINE_TIME, read_line()).await??
        let mut line = String::new();
        let length = silken::timeout(LINE_TIME, || reader.read_line(&mut line))??;
        Ok((length > 0).then_some(line))
    }

    fn answer(&self, line: &str) -> String {
        let mut values = self.values.lock().unwrap(); // std's Mutex; a wait for it parks the coroutine
        match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["SET", key, value] => {
                values.insert(key.to_string(), value.to_string());
                "OK\n".to_string()
            }
            ["GET", key] => values
                .get(key)
                .map_or("nil\n".to_string(), |value| format!("{value}\n")),
            ["PING"] => "PONG\n".to_string(),
            _ => "error\n".to_string(),
        }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(server).map(|stream| Self(BufReader::new(stream)))
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        Ok(answer.trim_end().to_string())
    }
}

#[silken::main] // #[tokio::main]
fn main() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (shut_down, shutdown) = watch::channel(false);
    let server = Server::default();
    // JoinSet: the first error cancels all children, the server too, and comes out.
    silken::try_scope(|group| {
        let running = group.spawn(|| {
            server.run(&listener, shutdown);
            Ok(())
        });
        let ask_four_times = |n: usize| -> Result<(), Error> {
            let mut client = Client::connect(address)?;
            assert_eq!(client.ask("PING")?, "PONG");
            assert_eq!(client.ask(&format!("GET key{n}"))?, "nil");
            assert_eq!(client.ask(&format!("SET key{n} some {n}"))?, "OK");
            assert_eq!(client.ask(&format!("GET key{n}"))?, format!("some {n}"));
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|n| group.spawn(move || ask_four_times(n))).collect();
        for client in clients {
            client.join()?;
        }

        let start = Instant::now();
        let mut idle = Client::connect(address)?;
        assert_eq!(idle.0.read(&mut [0])?, 0); // the server hangs up on who says nothing
        assert!(start.elapsed() >= IDLE);

        let mut last = Client::connect(address)?;
        assert_eq!(last.ask("GET key7")?, "some 7");
        shut_down.send(true)?;
        assert_eq!(last.0.read(&mut [0])?, 0); // it waits for a line, and is told at once
        running.join()?;
        Ok(())
    })?;
    let (requests, most) = (server.requests.into_inner(), server.most_open.into_inner());
    assert_eq!(requests, 4 * CLIENTS + 1);
    assert_eq!(server.idle.into_inner(), 1);
    assert!(most <= CONNECTIONS);
    println!(
        "{requests} requests, at most {most} connections at a time, 1 idle client closed, shut down in good order"
    );
    Ok(())
}
