//! Addresses where there is nothing: every call says EFAULT, and takes nothing away from who asks properly next.

use crate::help::{TempPath, code, still_wait, tcp_pair};
use crate::raw::{Page, bad};
use crate::{Executor, Unit, join_all, raw};
use libc::{AF_INET, AF_UNIX, EFAULT, SOCK_STREAM};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::OnceLock;

/// Addresses that are none: low, forbidden, behind the end of a file, not the user's.
fn addresses() -> [usize; 4] {
    // Pages stay for ever, so there is one of each.
    static PAGES: OnceLock<[Page; 2]> = OnceLock::new();
    let [forbidden, behind_the_end] = PAGES.get_or_init(|| {
        let forbidden = Page::new(false);
        forbidden.set_accessible(false);
        [forbidden, Page::new(true)]
    });
    [8, forbidden.address(), behind_the_end.address(), usize::MAX - 4_095]
}

/// Sockets and a pipe with the bytes "data" to read.
fn readable() -> [(OwnedFd, Box<dyn Write + Send>); 3] {
    let (reader, mut pipe) = pipe().unwrap();
    let (one, mut unix) = UnixStream::pair().unwrap();
    let (two, mut tcp) = tcp_pair();
    pipe.write_all(b"data").unwrap();
    unix.write_all(b"data").unwrap();
    tcp.write_all(b"data").unwrap();
    [
        (reader.into(), Box::new(pipe)),
        (one.into(), Box::new(unix)),
        (two.into(), Box::new(tcp)),
    ]
}

/// The bytes are still there.
fn still_there(fd: &OwnedFd) {
    let mut bytes = [0; 8];
    assert_eq!(raw::read(fd.as_raw_fd(), &mut bytes).unwrap(), 4);
    assert_eq!(&bytes[..4], b"data");
}

/// read, readv and recv into nowhere: EFAULT, and the bytes stay.
pub fn reads(ex: &dyn Executor) {
    ex.start(|| {
        for (reader, _writer) in readable() {
            let fd = reader.as_raw_fd();
            for address in addresses() {
                assert_eq!(code(bad::read(fd, address, 4)), EFAULT, "{address:#x}");
                assert_eq!(code(bad::readv(fd, address & !7, 2)), EFAULT);
                let mut slices = [bad::slice(address, 4)];
                assert_eq!(code(bad::readv(fd, bad::address_of(&mut slices), 1)), EFAULT);
            }
            still_there(&reader);
        }
        for (reader, _writer) in readable().into_iter().skip(1) {
            for address in addresses() {
                assert_eq!(
                    code(bad::recv(reader.as_raw_fd(), address, 4, 0)),
                    EFAULT,
                    "{address:#x}"
                );
                assert_eq!(
                    code(bad::recv(reader.as_raw_fd(), address, 4, libc::MSG_WAITALL)),
                    EFAULT
                );
            }
            still_there(&reader);
        }
    })
    .join();
}

/// write, writev and send from nowhere: EFAULT, and nothing is sent.
pub fn writes(ex: &dyn Executor) {
    ex.start(|| {
        let (mut one, unix) = UnixStream::pair().unwrap();
        let (mut two, tcp) = tcp_pair();
        let (mut three, pipe) = pipe().unwrap();
        let writers: [OwnedFd; 3] = [unix.into(), tcp.into(), pipe.into()];
        for address in addresses() {
            for writer in &writers {
                let fd = writer.as_raw_fd();
                assert_eq!(code(bad::write(fd, address, 4)), EFAULT, "{address:#x}");
                assert_eq!(code(bad::writev(fd, address & !7, 2)), EFAULT);
                let mut slices = [bad::slice(address, 4)];
                assert_eq!(code(bad::writev(fd, bad::address_of(&mut slices), 1)), EFAULT);
            }
            assert_eq!(code(bad::send(writers[0].as_raw_fd(), address, 4)), EFAULT);
            assert_eq!(code(bad::send(writers[1].as_raw_fd(), address, 4)), EFAULT);
        }
        drop(writers);
        for reader in [&mut one as &mut dyn Read, &mut two, &mut three] {
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        }
    })
    .join();
}

/// recvmsg and sendmsg with a header, a vector or a buffer nowhere.
pub fn messages(ex: &dyn Executor) {
    ex.start(|| {
        for (socket, _peer) in readable().into_iter().skip(1) {
            let fd = socket.as_raw_fd();
            for address in addresses() {
                let address = address & !7;
                assert_eq!(code(bad::recvmsg(fd, address)), EFAULT, "{address:#x}");
                assert_eq!(code(bad::sendmsg(fd, address)), EFAULT);
                let mut header = bad::message(address, 1);
                let header = bad::address_of(&mut header);
                assert_eq!(code(bad::recvmsg(fd, header)), EFAULT);
                assert_eq!(code(bad::sendmsg(fd, header)), EFAULT);
                let mut slices = [bad::slice(address, 4)];
                let mut header = bad::message(bad::address_of(&mut slices), 1);
                let header = bad::address_of(&mut header);
                assert_eq!(code(bad::recvmsg(fd, header)), EFAULT);
                assert_eq!(code(bad::sendmsg(fd, header)), EFAULT);
            }
            still_there(&socket);
        }
    })
    .join();
}

/// recvmmsg with headers or a time-out nowhere.
pub fn batches(ex: &dyn Executor) {
    ex.start(|| {
        let (one, two) = UnixDatagram::pair().unwrap();
        two.send(b"data").unwrap();
        let fd = one.as_raw_fd();
        for address in addresses() {
            let address = address & !7;
            assert_eq!(code(bad::recvmmsg(fd, address, 2, 0)), EFAULT, "{address:#x}");
            let mut bytes = [0_u8; 8];
            let mut slices = [bad::slice(bad::address_of(&mut bytes), 8)];
            let mut headers = [libc::mmsghdr {
                msg_hdr: bad::message(bad::address_of(&mut slices), 1),
                msg_len: 0,
            }];
            assert_eq!(
                code(bad::recvmmsg(fd, bad::address_of(&mut headers), 1, address)),
                EFAULT
            );
        }
        assert_eq!(one.recv(&mut [0; 8]).unwrap(), 4);
    })
    .join();
}

/// poll, epoll_wait and nanosleep. (ppoll and select read their time-out in libc itself: a fault, not an error.)
pub fn waits(ex: &dyn Executor) {
    ex.start(|| {
        let event = raw::eventfd().unwrap();
        raw::write(event.as_raw_fd(), &1_u64.to_ne_bytes()).unwrap();
        let epoll = raw::epoll_create().unwrap();
        raw::epoll_add(epoll.as_raw_fd(), event.as_raw_fd()).unwrap();
        for address in addresses() {
            let address = address & !7;
            for timeout in [0, 10, -1] {
                assert_eq!(code(bad::poll(address, 3, timeout)), EFAULT, "{address:#x}");
                assert_eq!(code(bad::epoll_wait(epoll.as_raw_fd(), address, timeout)), EFAULT);
            }
            assert_eq!(code(bad::nanosleep(address)), EFAULT);
        }
        assert_eq!(code(bad::nanosleep(0)), EFAULT);
        assert_eq!(raw::epoll_wait(epoll.as_raw_fd(), 0).unwrap().len(), 1);
    })
    .join();
}

/// connect to an address nowhere, and accept with a place for one nowhere.
pub fn connects(ex: &dyn Executor) {
    ex.start(|| {
        let sockets = [
            raw::net::socket(AF_INET, SOCK_STREAM).unwrap(),
            raw::net::socket(AF_UNIX, SOCK_STREAM).unwrap(),
            OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()),
        ];
        for address in addresses() {
            for socket in &sockets {
                assert_eq!(
                    code(bad::connect(socket.as_raw_fd(), address, 16)),
                    EFAULT,
                    "{address:#x}"
                );
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for address in addresses() {
            // The connection is lost with its address.
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut length: libc::socklen_t = 16;
            let accepted = bad::accept(listener.as_raw_fd(), address, bad::address_of(&mut length));
            assert_eq!(code(accepted), EFAULT, "{address:#x}");
            assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)));
        }
    })
    .join();
}

/// The offsets of splice and sendfile.
pub fn offsets(ex: &dyn Executor) {
    ex.start(|| {
        let path = TempPath::with(b"data");
        let file = File::options().read(true).write(true).open(&*path).unwrap();
        let (reader, mut writer) = pipe().unwrap();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        writer.write_all(b"data").unwrap();
        for address in addresses() {
            let address = address & !7;
            let (from, to) = (reader.as_raw_fd(), writer.as_raw_fd());
            assert_eq!(
                code(bad::splice(file.as_raw_fd(), address, to, 0, 4)),
                EFAULT,
                "{address:#x}"
            );
            assert_eq!(code(bad::splice(from, 0, file.as_raw_fd(), address, 4)), EFAULT);
            let sent = bad::sendfile(socket.as_raw_fd(), file.as_raw_fd(), address, 4);
            assert_eq!(code(sent), EFAULT);
        }
        still_there(&OwnedFd::from(reader));
        drop(socket);
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    })
    .join();
}

/// A receive into nowhere waits like any other until there is something, and leaves it to the next.
pub fn receives_wait_first(ex: &dyn Executor) {
    let (mut units, mut writers): (Vec<Unit<()>>, Vec<Box<dyn Write>>) = (Vec::new(), Vec::new());
    for number in 0..6 {
        let [one, two] = if number % 2 == 0 {
            let (one, two) = UnixStream::pair().unwrap();
            [OwnedFd::from(one), two.into()]
        } else {
            let (one, two) = tcp_pair();
            [OwnedFd::from(one), two.into()]
        };
        writers.push(Box::new(File::from(two)));
        units.push(ex.start(move || {
            let fd = one.as_raw_fd();
            let mut slices = [bad::slice(8, 4)];
            let vector = bad::address_of(&mut slices);
            let mut header = bad::message(vector, 1);
            let error = match number / 2 {
                0 => code(bad::read(fd, 8, 4)),
                1 => code(bad::readv(fd, vector, 1)),
                _ => code(bad::recvmsg(fd, bad::address_of(&mut header))),
            };
            assert_eq!(error, EFAULT);
            still_there(&one);
        }));
    }
    still_wait(&units);
    for writer in &mut writers {
        writer.write_all(b"data").unwrap();
    }
    join_all(units);
}

/// A buffer that is there only in its first half: EFAULT, with nothing taken and nothing sent.
pub fn half_a_buffer(ex: &dyn Executor) {
    ex.start(|| {
        let address = bad::HalfPages::new().end() - 2;
        for (reader, _writer) in readable() {
            assert_eq!(code(bad::read(reader.as_raw_fd(), address, 4)), EFAULT);
            still_there(&reader);
        }
        let (mut one, unix) = UnixStream::pair().unwrap();
        let (mut two, tcp) = tcp_pair();
        let (mut three, pipe) = pipe().unwrap();
        for writer in [OwnedFd::from(unix), tcp.into(), pipe.into()] {
            assert_eq!(code(bad::write(writer.as_raw_fd(), address, 4)), EFAULT);
        }
        for reader in [&mut one as &mut dyn Read, &mut two, &mut three] {
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        }
    })
    .join();
}
