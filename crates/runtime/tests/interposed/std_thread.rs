//! What std's own threads have and coroutines get from std: a name, and the test harness's capture of output.

use silken::{Builder, Runtime};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// On runtimes of several sizes.
fn on_workers(case: impl Fn() + Send + Sync) {
    for workers in [1, 2, 4] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.run(&case).unwrap();
    }
}

fn named(name: &str) -> Builder {
    Builder::new().name(name.to_string())
}

fn own_name() -> Option<String> {
    thread::current().name().map(String::from)
}

#[test]
fn a_named_coroutine_has_its_name_as_a_thread() {
    on_workers(|| {
        let long = "a name of more than the fifteen bytes that the kernel takes: ä";
        let names = [long, "", "short"].map(|name| {
            let seen = named(name).spawn(|| {
                let first = own_name();
                silken::yield_now();
                thread::sleep(Duration::from_millis(1));
                assert_eq!(own_name(), first, "after a switch");
                (first, thread::current().id())
            });
            let (seen, id) = seen.unwrap().join().unwrap();
            assert_eq!(seen.as_deref(), Some(name));
            id
        });
        assert!(names[0] != names[1] && names[1] != names[2]);
        // The next life of the same identity has no name.
        assert_eq!(silken::spawn(own_name).join().unwrap(), None);
        silken::scope(|s| {
            let child = named("child").spawn_scoped(s, own_name).unwrap();
            assert_eq!(child.join().unwrap().as_deref(), Some("child"));
        });
    });
}

#[test]
fn a_name_with_a_nul_is_refused() {
    let error = named("a\0b").spawn(|| ()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("NUL"));
}

#[test]
fn the_worker_keeps_its_own_name() {
    let runtime = Runtime::builder().workers(1).name("own").build().unwrap();
    runtime
        .run(|| {
            let comm = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            let before = comm();
            let inside = named("other").spawn(comm).unwrap().join().unwrap();
            assert_eq!(inside, before);
        })
        .unwrap();
}

#[test]
fn a_named_coroutine_ends_in_every_way() {
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    on_workers(|| {
        DROPPED.store(0, SeqCst);
        let panics = named("panics").spawn(|| {
            let _counts = Counts(&DROPPED);
            std::panic::resume_unwind(Box::new(7));
        });
        let error: silken::JoinError = panics.unwrap().join().unwrap_err();
        assert_eq!(error.downcast_ref::<i32>(), Some(&7));
        // Parked, and cancelled: in silken's wait and in std's.
        let waits: [fn(); 3] = [
            silken::park,
            || silken::sleep(Duration::from_secs(60)),
            || {
                // Cut short, and the next wait unwinds.
                thread::sleep(Duration::from_secs(60));
                silken::park();
            },
        ];
        for wait in waits {
            let handle = named("waits").spawn(move || {
                let _counts = Counts(&DROPPED);
                wait();
            });
            let handle = handle.unwrap();
            silken::sleep(Duration::from_millis(2));
            handle.cancel();
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        // Cancelled before it has begun, and a deadline around a child.
        let early = named("early").spawn(|| ()).unwrap();
        early.cancel();
        let _ = early.join();
        let late = silken::timeout(Duration::from_millis(5), || {
            silken::scope(|s| {
                let _child = named("late").spawn_scoped(s, || {
                    let _counts = Counts(&DROPPED);
                    silken::park();
                });
            });
        });
        assert!(late.is_err(), "the child's wait has no other end");
        assert_eq!(DROPPED.load(SeqCst), 5);
    });
}

#[test]
fn many_named_ones_leave_no_maps_and_no_memory_behind() {
    on_workers(|| {
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let round = || {
            let handles: Vec<_> = (0..500)
                .map(|i| named(&format!("n{i}")).spawn(own_name).unwrap())
                .collect();
            for (i, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.join().unwrap(), Some(format!("n{i}")));
            }
        };
        round();
        let before = maps();
        (0..4).for_each(|_| round());
        // Each would have two maps, if std had made an alternate stack for it. Other tests run meanwhile.
        assert!(maps() < before + 200, "{before} maps, then {}", maps());
    });
}

/// Run by the test below only.
#[silken::test(workers = 2)]
#[ignore = "a part of `output_is_captured`"]
fn prints() {
    println!("of the body");
    eprintln!("of the body, as an error");
    let nameless = silken::spawn(|| println!("of a child"));
    nameless.join().unwrap();
    for handle in silken::spawn_many(2, |i| println!("of the batch {i}")) {
        handle.join().unwrap();
    }
    silken::scope(|s| {
        s.spawn(|| println!("of a scope"));
    });
    let panics = named("panics").spawn(|| panic!("of a panic")).unwrap();
    assert!(panics.join().is_err());
    assert!(std::env::var_os("SILKEN_TEST_FAILS").is_none(), "told to fail");
}

const PRINTED: [&str; 7] = [
    "of the body",
    "of the body, as an error",
    "of a child",
    "of the batch 0",
    "of the batch 1",
    "of a scope",
    "of a panic",
];

fn run_printing(fails: bool) -> (bool, String, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["std_thread::prints", "--exact", "--ignored"]);
    if fails {
        command.env("SILKEN_TEST_FAILS", "1");
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn output_is_captured() {
    let (passed, output, errors) = run_printing(false);
    assert!(passed, "{output}{errors}");
    assert!(output.contains("1 passed"), "{output}");
    for line in PRINTED {
        assert!(
            !output.contains(line) && !errors.contains(line),
            "{line}: {output}{errors}"
        );
    }
    assert!(!errors.contains("spawned at"), "{errors}");
}

#[test]
fn output_of_a_failing_test_is_shown() {
    let (passed, output, errors) = run_printing(true);
    assert!(!passed);
    let shown = output
        .split("---- std_thread::prints stdout ----")
        .nth(1)
        .expect(&errors);
    for line in PRINTED
        .into_iter()
        .chain(["coroutine 'panics', spawned at", "thread 'panics'", "told to fail"])
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

/// Run by the test below only.
#[silken::test(workers = 1)]
#[ignore = "a part of `a_test_that_is_cancelled_says_so`"]
fn is_cancelled() {
    silken::current().cancel();
    silken::park();
}

#[test]
fn a_test_that_is_cancelled_says_so() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["std_thread::is_cancelled", "--exact", "--ignored"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("the first coroutine has no value"), "{shown}");
}
