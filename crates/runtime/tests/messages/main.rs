//! What does the compiler say to a user's mistake, and where does it point?
//!
//! A *case* is the body of a `main` that does not compile. All cases are the programs of one package, which is checked
//! once, in a folder of its own. The compiler's lines `file:line:column: error: message` are compared with the place of
//! the words that the case expects to be marked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A program that does not compile.
struct Case {
    name: &'static str,
    body: &'static str,
    /// The compiler points to the first of these in the body.
    marked: &'static str,
    /// And says this.
    says: &'static str,
}

const fn case(name: &'static str, body: &'static str, marked: &'static str, says: &'static str) -> Case {
    Case {
        name,
        body,
        marked,
        says,
    }
}

/// What every case has in scope: one line.
const HEAD: &str = "#![allow(unused)] fn main() { let (tx, rx) = silken::channel::unbounded::<u32>();\n";

const CASES: &[Case] = &[
    case(
        "a_receiver_of_std",
        "let (_, theirs) = std::sync::mpsc::channel::<u32>();\n\
         silken::select! {\n    recv(rx) -> _ => {},\n    recv(theirs) -> _ => {},\n}",
        "theirs) -> _",
        "cannot be in `recv(…)` or `send(…)` of a select!",
    ),
    case(
        "a_sender_of_std",
        "let (theirs, _) = std::sync::mpsc::channel::<u32>();\n\
         silken::select! {\n    recv(rx) -> _ => {},\n    send(theirs, 1) -> _ => {},\n}",
        "theirs, 1",
        "cannot be in `recv(…)` or `send(…)` of a select!",
    ),
    case(
        "a_ticker",
        "let ticker = silken::time::interval(std::time::Duration::from_secs(1));\n\
         silken::select! {\n    recv(rx) -> _ => {},\n    recv(ticker) -> _ => {},\n}",
        "ticker) -> _",
        "`Ticker` cannot be in `recv(…)` or `send(…)` of a select!",
    ),
    case(
        "a_handle",
        "let handle = silken::spawn(|| ());\n\
         silken::select! {\n    recv(rx) -> _ => {},\n    on(handle) -> () => {},\n}",
        "handle) -> ()",
        "is no arm of a select!",
    ),
    case(
        "no_channel_at_all",
        "silken::select! {\n    recv(rx) -> _ => {},\n    recv(7) -> _ => {},\n}",
        "7",
        "no method named `recv_arm`",
    ),
    case(
        "else_without_its_arm",
        "silken::select! {\n    recv(rx) -> _ => {},\n    else(_) => {},\n}",
        "else(_)",
        "when no arm is ready is `default => body`",
    ),
    case(
        "else_alone",
        "silken::select! {\n    recv(rx) -> _ => {},\n    else => {},\n}",
        "else",
        "when no arm is ready is `default => body`",
    ),
    case(
        "two_defaults",
        "silken::select! {\n    recv(rx) -> _ => {},\n    default => {},\n    default => {},\n}",
        "default => {},\n}",
        "a second `default`",
    ),
    case(
        "a_default_and_a_timeout",
        "silken::select! {\n    default => {},\n    timeout(2 * std::time::Duration::MAX) => {},\n}",
        "timeout",
        "a second `default`",
    ),
    case(
        "no_pattern",
        "silken::select! {\n    recv(rx) => {},\n}",
        "recv(rx)",
        "this arm has no pattern for its result: `recv(…) -> pattern => body`",
    ),
    case(
        "no_body",
        "silken::select! {\n    recv(rx) -> _,\n}",
        "recv(rx)",
        "this arm has no body",
    ),
    case(
        "nothing_behind_the_arrow",
        "silken::select! {\n    recv(rx) -> _ =>\n}",
        "rx) ->",
        "the arm has no body behind its `=>`",
    ),
    case(
        "two_operands",
        "silken::select! {\n    recv(rx, message) -> _ => {},\n}",
        "recv(rx, message)",
        "`recv(…)` takes one operand",
    ),
    case(
        "no_message",
        "silken::select! {\n    send(tx) -> _ => {},\n}",
        "send(tx)",
        "`send(…)` takes a sender and a message",
    ),
    case(
        "as_tokio_has_it",
        "silken::select! {\n    recv(rx) -> _ => {},\n    message = rx.recv() => {},\n}",
        "rx.recv()",
        "behind `pattern =` an arm of select! has an operation: `recv(rx)`",
    ),
    case(
        "as_go_has_it",
        "silken::select! {\n    recv(rx) -> _ => {},\n    rx.recv() => {},\n}",
        "rx.recv()",
        "expected an arm of select!: `recv(rx) -> pattern => body`",
    ),
    case(
        "no_comma",
        "silken::select! {\n    recv(rx) -> _ => drop(1)\n    send(tx, 1) -> _ => {},\n}",
        "send(tx, 1)",
        "a comma is missing before this arm",
    ),
    case(
        "an_error_of_a_loop",
        "silken::loop_select! {\n    recv(rx) -> _ => {},\n    recive(rx) -> _ => {},\n}",
        "recive(rx)",
        "expected an arm of select!",
    ),
    case(
        "a_body_of_the_wrong_type",
        "let _: u32 = silken::select! {\n    recv(rx) -> message => message.unwrap(),\n    default => \"none\",\n};",
        "\"none\"",
        "mismatched types",
    ),
    case(
        "no_type_of_error",
        "let _ = silken::try_scope(|group| {\n    group.spawn(|| { \"7\".parse::<u32>()?; Ok(()) });\n    Ok(())\n});",
        "group| {",
        "type annotations needed for `TryScope<'_, '_, _>`",
    ),
];

/// Line and column of the marked words, counted from 1, in the case's file.
fn place(case: &Case) -> (usize, usize) {
    let at = case.body.find(case.marked).expect("the words are in the body");
    let before = &case.body[..at];
    let line = HEAD.lines().count() + before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
    (line, column)
}

/// A folder for a package of its own, without programs.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(folder.join("src"));
    fs::create_dir_all(folder.join("src/bin")).unwrap();
    folder
}

/// Writes the manifest of a package that depends on silken.
fn write_manifest(folder: &Path, options: &str, more: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = format!(
        "[package]\nname = \"messages\"\nedition = \"2024\"\n\n[dependencies]\nsilken = {{ path = {root:?}{options} }}\n{more}\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    // The versions that the workspace has, and so no network.
    fs::copy(root.join("../../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// Checks the package. Returns whether it is right, and what the compiler says.
fn check(folder: &Path, arguments: &[&str], flags: &str) -> (bool, String) {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--offline", "--color=never"])
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags)
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn errors_are_where_the_mistake_is() {
    let folder = folder("messages");
    write_manifest(&folder, "", "");
    for case in CASES {
        let program = format!("{HEAD}{}\n}}\n", case.body);
        fs::write(folder.join(format!("src/bin/{}.rs", case.name)), program).unwrap();
    }
    let (_, said) = check(&folder, &["--bins", "--keep-going", "--message-format=short"], "");
    let mut wrong = Vec::new();
    for case in CASES {
        let (line, column) = place(case);
        let file = format!("src/bin/{}.rs:", case.name);
        let expected = format!("{file}{line}:{column}: error");
        let errors: Vec<&str> = said
            .lines()
            .filter(|text| text.starts_with(&file) && text.contains(": error"))
            .collect();
        let is_right = |text: &&str| text.starts_with(&expected) && text.contains(case.says);
        if errors.len() != 1 || !errors.iter().any(is_right) {
            wrong.push(format!("expected {expected}…{}\n{}", case.says, errors.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}\n\nThe compiler says:\n{said}", wrong.join("\n\n"));
}

/// The hooks need a C library that is loaded. Without them the rest can be linked statically.
#[test]
fn static_linking_is_refused_in_words() {
    let folder = folder("static");
    fs::write(folder.join("src/bin/program.rs"), "fn main() { silken::spawn(|| ()); }").unwrap();
    // With a target the flags do not concern procedural macros, which cannot be static.
    let arguments = ["--target", "x86_64-unknown-linux-gnu"];
    let flags = "-Ctarget-feature=+crt-static";
    write_manifest(&folder, "", "");
    let (right, said) = check(&folder, &arguments, flags);
    assert!(!right && said.contains("cannot be linked statically"), "{said}");
    assert!(said.contains("`default-features = false`"), "{said}");
    write_manifest(&folder, ", default-features = false", "");
    let (right, said) = check(&folder, &arguments, flags);
    assert!(right, "{said}");
}

/// Both would define the C library's functions.
#[test]
fn two_versions_are_refused_in_words() {
    let folder = folder("versions");
    fs::write(folder.join("src/bin/program.rs"), "fn main() {}").unwrap();
    let other = folder.join("other");
    fs::create_dir_all(other.join("src")).unwrap();
    fs::write(other.join("src/lib.rs"), "").unwrap();
    fs::write(other.join("build.rs"), "fn main() {}").unwrap();
    let manifest = "[package]\nname = \"silken-interpose\"\nversion = \"9.0.0\"\nedition = \"2024\"\nlinks = \"silken_interposes_libc\"\n";
    fs::write(other.join("Cargo.toml"), manifest).unwrap();
    let second = "second = { path = \"other\", package = \"silken-interpose\" }\n";
    write_manifest(&folder, "", second);
    let (right, said) = check(&folder, &[], "");
    assert!(!right && said.contains("silken_interposes_libc"), "{said}");
}
