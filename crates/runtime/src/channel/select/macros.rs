//! How does the text of a `select!` or `loop_select!` become arms and bodies?
//!
//! The macro parses the remaining arms, one arm per step, and makes one expansion at the end:
//!
//! ```text
//! let (out0, out1) = {
//!     let source0 = &rx;              // a temporary such as `after(d)` lives as long as this block
//!     let arm0 = source0.recv_arm();  …
//!     let chosen = run(&[&arm0, &arm1], order, limit);
//!     (the result of arm 0 if it was chosen, that of arm 1 if …)
//! };
//! if let Some(value) = out0 { match value { pattern0 => body0 } } else if … else { default }
//! ```
//!
//! So each body stands once in the expansion, in the caller's own scope and in no closure: `return`, `?`, `break` and
//! `continue` mean what they mean outside. The arms and what they borrow are dropped before a body begins. Each step
//! writes the same names `arm`, `out` and `source`, and they are different variables: the expansion of each step has
//! its own hygiene.
//!
//! An error about an arm is to be reported at the arm, which a macro of this kind cannot do. So the rules that match
//! what no other rule does pass the user's words to a procedural macro (`macros/src/select.rs`).

/// Waits for the first of several operations, carries out exactly that one, and runs its body.
///
/// ```text
/// select! {
///     biased;                              // optional: arms in this order, not in a random one
///     recv(rx) -> result => body,          // result: Result<T, RecvError>
///     send(tx, message) -> result => body, // result: Result<(), SendError<T>>
///     on(arm) -> result => body,           // any other arm, made beforehand
///     Ok(message) = recv(rx) => body,      // a pattern that need not match,
///     else(other) => body,                 // and what to do with the result if it does not
///     default => body,                     // nothing is ready now; or:
///     default(duration) => body,           // nothing was ready for that long; `timeout(duration)` says the same
/// }
/// ```
///
/// The value of the `select!` is that of the body that ran. Bodies run in the enclosing function: `return`, `?`,
/// `break` and `continue` work. The comma after a body in braces is optional.
///
/// All expressions of the arms are evaluated before the select begins, in order, as in Go. So a `message` is moved in
/// even if its arm is not chosen; it is then dropped before the body runs. Arms may be temporaries: `recv(after(d))`.
///
/// When the channel of an arm is disconnected, the arm is ready, and its result is an error.
///
/// # Patterns that need not match
/// The operation has happened when the pattern is tried, so the result is not lost: it goes to the `else(…)` that
/// follows the arm. Without an `else(…)` the result is dropped and nothing runs; the type of the body has to be `()`
/// then. The arm is *not* tried again: write a [`loop_select!`](crate::loop_select) for that.
///
/// # Blocking
/// Parks the calling coroutine (wait reason `Select`), or blocks the calling OS thread. It spawns no coroutine. With at
/// most eight arms the select itself allocates nothing.
///
/// # Cancellation
/// Unwinds if it has to wait and no operation has happened. If an operation has happened, its body runs.
///
/// # Examples
/// ```
/// use silken::channel::{after, unbounded};
/// use silken::select;
/// use std::time::Duration;
///
/// let (requests_tx, requests) = unbounded();
/// let (_stop_tx, stop) = unbounded::<()>();
/// requests_tx.send(7).unwrap();
/// let answer = select! {
///     recv(requests) -> request => request.unwrap() * 6,
///     recv(stop) -> _ => 0,
///     recv(after(Duration::from_secs(60))) -> _ => -1,
/// };
/// assert_eq!(answer, 42);
/// ```
///
/// A pattern that need not match, and `return` from the enclosing function:
/// ```
/// use silken::channel::{Receiver, unbounded};
/// fn first_even(numbers: &Receiver<u32>) -> Option<u32> {
///     loop {
///         silken::select! {
///             Ok(n) = recv(numbers) => if n % 2 == 0 { return Some(n) },
///             else(_) => return None,
///         }
///     }
/// }
/// let (tx, rx) = unbounded();
/// (1..=3).for_each(|n| tx.send(n).unwrap());
/// drop(tx);
/// assert_eq!((first_even(&rx), first_even(&rx)), (Some(2), None));
/// ```
///
/// The channels of std cannot be arms, for they do not notify a select when they change. Join handles and tickers are
/// no arms themselves; they have methods that make arms:
/// ```compile_fail,E0277
/// let (tx, rx) = std::sync::mpsc::channel();
/// tx.send(1).unwrap();
/// silken::select! { recv(rx) -> message => drop(message) }
/// ```
/// ```compile_fail,E0277
/// let handle = silken::spawn(|| ());
/// silken::select! { on(handle) -> () => () }
/// ```
/// ```compile_fail,E0277
/// let ticker = silken::time::interval(std::time::Duration::from_millis(1));
/// silken::select! { recv(ticker) -> _ => () }
/// ```
#[macro_export]
macro_rules! select {
    (biased; $($arms:tt)*) => {
        $crate::__select!(@parse Biased () () $($arms)*)
    };
    ($($arms:tt)*) => {
        $crate::__select!(@parse Fair () () $($arms)*)
    };
}

/// [`select!`](crate::select) with `biased;`: the first arm that is ready wins, in the order of the text. crossbeam and
/// futures use this name too.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::channel::unbounded();
/// let (_urgent_tx, urgent) = silken::channel::unbounded::<u32>();
/// tx.send(1).unwrap();
/// let got = silken::select_biased! {
///     recv(urgent) -> message => message.ok(),
///     recv(rx) -> message => message.ok(),
/// };
/// assert_eq!(got, Some(1));
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($arms:tt)*) => {
        $crate::select!(biased; $($arms)*)
    };
}

/// Runs [`select!`](crate::select) again and again, until a body leaves the loop by `break` or `return`. Bodies are of
/// type `()`.
///
/// # Examples
/// ```
/// let (tx, rx) = silken::channel::unbounded();
/// let producer = silken::spawn(move || (1..=3).for_each(|n| tx.send(n).unwrap()));
/// let mut sum = 0;
/// silken::loop_select! {
///     Ok(n) = recv(rx) => sum += n,
///     else(_) => break,
/// }
/// assert_eq!(sum, 6);
/// producer.join().unwrap();
/// ```
#[macro_export]
macro_rules! loop_select {
    ($($arms:tt)*) => {
        loop {
            $crate::select! { $($arms)* }
        }
    };
}

/// The parser of [`select!`](crate::select): see the head of the file. `@parse order (arms so far) (default) rest…`.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // The head of an arm.
    (@parse $order:ident $arms:tt $default:tt recv($receiver:expr) -> $pattern:pat => $($rest:tt)*) => {
        $crate::__select!(@body $order $arms $default (recv ($receiver)) ($pattern) () $($rest)*)
    };
    (@parse $order:ident $arms:tt $default:tt send($sender:expr, $message:expr $(,)?) -> $pattern:pat => $($rest:tt)*) => {
        $crate::__select!(@body $order $arms $default (send ($sender) ($message)) ($pattern) () $($rest)*)
    };
    (@parse $order:ident $arms:tt $default:tt on($operation:expr) -> $pattern:pat => $($rest:tt)*) => {
        $crate::__select!(@body $order $arms $default (on ($operation)) ($pattern) () $($rest)*)
    };
    (@parse $order:ident $arms:tt () default => $($rest:tt)*) => {
        $crate::__select!(@default $order $arms ($crate::channel::select::Limit::Try) $($rest)*)
    };
    (@parse $order:ident $arms:tt () default($timeout:expr) => $($rest:tt)*) => {
        $crate::__select!(@default $order $arms ($crate::channel::select::Limit::within($timeout)) $($rest)*)
    };
    (@parse $order:ident $arms:tt () timeout($timeout:expr) => $($rest:tt)*) => {
        $crate::__select!(@default $order $arms ($crate::channel::select::Limit::within($timeout)) $($rest)*)
    };
    (@parse $order:ident $arms:tt () ) => {
        $crate::__select!(@expand $order $arms (($crate::channel::select::Limit::Until(None))
            (::core::unreachable!("a select that waits for ever ends with an arm"))))
    };
    (@parse $order:ident $arms:tt $default:tt ) => {
        $crate::__select!(@expand $order $arms $default)
    };
    (@parse $order:ident $arms:tt $default:tt $($rest:tt)*) => {
        $crate::__select!(@pattern $order $arms $default ($($rest)*) $($rest)*)
    };

    // The head of an arm that begins with a pattern. What begins like another arm is an error here, and must not be
    // read as a pattern: the compiler would give up at a word that begins none. `$all` keeps the places of the user's
    // words.
    (@pattern $order:ident $arms:tt $default:tt $all:tt else $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt default => $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt default $operands:tt => $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt timeout $operands:tt => $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt recv($($operands:tt)*) $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt send($($operands:tt)*) $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt on($($operands:tt)*) $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt $pattern:pat = recv($receiver:expr) => $($rest:tt)*) => {
        $crate::__select!(@body $order $arms $default (recv ($receiver)) ($pattern) (_ => ()) $($rest)*)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt $pattern:pat = send($sender:expr, $message:expr $(,)?) => $($rest:tt)*) => {
        $crate::__select!(@body $order $arms $default (send ($sender) ($message)) ($pattern) (_ => ()) $($rest)*)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt $pattern:pat = on($operation:expr) => $($rest:tt)*) => {
        $crate::__select!(@body $order $arms $default (on ($operation)) ($pattern) (_ => ()) $($rest)*)
    };
    (@pattern $order:ident $arms:tt $default:tt $all:tt $($rest:tt)*) => {
        $crate::__macros::select_error!(arm $all)
    };

    // The body of an arm.
    (@body $order:ident $arms:tt $default:tt $operation:tt $pattern:tt $else:tt $body:block, $($rest:tt)*) => {
        $crate::__select!(@else $order $arms $default ($operation $pattern ($body)) $else $($rest)*)
    };
    (@body $order:ident $arms:tt $default:tt $operation:tt $pattern:tt $else:tt $body:block $($rest:tt)*) => {
        $crate::__select!(@else $order $arms $default ($operation $pattern ($body)) $else $($rest)*)
    };
    (@body $order:ident $arms:tt $default:tt $operation:tt $pattern:tt $else:tt $body:expr, $($rest:tt)*) => {
        $crate::__select!(@else $order $arms $default ($operation $pattern ($body)) $else $($rest)*)
    };
    (@body $order:ident $arms:tt $default:tt $operation:tt $pattern:tt $else:tt $body:expr) => {
        $crate::__select!(@else $order $arms $default ($operation $pattern ($body)) $else)
    };
    (@body $order:ident $arms:tt $default:tt ($name:ident $($operand:tt)*) $pattern:tt $else:tt $($rest:tt)*) => {
        $crate::__macros::select_error!(body ($($operand)* $pattern) ($($rest)*))
    };

    // The optional `else(…)` of an arm whose pattern need not match; after it the arm is complete.
    (@else $order:ident $arms:tt $default:tt $arm:tt (_ => ()) else($other:pat) => $body:block, $($rest:tt)*) => {
        $crate::__select!(@arm $order $arms $default $arm ($other => $body) $($rest)*)
    };
    (@else $order:ident $arms:tt $default:tt $arm:tt (_ => ()) else($other:pat) => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $order $arms $default $arm ($other => $body) $($rest)*)
    };
    (@else $order:ident $arms:tt $default:tt $arm:tt (_ => ()) else($other:pat) => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@arm $order $arms $default $arm ($other => $body) $($rest)*)
    };
    (@else $order:ident $arms:tt $default:tt $arm:tt (_ => ()) else($other:pat) => $body:expr) => {
        $crate::__select!(@arm $order $arms $default $arm ($other => $body))
    };
    (@else $order:ident $arms:tt $default:tt $arm:tt $else:tt $($rest:tt)*) => {
        $crate::__select!(@arm $order $arms $default $arm $else $($rest)*)
    };
    (@arm $order:ident ($($arms:tt)*) $default:tt ($operation:tt $pattern:tt $body:tt) $else:tt $($rest:tt)*) => {
        $crate::__select!(@parse $order ($($arms)* (source arm out $operation $pattern $body $else)) $default $($rest)*)
    };

    // The body of the default.
    (@default $order:ident $arms:tt $limit:tt $body:block, $($rest:tt)*) => {
        $crate::__select!(@parse $order $arms ($limit ($body)) $($rest)*)
    };
    (@default $order:ident $arms:tt $limit:tt $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $order $arms ($limit ($body)) $($rest)*)
    };
    (@default $order:ident $arms:tt $limit:tt $body:expr, $($rest:tt)*) => {
        $crate::__select!(@parse $order $arms ($limit ($body)) $($rest)*)
    };
    (@default $order:ident $arms:tt $limit:tt $body:expr) => {
        $crate::__select!(@parse $order $arms ($limit ($body)))
    };
    (@default $order:ident $arms:tt $limit:tt $($rest:tt)*) => {
        $crate::__macros::select_error!(body () ($($rest)*))
    };

    // The source of an arm, and the arm that is made from it. An error of types there is reported at the operand.
    (@source $source:ident (recv ($receiver:expr))) => { let $source = &$receiver; };
    (@source $source:ident (send ($sender:expr) ($message:expr))) => { let $source = (&$sender, $message); };
    (@source $source:ident (on ($operation:expr))) => { let $source = $operation; };
    (@make $source:ident (recv $receiver:tt)) => { $crate::__macros::at!($receiver $source.recv_arm()) };
    (@make $source:ident (send $sender:tt $message:tt)) => {
        $crate::__macros::at!($sender $source.0.send_arm($source.1))
    };
    (@make $source:ident (on $operation:tt)) => {
        $crate::__macros::at!($operation $crate::channel::select::is_arm($source))
    };
    (@finish $arm:ident ($name:ident $operand:tt $($message:tt)?)) => {
        $crate::__macros::at!($operand $crate::channel::select::Operation::finish($arm))
    };

    (@expand $order:ident (
        $(($source:ident $arm:ident $out:ident $operation:tt ($pattern:pat) ($body:expr) ($($else:pat => $else_body:expr)?)))*
    ) (($limit:expr) ($default:expr))) => {{
        #[allow(unused_variables, unused_mut, unused_assignments, clippy::needless_borrow, clippy::unused_unit, clippy::let_unit_value)]
        let ($($out,)*) = {
            #[allow(unused_imports)]
            use $crate::channel::select::Wrong as _;
            $($crate::__select!(@source $source $operation);)*
            let limit = $limit;
            $(let $arm = $crate::__select!(@make $source $operation);)*
            let arms: &[&dyn $crate::channel::select::Arm] = &[$(&$arm),*];
            let chosen = $crate::channel::select::run(arms, $crate::channel::select::Order::$order, limit);
            let mut number = 0_usize;
            ($({
                let is_chosen = chosen == ::core::option::Option::Some(number);
                number += 1;
                if is_chosen {
                    ::core::option::Option::Some($crate::__select!(@finish $arm $operation))
                } else {
                    ::core::option::Option::None
                }
            },)*)
        };
        $(if let ::core::option::Option::Some(value) = $out {
            match value {
                $pattern => $body,
                $(#[allow(unreachable_patterns)] $else => $else_body,)?
            }
        } else)* {
            $default
        }
    }};
}
