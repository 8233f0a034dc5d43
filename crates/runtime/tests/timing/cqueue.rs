//! The completion queue.

use super::{LONG, everywhere, ms};
use silken::channel::{bounded, unbounded};
use silken::cqueue::{self, PollError};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn events_of_many_arms_each_wait_to_be_polled() {
    everywhere(|_| {
        let beyond = AtomicUsize::new(0);
        let sum = cqueue::scope(|queue| {
            for token in 0..10 {
                let beyond = &beyond;
                queue.add(token, move |events| {
                    for extra in 0..5 {
                        events.send(extra);
                        beyond.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let mut next = [0; 10];
            for polled in 1.. {
                match queue.poll(Some(LONG)) {
                    Ok(event) => {
                        assert_eq!(event.extra, next[event.token], "an arm's events are in order");
                        next[event.token] += 1;
                    }
                    Err(error) => {
                        assert_eq!((error, polled), (PollError::Finished, 51));
                        break;
                    }
                }
                assert!(
                    beyond.load(Ordering::SeqCst) <= polled,
                    "no arm runs ahead of its event"
                );
            }
            assert!(queue.is_empty());
            next.iter().sum::<usize>()
        });
        assert_eq!((sum, beyond.into_inner()), (50, 50));
    });
}

#[test]
fn arms_are_cancelled_and_waited_for_at_the_end() {
    struct Ended<'a>(&'a AtomicUsize);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    everywhere(|_| {
        let ended = AtomicUsize::new(0);
        let (_tx, rx) = unbounded::<()>();
        cqueue::scope(|queue| {
            for token in 0..4 {
                let (ended, rx) = (&ended, rx.clone());
                queue.add(token, move |events| {
                    let _ended = Ended(ended);
                    if token == 0 {
                        events.send("unpolled");
                    }
                    let _ = rx.recv();
                });
            }
            while queue.len() < 4 {
                silken::yield_now();
            }
            let event = queue.poll(Some(LONG)).unwrap();
            assert_eq!((event.token, event.extra), (0, "unpolled"));
            assert_eq!(queue.poll(Some(ms(1))), Err(PollError::Timeout));
        });
        // An arm that had not begun has nothing to drop.
        assert!(ended.load(Ordering::Relaxed) >= 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cqueue::scope(|queue| {
                queue.add(0, |_: cqueue::EventSender| silken::sleep(LONG));
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        }));
        let payload: Result<(), _> = panicked;
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"on purpose"));
    });
}

#[test]
fn an_arm_is_removed_and_others_go_on() {
    everywhere(|_| {
        let (tx, rx) = bounded::<u32>(1);
        cqueue::scope(|queue| {
            let unwanted = queue.add(1, |events: cqueue::EventSender<u32>| {
                silken::sleep(LONG);
                events.send(0);
            });
            queue.add(2, |events| {
                while let Ok(message) = rx.recv() {
                    events.send(message);
                }
            });
            assert_eq!(unwanted.token(), 1);
            unwanted.remove();
            for message in 0..3 {
                tx.send(message).unwrap();
                let event = queue.poll(Some(LONG)).unwrap();
                assert_eq!((event.token, event.extra), (2, message));
            }
            drop(tx);
            assert_eq!(queue.poll(Some(LONG)), Err(PollError::Finished));
        });
    });
}

#[test]
fn a_panic_in_an_arm_comes_out_of_poll() {
    everywhere(|_| {
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cqueue::scope(|queue: &cqueue::Cqueue<'_, '_>| {
                queue.add(0, |_| silken::sleep(LONG));
                queue.add(1, |_| std::panic::resume_unwind(Box::new("on purpose")));
                let _ = queue.poll(Some(LONG));
                unreachable!("poll passes the panic on");
            })
        }));
        let payload: Result<(), _> = payload;
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"on purpose"));
    });
}
