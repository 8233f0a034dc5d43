//! One echo measurement: a server child on CPU 0, a load generator child on CPU 1, both fresh.
//!
//! The server says its port on standard output and then serves until it is killed: a server that ended by itself would
//! have to be told when, and that message would be part of what is measured.

use crate::figure::{Contestant, Figure, Options, Sample, parse_sample};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Bytes in a request and in its reply.
pub const MESSAGE_BYTES: usize = 64;
/// Buffer of a server: larger than a message, so that a short read says that the socket is drained.
pub const BUFFER_BYTES: usize = 1024;

/// Tells the parent where the server listens.
pub fn announce(port: u16) {
    println!("{port}");
    std::io::stdout().flush().expect("the parent reads the port");
}

/// Runs the two children; `None` if one of them fails.
pub fn measure(figure: &Figure, contestant: &Contestant, options: &Options) -> Option<Sample> {
    let mut server = figure.child_command(contestant, options).spawn().ok()?;
    let sample = load(&mut server, figure.connections, options);
    let _ = server.kill();
    let _ = server.wait();
    sample
}

fn load(server: &mut Child, connections: usize, options: &Options) -> Option<Sample> {
    let mut port = String::new();
    BufReader::new(server.stdout.take()?).read_line(&mut port).ok()?;
    let window_ms = if options.quick { 1_000 } else { 2_000 };
    let mut client = Command::new("/proc/self/exe");
    client.arg("--load").args([port.trim(), &server.id().to_string()]);
    client.args([connections.to_string(), window_ms.to_string()]);
    let output = client.stdin(Stdio::null()).stderr(Stdio::inherit()).output().ok()?;
    if output.status.success() {
        parse_sample(&String::from_utf8_lossy(&output.stdout))
    } else {
        None
    }
}
