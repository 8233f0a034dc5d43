//! Cancellation, deadlines, scopes and the values of a coroutine. `docs/guide/cancellation.md` has a table whose rows
//! name these tests.

mod callbacks;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod families;
#[cfg(feature = "interpose")]
mod hooked;
#[cfg(feature = "interpose")]
mod interruptions;
mod mask;
mod native;
mod poison;
mod scopes;
mod timeouts;
mod values;

use common::run_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than any test may take.
const FAR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(20);

/// Runs a case on runtimes of one, two and eight workers, with isolated and with light coroutines.
fn on_all(case: impl Fn() + Send + Sync) {
    common::on_runtimes([1, 2, 8], case);
}

/// Sets a flag when it is dropped.
struct Note<'a>(&'a AtomicBool);

impl Drop for Note<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Cancels a coroutine that runs `body` once it had the time to wait, and asserts that this unwound it and ran its
/// destructors.
fn unwinds(body: impl FnOnce() + Send + 'static) {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    let waiter = silken::spawn(move || {
        let _note = Note(&flag);
        body();
    });
    silken::sleep(Duration::from_millis(5));
    waiter.cancel();
    assert!(waiter.join().unwrap_err().is_cancelled());
    assert!(dropped.load(Ordering::SeqCst));
}

/// Asserts that `body` takes about as long as it should.
fn takes<T>(at_least: Duration, body: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let value = body();
    assert!(begun.elapsed() >= at_least, "took only {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30), "took {:?}", begun.elapsed());
    value
}

/// The guide's table and these files do not drift apart.
#[test]
fn the_guide_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("../../docs/guide/cancellation.md")).unwrap();
    let mut named = 0;
    for row in guide.lines().filter(|line| line.starts_with("| ")) {
        let Some(column) = row.trim_end_matches(" |").rsplit('|').next() else {
            continue;
        };
        for test in column.split('`').filter(|text| text.contains("::")) {
            let (module, name) = test.split_once("::").unwrap();
            let source = std::fs::read_to_string(root.join(format!("tests/cancel/{module}.rs"))).unwrap();
            assert!(
                source.contains(&format!("#[test]\nfn {name}()")),
                "no such test: {test}"
            );
            named += 1;
        }
    }
    assert!(named > 20);
}
