//! Protocols over a stream that blocks: WebSocket, TLS, SMTP.

use lettre::{Message, SmtpTransport, Transport};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use silken_proofs::{prove, server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

#[test]
fn tungstenite_talks() {
    let address = server(|stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                socket.send(message).unwrap();
            }
        }
    });
    prove("tungstenite", 100, move |unit| {
        let stream = TcpStream::connect(address).unwrap();
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
        for bytes in [1, 100, 70_000] {
            let text = format!("{unit} ").repeat(bytes);
            socket.send(tungstenite::Message::text(text.clone())).unwrap();
            assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), text);
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    });
}

/// What both sides of TLS are to use, with a certificate of our own.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[test]
fn rustls_encrypts() {
    let (server_config, client_config) = tls();
    let address = server(move |stream| {
        let connection = ServerConnection::new(server_config.clone()).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut bytes = vec![0; 10_000];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => stream.write_all(&bytes[..count]).unwrap(),
            }
        }
    });
    prove("rustls", 100, move |unit| {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(client_config.clone(), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        for bytes in [10, 5_000, 40_000] {
            let sent = vec![unit as u8; bytes];
            stream.write_all(&sent).unwrap();
            let mut received = vec![0; bytes];
            stream.read_exact(&mut received).unwrap();
            assert!(sent == received);
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
}

/// A mail server that accepts everything, as far as RFC 5321 asks for.
fn accept_mail(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut say = |line: &str| writer.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    say("220 here");
    let mut reads_mail = false;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        match line.split_whitespace().next() {
            Some(".") if reads_mail => {
                reads_mail = false;
                say("250 kept");
            }
            _ if reads_mail => {}
            Some("DATA") => {
                reads_mail = true;
                say("354 go on");
            }
            Some("QUIT") => return say("221 bye"),
            _ => say("250 fine"),
        }
    }
}

#[test]
fn lettre_sends() {
    let address = server(accept_mail);
    prove("lettre", 100, move |unit| {
        let mail = Message::builder()
            .from("a@localhost".parse().unwrap())
            .to("b@localhost".parse().unwrap())
            .subject(format!("number {unit}"))
            .body("text\n.\nmore".to_owned())
            .unwrap();
        let transport = SmtpTransport::builder_dangerous("127.0.0.1")
            .port(address.port())
            .build();
        assert!(transport.send(&mail).unwrap().is_positive());
    });
}
