//! HTTP clients and servers that block: each pair of them over loopback.

use silken_proofs::{prove, server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Answers requests with their path and body, and keeps the connection, until the client has gone.
fn echo(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(reader.read_until(b'\n', &mut head), Ok(1..)) {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let text = format!("{path}{}", String::from_utf8(body).unwrap());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn ureq_asks() {
    let address = server(echo);
    prove("ureq", 200, move |unit| {
        // An agent keeps its connections.
        let agent = ureq::Agent::new_with_defaults();
        for round in 0..3 {
            let mut answer = agent
                .post(format!("http://{address}/{unit}/"))
                .send(format!("{round}"))
                .unwrap();
            assert_eq!(answer.body_mut().read_to_string().unwrap(), format!("/{unit}/{round}"));
        }
    });
}

#[test]
fn attohttpc_asks() {
    let address = server(echo);
    prove("attohttpc", 200, move |unit| {
        let answer = attohttpc::get(format!("http://{address}/{unit}")).send().unwrap();
        assert!(answer.is_success());
        assert_eq!(answer.text().unwrap(), format!("/{unit}"));
    });
}

/// One client, which has a thread of its own for its connections; the callers wait for it.
#[test]
fn reqwest_asks() {
    let address = server(echo);
    let client = reqwest::blocking::Client::builder()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    prove("reqwest::blocking", 200, move |unit| {
        let answer = client
            .post(format!("http://{address}/{unit}/"))
            .body("body")
            .send()
            .unwrap();
        assert_eq!(answer.text().unwrap(), format!("/{unit}/body"));
    });
}

/// Coroutines wait for requests, and answer them.
#[test]
fn tiny_http_answers() {
    // Each has some threads of tiny_http's.
    prove("tiny_http", 8, |unit| {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let address = server.server_addr().to_ip().unwrap();
        let theirs = server.clone();
        let client = std::thread::spawn(move || {
            let answer = attohttpc::post(format!("http://{address}/"))
                .text(format!("{unit}"))
                .send()
                .unwrap();
            theirs.unblock();
            answer.text().unwrap()
        });
        for request in server.incoming_requests() {
            let mut request = request;
            let mut text = request.url().to_owned();
            request.as_reader().read_to_string(&mut text).unwrap();
            request.respond(tiny_http::Response::from_string(text)).unwrap();
        }
        assert_eq!(client.join().unwrap(), format!("/{unit}"));
    });
}

#[test]
fn rouille_answers() {
    // Each has some threads of its server's.
    prove("rouille", 4, |unit| {
        let server = rouille::Server::new("127.0.0.1:0", move |request| {
            let mut body = String::new();
            request.data().unwrap().read_to_string(&mut body).unwrap();
            rouille::Response::text(format!("{unit}{}{body}", request.url()))
        })
        .unwrap();
        let address = server.server_addr();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let client = std::thread::spawn(move || {
            let answer = attohttpc::post(format!("http://{address}/path")).text("body").send();
            drop(end);
            answer.unwrap().text().unwrap()
        });
        while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            server.poll_timeout(Duration::from_millis(20));
        }
        assert_eq!(client.join().unwrap(), format!("{unit}/pathbody"));
    });
}
