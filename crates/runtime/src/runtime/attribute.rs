//! What do `#[silken::main]` and `#[silken::test]` expand to? A call of one of these functions, which runs the body in
//! a runtime.

use super::{Runtime, RuntimeBuilder};
use crate::coroutine::JoinError;
use std::process::{ExitCode, Termination};

#[track_caller]
fn run<R: Send>(builder: RuntimeBuilder, body: impl FnOnce() -> R + Send) -> R {
    let runtime: Runtime = builder
        .build()
        .unwrap_or_else(|error| panic!("the runtime does not start: {error}"));
    match runtime.run(body) {
        Ok(value) => value,
        Err(payload) => match payload.downcast::<JoinError>() {
            // No message has been printed yet.
            Ok(error) => panic!("the first coroutine has no value: {error}"),
            Err(payload) => std::panic::resume_unwind(payload),
        },
    }
}

/// The expansion of `#[silken::main]`.
#[track_caller]
pub fn run_main(builder: RuntimeBuilder, body: impl FnOnce() + Send) {
    run(builder, body);
}

/// The same, of a function that returns something.
#[track_caller]
pub fn report_main<R: Termination>(builder: RuntimeBuilder, body: impl FnOnce() -> R + Send) -> ExitCode {
    run(builder, || body().report())
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
