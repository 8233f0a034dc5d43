//! What do `#[silken::main]` and `#[silken::test]` expand to? A call of one of these functions, which runs the body in
//! a runtime.

use super::default::ServesThreads;
pub use super::limit::TestLimit;
use super::{Runtime, RuntimeBuilder};
use crate::coroutine::JoinError;
use std::process::{ExitCode, Termination};

#[track_caller]
fn build(builder: RuntimeBuilder) -> Runtime {
    builder
        .build()
        .unwrap_or_else(|error| panic!("the runtime does not start: {error}"))
}

/// The value of the first coroutine, or its panic.
#[track_caller]
fn value<R>(outcome: std::thread::Result<R>) -> R {
    match outcome {
        Ok(value) => value,
        Err(payload) => match payload.downcast::<JoinError>() {
            // No message has been printed yet.
            Ok(error) => panic!("the first coroutine has no value: {error}"),
            Err(payload) => std::panic::resume_unwind(payload),
        },
    }
}

#[track_caller]
fn run<R: Send>(builder: RuntimeBuilder, body: impl FnOnce() -> R + Send) -> R {
    value(build(builder).run(body))
}

/// Runs the body of `main`. Meanwhile its runtime also serves the spawns of OS threads.
#[track_caller]
fn run_as_main<R: Send>(builder: RuntimeBuilder, body: impl FnOnce() -> R + Send) -> R {
    let runtime = build(builder);
    let scheduler = runtime.scheduler;
    value(runtime.run(move || {
        let _serves = ServesThreads::begin(scheduler);
        body()
    }))
}

/// Runs the body of a test within its limit. `None`: it is overdue, and fails if the test returns.
#[track_caller]
fn run_within<R: Send + 'static>(
    limit: TestLimit,
    builder: RuntimeBuilder,
    body: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    match build(builder).run_within(&limit, body) {
        Ok(outcome) => Some(value(outcome)),
        Err(report) if limit.is_to_panic => {
            eprintln!("{report}");
            None
        }
        Err(report) => panic!("{report}"),
    }
}

/// The expansion of `#[silken::main]`.
#[track_caller]
pub fn run_main(builder: RuntimeBuilder, body: impl FnOnce() + Send) {
    run_as_main(builder, body);
}

/// The same, of a function that returns something.
#[track_caller]
pub fn report_main<R: Termination>(builder: RuntimeBuilder, body: impl FnOnce() -> R + Send) -> ExitCode {
    run_as_main(builder, || body().report())
}

/// The expansion of `#[silken::test]`. After the first call the coroutines of the process inherit the capture of
/// output.
#[track_caller]
pub fn run_test(builder: RuntimeBuilder, body: impl FnOnce() + Send) {
    crate::coroutine::inherit_always();
    run(builder, body);
}

/// The same, of a function that returns something.
#[track_caller]
pub fn report_test<R: Termination>(builder: RuntimeBuilder, body: impl FnOnce() -> R + Send) -> ExitCode {
    crate::coroutine::inherit_always();
    run(builder, || body().report())
}

/// The expansion of `#[silken::test]` with a `timeout`.
#[track_caller]
pub fn run_test_within(limit: TestLimit, builder: RuntimeBuilder, body: impl FnOnce() + Send + 'static) {
    crate::coroutine::inherit_always();
    run_within(limit, builder, body);
}

/// The same, of a function that returns something.
#[track_caller]
pub fn report_test_within<R: Termination>(
    limit: TestLimit,
    builder: RuntimeBuilder,
    body: impl FnOnce() -> R + Send + 'static,
) -> ExitCode {
    crate::coroutine::inherit_always();
    run_within(limit, builder, || body().report()).unwrap_or(ExitCode::FAILURE)
}
