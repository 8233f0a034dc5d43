//! How does an attribute run a function body as the first coroutine of a runtime? This crate holds `#[silken::main]`
//! and `#[silken::test]`. It also has two macros that place the errors of `select!` (`select.rs`).
//!
//! Both attributes do little. They expand to a `RuntimeBuilder` call that a user could write by hand. So a program that
//! needs more than the options here replaces one line and loses nothing:
//!
//! ```text
//! #[silken::main(workers = 4, stack_size = "256KiB")]        fn main() -> ::std::process::ExitCode {
//! fn main() -> Report { body }                          =>       ::silken::__macros::report_main(
//! ::silken::Runtime::builder().workers(4usize).stack_size(262144usize), move || -> Report { body }, ) }
//! ```
//!
//! Mistakes that the text alone shows are reported here, at the token that is wrong: an unknown option, a size that is
//! no size, a function that takes arguments. Everything else is decided by `RuntimeBuilder`, once, for the attribute
//! and for the call: how many workers are sensible, what happens when the runtime cannot start.
//!
//! `function.rs` reads the function and `options.rs` the options. `expand.rs` does the work, over `proc_macro2`
//! streams, so that unit tests can call it; this file only converts.
//!
//! Rejected:
//!
//! - An `async fn` that is driven by `block_on`. A silken function blocks by just blocking; the word `async` before it
//!   is a misunderstanding, and the error says so.
//! - The options of `RuntimeBuilder` that are not plain numbers or names. Policies are values, and values belong in the
//!   call.
//! - `light` without the word `unsafe`. A flag must not replace a promise of the user's.

mod expand;
mod function;
mod options;
mod select;
#[cfg(test)]
mod tests;

use expand::Kind;
use proc_macro::TokenStream;

/// Runs the body of `main` as the first coroutine of a new runtime.
///
/// The program starts a runtime, runs the body on a coroutine, and ends when the body returns. Coroutines that still
/// run then are cancelled, and their destructors run. Those that do not end within the grace are reported on standard
/// error and left behind, as by `Runtime::run`. `Result` and `ExitCode` work as they do without the attribute, and so
/// does `Result<(), Box<dyn Error>>`: the body's return value is reported on its coroutine, and the function returns
/// the exit code.
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
/// All are optional. An option that is absent comes from the environment; otherwise the default holds, as with
/// `RuntimeBuilder`.
///
/// | option | value | meaning |
/// |---|---|---|
/// | `workers` | an integer ≥ 1 | how many OS threads run coroutines |
/// | `stack_size` | bytes as an integer, or with a unit: `"256KiB"`, `"256k"`, `"1MiB"`, `"1m"` (units are powers of two) | the stack reserved for each coroutine |
/// | `light` | the word `unsafe` | light coroutines, which share their worker's thread-locals; you vouch for the contract of `RuntimeBuilder::light` |
/// | `name` | a string | the prefix of the workers' thread names |
/// | `grace` | a time: `"500ms"`, `"2s"`, `"1m"` | how long the end waits for the cancelled coroutines; 2 s by default |
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
/// Compilation fails, with the reason at the offending token, in two cases. The function is `async`, `const`, `unsafe`
/// or `extern`, has generics, or takes arguments. Or an option is unknown, repeated, or has a value that it cannot
/// have.
///
/// # Panics
///
/// The expanded `main` panics if the runtime cannot be built, and with the body's own panic if the body panics.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(Kind::Main, options.into(), item.into()).into()
}

/// Runs the body of a test as the first coroutine of a runtime of its own.
///
/// The function becomes a `#[test]`. `#[should_panic]`, `#[ignore]` and every other attribute stay on it, and a panic
/// of the body is the panic of the test. Each test has a runtime of its own, so tests do not see each other's
/// coroutines. Coroutines that still run when the body returns are cancelled.
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
/// into scope, and must not change the existing tests.
///
/// # Options
///
/// Those of [`main`](macro@main): `workers`, `stack_size`, `light`, `name`, `grace`, `crate`. And:
///
/// | option | value | meaning |
/// |---|---|---|
/// | `timeout` | a time: `"500ms"`, `"10s"`, `"2m"`; or an expression of type `std::time::Duration` | the body fails if it takes longer; by default there is no limit |
///
/// # A test that takes too long
///
/// When the `timeout` is over the test fails, whatever its body does: also if it waits for a `Mutex` of std that nobody
/// unlocks, or computes and never waits. The message names the test and the limit, and lists the coroutines of the
/// test's runtime: the name of each, where it was spawned, what it waits for, and for how long it has been seen there.
///
/// Then all of them are cancelled. Those that have not ended within the `grace` are left behind, and the message says
/// which: nothing can end code that waits for a lock of std, or that computes. They go on, as detached threads do,
/// until the process ends, which does not wait for them. The other tests of the program run meanwhile, and after it.
///
/// With `#[should_panic]` too the test fails: the message is printed, and the expanded test returns without a panic.
///
/// The limit counts real time, so choose it much longer than the test takes on a busy machine. It concerns the body
/// only; the end of the runtime takes at most the `grace` in addition.
///
/// ```text
/// #[silken::test(timeout = "10s")]
/// fn does_not_hang() {
///     let (tx, rx) = std::sync::mpsc::channel::<()>();
///     rx.recv().unwrap(); // `tx` is alive, so this would never return
///     drop(tx);
/// }
/// ```
///
/// # Errors
///
/// Those of [`main`](macro@main). Also if the function already is a `#[test]`: it would run twice.
///
/// # Panics
///
/// The expanded test panics if the runtime cannot be built, with the body's own panic if the body panics, and if the
/// body has not ended within the `timeout`.
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

/// Not public: the error about an arm of `select!`, at the arm.
#[doc(hidden)]
#[proc_macro]
pub fn select_error(input: TokenStream) -> TokenStream {
    select::error(input.into()).into()
}

/// Not public: `(operand) code` is `code`, whose errors are reported at the operand.
#[doc(hidden)]
#[proc_macro]
pub fn at(input: TokenStream) -> TokenStream {
    select::at(input.into()).into()
}
