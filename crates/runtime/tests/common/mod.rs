//! Where a case runs, for the test programs that ask for no more than runtimes of several sizes and both kinds of coroutine.

/// Runs a case as the main of a runtime. Its panic goes on here, after saying which runtime it was.
pub fn run_on(workers: usize, light: bool, case: impl FnOnce() + Send) {
    let builder = silken::Runtime::builder().workers(workers);
    let builder = if light { builder.light() } else { builder };
    let runtime = builder.build().expect("the runtime starts");
    assert_eq!(runtime.is_isolated(), !light);
    if let Err(payload) = runtime.run(case) {
        eprintln!("with {workers} workers, light: {light}");
        std::panic::resume_unwind(payload);
    }
}

/// Runs a case on runtimes of these sizes, with isolated and with light coroutines.
pub fn on_runtimes<const SIZES: usize>(workers: [usize; SIZES], case: impl Fn() + Send + Sync) {
    for workers in workers {
        for light in [false, true] {
            run_on(workers, light, &case);
        }
    }
}
