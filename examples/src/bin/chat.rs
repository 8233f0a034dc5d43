//! A chat server and its clients in one process.
//!
//! Each client has two coroutines on the server. One reads lines from the socket and gives them to the room.
//! The other takes lines from a queue and writes them to the socket. The room puts a line into all other queues.
//! A queue has a bound. When a member reads so slowly that its queue is full, the room drops this member.
//! At the end the server accepts nobody more, says goodbye, writes what is still queued, and waits for its clients.
//!
//! Run it: `cargo run --release -p silken-examples --bin chat`

#![forbid(unsafe_code)]

use silken::Error;
use silken::channel::{self, Receiver, Sender, TrySendError};
use silken::sync::{Barrier, SyncFlag};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LISTENERS: usize = 20;
/// So many lines may wait for one member.
const QUEUE: usize = 64;

type Line = Arc<str>;
/// A socket, and the queue of the lines that are to be written to it.
type Member = (Arc<TcpStream>, Sender<Line>);

/// Everybody who is here, by name. `None` when the room is closed.
struct Room(Mutex<Option<HashMap<String, Member>>>);

impl Room {
    /// Adds a member and gives its queue. Gives nothing when the room is closed.
    fn enter(&self, name: &str, stream: &Arc<TcpStream>) -> Option<Receiver<Line>> {
        let (queue, lines) = channel::bounded(QUEUE);
        queue.send("server: welcome\n".into()).ok()?;
        let mut members = self.0.lock().unwrap();
        members.as_mut()?.insert(name.to_string(), (stream.clone(), queue));
        Some(lines)
    }

    fn leave(&self, name: &str) {
        self.0.lock().unwrap().as_mut().and_then(|members| members.remove(name));
    }

    /// Sends a line to everybody but its author. `try_send` never waits, so the lock is held for a short time only.
    fn say(&self, author: &str, text: &str) {
        let line: Line = format!("{author}: {text}\n").into();
        let mut slow = Vec::new();
        if let Some(members) = self.0.lock().unwrap().as_mut() {
            members.retain(|name, (stream, queue)| {
                let sent = if name == author {
                    Ok(())
                } else {
                    queue.try_send(line.clone())
                };
                if let Err(TrySendError::Full(_)) = sent {
                    let _ = stream.shutdown(Shutdown::Both); // its two coroutines end by this
                    slow.push(name.clone());
                }
                sent.is_ok() // else it is too slow, or has hung up
            });
        }
        for name in slow {
            self.say("server", &format!("{name} was too slow"));
        }
    }

    /// Closes the room and says goodbye. No queue has a sender afterwards, so the writers end after the last line.
    fn close(&self) {
        let members = self.0.lock().unwrap().take().unwrap_or_default();
        for (_stream, queue) in members.into_values() {
            let _ = queue.try_send("server: goodbye\n".into()); // an error: it has hung up, or is too slow
        }
    }
}

/// Serves one client until it hangs up or is dropped.
fn serve_client(room: &Room, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?; // else the kernel keeps short lines back for up to 40 ms
    let stream = Arc::new(stream);
    let mut reader = BufReader::new(&*stream);
    let mut name = String::new();
    reader.read_line(&mut name)?;
    let name = name.trim_end();
    let Some(lines) = room.enter(name, &stream) else {
        return Ok(());
    };
    silken::scope(|s| {
        s.spawn(|| {
            let written = lines.iter().try_for_each(|line| (&*stream).write_all(line.as_bytes()));
            drop(lines); // after an error nobody should queue more
            written.and_then(|()| stream.shutdown(Shutdown::Write))
        });
        for line in reader.lines().map_while(Result::ok) {
            room.say(name, &line);
        }
        room.leave(name);
    });
    Ok(())
}

/// Accepts clients until `stop` is fired. Returns when all of them have gone.
fn serve(listener: &TcpListener, stop: &SyncFlag) {
    let room = &Room(Mutex::new(Some(HashMap::new())));
    silken::scope(|s| {
        let acceptor = s.spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                s.spawn(move || serve_client(room, stream));
            }
        });
        stop.wait();
        acceptor.cancel(); // `accept` fails, and the loop ends
        room.close();
    });
}

/// Enters the room. The first line that a client sends is its name.
fn enter(server: SocketAddr, name: &str) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(format!("{name}\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut welcome = String::new();
    reader.read_line(&mut welcome)?;
    assert_eq!(welcome, "server: welcome\n");
    Ok(reader)
}

/// Answers each story with "nice", until the server says goodbye. Gives the number of stories.
fn listen(server: SocketAddr, name: &str, everybody: &Barrier) -> Result<usize, Error> {
    let reader = enter(server, name)?;
    let mut stream = reader.get_ref().try_clone()?;
    everybody.wait();
    let (mut stories, mut last) = (0, String::new());
    for line in reader.lines() {
        last = line?;
        if last.starts_with("talker: ") {
            stories += 1;
            stream.write_all(b"nice\n")?;
        }
    }
    assert_eq!(last, "server: goodbye");
    Ok(stories)
}

/// Tells stories until the sleeper is dropped. Gives the number of stories.
/// It waits for all answers before it tells the next one, so no listener is too slow.
fn talk(server: SocketAddr, everybody: &Barrier) -> Result<usize, Error> {
    let reader = enter(server, "talker")?;
    let mut stream = reader.get_ref().try_clone()?;
    let mut lines = reader.lines();
    let story = format!("{}\n", "and then ".repeat(10_000));
    everybody.wait();
    let (mut stories, mut all_quick) = (0, false);
    while !all_quick {
        stream.write_all(story.as_bytes())?;
        stories += 1;
        let mut answers = 0;
        while answers < LISTENERS {
            match lines.next().transpose()?.as_deref() {
                Some("server: sleeper was too slow") => all_quick = true,
                Some(_nice) => answers += 1,
                None => return Err(silken::err!("the server has hung up")),
            }
        }
    }
    Ok(stories)
}

#[silken::main]
fn main() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = Arc::new(SyncFlag::new());
    let server = silken::spawn({
        let stop = stop.clone();
        move || serve(&listener, &stop)
    });

    let mut sleeper = enter(address, "sleeper")?; // it reads nothing more until the end
    let everybody = &Barrier::new(LISTENERS + 1);
    // When somebody fails, the others are cancelled, and the first error comes out.
    silken::try_scope(|group| {
        let listener = |i| group.spawn(move || listen(address, &format!("listener {i}"), everybody));
        let listeners: Vec<_> = (0..LISTENERS).map(listener).collect();
        let stories = talk(address, everybody)?;
        stop.fire();
        for listener in listeners {
            assert_eq!(listener.join()?, Some(stories));
        }
        println!("{LISTENERS} listeners heard all {stories} stories; then the sleeper was dropped");
        Ok(())
    })?;
    io::copy(&mut sleeper, &mut io::sink())?; // ends, since the server has hung up
    server.join_timeout(Duration::from_secs(5))??; // all clients have hung up, too
    Ok(())
}
