//! What ends a process, and what does not: each case runs in a child process, which is this binary again.
//!
//! A *case* is a function that runs in the child's `main`, on its main thread, and the [`End`] that the parent expects.
//! A child whose function returns says so on standard output, so that a child that never ran its case cannot pass for
//! one that did. A child that hangs fails by an alarm of its own.

mod alone;
mod attribute;
mod crash;
mod foreign;
mod limits;
mod output;
mod overflow;
mod rings;
mod segments;
#[path = "../common/signals.rs"]
mod signals;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

/// Names the case that the child is to run.
const VARIABLE: &str = "SILKEN_ABORT_CASE";
const RETURNED: &str = "the case returned";

/// The time of a processor that a child may take, after which SIGXCPU ends it. A busy machine does not make it shorter.
const PATIENCE_CPU_S: u64 = 60;
/// A child's time, after which SIGALRM ends it.
const PATIENCE_S: u32 = 600;

/// How the child ends.
#[derive(Debug)]
enum End {
    /// The case returns.
    Returns,
    /// By `exit` with this code, before the case returns.
    Exits(i32),
    /// By one of these signals.
    Signals(&'static [i32]),
}

struct Case {
    name: &'static str,
    run: fn(),
    end: End,
    /// All of these are on standard error.
    says: &'static [&'static str],
    /// None of these is.
    says_not: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    /// The child has no symbol table.
    is_stripped: bool,
}

impl Case {
    const fn new(name: &'static str, run: fn(), end: End) -> Self {
        Self {
            name,
            run,
            end,
            says: &[],
            says_not: &[],
            environment: &[],
            is_stripped: false,
        }
    }

    const fn says(mut self, texts: &'static [&'static str]) -> Self {
        self.says = texts;
        self
    }

    const fn says_not(mut self, texts: &'static [&'static str]) -> Self {
        self.says_not = texts;
        self
    }

    const fn environment(mut self, variables: &'static [(&'static str, &'static str)]) -> Self {
        self.environment = variables;
        self
    }

    const fn stripped(mut self) -> Self {
        self.is_stripped = true;
        self
    }

    fn spawn(&self) -> Output {
        let executable = std::env::current_exe().expect("this binary has a path");
        if !self.is_stripped {
            return self.spawn_of(&executable);
        }
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stripped-{}", std::process::id()));
        let status = Command::new("strip").arg("-o").args([&copy, &executable]).status();
        assert!(status.expect("strip comes with the linker").success());
        let output = self.spawn_of(&copy);
        let _ = std::fs::remove_file(copy);
        output
    }

    fn spawn_of(&self, executable: &Path) -> Output {
        let mut command = Command::new(executable);
        command
            .env_remove("SILKEN_OVERFLOW")
            .env_remove("SILKEN_GUARD_SIZE")
            .env("RUST_BACKTRACE", "0")
            .env(VARIABLE, self.name);
        command
            .envs(self.environment.iter().copied())
            .output()
            .expect("the child starts")
    }

    fn complaint(&self, child: &Output) -> Option<String> {
        let stderr = String::from_utf8_lossy(&child.stderr);
        let returned = String::from_utf8_lossy(&child.stdout).contains(RETURNED);
        let as_expected = match self.end {
            End::Returns => child.status.success() && returned,
            End::Exits(code) => child.status.code() == Some(code) && !returned,
            End::Signals(signals) => child.status.signal().is_some_and(|signal| signals.contains(&signal)),
        };
        if !as_expected {
            return Some(format!(
                "expected {:?}, got {} (returned: {returned})",
                self.end, child.status
            ));
        }
        if let Some(text) = self.says.iter().find(|text| !stderr.contains(**text)) {
            return Some(format!("nobody said {text:?}"));
        }
        let unwanted = self.says_not.iter().find(|text| stderr.contains(**text));
        unwanted.map(|text| format!("somebody said {text:?}"))
    }
}

fn run_in_child(name: &str) -> ExitCode {
    let case = cases()
        .into_iter()
        .find(|case| case.name == name)
        .expect("the parent names a case");
    let cpu = libc::rlimit {
        rlim_cur: PATIENCE_CPU_S,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: S7: alarm takes a number.
    unsafe { libc::alarm(PATIENCE_S) };
    // SAFETY: S7: a live structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CPU, &cpu) }, 0);
    (case.run)();
    println!("{RETURNED}");
    ExitCode::SUCCESS
}

fn cases() -> Vec<Case> {
    let mut cases = overflow::cases();
    cases.extend(segments::cases());
    cases.extend(crash::cases());
    cases.extend(alone::cases());
    cases.extend(foreign::cases());
    cases.extend(output::cases());
    cases.extend(attribute::cases());
    cases.extend(limits::cases());
    cases.extend(rings::cases());
    cases
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(VARIABLE) {
        return run_in_child(&name);
    }
    let mut arguments = std::env::args().skip(1);
    let (mut exact, mut list, mut filters, mut skipped) = (false, false, Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--exact" => exact = true,
            "--list" => list = true,
            "--skip" => skipped.extend(arguments.next()),
            option if option.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    let matches = |name: &str, filter: &String| {
        if exact {
            filter == name
        } else {
            name.contains(filter.as_str())
        }
    };
    let is_wanted = |name: &str| {
        (filters.is_empty() || filters.iter().any(|filter| matches(name, filter)))
            && !skipped.iter().any(|filter| matches(name, filter))
    };
    let mut failed = 0;
    for case in cases().iter().filter(|case| is_wanted(case.name)) {
        if list {
            println!("{}: test", case.name);
            continue;
        }
        let child = case.spawn();
        match case.complaint(&child) {
            None => println!("test {} ... ok", case.name),
            Some(complaint) => {
                failed += 1;
                println!("test {} ... FAILED: {complaint}", case.name);
                println!("--- its standard error:\n{}---", String::from_utf8_lossy(&child.stderr));
            }
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
