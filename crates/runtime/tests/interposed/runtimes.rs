//! Several runtimes in one process: descriptors, locks and wakes belong to the process, coroutines to one runtime each.

use silken::Runtime;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn runtime(name: &str, workers: usize) -> Runtime {
    Runtime::builder().workers(workers).name(name).build().unwrap()
}

/// The name of the OS thread that runs the caller: the runtime's, a hyphen, a number.
fn runtime_of_caller() -> String {
    let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    comm.split('-').next().unwrap().to_string()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} has not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn end(runtime: Runtime) {
    let report = runtime.shutdown(PATIENCE);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn an_event_continues_each_waiter_in_its_own_runtime() {
    for workers in [1, 2] {
        let runtimes = [
            runtime("one", workers),
            runtime("two", workers),
            runtime("three", workers),
        ];
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Arc::new(far);
        let waiting = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..12)
            .map(|index| {
                let (far, waiting) = (far.clone(), waiting.clone());
                runtimes[index % 3].spawn(move || {
                    let before = runtime_of_caller();
                    waiting.fetch_add(1, SeqCst);
                    (&*far).read_exact(&mut [0]).unwrap();
                    (before, runtime_of_caller())
                })
            })
            .collect();
        wait_until("the last reader", || waiting.load(SeqCst) == 12);
        // Singly, so that most events wake all and satisfy one.
        for _ in 0..12 {
            near.write_all(b"x").unwrap();
        }
        for (reader, name) in readers.into_iter().zip(["one", "two", "three"].iter().cycle()) {
            assert_eq!(reader.join().unwrap(), (name.to_string(), name.to_string()));
        }
        runtimes.into_iter().for_each(end);
    }
}

#[test]
fn a_descriptor_outlives_the_runtimes_that_waited_for_it() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    for round in 0..6 {
        let runtime = runtime("round", 1 + round % 2);
        let accepting = listener.clone();
        let begun = Arc::new(AtomicBool::new(false));
        let mark = begun.clone();
        let acceptor = runtime.spawn(move || {
            mark.store(true, SeqCst);
            accepting.accept().unwrap().0
        });
        wait_until("the acceptor", || begun.load(SeqCst));
        let client = TcpStream::connect(address).unwrap();
        let accepted = acceptor.join_timeout(PATIENCE).expect("accepted in time").unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
        end(runtime);
    }
}

#[test]
fn a_runtime_that_computes_does_not_keep_anothers_events() {
    let (busy, other) = (runtime("busy", 1), runtime("other", 1));
    let (mut near, far) = UnixStream::pair().unwrap();
    let far = Arc::new(far);
    let first = far.clone();
    // The busy one registers first.
    let reader = busy.spawn(move || (&*first).read_exact(&mut [0]).unwrap());
    near.write_all(b"x").unwrap();
    reader.join().unwrap();
    let served = Arc::new(AtomicBool::new(false));
    let waits_for = served.clone();
    let computing = busy.spawn(move || {
        let start = Instant::now();
        while !waits_for.load(SeqCst) {
            assert!(start.elapsed() < PATIENCE, "the other runtime was not served");
            std::hint::spin_loop();
        }
    });
    let reader = other.spawn(move || {
        (&*far).read_exact(&mut [0]).unwrap();
        served.store(true, SeqCst);
    });
    near.write_all(b"y").unwrap();
    reader.join().unwrap();
    computing.join().unwrap();
    end(busy);
    end(other);
}

/// Runtimes come and go, two at a time, and share one socket: every datagram is received once.
#[test]
fn runtimes_that_come_and_go_share_a_socket() {
    const ROUNDS: usize = 40;
    const MESSAGES: usize = 20;
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    let receiver = Arc::new(receiver);
    let sum = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for side in 0..2 {
            let (receiver, sum) = (receiver.clone(), sum.clone());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let runtime = runtime("guest", 1 + (round + side) % 2);
                    let readers: Vec<_> = (0..MESSAGES)
                        .map(|_| {
                            let (receiver, sum) = (receiver.clone(), sum.clone());
                            runtime.spawn(move || {
                                let mut bytes = [0; 8];
                                assert_eq!(receiver.recv(&mut bytes).unwrap(), 8);
                                sum.fetch_add(usize::from_le_bytes(bytes), SeqCst);
                            })
                        })
                        .collect();
                    for reader in readers {
                        reader.join_timeout(PATIENCE).expect("a datagram in time").unwrap();
                    }
                    end(runtime);
                }
            });
        }
        for number in 1..=2 * ROUNDS * MESSAGES {
            sender.send(&number.to_le_bytes()).unwrap();
        }
    });
    let count = 2 * ROUNDS * MESSAGES;
    assert_eq!(sum.load(SeqCst), count * (count + 1) / 2);
}

/// The arena of a stack size that nobody has asked for before is made, and the guard asked for, on a coroutine. In
/// debug builds the runtime's locks end the process if that is not a critical section.
#[test]
fn a_coroutine_starts_a_runtime_with_stacks_of_a_new_size() {
    let inner = silken::spawn(|| {
        let builder = Runtime::builder().workers(1).stack_size(96 << 20);
        let inner = builder.build().expect("it starts");
        let bytes = inner.run(silken::remaining_stack).expect("it runs");
        // Decided by the first stack of the process, so this is refused, or is what holds already.
        let _ = Runtime::builder().workers(1).guard_size(3 << 20).build();
        bytes
    });
    assert!(inner.join().expect("it ends").is_some_and(|bytes| bytes > 64 << 20));
}

#[test]
fn a_runtime_says_what_it_is_and_refuses_to_be_less() {
    let strict = || Runtime::builder().workers(3).require_hooks().require_isolation();
    let runtime = strict().build().unwrap();
    let text = runtime.describe();
    assert!(
        text.contains("3 workers, isolated coroutines") && text.contains("std's blocking calls park"),
        "{text}"
    );
    // SAFETY: S12: nothing runs there.
    let error = unsafe { strict().light() }.build().map(drop).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("coroutines would be light"), "{error}");
}
