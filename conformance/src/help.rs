//! What the cases about descriptors share: pairs, addresses and paths of their own, and a look at units that wait.

use crate::{Unit, raw};
use std::fmt::Debug;
use std::io::{self, PipeWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

/// Long enough for a unit to start and wait, as a rule. No case is wrong if it was not.
pub const SHORT: Duration = Duration::from_millis(20);

/// For how long a unit is watched that has to wait.
pub const WHILE: Duration = Duration::from_millis(50);

/// A time-out that is not to come true.
pub const LONG: Duration = Duration::from_secs(20);

/// More units than any executor of the suite has workers.
pub const UNITS: usize = 10;

fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: only distinct numbers matter.
    NEXT.fetch_add(1, Relaxed)
}

/// A name that nothing else on this machine uses.
pub fn name() -> String {
    format!("silken-conformance-help-{}-{}", std::process::id(), number())
}

/// A path of its own, where what is made is removed in the end.
#[derive(Debug)]
pub struct TempPath(PathBuf);

impl TempPath {
    /// A path with nothing there yet.
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(name()))
    }

    /// A file with these bytes.
    pub fn with(bytes: &[u8]) -> Self {
        let path = Self::new();
        std::fs::write(&*path, bytes).unwrap();
        path
    }
}

impl Default for TempPath {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for TempPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connected pair over the loopback interface.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// A pair whose first end can send little before the second reads.
pub fn narrow_tcp_pair() -> (TcpStream, TcpStream) {
    let (one, two) = tcp_pair();
    raw::net::set_option(one.as_raw_fd(), libc::SO_SNDBUF, 32 << 10).unwrap();
    (one, two)
}

/// Bytes whose order shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Sends until the socket is full; returns how many bytes went.
pub fn fill(socket: RawFd) -> usize {
    let sends = std::iter::repeat_with(|| raw::send(socket, &[7; 4_096], libc::MSG_DONTWAIT).ok());
    sends.map_while(|sent| sent).sum()
}

/// Writes as much as an empty pipe takes without a wait; returns how much that is.
pub fn fill_pipe(writer: &mut PipeWriter) -> usize {
    let length = raw::files::pipe_size(writer.as_raw_fd()).unwrap();
    writer.write_all(&vec![7; length]).unwrap();
    length
}

/// The error number of a call that fails.
pub fn code<T: Debug>(result: io::Result<T>) -> i32 {
    let error = result.unwrap_err();
    error
        .raw_os_error()
        .unwrap_or_else(|| panic!("no error of the system: {error}"))
}

/// The units are in a wait that nobody has ended yet.
#[track_caller]
pub fn still_wait<T>(units: &[Unit<T>]) {
    sleep(WHILE);
    let over = units.iter().filter(|unit| unit.has_ended()).count();
    assert_eq!(over, 0, "a call returned that had to wait");
}
