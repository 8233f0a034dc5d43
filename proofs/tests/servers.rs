//! Clients of servers that a machine may have or not: `proofs/install` installs them from Debian. A test whose server
//! is not there says so and passes.

use redis::TypedCommands;
use silken_proofs::prove;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs while this lives, in a folder of its own.
struct Server {
    process: Child,
    folder: PathBuf,
    port: u16,
}

/// The first of these programs that exists.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .chain(
            std::fs::read_dir("/usr/lib/postgresql")
                .into_iter()
                .flatten()
                .flatten()
                .map(|version| version.path().join("bin")),
        )
        .collect();
    let places = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("silken-proof-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Server {
    /// Starts it, and waits until it accepts connections. `make` gets the port.
    fn start(folder: PathBuf, make: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port();
        let mut command = make(port);
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = Self {
            process: process.unwrap(),
            folder,
            port,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its data is not wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn absent(what: &str) {
    println!("SKIPPED: {what} is not installed (proofs/install)");
}

#[test]
fn redis_answers() {
    let Some(program) = program(&["redis-server"]) else {
        return absent("redis-server");
    };
    let folder = folder("redis");
    let server = Server::start(folder.clone(), |port| {
        let mut command = Command::new(program);
        command
            .args(["--port", &port.to_string(), "--save", "", "--dir"])
            .arg(&folder);
        command
    });
    let client = redis::Client::open(("127.0.0.1", server.port)).unwrap();
    prove("redis", 200, move |unit| {
        let mut connection = client.get_connection().unwrap();
        let key = format!("key {unit}");
        connection.set(&key, unit).unwrap();
        for step in 1..=5 {
            assert_eq!(connection.incr(&key, 1).unwrap(), (unit + step) as isize);
        }
        // Waits on the server until the time is over.
        let nothing = connection.blpop(format!("no list {unit}"), 0.05).unwrap();
        assert!(nothing.is_none());
    });
}

#[test]
fn memcached_answers() {
    let Some(program) = program(&["memcached"]) else {
        return absent("memcached");
    };
    let server = Server::start(folder("memcached"), |port| {
        let mut command = Command::new(program);
        command.args(["-u", "nobody", "-l", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    // A client is a pool of connections, with threads of its own; the units share it.
    let client = memcache::connect(format!("memcache://127.0.0.1:{}", server.port).as_str()).unwrap();
    prove("memcache", 100, move |unit| {
        client.set(&format!("key{unit}"), unit as u32, 60).unwrap();
        assert_eq!(client.get::<u32>(&format!("key{unit}")).unwrap(), Some(unit as u32));
    });
}

/// A number of a user that may run PostgreSQL, which refuses to be root.
fn unprivileged(command: &mut Command, folder: &Path) {
    const NOBODY: u32 = 65534;
    let own = std::fs::metadata("/proc/self").unwrap();
    if own.uid() == 0 {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
}

#[test]
fn postgres_answers() {
    let (Some(initdb), Some(program)) = (program(&["initdb"]), program(&["postgres"])) else {
        return absent("postgresql");
    };
    let folder = folder("postgres");
    let mut init = Command::new(initdb);
    init.args(["-A", "trust", "-U", "proof", "-N", "-D"]).arg(&folder);
    unprivileged(&mut init, &folder);
    assert!(init.current_dir("/").output().unwrap().status.success());
    let server = Server::start(folder.clone(), |port| {
        let mut command = Command::new(program);
        command
            .arg("-D")
            .arg(&folder)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command
            .args(["-c", "max_connections=150", "-c", "fsync=off", "-k"])
            .arg(&folder);
        unprivileged(&mut command, &folder);
        command
    });
    let parameters = format!("host=127.0.0.1 port={} user=proof dbname=postgres", server.port);
    let connect = move || {
        let begun = Instant::now();
        loop {
            match postgres::Client::connect(&parameters, postgres::NoTls) {
                Ok(client) => return client,
                // It accepts connections before it is ready.
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    connect()
        .batch_execute("CREATE TABLE entry (unit int, step int)")
        .unwrap();
    let counts = connect.clone();
    prove("postgres", 100, move |unit| {
        let mut client = connect();
        let unit = unit as i32;
        for step in 0..3 {
            client
                .execute("INSERT INTO entry VALUES ($1, $2)", &[&unit, &step])
                .unwrap();
        }
        client.execute("SELECT pg_sleep(0.05)", &[]).unwrap();
        let row = client
            .query_one("SELECT max(step) FROM entry WHERE unit = $1", &[&unit])
            .unwrap();
        assert_eq!(row.get::<_, i32>(0), 2);
    });
    let count: i64 = counts().query_one("SELECT count(*) FROM entry", &[]).unwrap().get(0);
    assert_eq!(count, 2 * 100 * 3);
}
