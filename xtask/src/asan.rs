//! `cargo xtask ci asan`: the stress program and the runtime's behaviour tests under AddressSanitizer.
//!
//! It sees what tests cannot: a use after free that happens to read what was there before. The heap only: stack
//! instrumentation keeps fake frames per OS thread, and knows nothing of a coroutine's stack. Leaks are not asked for,
//! since control blocks, schedulers and drivers live for ever by design.
//!
//! The sanitizer is a compiler option that is not stable, so the leg asks the stable compiler to take it all the same;
//! its run-time library comes with rustup's toolchain. std is the one that is shipped, without instrumentation: what it
//! does with its own blocks is not checked, but its blocks are the sanitizer's, so that misuse of them is.

use crate::run::Cargo;
use std::fs;
use std::path::Path;
use std::time::Instant;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-Zsanitizer=address -Cllvm-args=-asan-stack=0";

/// What is run: the short stress, and what borrows, cancels, shuts down and passes messages.
const RUNS: &[&[&str]] = &[
    &["-p", "silken-stress", "--test", "short"],
    &[
        "-p",
        "silken",
        "--test",
        "plain",
        "--test",
        "cancel",
        "--test",
        "channel",
        "--test",
        "timing",
        "--test",
        "sync",
        "--test",
        "interposed",
        "--",
        // They measure or fill memory, and the sanitizer has its own idea of that.
        "--skip",
        "memory::",
        "--skip",
        "allocation::",
        "--skip",
        "a_million",
        // The child of a fork inherits the sanitizer's locks as they were.
        "--skip",
        "fork::",
    ],
];

/// The outputs of the test runs.
pub fn leg(root: &Path, target_folder: &Path, profile: &str, deadline: Instant) -> Result<String, String> {
    let folder = target_folder.join("asan");
    let reports = folder.join("reports");
    let _ = fs::remove_dir_all(&reports);
    fs::create_dir_all(&reports).map_err(|error| error.to_string())?;
    // Each process notes that the sanitizer is there, which is our proof that it is; and its findings.
    let options = format!(
        "detect_leaks=0:verbosity=1:detect_stack_use_after_return=0:log_path={}",
        reports.join("asan").display()
    );
    let mut output = String::new();
    for run in RUNS {
        let words: Vec<&str> = ["test", "--profile", profile, "--target", TARGET]
            .iter()
            .chain(*run)
            .copied()
            .collect();
        let cargo = Cargo::new(root, &words)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", FLAGS)
            .env("ASAN_OPTIONS", &options)
            .env("CARGO_TARGET_DIR", &folder.to_string_lossy());
        output.push_str(&cargo.run(deadline).map_err(|reason| with_findings(&reports, reason))?);
    }
    match (read(&reports).contains("AddressSanitizer"), findings(&reports)) {
        (false, _) => Err("no process had the sanitizer in it".to_string()),
        (true, findings) if findings.is_empty() => Ok(output),
        (true, findings) => Err(findings),
    }
}

/// All that the processes have written.
fn read(reports: &Path) -> String {
    let files = fs::read_dir(reports).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The errors among it, each with what follows.
fn findings(reports: &Path) -> String {
    const LINES_MAX: usize = 60;
    let text = read(reports);
    text.lines()
        .skip_while(|line| !line.contains("ERROR: AddressSanitizer"))
        .take(LINES_MAX)
        .collect::<Vec<_>>()
        .join("\n")
}

fn with_findings(reports: &Path, reason: String) -> String {
    format!("{reason}\n{}", findings(reports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_begin_at_the_error() {
        let folder = std::env::temp_dir().join(format!("silken-asan-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("asan.1"), "==1==AddressSanitizer Init done\n").unwrap();
        assert_eq!(findings(&folder), "");
        assert!(read(&folder).contains("AddressSanitizer"));
        fs::write(
            folder.join("asan.2"),
            "noise\n==2==ERROR: AddressSanitizer: heap-use-after-free\n#0\n",
        )
        .unwrap();
        assert_eq!(
            findings(&folder),
            "==2==ERROR: AddressSanitizer: heap-use-after-free\n#0"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
