//! The listener of `silken::net`.

use silken::net::{SocketAddr, TcpListener, TcpStream};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

#[test]
fn incoming_gives_what_the_loop_takes() {
    super::on_all(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = silken::spawn(move || {
            [(); 2].map(|()| {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                (stream.local_addr().unwrap().to_string(), text)
            })
        });
        for stream in listener.incoming().take(1) {
            let mut stream: TcpStream = stream.unwrap();
            stream.write_all(b"alone").unwrap();
        }
        let mut seen = String::new();
        for stream in listener.incoming().take(1) {
            let (mut stream, peer) = stream.unwrap();
            seen = peer.to_string();
            stream.write_all(b"with its peer").unwrap();
        }
        let [first, second] = client.join().unwrap();
        assert_eq!(
            (first.1.as_str(), second),
            ("alone", (seen, "with its peer".to_string()))
        );
    });
}

#[test]
fn the_listener_converts_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    assert_eq!(listener.as_fd().as_raw_fd(), listener.as_raw_fd());
    let again = listener.try_clone().unwrap();
    let std = std::net::TcpListener::from(listener);
    let listener = TcpListener::from(OwnedFd::from(TcpListener::from(std)));
    assert_eq!(
        (listener.local_addr().unwrap(), again.local_addr().unwrap()),
        (address, address)
    );
}
