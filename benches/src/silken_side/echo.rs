//! The echo server, in two forms. In the first nothing is silken's but the spawn: the listener and the streams are
//! std's and block, each in its coroutine. The second has silken's sockets, which need no hooks.

use crate::echo::{BUFFER_BYTES, announce};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

/// Serves on one worker until it is killed.
pub fn serve() {
    super::run(1, || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        announce(listener.local_addr().expect("bound").port());
        loop {
            let (stream, _) = listener.accept().expect("a connection");
            drop(silken::spawn(move || echo(stream)));
        }
    })
}

/// The same with silken's sockets.
pub fn serve_native() {
    super::run(1, || {
        let listener = silken::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        announce(listener.local_addr().expect("bound").port());
        loop {
            let (stream, _) = listener.accept().expect("a connection");
            drop(silken::spawn(move || echo(stream)));
        }
    })
}

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {}
            _ => return,
        }
    }
}
