//! `#[silken::main]` and `#[silken::test]`: a function body, run as the first coroutine of a runtime.
//!
//! Both are thin. They expand to a `RuntimeBuilder` call that a user could write by hand, so a program that outgrows
//! the options here replaces one line and loses nothing:
//!
//! ```text
//! #[silken::main(workers = 4, stack_size = "256KiB")]        fn main() -> ::std::process::ExitCode {
//! fn main() -> Report { body }                          =>       ::silken::__macros::report_main(
//!                                                                    ::silken::Runtime::builder().workers(4usize).stack_size(262144usize),
//!                                                                    move || -> Report { body },
//!                                                                )
//!                                                            }
//! ```
//!
//! Whatever can be told wrong from the text alone (an unknown option, a size that is no size, a function that takes
//! arguments) is told here, at the token that is wrong. All else (how many workers are sensible, what happens when
//! the runtime cannot start) is decided by `RuntimeBuilder`, once, for the attribute and for the call.
//!
//! The work is done over `proc_macro2` streams in `expand.rs`, which unit tests can call; this file only converts.
//!
//! Rejected: an `async fn` that is driven by `block_on` (a silken function blocks by just blocking; the word `async` in
//! front of it is a misunderstanding, and the error says so), the options of `RuntimeBuilder` that are not plain
//! numbers or names (policies are values, and values belong in the call), and `light` without the word `unsafe` (what
//! must be vouched for is not to be had by a flag).

mod expand;
mod options;
#[cfg(test)]
mod tests;

use expand::Kind;
use proc_macro::TokenStream;

/// Runs the body of `main` as the first coroutine of a new runtime.
///
/// The program starts a runtime, runs the body on a coroutine, and ends when the body returns: what is still running
/// then is cancelled and its destructors run; what does not end within the grace is reported and left behind, as by
/// `Runtime::run`. `Result` and `ExitCode` work as they do without the attribute, `Result<(), Box<dyn Error>>` too:
/// what the body returns is reported on its coroutine, and the function returns the exit code.
///
/// ```text
/// #[silken::main]
/// fn main() -> std::io::Result<()> {
///     let listener = std::net::TcpListener::bind("127.0.0.1:7000")?;
///     for stream in listener.incoming() {
///         let mut stream = stream?;
///         silken::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
///     }
///     Ok(())
/// }
/// ```
///
/// # Options
///
/// All are optional. What is absent comes from the environment, else from the default, as with `RuntimeBuilder`.
///
/// | option | value | meaning |
/// |---|---|---|
/// | `workers` | an integer ≥ 1 | how many OS threads run coroutines |
/// | `stack_size` | bytes as an integer, or with a unit: `"256KiB"`, `"256k"`, `"1MiB"`, `"1m"` (units are powers of two) | the stack reserved for each coroutine |
/// | `light` | the word `unsafe` | light coroutines, which share their worker's thread-locals; you vouch for the contract of `RuntimeBuilder::light` |
/// | `name` | a string | the prefix of the workers' thread names |
/// | `grace` | a time: `"500ms"`, `"2s"` | how long the end waits for what was cancelled; 2 s by default |
/// | `crate` | a path, plain or as a string | where the `silken` crate is found, for crates that re-export it |
///
/// ```text
/// #[silken::main(workers = 4, stack_size = "256KiB", name = "ingest")]
/// fn main() {}
///
/// // SAFETY: this program's coroutines run its own code, which keeps nothing in thread-locals over a wait.
/// #[silken::main(light = unsafe)]
/// fn main() {}
/// ```
///
/// # Errors
///
/// Compilation fails, with the reason at the offending token, when the function is `async`, `const`, `unsafe` or
/// `extern`, has generics or takes arguments, and when an option is unknown, repeated or has a value that it cannot
/// have.
///
/// # Panics
///
/// The expanded `main` panics when the runtime cannot be built, and with the body's own panic when the body panics.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(Kind::Main, options.into(), item.into()).into()
}

/// Runs a test's body as the first coroutine of a runtime of its own.
///
/// The function becomes a `#[test]`; `#[should_panic]`, `#[ignore]` and every other attribute stay on it, and a panic
/// of the body is the panic of the test. Each test has a runtime of its own, so tests do not see each other's
/// coroutines, and what a test leaves running is cancelled when its body returns.
///
/// ```text
/// #[silken::test]
/// fn child_returns_its_value() {
///     assert_eq!(silken::spawn(|| 6 * 7).join().unwrap(), 42);
/// }
///
/// #[silken::test(workers = 2)]
/// #[should_panic(expected = "late")]
/// fn late() {
///     panic!("late");
/// }
/// ```
///
/// Written without its path it is the language's own `#[test]`: `#[macro_use] extern crate silken;` brings the name
/// into scope, and must not change the tests that are there.
///
/// # Options
///
/// Those of [`main`](macro@main): `workers`, `stack_size`, `light`, `name`, `grace`, `crate`.
///
/// # Errors
///
/// As for [`main`](macro@main), and when the function already is a `#[test]`: it would run twice.
///
/// # Panics
///
/// The expanded test panics when the runtime cannot be built, and with the body's own panic when the body panics.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    if options.is_empty() && is_bare() {
        let test: TokenStream = "#[::core::prelude::v1::test]".parse().expect("an attribute");
        return test.into_iter().chain(item).collect();
    }
    expand::expand(Kind::Test, options.into(), item.into()).into()
}

/// Whether the attribute is written as `#[test]`.
fn is_bare() -> bool {
    let text = proc_macro::Span::call_site().source_text().unwrap_or_default();
    let words: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    matches!(words.as_str(), "#[test]" | "test")
}
