//! Where a case runs, for the test programs that ask for no more than runtimes of several sizes and both kinds of
//! coroutine.

/// The builder of a light runtime.
fn light(builder: silken::RuntimeBuilder) -> silken::RuntimeBuilder {
    // SAFETY: S12: the cases that come here wait in silken's types, std's locks, sleeps and sockets, and keep nothing
    // in thread-locals.
    unsafe { builder.light() }
}

/// Runs a case as the main of a runtime. Its panic goes on here, after saying which runtime it was.
pub fn run_on(workers: usize, is_light: bool, case: impl FnOnce() + Send) {
    let builder = silken::Runtime::builder().workers(workers);
    let builder = if is_light { light(builder) } else { builder };
    let runtime = builder.build().expect("the runtime starts");
    assert_eq!(runtime.is_isolated(), !is_light);
    if let Err(payload) = runtime.run(case) {
        eprintln!("with {workers} workers, light: {is_light}");
        std::panic::resume_unwind(payload);
    }
}

/// Runs a case on runtimes of these sizes, with isolated and with light coroutines.
pub fn on_runtimes<const SIZES: usize>(workers: [usize; SIZES], case: impl Fn() + Send + Sync) {
    for workers in workers {
        for is_light in [false, true] {
            run_on(workers, is_light, &case);
        }
    }
}
