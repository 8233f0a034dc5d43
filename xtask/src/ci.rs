//! Which legs does `cargo xtask ci` have, and what proves that each of them ran?
//!
//! A leg is a function that returns its *evidence* (how many tests passed, how many crates were linted) or the reason
//! why it failed. A leg without evidence fails: a filter that matches nothing, a crate that dropped out of the
//! workspace or a test binary that was renamed would otherwise stay green for years. All legs run even when one fails,
//! so that a single run tells everything; the cheap ones come first. The table at the end is the result.
//!
//! The whole has a time budget. A leg may use what is left of it, and is killed at its end.

use crate::run::Cargo;
use crate::workspace;
use cargo_metadata::{Message, PackageId};
use std::path::Path;
use std::time::{Duration, Instant};

/// Optimised, without the minutes that link-time optimisation takes.
const PROFILE: &str = "ci";
/// What the demo is run with: small enough for two cores, large enough to park coroutines in earnest.
const DEMO: &[&str] = &[
    "run",
    "--profile",
    PROFILE,
    "--",
    "--connections",
    "100",
    "--requests",
    "2000",
    "--parked",
    "10000",
];
/// What the benchmarks are run with: some of each kind, to see that they run, not to measure.
const BENCH: &[&str] = &[
    "run",
    "--profile",
    PROFILE,
    "-p",
    "silken-benches",
    "--",
    "--quick",
    "--coroutines",
    "100000",
    "yield/light",
    "spawn_join/isolated",
    "memory",
    "timers/two",
    "mutex/one",
    "channel/capacity-1/one",
    "lock/one",
    "select",
    "cancel",
    "echo/100",
];
/// The runtime's crates, whose tests also run optimised: what the optimiser may reorder is what they are about.
const RELEASE_TESTS: &[&str] = &[
    "test",
    "--profile",
    PROFILE,
    "-p",
    "silken",
    "-p",
    "silken-context",
    "-p",
    "silken-interpose",
    "-p",
    "silken-conformance",
];
const LOOM: &[&str] = &["test", "-p", "silken", "--profile", PROFILE, "--lib", "loom"];
/// What unwinds, with the optimisation of the release profile, which every other leg goes without: it sees declarations
/// of all crates at a time.
const LTO: &[&str] = &["test", "-p", "silken", "--release", "--test", "cancel"];
/// Deep enough for every bug that the literature on bounded search reports, shallow enough for each commit.
const LOOM_PREEMPTIONS_MAX: &str = "2";
/// The budget when none is given, in seconds.
const BUDGET_S: u64 = 2400;

/// What a leg works with.
struct Context<'a> {
    root: &'a Path,
    deadline: Instant,
}

/// The evidence, or the reason.
type Outcome = Result<String, String>;

struct Leg {
    name: &'static str,
    run: fn(&Context) -> Outcome,
}

const LEGS: &[Leg] = &[
    Leg {
        name: "tidy",
        run: |context| crate::tidy_leg(context.root),
    },
    Leg { name: "fmt", run: fmt },
    Leg {
        name: "clippy",
        run: clippy,
    },
    Leg { name: "doc", run: doc },
    Leg {
        name: "features",
        run: features,
    },
    Leg {
        name: "release-tests",
        run: release_tests,
    },
    Leg {
        name: "samples",
        run: |context| crate::samples::leg(context.root),
    },
    Leg {
        name: "demo",
        run: demo,
    },
    Leg {
        name: "preempt",
        run: preempt,
    },
    Leg {
        name: "bench",
        run: bench,
    },
    Leg {
        name: "abort",
        run: abort,
    },
    Leg { name: "lto", run: lto },
    Leg {
        name: "asan",
        run: asan,
    },
    Leg {
        name: "loom",
        run: loom,
    },
];

/// Every leg's name, in order.
pub fn leg_names() -> Vec<&'static str> {
    LEGS.iter().map(|leg| leg.name).collect()
}

/// Runs the legs that `words` name, or all.
pub fn main(root: &Path, words: &[&str]) -> Result<(), String> {
    let (budget_s, legs) = select(words)?;
    let start = Instant::now();
    let context = Context {
        root,
        deadline: start + Duration::from_secs(budget_s),
    };
    let mut rows = Vec::new();
    for leg in legs {
        println!("\n== {}", leg.name);
        let leg_start = Instant::now();
        let outcome = (leg.run)(&context);
        let seconds = leg_start.elapsed().as_secs_f64();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("== {}: {word} in {seconds:.1} s", leg.name);
        rows.push((leg.name, seconds, outcome));
    }
    println!("\n{}", table(&rows, start.elapsed().as_secs_f64()));
    match rows.iter().filter(|(_, _, outcome)| outcome.is_err()).count() {
        0 => Ok(()),
        failed => Err(format!("ci: {failed} of {} legs failed", rows.len())),
    }
}

fn select(words: &[&str]) -> Result<(u64, Vec<&'static Leg>), String> {
    let (budget_s, names) = match words {
        ["--budget-s", seconds, names @ ..] => (
            seconds
                .parse()
                .map_err(|_| format!("--budget-s takes seconds, not `{seconds}`"))?,
            names,
        ),
        names => (BUDGET_S, names),
    };
    if names.is_empty() {
        return Ok((budget_s, LEGS.iter().collect()));
    }
    let find = |name: &&str| {
        let unknown = || format!("no leg `{name}`; there are {}", leg_names().join(", "));
        LEGS.iter().find(|leg| leg.name == *name).ok_or_else(unknown)
    };
    Ok((budget_s, names.iter().map(find).collect::<Result<_, _>>()?))
}

fn table(rows: &[(&str, f64, Outcome)], total_s: f64) -> String {
    let mut text = format!("{:<14} {:<7} {:>8}  evidence\n", "leg", "result", "seconds");
    for (name, seconds, outcome) in rows {
        let (word, evidence) = match outcome {
            Ok(evidence) => ("ok", evidence),
            Err(reason) => ("FAILED", reason),
        };
        text.push_str(&format!("{name:<14} {word:<7} {seconds:>8.1}  {evidence}\n"));
    }
    text.push_str(&format!("{:<14} {:<7} {total_s:>8.1}\n", "total", ""));
    text
}

fn fmt(context: &Context) -> Outcome {
    // Verbose, as rustfmt is silent about files that it found in order.
    let output = Cargo::new(context.root, &["fmt", "--all", "--", "--check", "--verbose"])
        .quiet()
        .run(context.deadline);
    let output = output.map_err(|reason| format!("{reason}; run `cargo fmt --all`"))?;
    let files = output.lines().filter(|line| line.starts_with("Formatting ")).count();
    at_least_one(files, "files formatted as they should be")
}

fn clippy(context: &Context) -> Outcome {
    let words = [
        "clippy",
        "--workspace",
        "--all-targets",
        ARTIFACTS,
        "--",
        "-D",
        "warnings",
    ];
    let output = Cargo::new(context.root, &words).quiet().run(context.deadline)?;
    every_member(context.root, &output, "targets linted")
}

fn doc(context: &Context) -> Outcome {
    let words = ["doc", "--workspace", "--all-features", "--no-deps", ARTIFACTS];
    let cargo = Cargo::new(context.root, &words)
        .env("RUSTDOCFLAGS", "-D warnings")
        .quiet();
    let output = cargo.run(context.deadline)?;
    every_member(context.root, &output, "targets documented")
}

fn features(context: &Context) -> Outcome {
    let workspace = workspace::of(context.root)?;
    let mut packages = workspace.packages.iter();
    let silken = packages
        .find(|package| package.name == "silken")
        .ok_or("no package silken")?;
    let names: Vec<&str> = silken
        .features
        .keys()
        .map(String::as_str)
        .filter(|name| *name != "default")
        .collect();
    if names.is_empty() {
        return Err("silken has no features: the leg looks in the wrong place".to_string());
    }
    let base = ["check", "-p", "silken", ARTIFACTS];
    let mut combinations: Vec<Vec<&str>> = vec![vec!["--no-default-features"], vec!["--all-features"]];
    combinations.extend(
        names
            .iter()
            .map(|name| vec!["--no-default-features", "--features", name]),
    );
    for combination in &combinations {
        let words: Vec<&str> = base.iter().chain(combination).copied().collect();
        let output = Cargo::new(context.root, &words).quiet().run(context.deadline)?;
        if artifacts_of(&output, &silken.id) == 0 {
            return Err(format!("silken was not checked with {}", combination.join(" ")));
        }
    }
    // silken's sockets and files wait without hooks, and nothing else of what runs in CI is without them.
    let words = [
        "test",
        "-p",
        "silken",
        "--no-default-features",
        "--test",
        "net",
        "--test",
        "fs",
    ];
    let tests = passed(&Cargo::new(context.root, &words).run(context.deadline)?);
    at_least_one(tests, "tests passed without hooks")?;
    at_least_one(
        combinations.len(),
        "combinations, and the tests of sockets and files without hooks",
    )
}

fn release_tests(context: &Context) -> Outcome {
    let output = Cargo::new(context.root, RELEASE_TESTS).run(context.deadline)?;
    at_least_one(passed(&output), "tests passed")
}

fn loom(context: &Context) -> Outcome {
    // A target folder of its own, else each switch of RUSTFLAGS would build the world again.
    let target = workspace::target_folder(context.root)?.join("loom");
    let cargo = Cargo::new(context.root, LOOM)
        .env("RUSTFLAGS", "--cfg loom")
        .env("LOOM_MAX_PREEMPTIONS", LOOM_PREEMPTIONS_MAX)
        .env("CARGO_TARGET_DIR", &target.to_string_lossy());
    at_least_one(passed(&cargo.run(context.deadline)?), "models passed")
}

/// A program that cannot unwind comes to its end, with coroutines parked.
fn abort(context: &Context) -> Outcome {
    let words = [
        "run",
        "--quiet",
        "-p",
        "silken-examples",
        "--bin",
        "left_behind",
        "--profile",
        "abort",
    ];
    let output = Cargo::new(context.root, &words).run(context.deadline)?;
    let end = "main returns; the others stay";
    match output.contains(end) && !output.contains("goodbye") {
        true => Ok(end.to_string()),
        false => Err(format!("it said {output:?}")),
    }
}

fn lto(context: &Context) -> Outcome {
    at_least_one(
        passed(&Cargo::new(context.root, LTO).run(context.deadline)?),
        "tests passed with link-time optimisation",
    )
}

fn asan(context: &Context) -> Outcome {
    let output = crate::asan::leg(
        context.root,
        &workspace::target_folder(context.root)?,
        PROFILE,
        context.deadline,
    )?;
    at_least_one(passed(&output), "tests passed under AddressSanitizer")
}

fn demo(context: &Context) -> Outcome {
    said_something(&Cargo::new(context.root, DEMO).run(context.deadline)?)
}

/// Half a minute each of an optimised build and of one that checks its own locks.
fn preempt(context: &Context) -> Outcome {
    let mut evidence = Vec::new();
    for profile in [PROFILE, "dev"] {
        let words = [
            "run",
            "--profile",
            profile,
            "-p",
            "silken-stress",
            "--bin",
            "preempt",
            "--",
            "--seconds",
            "30",
        ];
        let output = Cargo::new(context.root, &words).run(context.deadline)?;
        evidence.extend(output.lines().last().map(String::from));
    }
    said_something(&evidence.join("; "))
}

fn bench(context: &Context) -> Outcome {
    said_something(&Cargo::new(context.root, BENCH).run(context.deadline)?)
}

/// Makes cargo say on stdout what it checked (fresh or not), while diagnostics stay readable on stderr.
const ARTIFACTS: &str = "--message-format=json-render-diagnostics";

/// Evidence that something was compiled in each member of the workspace.
fn every_member(root: &Path, output: &str, what: &str) -> Outcome {
    let workspace = workspace::of(root)?;
    let mut targets = 0;
    for member in workspace.workspace_packages() {
        match artifacts_of(output, &member.id) {
            0 => return Err(format!("nothing of {} among the {what}", member.name)),
            count => targets += count,
        }
    }
    at_least_one(targets, what)
}

/// How many targets of the package cargo reported as done.
fn artifacts_of(output: &str, package: &PackageId) -> usize {
    let is_its = |message: &Message| matches!(message, Message::CompilerArtifact(done) if done.package_id == *package);
    Message::parse_stream(output.as_bytes())
        .filter_map(Result::ok)
        .filter(is_its)
        .count()
}

fn at_least_one(count: usize, what: &str) -> Outcome {
    if count == 0 {
        Err(format!("0 {what}: the leg did not run"))
    } else {
        Ok(format!("{count} {what}"))
    }
}

fn said_something(output: &str) -> Outcome {
    at_least_one(
        output.lines().filter(|line| !line.trim().is_empty()).count(),
        "lines of output",
    )
}

/// The sum of N over every `test result: ok. N passed`.
fn passed(output: &str) -> usize {
    let count = |line: &str| {
        let rest = line.trim().strip_prefix("test result: ok. ")?;
        rest.split(' ').next()?.parse::<usize>().ok()
    };
    output.lines().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_adds_up_what_is_ok_and_only_that() {
        let output = "test result: ok. 3 passed; 0 failed\nnoise\ntest result: FAILED. 9 passed; 1 failed\n\
                      test result: ok. 4 passed; 0 failed; 1 ignored\n";
        assert_eq!(passed(output), 7);
        assert!(at_least_one(passed("running 0 tests\ntest result: ok. 0 passed;"), "tests").is_err());
    }

    #[test]
    fn a_member_without_artifacts_is_noticed() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///r/a#0.1.0","manifest_path":"/r/a/Cargo.toml",
            "target":{"kind":["lib"],"crate_types":["lib"],"name":"a","src_path":"/r/a/src/lib.rs","edition":"2024",
            "doc":true,"doctest":true,"test":true},"profile":{"opt_level":"0","debuginfo":2,"debug_assertions":true,
            "overflow_checks":true,"test":false},"features":[],"filenames":[],"executable":null,"fresh":true}"#;
        let output = format!("noise\n{}\n", line.replace('\n', ""));
        let package = |name: &str| PackageId {
            repr: format!("path+file:///r/{name}#0.1.0"),
        };
        assert_eq!(artifacts_of(&output, &package("a")), 1);
        assert_eq!(artifacts_of(&output, &package("b")), 0);
    }

    #[test]
    fn legs_are_chosen_by_name() {
        let names = |words: &[&str]| {
            select(words).map(|(budget, legs)| (budget, legs.iter().map(|leg| leg.name).collect::<Vec<_>>()))
        };
        assert_eq!(names(&["--budget-s", "9", "fmt", "tidy"]), Ok((9, vec!["fmt", "tidy"])));
        assert_eq!(names(&[]), Ok((BUDGET_S, leg_names())));
        assert!(names(&["fmt", "lint"]).unwrap_err().contains("no leg `lint`"));
        assert!(names(&["--budget-s", "soon"]).is_err());
    }
}
