//! Thread-locals that are larger than the stack that a coroutine asked for: the stack is chosen larger.

use std::cell::Cell;
use std::time::Duration;

const BYTES: usize = 600 * 1024;

thread_local! {
    static LARGE: [Cell<u8>; BYTES] = const { [const { Cell::new(0) }; BYTES] };
}

/// Whether all is as at the start; then fills it.
fn fill(with: u8) -> bool {
    LARGE.with(|cells| {
        let was_fresh = cells.iter().all(|cell| cell.get() == 0);
        cells.iter().for_each(|cell| cell.set(with));
        was_fresh
    })
}

fn is_filled(with: u8) -> bool {
    LARGE.with(|cells| cells.iter().all(|cell| cell.get() == with))
}

#[test]
fn each_has_its_own_beside_a_stack_that_suffices() {
    for workers in [1, 2] {
        let runtime = silken::Runtime::builder().workers(workers).build().unwrap();
        if !runtime.is_isolated() {
            return;
        }
        let cases = runtime.spawn(|| {
            let coroutines: Vec<_> = (1..=16)
                .map(|with: u8| {
                    // Default and least size; the frame is a quarter of the default.
                    let builder = silken::Builder::new();
                    let builder = if with.is_multiple_of(2) {
                        builder.stack_size(1)
                    } else {
                        builder
                    };
                    let body = move || {
                        let frame = std::hint::black_box([with; 64 * 1024]);
                        assert!(fill(with));
                        for _ in 0..3 {
                            silken::sleep(Duration::from_millis(1));
                            assert!(is_filled(with), "somebody has written into them");
                        }
                        std::hint::black_box(&frame).iter().all(|byte| *byte == with)
                    };
                    builder.spawn(body).unwrap()
                })
                .collect();
            for coroutine in coroutines {
                assert!(coroutine.join().unwrap(), "somebody has written into a frame");
            }
        });
        cases.join().unwrap();
    }
}

#[test]
fn half_of_the_largest_stack_is_the_most() {
    let builder = silken::Builder::new().stack_size(1 << 30);
    assert!(builder.spawn(|| ()).unwrap().join().is_ok());
    let error = silken::Builder::new()
        .stack_size((1 << 30) + 1)
        .spawn(|| ())
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
