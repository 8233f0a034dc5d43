//! What do the attributes expand to, and what do they refuse? The tests compare token text.
//!
//! Streams are compared as strings. The same printer sets the spacing on both sides, so only the tokens count.

use crate::expand::{Kind, expand};
use proc_macro2::TokenStream;
use quote::quote;

#[track_caller]
fn assert_expands(kind: Kind, options: TokenStream, item: TokenStream, expected: TokenStream) {
    assert_eq!(expand(kind, options, item).to_string(), expected.to_string());
}

/// Asserts that `fn main` with these options is refused with a message that contains every part.
#[track_caller]
fn assert_option_error(options: &str, parts: &[&str]) {
    assert_error(Kind::Main, options, "fn main() {}", parts);
}

#[track_caller]
fn assert_error(kind: Kind, options: &str, item: &str, parts: &[&str]) {
    let expanded = expand(kind, options.parse().unwrap(), item.parse().unwrap()).to_string();
    assert!(expanded.contains("compile_error"), "accepted: {expanded}");
    for part in parts {
        assert!(expanded.contains(part), "{part:?} is not in {expanded}");
    }
}

/// Returns the builder call to which these options of `fn main` expand.
#[track_caller]
fn assert_builder(options: &str, calls: TokenStream) {
    assert_expands(
        Kind::Main,
        options.parse().unwrap(),
        quote!(
            fn main() {}
        ),
        quote! {
            fn main() { ::silken::__macros::run_main(::silken::Runtime::builder() #calls, move || -> () {},) }
        },
    );
}

#[test]
fn main_without_options() {
    assert_expands(
        Kind::Main,
        quote!(),
        quote!(
            fn main() {
                work();
            }
        ),
        quote! {
            fn main() {
                ::silken::__macros::run_main(::silken::Runtime::builder(), move || -> () { work(); },)
            }
        },
    );
}

#[test]
fn main_with_every_option_in_the_order_of_the_builder() {
    assert_builder(
        r#"grace = "2s", name = "ingest", stack_size = "256KiB", workers = 4,"#,
        quote! {
            .workers(4usize).stack_size(262144usize).name("ingest").grace(::core::time::Duration::from_millis(2000u64))
        },
    );
    assert_builder(
        r#"grace = "250 ms""#,
        quote!(.grace(::core::time::Duration::from_millis(250u64))),
    );
}

#[test]
fn a_grace_without_its_unit_is_refused() {
    for option in ["grace = 2", "grace = \"2\"", "grace = \"2h\"", "grace = \"\""] {
        assert_option_error(option, &["grace"]);
    }
}

#[test]
fn light_is_an_unsafe_call() {
    assert_expands(
        Kind::Main,
        quote!(workers = 2, light = unsafe, name = "ingest"),
        quote!(
            fn main() {}
        ),
        quote! {
            fn main() {
                ::silken::__macros::run_main(
                    // SAFETY: S12 is the user's to answer for: here the words are compared, and nothing is called.
                    {
                        #[allow(clippy::undocumented_unsafe_blocks)]
                        let light = unsafe { ::silken::Runtime::builder().workers(2usize).name("ingest").light() };
                        light
                    },
                    move || -> () {},
                )
            }
        },
    );
    assert_expands(
        Kind::Test,
        quote!(light = unsafe),
        quote!(
            fn shares() {}
        ),
        quote! {
            #[::core::prelude::v1::test]
            fn shares() {
                // SAFETY: S12: this test keeps nothing in thread-locals over a wait.
                ::silken::__macros::run_test(
                    {
                        #[allow(clippy::undocumented_unsafe_blocks)]
                        let light = unsafe { ::silken::Runtime::builder().light() };
                        light
                    },
                    move || -> () {},
                )
            }
        },
    );
}

#[test]
fn light_without_the_word_is_refused() {
    for option in [
        "light",
        "light =",
        "light = true",
        "light = \"unsafe\"",
        "light(unsafe)",
        "light, workers = 1",
    ] {
        assert_option_error(
            option,
            &["`light` is written `light = unsafe`", "RuntimeBuilder::light"],
        );
    }
    assert_option_error("light = unsafe, light = unsafe", &["option `light` is given twice"]);
}

#[test]
fn return_type_visibility_and_attributes_stay() {
    assert_expands(
        Kind::Main,
        quote!(workers = 1),
        quote! {
            /// Serves.
            #[allow(dead_code)]
            pub(crate) fn main() -> Result<(), Fault> {
                #![allow(unused)]
                serve()?;
                Ok(())
            }
        },
        quote! {
            /// Serves.
            #[allow(dead_code)]
            pub(crate) fn main() -> ::std::process::ExitCode {
                #![allow(unused)]
                ::silken::__macros::report_main(
                    ::silken::Runtime::builder().workers(1usize),
                    move || -> Result<(), Fault> { serve()?; Ok(()) },
                )
            }
        },
    );
}

#[test]
fn impl_trait_return_is_left_to_inference() {
    assert_expands(
        Kind::Main,
        quote!(),
        quote!(
            fn main() -> impl Termination {
                ExitCode::SUCCESS
            }
        ),
        quote! {
            fn main() -> ::std::process::ExitCode {
                ::silken::__macros::report_main(::silken::Runtime::builder(), move || { ExitCode::SUCCESS },)
            }
        },
    );
}

#[test]
fn test_becomes_a_test_and_keeps_its_attributes() {
    assert_expands(
        Kind::Test,
        quote!(workers = 2),
        quote! {
            #[should_panic(expected = "late")]
            #[ignore]
            fn late() { panic!("late") }
        },
        quote! {
            #[::core::prelude::v1::test]
            #[should_panic(expected = "late")]
            #[ignore]
            fn late() {
                ::silken::__macros::run_test(
                    ::silken::Runtime::builder().workers(2usize),
                    move || -> () { panic!("late") },
                )
            }
        },
    );
}

/// Asserts that a test with this limit passes this expression, and this word about `should_panic`.
#[track_caller]
fn assert_limit(timeout: &str, attributes: TokenStream, duration: TokenStream, panics: bool) {
    assert_expands(
        Kind::Test,
        format!("workers = 1, timeout = {timeout}").parse().unwrap(),
        quote! {
            #attributes
            fn hangs() {}
        },
        quote! {
            #[::core::prelude::v1::test]
            #attributes
            fn hangs() {
                ::silken::__macros::run_test_within(
                    ::silken::__macros::TestLimit {
                        name: ::core::concat!(::core::module_path!(), "::", "hangs"),
                        duration: #duration,
                        is_to_panic: #panics,
                    },
                    ::silken::Runtime::builder().workers(1usize),
                    move || -> () {},
                )
            }
        },
    );
}

#[test]
fn limits_of_tests() {
    let ms = |count: u64| quote!(::core::time::Duration::from_millis(#count));
    for (text, count) in [
        ("\"500ms\"", 500),
        ("\"10s\"", 10_000),
        ("\"10 s\"", 10_000),
        ("\"2m\"", 120_000),
        ("\"2min\"", 120_000),
    ] {
        assert_limit(text, quote!(), ms(count), false);
    }
    assert_limit(
        "Duration::from_secs(3)",
        quote!(),
        quote!(Duration::from_secs(3)),
        false,
    );
    assert_limit("LIMIT", quote!(), quote!(LIMIT), false);
    assert_limit("2 * LIMIT", quote!(), quote!(2 * LIMIT), false);
    // The comma between generic arguments ends no option, and blocks need no comma.
    assert_limit("pair::<u8, u16>(1, 2)", quote!(), quote!(pair::<u8, u16>(1, 2)), false);
    assert_limit(
        "if SLOW { LONG } else { SHORT }",
        quote!(),
        quote!(if SLOW { LONG } else { SHORT }),
        false,
    );
    let options = quote!(
        timeout = {
            let ms = 5;
            limit(ms)
        },
        workers = 2
    );
    let expanded = expand(
        Kind::Test,
        options,
        quote!(
            fn hangs() {}
        ),
    )
    .to_string();
    assert!(
        expanded.contains("duration : { let ms = 5 ; limit (ms) } ,"),
        "{expanded}"
    );
    assert!(expanded.contains(". workers (2usize)"), "{expanded}");
    assert_limit("\"1s\"", quote!(#[should_panic]), ms(1_000), true);
    assert_limit("\"1s\"", quote!(#[should_panic(expected = "x")]), ms(1_000), true);
}

#[test]
fn a_test_with_a_limit_may_return_something() {
    assert_expands(
        Kind::Test,
        quote!(timeout = "1s"),
        quote!(
            fn tries() -> Result<(), Fault> {
                Ok(())
            }
        ),
        quote! {
            #[::core::prelude::v1::test]
            fn tries() -> ::std::process::ExitCode {
                ::silken::__macros::report_test_within(
                    ::silken::__macros::TestLimit {
                        name: ::core::concat!(::core::module_path!(), "::", "tries"),
                        duration: ::core::time::Duration::from_millis(1000u64),
                        is_to_panic: false,
                    },
                    ::silken::Runtime::builder(),
                    move || -> Result<(), Fault> { Ok(()) },
                )
            }
        },
    );
}

#[test]
fn limits_refused() {
    for text in ["10", "\"10\"", "\"0s\"", "\"\"", "\"10h\"", "1.5", "\"1.5s\"", ""] {
        assert_error(
            Kind::Test,
            &format!("timeout = {text}"),
            "fn hangs() {}",
            &["`timeout` takes a time with its unit"],
        );
    }
    assert_option_error("timeout = \"10s\"", &["`timeout` is an option of `#[silken::test]`"]);
}

#[test]
fn crate_path_plain_and_quoted() {
    let expected = quote! {
        fn main() { other::silken::__macros::run_main(other::silken::Runtime::builder(), move || -> () {},) }
    };
    assert_expands(
        Kind::Main,
        quote!(crate = other::silken),
        quote!(
            fn main() {}
        ),
        expected.clone(),
    );
    assert_expands(
        Kind::Main,
        quote!(crate = "other::silken"),
        quote!(
            fn main() {}
        ),
        expected,
    );
    let own = quote! {
        fn main() { crate::__macros::run_main(crate::Runtime::builder(), move || -> () {},) }
    };
    assert_expands(
        Kind::Main,
        quote!(crate = crate),
        quote!(
            fn main() {}
        ),
        own,
    );
}

#[test]
fn stack_sizes() {
    let cases = [
        ("65536", 65536usize),
        ("0x1_0000", 65536),
        ("65536usize", 65536),
        ("64k", 65536),
        ("64KiB", 65536),
        ("\"65536\"", 65536),
        ("\"64k\"", 65536),
        ("\"64K\"", 65536),
        ("\"64KiB\"", 65536),
        ("\"64 KiB\"", 65536),
        ("\"2m\"", 2 << 20),
        ("\"2MiB\"", 2 << 20),
    ];
    for (text, bytes) in cases {
        assert_builder(&format!("stack_size = {text}"), quote!(.stack_size(#bytes)));
    }
}

#[test]
fn stack_sizes_refused() {
    for text in [
        "0",
        "\"\"",
        "\"KiB\"",
        "\"64KB\"",
        "64u8",
        "\"-1\"",
        "1.5",
        "true",
        "\"1.5MiB\"",
        "size()",
    ] {
        assert_option_error(&format!("stack_size = {text}"), &["`stack_size` takes bytes"]);
    }
    assert_option_error("stack_size = \"18446744073709551615k\"", &["`stack_size` takes bytes"]);
    assert_option_error("stack_size =", &["`stack_size` takes bytes"]);
}

#[test]
fn workers_refused() {
    for text in ["0", "\"4\"", "-1", "4u8", "count()"] {
        assert_option_error(
            &format!("workers = {text}"),
            &["`workers` takes an integer literal of at least 1"],
        );
    }
}

#[test]
fn names_refused() {
    assert_option_error("name = 4", &["`name` takes a string literal"]);
    assert_option_error(r#"name = "a\0b""#, &["`name` takes a string literal"]);
}

#[test]
fn unknown_and_repeated_options_are_named() {
    assert_option_error(
        "worker = 4",
        &[
            "unknown option `worker`",
            "`workers`, `stack_size`, `light`, `name`, `grace`, `crate`, and for tests `timeout`",
        ],
    );
    assert_option_error("multi_thread", &["unknown option `multi_thread`"]);
    assert_option_error("workers = 1, workers = 2", &["option `workers` is given twice"]);
    assert_option_error("workers = 1 name = \"x\"", &["expected `,`"]);
    assert_option_error("workers", &["expected `=`"]);
}

#[test]
fn functions_refused() {
    let cases = [
        ("async fn main() {}", "takes no `async fn`"),
        ("const fn main() {}", "takes no `const fn`"),
        ("unsafe fn main() {}", "takes no `unsafe fn`"),
        ("extern \"C\" fn main() {}", "takes no `extern fn`"),
        ("fn main<T>() {}", "takes no generic function"),
        ("fn main<'a>() {}", "takes no generic function"),
        ("fn main() where (): Copy {}", "takes no `where` clause"),
        ("fn main(count: usize) {}", "takes no function with arguments"),
        ("fn start() {}", "goes on `fn main`"),
        ("struct Main;", "goes on a function with a body"),
        ("fn main();", "goes on a function with a body"),
    ];
    for (item, message) in cases {
        assert_error(Kind::Main, "", item, &[message, "#[silken::main]", "fn main () { }"]);
    }
    assert_error(
        Kind::Test,
        "",
        "fn takes(count: usize) {}",
        &["takes no function with arguments", "#[silken::test]"],
    );
}

#[test]
fn every_fault_of_a_signature_is_told_at_once() {
    assert_error(
        Kind::Main,
        "",
        "async fn main<T>(value: T) {}",
        &["`async fn`", "generic", "arguments"],
    );
}

#[test]
fn second_test_attribute_is_refused() {
    assert_error(Kind::Test, "", "#[test] fn twice() {}", &["second test attribute"]);
    assert_error(
        Kind::Test,
        "",
        "#[silken::test] fn twice() {}",
        &["second test attribute"],
    );
}
