//! Nothing light is to be had without an unsafe call, and what refuses says why and what to do.
//!
//! A process in which isolation is missing is made as it happens: the kernel says that it has no FSGSBASE. This
//! program's `getauxval` answers for the kernel, since an executable's symbol wins over the C library's; the runtime
//! has no switch for tests.

use super::alone;
use std::io::ErrorKind;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_OLD_KERNEL: AtomicBool = AtomicBool::new(false);

/// The bit by which the kernel says that programs may write the FS base.
const HWCAP2_FSGSBASE: libc::c_ulong = 2;

/// The C library's, but for the bit that an old kernel does not set.
#[unsafe(no_mangle)]
extern "C" fn getauxval(kind: libc::c_ulong) -> libc::c_ulong {
    // SAFETY: S7: a name that ends in NUL; the C library has the function.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getauxval".as_ptr()) };
    // SAFETY: S7: its signature.
    let next = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(libc::c_ulong) -> libc::c_ulong>(next) };
    let value = next(kind);
    if kind == libc::AT_HWCAP2 && IS_OLD_KERNEL.load(Ordering::Relaxed) {
        return value & !HWCAP2_FSGSBASE;
    }
    value
}

fn on_old_kernel(test: &str, case: fn()) {
    alone(&format!("opt_in::{test}"), &[], case);
}

fn begin_on_old_kernel() {
    IS_OLD_KERNEL.store(true, Ordering::Relaxed);
    silken::config().set_workers(1);
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// What a refusal for want of identities says: why, and both ways out.
const REASON: [&str; 3] = [
    "no FSGSBASE",
    "silken::allow_light()",
    "#[silken::main(light = unsafe)]",
];

const VARIABLE_REASON: [&str; 2] = ["SILKEN_LIGHT=1 asks for light coroutines", "silken::allow_light()"];

#[track_caller]
fn assert_not_built(parts: &[&str]) {
    let error = silken::Runtime::builder().workers(1).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_says(&error.to_string(), parts);
}

/// Every safe way to a coroutine of the default runtime.
#[track_caller]
fn assert_not_spawned(parts: &[&str]) {
    let error = silken::Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_says(&error.to_string(), parts);
    let ways: [fn(); 7] = [
        || drop(silken::spawn(|| ())),
        || drop(silken::spawn_many(3, |_| ())),
        || drop(silken::go!(|| ())),
        || drop(silken::scope(|s| s.spawn(|| ()).join())),
        || drop(silken::Scheduler::spawn(|| ())),
        || drop(silken::spawn_opts(|| (), silken::Options::new())),
        || drop(silken::task!(|_| (), 0)),
    ];
    for way in ways {
        let payload = catch_unwind(way).unwrap_err();
        assert_says(payload.downcast_ref::<String>().expect("a text"), parts);
    }
}

/// Whether two coroutines of the default runtime, which has one worker, see one thread-local.
fn default_is_shared() -> bool {
    std::thread_local! {
        static SEEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    silken::config().set_workers(1);
    silken::spawn(|| SEEN.set(true)).join().unwrap();
    silken::spawn(|| SEEN.get()).join().unwrap()
}

#[test]
fn without_identities_nothing_is_built_or_spawned() {
    on_old_kernel("without_identities_nothing_is_built_or_spawned", || {
        begin_on_old_kernel();
        assert_not_built(&REASON);
        assert_not_spawned(&REASON);
        let payload = catch_unwind(|| silken::Scheduler::new().run(|| ())).unwrap_err();
        assert_says(payload.downcast_ref::<String>().expect("a text"), &REASON);
        let builder = silken::Runtime::builder().workers(1);
        let payload = catch_unwind(|| silken::__macros::run_main(builder, || ())).unwrap_err();
        assert_says(payload.downcast_ref::<String>().expect("a text"), &REASON);
    });
}

#[test]
fn one_unsafe_call_makes_one_coroutine_or_runtime_light_and_no_other() {
    on_old_kernel(
        "one_unsafe_call_makes_one_coroutine_or_runtime_light_and_no_other",
        || {
            begin_on_old_kernel();
            // SAFETY: S12: it waits for nothing.
            let builder = unsafe { silken::Builder::new().light() };
            let child = || silken::Builder::new().spawn(|| ()).map(drop);
            let refused = builder.spawn(child).unwrap().join().unwrap().unwrap_err();
            assert_says(&refused.to_string(), &REASON);
            // SAFETY: S12: its coroutines return at once.
            let builder = unsafe { silken::Runtime::builder().workers(1).light() };
            let runtime = builder.build().unwrap();
            assert!(!runtime.is_isolated());
            runtime.run(|| silken::spawn(|| ()).join().unwrap()).unwrap();
            assert_not_built(&REASON);
            assert_not_spawned(&REASON);
        },
    );
}

#[test]
fn who_has_vouched_falls_back() {
    on_old_kernel("who_has_vouched_falls_back", || {
        begin_on_old_kernel();
        assert_not_spawned(&REASON);
        // SAFETY: S12: coroutines of this case return at once.
        unsafe { silken::allow_light() };
        let runtime = silken::Runtime::builder().workers(2).build().unwrap();
        assert!(!runtime.is_isolated());
        assert!(default_is_shared());
    });
}

#[test]
fn where_identities_are_had_vouching_changes_nothing() {
    alone("opt_in::where_identities_are_had_vouching_changes_nothing", &[], || {
        // SAFETY: S12: coroutines of this case return at once.
        unsafe { silken::allow_light() };
        let runtime = silken::Runtime::builder().workers(2).build().unwrap();
        assert!(runtime.is_isolated());
        assert!(!default_is_shared());
    });
}

#[test]
fn the_variable_alone_is_an_error() {
    let variables = [("SILKEN_LIGHT", "1")];
    alone("opt_in::the_variable_alone_is_an_error", &variables, || {
        assert_not_built(&VARIABLE_REASON);
        assert_not_spawned(&VARIABLE_REASON);
    });
}

#[test]
fn the_variable_acts_when_it_is_vouched_for() {
    let variables = [("SILKEN_LIGHT", "1")];
    alone("opt_in::the_variable_acts_when_it_is_vouched_for", &variables, || {
        // SAFETY: S12: coroutines of this case return at once.
        unsafe { silken::allow_light() };
        assert!(!silken::Runtime::builder().build().unwrap().is_isolated());
        assert!(default_is_shared());
    });
}

#[test]
fn the_variable_may_say_no() {
    let variables = [("SILKEN_LIGHT", "0")];
    alone("opt_in::the_variable_may_say_no", &variables, || {
        assert!(silken::Runtime::builder().build().unwrap().is_isolated());
        assert!(!default_is_shared());
    });
}

// SAFETY: S12: its coroutines do not wait, and the thread-local that they share is what is tested.
#[silken::test(workers = 1, light = unsafe)]
fn the_attribute_makes_a_light_runtime() {
    std::thread_local! {
        static SEEN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    SEEN.set(7);
    assert_eq!(silken::spawn(|| SEEN.get()).join().unwrap(), 7);
}
