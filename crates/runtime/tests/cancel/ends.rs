//! Destructors that run when the body is over: nothing cuts them short, and no unwinding ends the process.

use super::{FAR, SOON, common, on_all};
use silken::channel::{Receiver, Sender, unbounded};
use std::cell::RefCell;
use std::time::Instant;

/// Waits when it is dropped, in many ways, and then tells.
struct Tells(Sender<()>);

impl Drop for Tells {
    fn drop(&mut self) {
        let begun = Instant::now();
        silken::sleep(SOON);
        silken::check_cancelled();
        silken::yield_now();
        silken::park_timeout(SOON);
        let (_other, never) = unbounded::<()>();
        assert!(never.recv_timeout(SOON).is_err());
        assert!(begun.elapsed() >= SOON * 3);
        self.0.send(()).unwrap();
    }
}

thread_local!(static OF_THREAD: RefCell<Option<Tells>> = const { RefCell::new(None) });
silken::coroutine_local!(static OF_COROUTINE: RefCell<Option<Tells>> = RefCell::new(None));

/// Cancels a coroutine in its last wait, or in its destructor's if `body` returns, and asserts that the destructor ran
/// to its end before the join returned.
fn ends(body: impl FnOnce(Tells) + Send + 'static) {
    let (tx, told) = unbounded();
    let handle = silken::spawn(move || body(Tells(tx)));
    silken::sleep(SOON / 4);
    handle.cancel();
    drop(handle.join());
    assert_eq!(told.try_recv(), Ok(()));
}

#[test]
fn coroutine_locals_wait_to_the_end() {
    on_all(|| {
        ends(|tells| OF_COROUTINE.set(Some(tells)));
        ends(|tells| {
            OF_COROUTINE.set(Some(tells));
            silken::sleep(FAR);
        });
    });
}

#[test]
fn thread_locals_wait_to_the_end() {
    for workers in [1, 2, 8] {
        common::run_on(workers, false, || {
            ends(|tells| OF_THREAD.set(Some(tells)));
            ends(|tells| {
                OF_THREAD.set(Some(tells));
                silken::sleep(FAR);
            });
        });
    }
}

#[test]
fn the_end_of_a_runtime_waits_for_them() {
    for light in [false, true] {
        let told: RefCell<Option<Receiver<()>>> = RefCell::new(None);
        let place = std::sync::Mutex::new(told);
        common::run_on(2, light, || {
            let (tx, rx) = unbounded();
            place.lock().unwrap().replace(Some(rx));
            drop(silken::spawn(move || OF_COROUTINE.set(Some(Tells(tx)))));
            silken::sleep(SOON / 4);
        });
        assert_eq!(place.into_inner().unwrap().take().unwrap().try_recv(), Ok(()));
    }
}

#[test]
fn a_closure_that_never_ran_is_dropped_to_the_end() {
    on_all(|| {
        let (tx, told) = unbounded();
        let tells = Tells(tx);
        // Cancelled from the outside it may have begun, and then it is its body that is cut short.
        silken::scope(|s| {
            s.cancel();
            assert!(s.spawn(move || drop(tells)).join().unwrap_err().is_cancelled());
        });
        assert_eq!(told.try_recv(), Ok(()));
    });
}

#[test]
fn a_result_that_nobody_takes_is_dropped_to_the_end() {
    on_all(|| {
        let (tx, told) = unbounded();
        let handle = silken::spawn(move || Tells(tx));
        let coroutine = handle.coroutine();
        drop(handle);
        silken::sleep(SOON / 4);
        coroutine.cancel();
        assert_eq!(told.recv(), Ok(()));
    });
}
