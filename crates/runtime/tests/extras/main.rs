//! Behaviour of the faces of older systems, and of what stands beside the runtime: collections, errors, dates.

mod collections;
mod dates;
mod errors;
mod networking;
mod scheduler;
mod spawning;

/// Runs a case on runtimes of one, two and eight workers, with isolated and with light coroutines, and on this OS thread.
fn on_all(case: impl Fn() + Send + Sync) {
    for workers in [1, 2, 8] {
        for light in [false, true] {
            let mut builder = silken::Runtime::builder().workers(workers);
            if light {
                builder = builder.light();
            }
            let runtime = builder.build().expect("the runtime starts");
            if let Err(payload) = runtime.run(&case) {
                eprintln!("with {workers} workers, light: {light}");
                std::panic::resume_unwind(payload);
            }
        }
    }
    case();
}
