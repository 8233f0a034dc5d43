//! What runs inside of a program: pools of threads, logs, watched files, a runtime for futures.

use notify::{RecursiveMode, Watcher};
use rayon::prelude::*;
use silken_proofs::prove;
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

#[test]
fn rayon_computes_for_coroutines() {
    prove("rayon", 200, |unit| {
        let sum: usize = (0..1_000).into_par_iter().map(|number| number * unit).sum();
        assert_eq!(sum, 999 * 1_000 / 2 * unit);
        let (one, two) = rayon::join(|| unit + 1, || unit + 2);
        assert_eq!((one, two), (unit + 1, unit + 2));
    });
}

/// A place for lines that many write to.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn count(&self, with: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).count()
    }
}

/// A span belongs to the coroutine that has entered it, whichever worker it continues on.
#[test]
fn tracing_keeps_spans_apart() {
    let lines = Lines::default();
    let theirs = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || theirs.clone()).finish();
    let subscriber: Arc<dyn tracing::Subscriber + Send + Sync> = Arc::new(subscriber);
    prove("tracing", 100, move |unit| {
        tracing::subscriber::with_default(subscriber.clone(), || {
            let outer = tracing::info_span!("outer", unit);
            outer.in_scope(|| {
                tracing::info!("first {unit}");
                std::thread::sleep(Duration::from_millis(1));
                tracing::info!("second {unit}");
            });
        });
    });
    for unit in 0..100 {
        assert_eq!(lines.count(&format!("outer{{unit={unit}}}: inside: first {unit}")), 2);
        assert_eq!(lines.count(&format!("outer{{unit={unit}}}: inside: second {unit}")), 2);
    }
}

#[test]
fn env_logger_writes() {
    let lines = Lines::default();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .target(env_logger::Target::Pipe(Box::new(lines.clone())))
        .init();
    prove("env_logger", 200, |unit| log::info!("line of {unit}."));
    for unit in 0..200 {
        assert_eq!(lines.count(&format!("line of {unit}.")), 2);
    }
}

#[test]
fn notify_tells_of_changes() {
    let folder = std::env::temp_dir().join(format!("silken-proof-notify-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let theirs = folder.clone();
    // Each has a thread of notify's.
    prove("notify", 10, move |unit| {
        let own = theirs.join(format!("{unit}"));
        std::fs::create_dir_all(&own).unwrap();
        let (tell, told) = mpsc::channel();
        let mut watcher = notify::recommended_watcher(tell).unwrap();
        watcher.watch(&own, RecursiveMode::NonRecursive).unwrap();
        std::fs::write(own.join("file"), "text").unwrap();
        let names_file = |event: notify::Event| event.paths.iter().any(|path| path.ends_with("file"));
        while !names_file(told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap()) {}
        std::fs::remove_file(own.join("file")).unwrap();
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A runtime of its own in each coroutine: it waits in epoll, and parks the coroutine.
#[test]
fn tokio_runs_inside() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    prove("tokio", 50, |unit| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let echoed = runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = [0; 8];
                stream.read_exact(&mut bytes).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(&bytes).await.unwrap();
            });
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(&unit.to_le_bytes()).await.unwrap();
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes).await.unwrap();
            server.await.unwrap();
            usize::from_le_bytes(bytes)
        });
        assert_eq!(echoed, unit);
    });
}
