//! Does the runtime of a `#[silken::main]` serve the threads of the program while the body runs, and end what they have
//! spawned?
//!
//! A program of its own, without the test harness: there is one `main` in a process.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

static UNWOUND: AtomicBool = AtomicBool::new(false);

/// The name of the thread that runs the caller, without its number: the runtime's.
fn runtime() -> String {
    let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    comm.split('-').next().unwrap().to_string()
}

mod body {
    use super::{UNWOUND, runtime};
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Duration;

    #[silken::main(workers = 2, name = "mine")]
    pub fn main() {
        let from_thread = std::thread::spawn(|| silken::spawn(runtime).join().unwrap());
        assert_eq!(from_thread.join().unwrap(), "mine");
        let from_pool = silken::blocking(|| silken::spawn(runtime).join().unwrap());
        assert_eq!(from_pool, "mine");
        struct Unwound;
        impl Drop for Unwound {
            fn drop(&mut self) {
                UNWOUND.store(true, SeqCst);
            }
        }
        let (say, said) = std::sync::mpsc::channel();
        let spawner = std::thread::spawn(move || {
            silken::spawn(move || {
                let _unwound = Unwound;
                say.send(()).unwrap();
                silken::sleep(Duration::from_secs(3600));
            });
        });
        spawner.join().unwrap();
        said.recv().unwrap();
    }
}

fn main() {
    body::main();
    assert!(
        UNWOUND.load(SeqCst),
        "what a thread has spawned ends with main's runtime"
    );
    // After main, threads have the default runtime.
    assert_eq!(silken::spawn(runtime).join().unwrap(), "silken");
    println!("program: ok");
}
