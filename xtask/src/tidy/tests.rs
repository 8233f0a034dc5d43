//! Each rule on a good and a bad snippet, and all of them on the repository.

use super::source::Source;
use super::{Finding, check, check_file, floors, rules};

fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text))
        .iter()
        .map(|finding| finding.line)
        .collect()
}

#[track_caller]
fn assert_clean(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) {
    assert_eq!(rule(&Source::new(path, text)), vec![]);
}

#[test]
fn the_repository_is_tidy() {
    let report = super::run(&crate::root()).expect("the sources can be read");
    let text: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(report.files > 10, "only {} files seen", report.files);
    assert!(text.is_empty(), "{} findings:\n{}", text.len(), text.join("\n"));
}

#[test]
fn source_parts_code_from_comments_and_literals() {
    let text = "let a = \"unsafe // {\"; // unsafe note\n/* outer /* inner */ still */ b('{', '\\'', 'a: &'a str)\n\
                let r = r#\"x \" unsafe\n{\"#; let l: &'static str;\n";
    let source = Source::new("a.rs", text);
    assert!(!source.code().contains("unsafe"));
    assert!(source.lines[0].comment.contains("unsafe note"));
    assert_eq!(source.lines[1].code.matches('{').count(), 0);
    assert!(source.lines[1].code.contains("&'a str)"));
    assert!(source.lines[3].code.contains("&'static str"));
    assert_eq!(source.lines[3].code.matches('{').count(), 0);
}

#[test]
fn source_marks_test_items() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}\n";
    let test: Vec<bool> = Source::new("a.rs", text).lines.iter().map(|line| line.test).collect();
    assert_eq!(test, [false, true, true, true, true, false, true, true, false]);
    assert!(Source::new("a/loom_tests.rs", "fn a() {}").lines[0].test);
}

#[test]
fn floors_allow_down_and_home() {
    let good = "use crate::coroutine::park;\nuse crate::{loom::atomic, sys::{lock, clock}};\nuse super::mutex;\n\
                crate::fatal!(\"x\"); // crate::sched::worker\nlet x = crate::sync::notify::f(\"crate::hook\");\n";
    assert_clean(floors::imports, "crates/runtime/src/sync/condvar.rs", good);
    assert_clean(
        floors::imports,
        "crates/runtime/src/api/defer.rs",
        "use crate::runtime::Runtime; use crate::hook;",
    );
    assert_clean(
        floors::imports,
        "crates/runtime/src/sys/linux/futex.rs",
        "use crate::loom; use super::super::lock;",
    );
    assert_clean(floors::imports, "crates/demo/src/main.rs", "use crate::anything;");
    let macro_text = "macro_rules! m { () => { $crate::Runtime::x() } }";
    assert_clean(floors::imports, "crates/runtime/src/channel/mod.rs", macro_text);
}

#[test]
fn floors_refuse_up_and_sideways() {
    let bad = [
        ("crates/runtime/src/sync/mutex.rs", "use crate::sched::worker;"),
        (
            "crates/runtime/src/sync/mutex.rs",
            "use crate::{coroutine,\n hook::io};",
        ),
        ("crates/runtime/src/sync/mutex.rs", "use super::super::channel;"),
        ("crates/runtime/src/sync/mod.rs", "use super::channel;"),
        ("crates/runtime/src/sync/mutex.rs", "let x = crate::Runtime::new();"),
        ("crates/runtime/src/collections/ring.rs", "use crate::sys::lock;"),
        ("crates/runtime/src/sys/lock.rs", "use crate::collections::list;"),
        ("crates/runtime/src/loom.rs", "use crate::sys;"),
        ("crates/runtime/src/hook/io.rs", "use crate::inspect::snapshot;"),
        (
            "crates/runtime/src/driver/mod.rs",
            "fn f(x: &dyn crate::sched::Schedule) {}",
        ),
    ];
    for (path, text) in bad {
        assert_eq!(lines(floors::imports, path, text), [1], "{path}: {text}");
    }
    assert_eq!(lines(floors::imports, "crates/runtime/src/cellar/mod.rs", ""), [0]);
    let in_test = "#[cfg(test)]\nmod tests {\n    use super::super::helper;\n    use super::super::super::hook;\n}\n";
    assert_eq!(lines(floors::imports, "crates/runtime/src/time/sleep.rs", in_test), [4]);
}

#[test]
fn cfg_stays_in_its_rooms() {
    let text = "#[cfg(target_arch = \"x86_64\")]\nfn f() {}\n";
    for good in [
        "crates/context/src/switch/mod.rs",
        "crates/interpose/src/next.rs",
        "crates/runtime/src/sys/mod.rs",
    ] {
        assert_clean(rules::cfg_rooms, good, text);
    }
    assert_eq!(lines(rules::cfg_rooms, "crates/runtime/src/net/tcp.rs", text), [1]);
    let macro_text = "fn f() {\n    if cfg!(\n        any(target_os = \"linux\")) {}\n}";
    assert_eq!(lines(rules::cfg_rooms, "crates/demo/src/main.rs", macro_text), [2]);
    let attribute = "\n#[cfg_attr(all(a, target_os = \"linux\"), path = \"x\")]\nmod x;";
    assert_eq!(lines(rules::cfg_rooms, "crates/runtime/src/lib.rs", attribute), [2]);
    let refusal = "#[cfg(not(any(target_os = \"linux\", a)))]\ncompile_error!(\"Linux only\");\n";
    assert_clean(rules::cfg_rooms, "crates/runtime/src/lib.rs", refusal);
    assert_eq!(lines(rules::cfg_rooms, "crates/runtime/src/api/defer.rs", refusal), [1]);
    assert_clean(
        rules::cfg_rooms,
        "crates/runtime/src/net/tcp.rs",
        "#[cfg(test)] // cfg(target_os)\nmod tests;",
    );
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let text = "fn f() {\n    unsafe { g() }\n}\n";
    let good = [
        "crates/context/src/switch/x86_64.rs",
        "crates/runtime/src/sync/mutex.rs",
        "crates/runtime/src/collections/ring.rs",
        "crates/runtime/src/collections/ring/loom_tests.rs",
        "crates/runtime/src/coroutine/loom_tests.rs",
    ];
    for path in good {
        assert_clean(rules::unsafe_rooms, path, text);
    }
    let bad = [
        "crates/runtime/src/sched/monitor.rs",
        "crates/runtime/src/sched/monitor/tests.rs",
        "crates/runtime/src/offload/tests.rs",
        "crates/runtime/src/api/defer.rs",
        "crates/demo/src/main.rs",
    ];
    for path in bad {
        assert_eq!(lines(rules::unsafe_rooms, path, text), [2], "{path}");
    }
    assert_clean(
        rules::unsafe_rooms,
        "crates/demo/src/main.rs",
        "#![forbid(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";",
    );
}

#[test]
fn unsafe_notes_cite_an_obligation() {
    let path = "crates/context/src/lib.rs";
    assert_clean(rules::unsafe_notes, path, "// SAFETY: S1: we run it.\nunsafe { f() }");
    assert_clean(
        rules::unsafe_notes,
        path,
        "// SAFETY: what follows cites\n// S8 late.\nlet x =\n    unsafe { f() };",
    );
    assert_clean(
        rules::unsafe_notes,
        path,
        "// SAFETY: S2: moved by value.\nunsafe impl Send for X {}",
    );
    assert_clean(
        rules::unsafe_notes,
        path,
        "unsafe fn f() {}\nunsafe extern \"C\" {\n    fn g();\n}",
    );
    assert_eq!(lines(rules::unsafe_notes, path, "\nlet x = unsafe { f() };"), [2]);
    assert_eq!(
        lines(rules::unsafe_notes, path, "// SAFETY: fine, S99, SS1.\nunsafe { f() }"),
        [2]
    );
    assert_eq!(lines(rules::unsafe_notes, path, "unsafe impl<T> Send for X<T> {}"), [1]);
    assert_eq!(lines(rules::unsafe_notes, path, "let x = unsafe\n{ f() };"), [1]);
    let far = format!("// SAFETY: S1: far away.\n{}unsafe {{ f() }}", "\n".repeat(6));
    assert_eq!(lines(rules::unsafe_notes, path, &far), [8]);
}

#[test]
fn orderings_name_their_partner() {
    let path = "crates/runtime/src/sync/mutex.rs";
    assert_clean(
        rules::ordering_partners,
        path,
        "// Acquire: pairs with the Release in push.\na.load(Ordering::Acquire);",
    );
    assert_clean(
        rules::ordering_partners,
        path,
        "a.load(Ordering::SeqCst); // partner: the fence in wake",
    );
    assert_clean(
        rules::ordering_partners,
        path,
        "a.load(Ordering::Relaxed); x.cmp(y) == Ordering::Less;",
    );
    assert_clean(
        rules::ordering_partners,
        path,
        "#[cfg(test)]\nmod tests {\n    a.load(Ordering::SeqCst);\n}",
    );
    assert_eq!(
        lines(
            rules::ordering_partners,
            path,
            "// Why not.\na.store(1, Ordering::Release);"
        ),
        [2]
    );
    let far = format!("// pairs with x\n{}a.load(Ordering::Acquire);", "\n".repeat(4));
    assert_eq!(lines(rules::ordering_partners, path, &far), [6]);
    assert_eq!(
        lines(
            rules::ordering_partners,
            path,
            "use core::sync::atomic::Ordering::{Acquire, Relaxed};"
        ),
        [1]
    );
}

#[test]
fn orderings_have_a_loom_twin() {
    let twin = |path: &str, text: &str, others: &[&str]| rules::loom_twin(&Source::new(path, text), others).len();
    let (path, text) = ("crates/runtime/src/sync/mutex.rs", "a.load(Ordering::Relaxed);");
    assert_eq!(twin(path, text, &["crates/runtime/src/sync/loom_tests.rs"]), 0);
    assert_eq!(twin(path, text, &["crates/runtime/src/sync/mutex/loom_tests.rs"]), 0);
    assert_eq!(twin(path, text, &["crates/runtime/src/sync/rwlock/loom_tests.rs"]), 1);
    assert_eq!(twin(path, "use std::cmp::Ordering; Ordering::Less;", &[]), 0);
    assert_eq!(
        twin(path, "#[cfg(test)]\nfn t() { a.load(Ordering::Relaxed); }", &[]),
        0
    );
    assert_eq!(twin("crates/runtime/src/sys/linux/signal.rs", text, &[]), 0);
    assert_eq!(twin("crates/context/src/trap.rs", text, &[]), 0);
}

#[test]
fn files_have_a_head_and_a_size() {
    assert_clean(rules::head_essay, "a.rs", "#![no_std]\n\n//! What it is.\n");
    assert_eq!(lines(rules::head_essay, "a.rs", "use x;\n//! late\n"), [0]);
    assert_eq!(lines(rules::head_essay, "a.rs", ""), [0]);
    assert_clean(rules::file_length, "a.rs", &"\n".repeat(600));
    assert_eq!(lines(rules::file_length, "a.rs", &"\n".repeat(601)), [0]);
}

#[test]
fn functions_have_a_size() {
    let function = |body: usize| {
        format!(
            "\npub const fn f<T>(a: [u8; 4]) -> T\n{{\n{}}}\nfn g() {{}}\n",
            "x;\n".repeat(body)
        )
    };
    assert_clean(rules::function_length, "a.rs", &function(67));
    assert_eq!(lines(rules::function_length, "a.rs", &function(68)), [2]);
    let declared = format!(
        "trait T {{ fn f();\n{} fn g() {{}} }} type F = fn(u8) -> u8;",
        "\n".repeat(90)
    );
    assert_clean(rules::function_length, "a.rs", &declared);
}

#[test]
fn words_and_calls_are_banned() {
    let path = "crates/runtime/src/net/tcp.rs";
    assert_eq!(
        lines(
            rules::banned_words,
            path,
            "//! A Fiber\ntodo!();\ndbg!(x);\n// green threads\n\"fiber\""
        ),
        [1, 2, 3, 4, 5]
    );
    assert_clean(
        rules::banned_words,
        path,
        "// todo!() is for others\nlet s = \"dbg!(x)\"; mytodo!();",
    );
    let calls =
        "use std::sync::{Arc, Mutex};\nuse std::sync::Mutex;\nprintln!(\"\");\nparking_lot::f();\nthread_local! {}\n";
    let mut found = lines(rules::banned_calls, path, calls);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3, 4, 5]);
    assert_clean(
        rules::banned_calls,
        path,
        "use std::sync::Arc; eprintln!(); use crate::sync::Mutex; // println!",
    );
    assert_clean(
        rules::banned_calls,
        path,
        "#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}",
    );
    assert_clean(
        rules::banned_calls,
        "crates/runtime/src/coroutine/current.rs",
        "thread_local! {}",
    );
    assert_clean(rules::banned_calls, "crates/demo/src/main.rs", calls);
}

#[test]
fn a_file_may_breach_several_rules() {
    let source = Source::new(
        "crates/runtime/src/api/defer.rs",
        "use std::sync::Mutex;\nfn f() { unsafe { g() } }\n",
    );
    let mut found: Vec<&str> = check_file(&source).iter().map(|finding| finding.rule).collect();
    found.sort_unstable();
    assert_eq!(found, ["banned-call", "head", "safety-note", "unsafe"]);
    let shown = check(&[source])[0].to_string();
    assert!(
        shown.starts_with("crates/runtime/src/api/defer.rs:2: [unsafe]"),
        "{shown}"
    );
}

#[test]
fn a_wide_comment_is_a_finding_unless_it_cannot_be_broken() {
    let wide = "word ".repeat(30);
    let text = format!(
        "//! Head.\n/// {wide}\n/// | {wide} |\n/// ```\n/// {wide}\n/// ```\n// {}\n",
        "x".repeat(150)
    );
    assert_eq!(lines(rules::comment_width, "a.rs", &text), [2]);
}

#[test]
fn a_note_names_its_duty() {
    let bad = "// SAFETY: S2: as above.\nunsafe { f() };\n// SAFETY: S8: the caller's contract.\nunsafe { g() };\n";
    assert_eq!(lines(rules::vague_notes, "a.rs", bad), [1, 3]);
    let good = "// SAFETY: S2: the guard holds the mutex.\nunsafe { f() };\n// SAFETY: S8: the caller's contract\n// names it.\n";
    assert_clean(rules::vague_notes, "a.rs", good);
}

#[test]
fn a_module_is_not_excused_from_being_used() {
    assert_eq!(
        lines(rules::dead_modules, "a.rs", "//! Head.\n#![allow(dead_code)]\n"),
        [2]
    );
    assert_clean(
        rules::dead_modules,
        "a.rs",
        "//! Head.\n#![cfg_attr(loom, allow(dead_code))]\n",
    );
}

#[test]
fn a_type_has_one_name_in_one_room() {
    let source = |path: &str, text: &str| Source::new(path, text);
    let sources = [
        source(
            "crates/runtime/src/sync/a.rs",
            "pub(crate) struct Waiter {}\nstruct Own;\n",
        ),
        source(
            "crates/runtime/src/driver/b.rs",
            "struct Waiter<T>(T);\n#[cfg(test)]\nstruct Own;\n",
        ),
        source("crates/runtime/src/sync/c.rs", "enum Own {}\n"),
    ];
    let found: Vec<_> = super::tables::one_name_one_room(&sources)
        .into_iter()
        .filter(|finding| finding.rule == "one-name")
        .collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].message.starts_with("`Waiter`"));
}

#[test]
fn circles_are_found_through_folders_and_not_between_parent_and_child() {
    let source = |path: &str, text: &str| Source::new(&format!("crates/runtime/src/{path}"), text);
    let found = |sources: &[Source]| -> Vec<String> {
        let findings = super::circles::circles(sources);
        let circles = findings.into_iter().filter(|finding| finding.rule == "circle");
        circles.map(|finding| finding.message).collect()
    };
    let parts = [
        source(
            "a/mod.rs",
            "mod b;\nmod c;\npub use b::B;\npub(crate) use self::c::C;\n",
        ),
        source("a/b.rs", "use super::C;\nuse std::cell::Cell;\n"),
        source("a/c.rs", "fn f() -> crate::a::B { todo() }\n"),
        source("d.rs", "use crate::{a::B, sys};\n"),
    ];
    let circle = found(&parts);
    assert_eq!(circle.len(), 1);
    assert!(circle[0].ends_with("a/b, a/c"), "{circle:?}");
    let parts = [
        source("a/mod.rs", "mod b;\nuse b::B;\n"),
        source(
            "a/b.rs",
            "use super::A;\n#[cfg(test)]\nmod tests {\n    use crate::d::D;\n}\n",
        ),
        source("d.rs", "use crate::a::b::B;\n"),
    ];
    assert_eq!(found(&parts), [""; 0]);
}

#[test]
fn a_use_tree_hides_nothing_however_deep() {
    let path = "crates/runtime/src/sync/mutex.rs";
    let nested =
        "use std::{\n    fmt,\n    sync::{Arc, Mutex as Lock},\n};\nuse crate::{sys::{clock}, coroutine::{self}};\n";
    assert_eq!(lines(rules::banned_calls, path, nested), [1]);
    assert_clean(floors::imports, path, nested);
    let nested = "use crate::{coroutine::{park, core::{Core}}, sched::{self}};";
    assert_eq!(lines(floors::imports, path, nested), [1]);
    assert_eq!(lines(rules::banned_calls, path, "extern crate parking_lot;"), [1]);
    let in_macro = "macro_rules! m {\n    () => {\n        use crate::{hook::io, sys};\n    };\n}\n";
    assert_eq!(lines(floors::imports, path, in_macro), [3]);
}

#[test]
fn super_climbs_from_the_module_that_it_stands_in() {
    let path = "crates/runtime/src/sync/mutex.rs";
    let nested = "mod inner {\n    use super::super::super::hook;\n    use super::super::notify;\n}\n";
    assert_eq!(lines(floors::imports, path, nested), [2]);
    let spaced = "fn f() {\n    super :: super :: channel::x();\n}\n";
    assert_eq!(lines(floors::imports, path, spaced), [2]);
}

#[test]
fn an_ordering_cannot_be_hidden_by_its_import() {
    let path = "crates/runtime/src/sync/mutex.rs";
    for hidden in [
        "use std::sync::atomic::Ordering::SeqCst;",
        "use std::sync::atomic::{AtomicBool, Ordering::{self, Release}};",
        "use std::sync::atomic::Ordering as O;",
        "use std::sync::atomic::Ordering::*;",
    ] {
        assert_eq!(lines(rules::ordering_partners, path, hidden), [1], "{hidden}");
    }
    assert_clean(
        rules::ordering_partners,
        path,
        "use std::cmp::Ordering::{self, Equal, Less};\nuse std::cmp::Ordering as Order;\n",
    );
    let wrapped = "fn f() {\n    x.store(\n        1,\n        Ordering::\n            Release,\n    );\n}\n";
    assert_eq!(lines(rules::ordering_partners, path, wrapped), [4]);
}

#[test]
fn a_test_attribute_covers_what_it_stands_on_and_no_more() {
    let path = "crates/runtime/src/sync/mutex.rs";
    let text = "struct S {\n    #[cfg(test)]\n    seen: u32,\n    word: u32,\n}\n\
                impl S {\n    fn f(&self) { self.word.load(Ordering::Acquire); }\n}\n";
    assert_eq!(lines(rules::ordering_partners, path, text), [7]);
    let spelled = |attribute: &str| format!("{attribute}\nfn f() {{ x.load(Ordering::Acquire); }}\n");
    for test in [
        "#[ cfg( test ) ]",
        "#[cfg(all(unix, test))]",
        "#[cfg(any(test, all(test, unix)))]",
    ] {
        assert_clean(rules::ordering_partners, path, &spelled(test));
    }
    for other in ["#[cfg(any(test, unix))]", "#[cfg(not(test))]", "#[cfg(testing)]"] {
        assert_eq!(lines(rules::ordering_partners, path, &spelled(other)), [2], "{other}");
    }
}

#[test]
fn braces_before_the_body_are_not_the_body() {
    let function = |body: usize| {
        format!(
            "fn f(_: A<{{ 1 }}>) -> B<{{ 2 }}>\nwhere\n    [(); {{ 3 }}]:,\n{{\n{}}}\n",
            "x;\n".repeat(body)
        )
    };
    assert_clean(rules::function_length, "a.rs", &function(65));
    assert_eq!(lines(rules::function_length, "a.rs", &function(66)), [1]);
    let in_macro = format!("m! {{\n    fn $name() {{\n{}}}\n}}\n", "x;\n".repeat(69));
    assert_eq!(lines(rules::function_length, "a.rs", &in_macro), [2]);
}

#[test]
fn unsafe_is_found_wherever_it_stands() {
    let path = "crates/context/src/lib.rs";
    let far = "let x = unsafe\n\n// Why not.\n{ f() };";
    assert_eq!(lines(rules::unsafe_notes, path, far), [1]);
    let in_macro = "macro_rules! m { () => {\n    unsafe { f() }\n} }\n";
    assert_eq!(lines(rules::unsafe_notes, path, in_macro), [2]);
    assert_clean(
        rules::unsafe_notes,
        path,
        "type F = unsafe fn();\n#[unsafe(no_mangle)]\nfn f() {}\n",
    );
}

#[test]
fn types_and_modules_are_found_behind_their_attributes() {
    let sources = [
        Source::new(
            "crates/runtime/src/sync/a.rs",
            "#[repr(C)] pub(in crate::sync) struct Waiter;\n",
        ),
        Source::new("crates/runtime/src/driver/b.rs", "pub  union  Waiter { a: u8 }\n"),
    ];
    let findings = super::tables::one_name_one_room(&sources);
    assert!(findings.iter().any(|finding| finding.message.starts_with("`Waiter`")));
    let text = "#[allow(dead_code)]\nmod a;\nmod b {\n    #![expect(unused)]\n}\n#[allow(dead_code)]\nfn f() {}\n";
    assert_eq!(lines(rules::dead_modules, "a.rs", text), [1, 4]);
}

#[test]
fn a_file_that_is_no_rust_is_a_finding() {
    assert_eq!(lines(rules::parses, "a.rs", "fn f() {}\nfn g( {}\n"), [2]);
    assert_eq!(lines(rules::parses, "a.rs", "fn f() {}\n}\n"), [2]);
    assert_clean(rules::parses, "a.rs", "//! Head.\nfn f() {}\n");
}

#[test]
fn circles_are_found_in_every_crate_and_through_new_names() {
    let circle = |root: &str| {
        let sources = [
            Source::new(&format!("{root}a/mod.rs"), "mod b;\nmod c;\npub use b::B as Renamed;\n"),
            Source::new(&format!("{root}a/b.rs"), "use super::c::C;\n"),
            Source::new(&format!("{root}a/c.rs"), "use super::Renamed;\n"),
        ];
        let findings = super::circles::circles(&sources);
        findings.iter().filter(|finding| finding.rule == "circle").count()
    };
    // A private import is open to the files of the folder.
    let private = [
        Source::new("stress/src/a/mod.rs", "mod b;\nmod c;\nuse b::B;\nuse c::C;\n"),
        Source::new("stress/src/a/b.rs", "use super::C;\n"),
        Source::new("stress/src/a/c.rs", "use super::B;\n"),
    ];
    let findings = super::circles::circles(&private);
    assert_eq!(findings.iter().filter(|finding| finding.rule == "circle").count(), 1);
    for root in ["crates/runtime/src/", "benches/src/", "xtask/src/", "stress/src/"] {
        assert_eq!(circle(root), 1, "{root}");
    }
    let inline = [
        Source::new("stress/src/a.rs", "mod inner {\n    use super::super::b::B;\n}\n"),
        Source::new("stress/src/b.rs", "use crate::a::A;\n"),
    ];
    let findings = super::circles::circles(&inline);
    assert_eq!(findings.iter().filter(|finding| finding.rule == "circle").count(), 1);
}
