//! What a select waits for beside channels, the first of several coroutines, and several at once.

use super::{LONG, everywhere, ms, on_coroutines};
use silken::channel::{after, broadcast, never, oneshot, unbounded, watch};
use silken::select;
use silken::time::interval_at;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn the_end_of_a_coroutine() {
    everywhere(|_| {
        for round in 0..100 {
            let (go, may_go) = oneshot::channel::<()>();
            let handle = silken::spawn(move || may_go.recv().is_ok());
            let other = silken::spawn(move || go.send(()).unwrap());
            if round % 2 == 0 {
                other.join().unwrap();
            }
            let ended = select! {
                on(handle.join_arm()) -> () => handle.join().unwrap(),
                recv(after(LONG)) -> _ => false,
            };
            assert!(ended);
        }
        let handle = silken::spawn(silken::park);
        for _ in 0..3 {
            let timed_out = select! {
                on(handle.join_arm()) -> () => false,
                default(ms(1)) => true,
            };
            assert!(timed_out);
        }
        handle.cancel();
        handle.join().unwrap_err();
    });
}

#[test]
fn the_value_of_a_oneshot() {
    everywhere(|world| {
        for round in 0..100 {
            let (sender, mut receiver) = oneshot::channel();
            let (other, messages) = unbounded::<u32>();
            let sending = world.spawn(move || {
                if round % 3 == 0 {
                    other.send(round).unwrap();
                }
                sender.send(round).map_err(|_| ())
            });
            let mut got = Vec::new();
            while got.len() < 1 + usize::from(round % 3 == 0) {
                select! {
                    on(receiver.recv_arm()) -> value => got.extend(value),
                    Ok(value) = recv(messages) => got.push(value),
                }
            }
            assert!(got.iter().all(|value| *value == round));
            sending.join().unwrap();
        }
        let (sender, mut receiver) = oneshot::channel::<()>();
        let dropping = world.spawn(move || {
            silken::sleep(ms(1));
            drop(sender);
        });
        select! {
            on(receiver.recv_arm()) -> value => assert!(value.is_err()),
            recv(never::<()>()) -> _ => unreachable!(),
        }
        dropping.join();
        let (sender, mut receiver) = oneshot::channel();
        for _ in 0..3 {
            select! {
                on(receiver.recv_arm()) -> _ => unreachable!(),
                default(ms(1)) => {}
            }
        }
        sender.send(3).unwrap();
        assert_eq!(receiver.recv(), Ok(3), "a select that gave up leaves nothing behind");
    });
}

#[test]
fn broadcasts_and_watches() {
    const VALUES: u32 = 200;
    everywhere(|world| {
        let (values, mut receiver) = broadcast::channel(VALUES as usize);
        let (state, mut watching) = watch::channel(0);
        let sending = world.spawn(move || {
            for value in 1..=VALUES {
                values.send(value).unwrap();
                state.send(value).unwrap();
            }
        });
        let (mut next, mut last) = (1, 0);
        while next <= VALUES || last < VALUES {
            select! {
                on(receiver.recv_arm()) -> value => match value {
                    Ok(value) => {
                        assert_eq!(value, next, "no value is lost to an arm that was not chosen");
                        next += 1;
                    }
                    Err(error) => {
                        assert_eq!((error, next), (broadcast::RecvError::Closed, VALUES + 1));
                    }
                },
                on(watching.changed_arm()) -> changed => {
                    let value = *watching.borrow();
                    assert!(if changed.is_ok() { value >= last } else { value == VALUES });
                    last = value;
                }
            }
        }
        sending.join();
    });
}

#[test]
fn ticks_and_their_reset() {
    everywhere(|world| {
        let start = Instant::now() + ms(2);
        let ticker = Arc::new(interval_at(start, LONG));
        let due = select! {
            on(ticker.tick_arm()) -> due => due,
            recv(after(LONG)) -> _ => unreachable!(),
        };
        assert_eq!(due, start);
        let resetting = world.spawn({
            let ticker = ticker.clone();
            move || {
                silken::sleep(ms(1));
                ticker.reset_after(ms(1));
            }
        });
        select! {
            on(ticker.tick_arm()) -> due => assert!(due < start + LONG),
            recv(never::<()>()) -> _ => unreachable!(),
        }
        resetting.join();
        select! {
            on(ticker.tick_arm()) -> _ => unreachable!(),
            default(ms(2)) => {}
        }
    });
}

#[test]
fn descriptors_that_become_ready() {
    everywhere(|world| {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        for round in 0..20 {
            let idle = select! {
                on(silken::readable(&other)) -> () => false,
                default => true,
            };
            assert!(idle);
            let writing = world.spawn(move || {
                if round % 2 == 0 {
                    silken::yield_now();
                }
                one.write_all(&[round]).unwrap();
                one
            });
            select! {
                on(silken::readable(&other)) -> () => {}
                recv(after(LONG)) -> _ => panic!("nothing came"),
            }
            let mut byte = [0];
            other.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
            one = writing.join();
        }
        select! {
            on(silken::writable(&one)) -> () => {}
            default => panic!("there is room"),
        }
        drop(one);
        select! {
            on(silken::readable(&other)) -> () => {}
            recv(after(LONG)) -> _ => panic!("the end counts as readable"),
        }
    });
}

#[test]
fn an_acceptor_that_is_told_to_stop() {
    on_coroutines(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = unbounded::<()>();
        let accepting = silken::spawn(move || {
            let mut accepted = 0;
            silken::loop_select! {
                on(silken::readable(&listener)) -> () => {
                    drop(listener.accept().unwrap());
                    accepted += 1;
                }
                recv(stopped) -> _ => break accepted,
            }
        });
        for _ in 0..10 {
            let mut stream = TcpStream::connect(address).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        stop.send(()).unwrap();
        assert_eq!(accepting.join().unwrap(), 10);
    });
}

#[test]
fn a_cancelled_select_leaves_everything_in_place() {
    on_coroutines(|| {
        let (sender, receiver) = oneshot::channel::<u8>();
        let handle = silken::spawn(silken::park);
        let ender = handle.coroutine();
        let selecting = silken::spawn(move || {
            let mut receiver = receiver;
            let (one, _other) = UnixStream::pair().unwrap();
            let ticker = interval_at(Instant::now() + LONG, LONG);
            select! {
                on(receiver.recv_arm()) -> _ => {}
                on(handle.join_arm()) -> _ => {}
                on(ticker.tick_arm()) -> _ => {}
                on(silken::readable(&one)) -> _ => {}
            }
        });
        silken::sleep(ms(1));
        selecting.cancel();
        assert!(selecting.join().unwrap_err().is_cancelled());
        assert!(sender.send(1).is_err());
        ender.unpark();
    });
}

#[test]
fn the_first_of_several_coroutines() {
    everywhere(|_| {
        let mut handles: Vec<_> = (0..10_u64)
            .map(|number| {
                silken::spawn(move || {
                    silken::sleep(Duration::from_micros(number * 300));
                    number
                })
            })
            .collect();
        let mut got = Vec::new();
        while !handles.is_empty() {
            let before = handles.len();
            let (index, result) = silken::join_any(&mut handles);
            assert!(index < before && handles.len() == before - 1);
            got.push(result.unwrap());
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..10));
        assert!(silken::join_any_timeout(&mut handles, LONG).is_none());
        let sleeping = silken::spawn(|| silken::sleep(LONG));
        let sleeper = sleeping.coroutine();
        let panicking = silken::spawn(|| std::panic::resume_unwind(Box::new("on purpose")));
        let error = silken::any_join!(sleeping, panicking).unwrap_err();
        assert!(error.is_panic());
        sleeper.cancel();
    });
}

#[test]
fn several_at_once() {
    everywhere(|_| {
        let (sender, receiver) = oneshot::channel();
        let text = String::from("borrowed");
        let (sent, received, length) = silken::join!(sender.send(4).is_ok(), { receiver.recv() }, text.len());
        assert_eq!((sent, received, length), (true, Ok(4), 8));
        let ran = AtomicUsize::new(0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            silken::join!(std::panic::resume_unwind(Box::new("on purpose")), {
                silken::yield_now();
                ran.fetch_add(1, Ordering::Relaxed)
            })
        }));
        let payload = panicked.map(|((), _)| ()).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        let (mut one,) = silken::join!(broadcast::channel::<u8>(1).1,);
        assert!(one.try_recv().is_err());
    });
}
