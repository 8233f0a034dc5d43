//! What are the repository's own tools? `cargo xtask ci`, `cargo xtask tidy` and `cargo xtask samples`.
//!
//! CI logic is Rust, here: what runs on the machine that decides is what runs on a developer's, and a leg that ran
//! nothing is a failure rather than a green line. What Rust code says is asked of syn, and what the workspace holds of
//! cargo_metadata; docs/DESIGN.md ("Dependencies of tests and tools") says why.

mod asan;
mod ci;
mod run;
mod samples;
mod tidy;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

    tidy                          the house rules: floors, unsafe rooms and notes, orderings, sizes, words
    samples DIR                   runs the Rust blocks of DIR's Markdown files on silken, and checks what they do
    ci [--budget-s N] [LEG …]     every leg of CI, or the named ones; N bounds the whole, in seconds";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tidy"] => print_tidy(&root()),
        ["samples", folder] => samples::run(&root(), Path::new(folder)).map(|evidence| println!("samples: {evidence}")),
        ["ci", rest @ ..] => ci::main(&root(), rest),
        _ => Err(format!("{USAGE}\n\nlegs: {}", ci::leg_names().join(", "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: the folder that holds this crate's.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the repository").to_path_buf()
}

fn print_tidy(root: &Path) -> Result<(), String> {
    tidy_leg(root).map(|evidence| println!("tidy: {evidence}"))
}

/// Runs tidy; the evidence that it ran, or every finding.
fn tidy_leg(root: &Path) -> Result<String, String> {
    let report = tidy::run(root).map_err(|error| format!("tidy cannot read the sources: {error}"))?;
    for finding in &report.findings {
        println!("{finding}");
    }
    match (report.files, report.findings.len()) {
        (0, _) => Err("tidy saw no file".to_string()),
        (files, 0) => Ok(format!("{files} files")),
        (files, count) => Err(format!("{count} findings in {files} files")),
    }
}
