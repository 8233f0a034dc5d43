//! Behaviour of the runtime's own API, in an ordinary process.

mod fork;
mod join;
mod park;
mod scope;
mod shutdown;
mod spawn;

/// Runs a case on runtimes of one, two and four workers, with isolated and with light coroutines.
fn on_all(case: impl Fn() + Send + Sync) {
    for workers in [1, 2, 4] {
        for light in [false, true] {
            let mut builder = silken::Runtime::builder().workers(workers);
            if light {
                builder = builder.light();
            }
            let runtime = builder.build().expect("the runtime starts");
            assert_eq!(runtime.is_isolated(), !light);
            if let Err(payload) = runtime.run(&case) {
                eprintln!("with {workers} workers, light: {light}");
                std::panic::resume_unwind(payload);
            }
        }
    }
}
