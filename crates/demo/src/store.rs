//! What is the program that both engines run? A key-value store on TCP, written as one writes it with threads.
//!
//! This file names nothing but `std`. It knows neither silken nor a thread: who runs a connection is an argument
//! ([`Spawn`]), as it would be for a library that lets its caller own the threads. The same source is run on
//! `std::thread` and on coroutines; not a line differs.
//!
//! One job accepts, one writes the log (fed by `mpsc`), one serves each connection. The store is one `Mutex<HashMap>`;
//! `WAIT` sleeps in a `Condvar`.
//!
//! | request | reply |
//! |---|---|
//! | (on connect) | `HELLO` |
//! | `GET key` | `VALUE v` or `NONE` |
//! | `SET key v` | `OK` |
//! | `INCR key` | `VALUE n` |
//! | `WAIT key n` | `READY n`, as soon as the number under `key` is at least `n` |
//! | `QUIT` | `BYE`, then the end of the stream |
//! | else | `ERROR why` |
//!
//! *Who is woken.* One condition variable for the whole store would wake every waiter at every write: with 10,000
//! connections, quadratic. So each awaited key has a *bell* of its own, made by its first waiter and taken out by the
//! write that rings it; a waiter that is not satisfied hangs up a new one. Look-up, hanging and waiting happen under
//! the store's lock, so no ring falls between the look and the wait.
//!
//! *How it ends.* When the clients are gone, [`Server::stop`] wakes the accept job by a connection of its own. The
//! logger ends when the last sender is gone, thus after everybody else, and its count is the server's last word.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is handed to whoever runs it.
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// Starts a job that runs beside its caller, like `std::thread::spawn` with the handle dropped.
pub type Spawn = Arc<dyn Fn(Job) -> io::Result<()> + Send + Sync>;

/// Longest request, newline included.
const LINE_BYTES_MAX: u64 = 256;
/// A request is a few dozen bytes; std's 8 KiB would only blur the comparison of memory.
const BUFFER_BYTES: usize = 512;

/// A running store.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    last_word: Receiver<io::Result<u64>>,
}

struct Shared {
    shelf: Mutex<Shelf>,
    closing: AtomicBool,
    requests: AtomicU64,
    corrupt_request: Option<u64>,
}

/// The data, and the bells of those who wait for it.
#[derive(Default)]
struct Shelf {
    values: HashMap<String, String>,
    bells: HashMap<String, Arc<Condvar>>,
}

enum LogEvent {
    Opened(u64),
    Closed(u64),
    Stored(u64),
}

impl Server {
    /// Listens on a free port of the loopback interface. `corrupt_request` spoils the reply to the n-th request: it
    /// exists to prove that the clients would notice.
    pub fn start(spawn: &Spawn, corrupt_request: Option<u64>) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            shelf: Mutex::default(),
            closing: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            corrupt_request,
        });
        let (log, events) = mpsc::channel();
        let (report, last_word) = mpsc::channel();
        let refused = report.clone();
        // Nobody may be there any more to hear the last word.
        spawn(Box::new(move || {
            _ = report.send(Ok(write_log(&events, &mut io::sink())))
        }))?;
        let (accept_shared, accept_spawn) = (Arc::clone(&shared), Arc::clone(spawn));
        spawn(Box::new(move || {
            if let Err(error) = accept_all(&accept_shared, listener, &accept_spawn, &log) {
                let _ = refused.send(Err(error));
            }
        }))?;
        Ok(Server {
            shared,
            address,
            last_word,
        })
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more and waits until the last client has gone. Returns how many lines reached the log: one
    /// when a connection opens, one when it closes, one per `SET`.
    pub fn stop(self) -> io::Result<u64> {
        // Release: pairs with the Acquire in `accept_all`, which the connection below wakes.
        self.shared.closing.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address)?);
        self.last_word.recv().unwrap_or(Ok(0))
    }

    /// Why the server lets nobody in any more, for a client that was cut off. Waits a moment for the accept job to say.
    pub fn refusal(&self) -> Option<io::Error> {
        self.last_word.recv_timeout(Duration::from_secs(1)).ok()?.err()
    }
}

/// Ends at the first connection that cannot be accepted or served: its client sees the end of the stream, and so do
/// those that would have come after it.
fn accept_all(shared: &Arc<Shared>, listener: TcpListener, spawn: &Spawn, log: &Sender<LogEvent>) -> io::Result<()> {
    for (number, stream) in (1_u64..).zip(listener.incoming()) {
        let stream = stream?;
        // Acquire: pairs with the Release in `stop`.
        if shared.closing.load(Ordering::Acquire) {
            break;
        }
        let (shared, log) = (Arc::clone(shared), log.clone());
        spawn(Box::new(move || {
            // The logger outlives every sender, so a send cannot fail; a broken connection is the client's to report.
            let _ = log.send(LogEvent::Opened(number));
            let _ = serve(&shared, &stream, number, &log);
            let _ = log.send(LogEvent::Closed(number));
        }))?;
    }
    Ok(())
}

fn serve(shared: &Shared, stream: &TcpStream, number: u64, log: &Sender<LogEvent>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut writer = stream;
    let (mut line, mut reply) = (String::new(), String::new());
    writer.write_all(b"HELLO\n")?;
    loop {
        line.clear();
        reply.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let complete = line.ends_with('\n');
        let request = if complete {
            parse(line.trim_end())
        } else {
            Err("line too long")
        };
        if let Ok(Request::Set(..)) = request {
            let _ = log.send(LogEvent::Stored(number));
        }
        let last = !complete || matches!(request, Ok(Request::Quit));
        shared.answer(request, &mut reply);
        // Relaxed: a count; no other memory hangs on it.
        let request_number = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if shared.corrupt_request == Some(request_number) {
            reply.push('?');
        }
        reply.push('\n');
        writer.write_all(reply.as_bytes())?;
        if last {
            return Ok(());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Request<'line> {
    Get(&'line str),
    Set(&'line str, &'line str),
    Increment(&'line str),
    Wait(&'line str, i64),
    Quit,
}

fn parse(line: &str) -> Result<Request<'_>, &'static str> {
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or("");
    let request = match (verb, words.next(), words.next()) {
        ("GET", Some(key), None) => Request::Get(key),
        ("SET", Some(key), Some(value)) => Request::Set(key, value),
        ("INCR", Some(key), None) => Request::Increment(key),
        ("WAIT", Some(key), Some(least)) => Request::Wait(key, least.parse().map_err(|_| "not a number")?),
        ("QUIT", None, None) => Request::Quit,
        ("GET" | "SET" | "INCR" | "WAIT" | "QUIT", ..) => return Err("wrong number of words"),
        _ => return Err("unknown request"),
    };
    if words.next().is_some() {
        Err("wrong number of words")
    } else {
        Ok(request)
    }
}

impl Shared {
    fn answer(&self, request: Result<Request<'_>, &'static str>, reply: &mut String) {
        let written = match request {
            Ok(Request::Get(key)) => match lock(&self.shelf).values.get(key) {
                Some(value) => write!(reply, "VALUE {value}"),
                None => write!(reply, "NONE"),
            },
            Ok(Request::Set(key, value)) => {
                self.store(key, |_| Some(value.to_owned()));
                write!(reply, "OK")
            }
            Ok(Request::Increment(key)) => {
                let next = |old: Option<&String>| match old {
                    None => Some(1),
                    Some(text) => text.parse::<i64>().ok()?.checked_add(1),
                };
                match self.store(key, |old| next(old).map(|number| number.to_string())) {
                    Some(number) => write!(reply, "VALUE {number}"),
                    None => write!(reply, "ERROR not a number"),
                }
            }
            Ok(Request::Wait(key, least)) => {
                self.wait_for(key, least);
                write!(reply, "READY {least}")
            }
            Ok(Request::Quit) => write!(reply, "BYE"),
            Err(why) => write!(reply, "ERROR {why}"),
        };
        written.expect("writing into a String does not fail");
    }

    /// Replaces the value by what `change` makes of it, and rings the key's bell after unlocking.
    fn store(&self, key: &str, change: impl FnOnce(Option<&String>) -> Option<String>) -> Option<String> {
        let mut shelf = lock(&self.shelf);
        let value = change(shelf.values.get(key))?;
        match shelf.values.get_mut(key) {
            Some(slot) => slot.clone_from(&value),
            None => {
                shelf.values.insert(key.to_owned(), value.clone());
            }
        }
        let bell = shelf.bells.remove(key);
        drop(shelf);
        if let Some(bell) = bell {
            bell.notify_all();
        }
        Some(value)
    }

    fn wait_for(&self, key: &str, least: i64) {
        let mut shelf = lock(&self.shelf);
        let number = |shelf: &Shelf| shelf.values.get(key).and_then(|text| text.parse::<i64>().ok());
        while number(&shelf).is_none_or(|number| number < least) {
            let bell = Arc::clone(shelf.bells.entry(key.to_owned()).or_default());
            shelf = bell.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn write_log(events: &Receiver<LogEvent>, sink: &mut dyn Write) -> u64 {
    let mut lines = 0;
    for event in events {
        let written = match event {
            LogEvent::Opened(number) => writeln!(sink, "{number} opened"),
            LogEvent::Closed(number) => writeln!(sink, "{number} closed"),
            LogEvent::Stored(number) => writeln!(sink, "{number} stored"),
        };
        lines += u64::from(written.is_ok());
    }
    lines
}

/// A job that panicked leaves its reply unsent, which its client reports; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn on_threads() -> Spawn {
        Arc::new(|job| thread::Builder::new().spawn(job).map(drop))
    }

    fn talk(address: SocketAddr, requests: &str) -> Vec<String> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        BufReader::new(stream).lines().map(Result::unwrap).collect()
    }

    #[test]
    fn requests_parse() {
        assert_eq!(parse("GET a"), Ok(Request::Get("a")));
        assert_eq!(parse("SET a b"), Ok(Request::Set("a", "b")));
        assert_eq!(parse("INCR a"), Ok(Request::Increment("a")));
        assert_eq!(parse("WAIT a -3"), Ok(Request::Wait("a", -3)));
        assert_eq!(parse("QUIT"), Ok(Request::Quit));
        assert_eq!(parse("WAIT a b"), Err("not a number"));
        assert_eq!(parse("GET a b"), Err("wrong number of words"));
        assert_eq!(parse("SET a b c"), Err("wrong number of words"));
        assert_eq!(parse("QUIT now"), Err("wrong number of words"));
        assert_eq!(parse(""), Err("unknown request"));
        assert_eq!(parse("get a"), Err("unknown request"));
    }

    #[test]
    fn replies_are_as_documented() {
        let server = Server::start(&on_threads(), None).unwrap();
        let requests = "GET a\nSET a x\nGET a\nINCR a\nINCR n\nINCR n\nWAIT n 2\nNOPE\nQUIT\n";
        let replies = talk(server.address(), requests);
        let expected = "HELLO|NONE|OK|VALUE x|ERROR not a number|VALUE 1|VALUE 2|READY 2|ERROR unknown request|BYE";
        assert_eq!(replies.join("|"), expected);
        assert_eq!(server.stop().unwrap(), 3);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let server = Server::start(&on_threads(), None).unwrap();
        let replies = talk(server.address(), &"x".repeat(LINE_BYTES_MAX as usize));
        assert_eq!(replies, ["HELLO", "ERROR line too long"]);
        server.stop().unwrap();
    }

    #[test]
    fn a_waiter_is_woken_by_the_write_it_waits_for() {
        let server = Server::start(&on_threads(), None).unwrap();
        let address = server.address();
        let waiter = thread::spawn(move || talk(address, "WAIT n 2\nQUIT\n"));
        assert_eq!(
            talk(address, "INCR n\nINCR n\nQUIT\n"),
            ["HELLO", "VALUE 1", "VALUE 2", "BYE"]
        );
        assert_eq!(waiter.join().unwrap(), ["HELLO", "READY 2", "BYE"]);
        server.stop().unwrap();
    }

    #[test]
    fn the_chosen_reply_is_corrupted() {
        let server = Server::start(&on_threads(), Some(2)).unwrap();
        assert_eq!(
            talk(server.address(), "INCR n\nINCR n\nQUIT\n"),
            ["HELLO", "VALUE 1", "VALUE 2?", "BYE"]
        );
        server.stop().unwrap();
    }

    #[test]
    fn the_module_names_only_std() {
        let source = include_str!("store.rs");
        let imports = source.lines().filter(|line| line.starts_with("use "));
        assert!(imports.clone().count() > 0);
        assert!(imports.clone().all(|line| line.starts_with("use std::")));
        let (program, _tests) = source.split_once("#[cfg(test)]").unwrap();
        assert!(!program.contains(concat!("crate", "::")) && !program.contains(concat!("silken", "::")));
    }
}
