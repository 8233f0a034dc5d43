//! std::io::copy, which asks the kernel to move the bytes where it can: the slower side is waited for.

use crate::help::{SHORT, TempPath, UNITS, pattern, still_wait, tcp_pair};
use crate::{Executor, Unit, join_all};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write, pipe};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;

const BYTES: usize = 500_000;

fn child(script: &str) -> Child {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// From a child that writes late to a file.
pub fn child_to_file(ex: &dyn Executor) {
    let lengths = ex.start_each(UNITS, |unit| {
        let mut child = child(&format!("sleep 0.1; echo done {unit}"));
        let path = TempPath::new();
        let copied = io::copy(&mut child.stdout.take().unwrap(), &mut File::create(&*path).unwrap()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(fs::read(&*path).unwrap(), format!("done {unit}\n").as_bytes());
        copied
    });
    assert_eq!(join_all(lengths), [7; UNITS]);
}

/// From a child that writes much to a socket whose peer reads late.
pub fn child_to_socket(ex: &dyn Executor) {
    let (mut copiers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (mut one, two) = tcp_pair();
        copiers.push(ex.start(move || {
            let mut child = child(&format!("head -c {BYTES} /dev/zero"));
            let copied = io::copy(&mut child.stdout.take().unwrap(), &mut one).unwrap();
            assert!(child.wait().unwrap().success());
            copied
        }));
        readers.push(two);
    }
    sleep(SHORT);
    for mut reader in readers {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert!(bytes == [0; BYTES]);
    }
    assert_eq!(join_all(copiers), [BYTES as u64; UNITS]);
}

/// From a socket whose peer writes late to a child's input.
pub fn socket_to_child(ex: &dyn Executor) {
    let (mut copiers, mut writers) = (Vec::new(), Vec::new());
    for _ in 0..UNITS {
        let (one, mut two) = tcp_pair();
        copiers.push(ex.start(move || {
            let mut child = child("cat");
            let copied = io::copy(&mut two, &mut child.stdin.take().unwrap()).unwrap();
            let mut bytes = Vec::new();
            child.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == pattern(5_000));
            assert!(child.wait().unwrap().success());
            copied
        }));
        writers.push(one);
    }
    still_wait(&copiers);
    for mut writer in writers {
        writer.write_all(&pattern(5_000)).unwrap();
    }
    assert_eq!(join_all(copiers), [5_000; UNITS]);
}

/// From a file to a socket whose peer reads late.
pub fn file_to_socket(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(&pattern(BYTES)));
    let (mut copiers, mut readers) = (Vec::new(), Vec::new());
    for number in 0..UNITS {
        let mut file = File::open(&**path).unwrap();
        if number % 2 == 0 {
            let (mut one, two) = tcp_pair();
            copiers.push(ex.start(move || io::copy(&mut file, &mut one).unwrap()));
            readers.push(OwnedFd::from(two));
        } else {
            let (mut one, two) = UnixStream::pair().unwrap();
            copiers.push(ex.start(move || io::copy(&mut file, &mut one).unwrap()));
            readers.push(OwnedFd::from(two));
        }
    }
    sleep(SHORT);
    for reader in readers {
        let mut bytes = Vec::new();
        File::from(reader).read_to_end(&mut bytes).unwrap();
        assert!(bytes == pattern(BYTES));
    }
    assert_eq!(join_all(copiers), [BYTES as u64; UNITS]);
}

/// From a pipe whose writer comes late to a file, and to a pipe.
pub fn pipe_to_file_and_pipe(ex: &dyn Executor) {
    let mut writers = Vec::new();
    let start = |number: usize| {
        let (from, writer) = pipe().unwrap();
        writers.push(writer);
        let mut from = File::from(OwnedFd::from(from));
        ex.start(move || {
            if number.is_multiple_of(2) {
                let path = TempPath::new();
                let copied = io::copy(&mut from, &mut File::create(&*path).unwrap()).unwrap();
                assert_eq!(fs::read(&*path).unwrap(), b"hello");
                return copied;
            }
            let (mut to, writer) = pipe().unwrap();
            let copied = io::copy(&mut from, &mut File::from(OwnedFd::from(writer))).unwrap();
            let mut text = String::new();
            to.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            copied
        })
    };
    let units: Vec<Unit<u64>> = (0..UNITS).map(start).collect();
    still_wait(&units);
    let feeder = ex.start(move || {
        for mut writer in writers {
            writer.write_all(b"hello").unwrap();
        }
    });
    assert_eq!(join_all(units), [5; UNITS]);
    feeder.join();
}

/// From a file to a file, from its own place on.
pub fn file_to_file(ex: &dyn Executor) {
    let path = Arc::new(TempPath::with(&pattern(BYTES)));
    join_all(ex.start_each(UNITS, move |unit| {
        let mut from = File::open(&**path).unwrap();
        from.seek(SeekFrom::Start(unit as u64)).unwrap();
        let target = TempPath::with(b"");
        let mut to = File::options()
            .append(unit % 2 == 0)
            .write(true)
            .open(&*target)
            .unwrap();
        assert_eq!(io::copy(&mut from, &mut to).unwrap(), (BYTES - unit) as u64);
        assert!(fs::read(&*target).unwrap() == pattern(BYTES)[unit..]);
    }));
}

fn relay(ex: &dyn Executor, mut from: TcpStream, mut to: TcpStream) -> Unit<()> {
    ex.start(move || {
        io::copy(&mut from, &mut to).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    })
}

/// A relay between sockets with two copies per connection: each direction ends by itself.
pub fn relay_with_half_close(ex: &dyn Executor) {
    const CLIENTS: usize = 12;
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (front, back) = (listen(), listen());
    let address = front.local_addr().unwrap();
    let target = back.local_addr().unwrap();
    let shared = ex.shared();
    let server = ex.start(move || {
        let answer = |mut stream: TcpStream| {
            shared.start(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                write!(stream, "{}", bytes.len()).unwrap();
            })
        };
        join_all((0..CLIENTS).map(|_| answer(back.accept().unwrap().0)).collect());
    });
    let shared = ex.shared();
    let middle = ex.start(move || {
        let both = |near: TcpStream| {
            let far = TcpStream::connect(target).unwrap();
            let clones = (near.try_clone().unwrap(), far.try_clone().unwrap());
            [relay(&*shared, near, far), relay(&*shared, clones.1, clones.0)]
        };
        let relays: Vec<_> = (0..CLIENTS).flat_map(|_| both(front.accept().unwrap().0)).collect();
        join_all(relays);
    });
    join_all(ex.start_each(CLIENTS, move |unit| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&vec![1; unit * 20_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, (unit * 20_000).to_string());
    }));
    middle.join();
    server.join();
}
