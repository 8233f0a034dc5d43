//! silken's sleeps and after_func: never early, once, and stopped or moved while they are pending.

use crate::probe::{FAR, SHORT};
use crate::{Executor, join_all};
use silken::channel::{Sender, unbounded};
use silken::time::after_func;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A sleep is never early, in any of its forms.
pub fn sleep_is_never_early(ex: &dyn Executor) {
    join_all(ex.start_each(10, |unit| {
        let duration = Duration::from_micros(500 * unit as u64);
        let started = Instant::now();
        silken::sleep(duration);
        assert!(started.elapsed() >= duration);
        silken::sleep_until(started + 2 * duration);
        assert!(started.elapsed() >= 2 * duration);
        silken::time::sleep_ms(1);
        assert!(started.elapsed() >= 2 * duration + Duration::from_millis(1));
    }));
}

/// A time that is past and a duration of nothing do not wait.
pub fn sleep_until_the_past(ex: &dyn Executor) {
    let past = Instant::now();
    ex.start(move || (0..1_000).for_each(|_| silken::sleep_until(past)))
        .join();
    ex.start(|| (0..1_000).for_each(|_| silken::sleep(Duration::ZERO)))
        .join();
}

/// Sleeps overlap, and shorter ones end first.
pub fn sleeps_overlap(ex: &dyn Executor) {
    let started = Instant::now();
    let (tx, rx) = unbounded();
    let units = ex.start_each(ex.many(200, 20), move |unit| {
        silken::sleep_until(started + if unit % 2 == 0 { 40 * SHORT } else { SHORT });
        tx.send(unit % 2).unwrap();
    });
    let order: Vec<_> = rx.iter().collect();
    assert!(order.is_sorted_by(|one, other| one >= other), "{order:?}");
    join_all(units);
    // In turn they would take far longer.
    assert!(started.elapsed() < Duration::from_secs(4));
}

fn counter(tx: Sender<Instant>) -> impl FnMut() + Send + 'static {
    move || tx.send(Instant::now()).expect("the case listens")
}

/// The function runs once, and not before its time; nobody waits for it.
pub fn function_runs_once(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    let started = ex.start(move || {
        let started = Instant::now();
        after_func(SHORT, counter(tx));
        assert!(started.elapsed() < Duration::from_secs(5));
        started
    });
    assert!(rx.recv().unwrap() >= started.join() + SHORT);
    // It is over: its closure is gone or idle, and sends no more.
    assert!(rx.recv_timeout(2 * SHORT).is_err());
}

/// A function that was stopped in time does not run; a second stop says that there was nothing to stop.
pub fn stop_prevents(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    ex.start(move || {
        let timer = after_func(SHORT, counter(tx));
        if timer.stop() {
            assert!(!timer.stop());
            assert!(rx.recv_timeout(3 * SHORT).is_err());
        }
    })
    .join();
}

/// Once the time is up, a stop says so.
pub fn stop_comes_late(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    let timer = after_func(Duration::from_millis(1), counter(tx));
    rx.recv().unwrap();
    ex.start(move || assert!(!timer.stop())).join();
}

/// A reset brings a far function near.
pub fn reset_brings_near(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    ex.start(move || {
        let timer = after_func(FAR, counter(tx));
        let before = Instant::now();
        assert!(timer.reset(SHORT));
        assert!(rx.recv().unwrap() >= before + SHORT);
    })
    .join();
}

/// A reset puts a pending function off.
pub fn reset_puts_off(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    ex.start(move || {
        let timer = after_func(10 * SHORT, counter(tx));
        let before = Instant::now();
        if timer.reset(12 * SHORT) {
            assert!(rx.recv().unwrap() >= before + 12 * SHORT);
        }
    })
    .join();
}

/// A function that has run, or was stopped, runs again after a reset.
pub fn reset_starts_again(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    ex.start(move || {
        let timer = after_func(Duration::ZERO, counter(tx));
        rx.recv().unwrap();
        for _ in 0..3 {
            assert!(!timer.reset(Duration::from_millis(1)));
            rx.recv().unwrap();
        }
        assert!(!timer.reset(FAR) && timer.stop());
        timer.reset(Duration::ZERO);
        rx.recv().unwrap();
    })
    .join();
}

/// Functions may block: others run beside them. One function does not run beside itself.
pub fn functions_may_block(ex: &dyn Executor) {
    let (tx, rx) = unbounded();
    let (gate, gate_rx) = unbounded::<()>();
    let inside = Arc::new(AtomicUsize::new(0));
    let blocked = after_func(Duration::ZERO, {
        let (tx, inside) = (tx.clone(), inside.clone());
        move || {
            assert_eq!(inside.fetch_add(1, SeqCst), 0);
            tx.send("in").unwrap();
            gate_rx.recv().unwrap();
            inside.fetch_sub(1, SeqCst);
            tx.send("out").unwrap();
        }
    });
    ex.start(move || {
        assert_eq!(rx.recv(), Ok("in"));
        blocked.reset(Duration::ZERO);
        let _beside = after_func(Duration::ZERO, move || tx.send("beside").unwrap());
        assert_eq!(rx.recv(), Ok("beside"));
        gate.send(()).unwrap();
        gate.send(()).unwrap();
        assert_eq!([rx.recv(), rx.recv(), rx.recv()], [Ok("out"), Ok("in"), Ok("out")]);
    })
    .join();
}

/// Many functions, half of them stopped: each of the others runs once.
pub fn many_functions(ex: &dyn Executor) {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let stopped: usize = join_all(ex.start_each(4, move |_| {
        let timers: Vec<_> = (0..50)
            .map(|number| {
                let count = count.clone();
                after_func(Duration::from_micros(100 * number), move || {
                    _ = count.fetch_add(1, SeqCst)
                })
            })
            .collect();
        timers.iter().step_by(2).filter(|timer| timer.stop()).count()
    }))
    .iter()
    .sum();
    let deadline = Instant::now() + Duration::from_secs(20);
    while ran.load(SeqCst) + stopped < 200 {
        assert!(Instant::now() < deadline, "{stopped} were stopped");
        sleep(Duration::from_millis(1));
    }
    sleep(SHORT);
    assert_eq!(ran.load(SeqCst) + stopped, 200);
}
