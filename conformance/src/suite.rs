//! What makes tests of the table.
//!
//! Cases that a kind does not promise are left out rather than ignored, so that the counts mean something.

use crate::Executor;

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Case {
    /// The module of the case.
    pub topic: &'static str,
    /// Its function.
    pub name: &'static str,
    /// What it needs from a unit: `any`, `identity`, `coroutine` or `isolated`.
    pub needs: &'static str,
    /// The case itself.
    pub run: fn(&dyn Executor),
}

/// Makes a module per topic and a `#[test]` per case for a kind: `suite!(threads, Kind::Threads)`.
#[macro_export]
macro_rules! suite {
    ($tag:ident, $kind:expr) => {
        $crate::for_each_case! { {$crate::__suite} ($tag $kind) }
        $crate::for_each_own_case! { {$crate::__suite} ($tag $kind) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    (($tag:ident $kind:expr) $($topic:ident { $($needs:ident $name:ident;)* })*) => {
        $(mod $topic {
            $($crate::__test! { $tag $needs $topic $name ($kind) })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    (threads coroutine $($rest:tt)*) => {};
    (threads isolated $($rest:tt)*) => {};
    (mixed coroutine $($rest:tt)*) => {};
    (mixed isolated $($rest:tt)*) => {};
    (light identity $($rest:tt)*) => {};
    (light isolated $($rest:tt)*) => {};
    ($tag:ident $needs:ident $topic:ident $name:ident ($kind:expr)) => {
        #[test]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            $crate::harness::run($kind, path, $crate::cases::$topic::$name);
        }
    };
}

macro_rules! table {
    (($name_of_table:ident) $($topic:ident { $($needs:ident $name:ident;)* })*) => {
        static $name_of_table: &[Case] = &[$($(Case {
            topic: stringify!($topic),
            name: stringify!($name),
            needs: stringify!($needs),
            run: crate::cases::$topic::$name,
        },)*)*];
    };
}

for_each_case! { {table} (FOREIGN) }
for_each_own_case! { {table} (OWN) }

/// Every case.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    FOREIGN.iter().chain(OWN)
}
