//! A crawler, and the small web site that it crawls.
//!
//! The site is a table in memory, and a server speaks HTTP/1.0 for it. It never answers for one page; one is missing.
//! The crawler starts a coroutine for each new link. A semaphore lets only eight requests run at the same time.
//! Each request has a time limit. A set of known paths sees to it that no page is fetched twice.
//!
//! Run it: `cargo run --release -p silken-examples --bin crawler`

#![forbid(unsafe_code)]

use silken::Scope;
use silken::sync::Semaphore;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PAGES: usize = 300;
const AT_ONCE: usize = 8;
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// The text of each page by its path. Page n links to its two children, and back to the first page.
fn site() -> HashMap<String, String> {
    let mut site: HashMap<_, _> = (0..PAGES)
        .map(|n| {
            let children = [2 * n + 1, 2 * n + 2].into_iter().filter(|child| *child < PAGES);
            let links: String = children
                .map(|child| format!("<a href=\"/{child}\">child</a>\n"))
                .collect();
            (format!("/{n}"), format!("<a href=\"/0\">home</a>\n{links}"))
        })
        .collect();
    site.get_mut("/7")
        .unwrap()
        .push_str("<a href=\"/missing\">old</a> <a href=\"/stuck\">slow</a>");
    site
}

/// Answers one request. Counts how often each path was asked for.
fn answer(stream: TcpStream, site: &HashMap<String, String>, hits: &Mutex<HashMap<String, usize>>) -> io::Result<()> {
    let mut head = BufReader::new(&stream).lines();
    let request = head.next().unwrap_or_else(|| Ok(String::new()))?;
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or("/");
    *hits.lock().unwrap().entry(path.to_string()).or_default() += 1;
    if path == "/stuck" {
        (&stream).read_exact(&mut [0])?; // says nothing until the client has hung up
    }
    let answer = match site.get(path) {
        Some(body) => format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        None => "HTTP/1.0 404 Not Found\r\n\r\n".to_string(),
    };
    (&stream).write_all(answer.as_bytes())
}

/// Accepts until it is cancelled: then `accept` fails. Each connection has a coroutine of its own.
fn serve(listener: &TcpListener, site: &HashMap<String, String>, hits: &Mutex<HashMap<String, usize>>) {
    silken::scope(|s| {
        while let Ok((stream, _)) = listener.accept() {
            s.spawn(move || answer(stream, site, hits));
        }
    });
}

struct Crawler {
    server: SocketAddr,
    permits: Semaphore,
    running: AtomicUsize,
    most_running: AtomicUsize,
    known: Mutex<HashSet<String>>,
    results: Mutex<BTreeMap<String, io::Result<usize>>>,
}

impl Crawler {
    /// Asks for a page and gives its text.
    fn fetch(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.server)?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.0 200 ") => Ok(body.to_string()),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, answer)),
        }
    }

    /// As `fetch`, when there is a permit, and for a limited time. The wait for the permit does not count.
    fn fetch_in_turn(&self, path: &str) -> io::Result<String> {
        let _permit = self.permits.acquire().map_err(io::Error::other)?;
        let running = 1 + self.running.fetch_add(1, Ordering::Relaxed);
        self.most_running.fetch_max(running, Ordering::Relaxed);
        silken::defer!(self.running.fetch_sub(1, Ordering::Relaxed));
        silken::timeout(TIME_LIMIT, || self.fetch(path))? // `?` turns "the time is up" into an io::Error, too
    }

    /// Starts a coroutine for this page, unless the page is known. It visits the links of the page in the same scope.
    fn visit<'scope>(&'scope self, s: &'scope Scope<'scope, '_>, path: &str) {
        if !self.known.lock().unwrap().insert(path.to_string()) {
            return;
        }
        let path = path.to_string();
        s.spawn(move || {
            let page = self.fetch_in_turn(&path);
            if let Ok(text) = &page {
                text.split("href=\"")
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
                    .for_each(|link| self.visit(s, link));
            }
            self.results.lock().unwrap().insert(path, page.map(|text| text.len()));
        });
    }
}

#[silken::main]
fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (site, hits) = (site(), Mutex::default());
    let crawler = Crawler {
        server: listener.local_addr()?,
        permits: Semaphore::new(AT_ONCE),
        running: AtomicUsize::new(0),
        most_running: AtomicUsize::new(0),
        known: Mutex::default(),
        results: Mutex::default(),
    };
    let start = Instant::now();
    silken::scope(|s| {
        let server = s.spawn(|| serve(&listener, &site, &hits));
        silken::scope(|s| crawler.visit(s, "/0")); // ends when no page is left to visit
        server.cancel();
    });

    let results = crawler.results.into_inner().unwrap();
    for (path, text) in &site {
        assert_eq!(*results[path].as_ref().unwrap(), text.len());
    }
    assert_eq!(
        results["/missing"].as_ref().unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(results["/stuck"].as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(results.len(), PAGES + 2);
    let hits = hits.into_inner().unwrap();
    assert!(hits.len() == results.len() && hits.values().all(|count| *count == 1));
    let most = crawler.most_running.into_inner();
    assert!(most <= AT_ONCE);
    println!(
        "{PAGES} pages, each fetched once, at most {most} at a time, in {:?}; 1 missing, 1 late",
        start.elapsed()
    );
    Ok(())
}
