//! Which house rules does a compiler not check? `cargo xtask tidy` checks them.
//!
//! What is allowed where is data, here, at the top: each exception stands beside its reason, and a change of the rules
//! is a change of a table. How a rule looks at a file is in the modules below: `source` splits a file into code and
//! comments, `syntax` reads it as Rust, `floors` knows the layers of the runtime, `circles` the imports of every crate,
//! `tables` looks at all files at once, `rules` has the rest. Every rule is a pure function from a [`Source`] to
//! findings, so each is tested on a good and a bad snippet; only [`run`] touches the disk.
//!
//! The tables are ratchets: they may name what exists today and shrink; an entry that excuses nothing is itself a
//! finding.

mod circles;
mod floors;
mod rooms;
mod rules;
mod source;
mod syntax;
mod tables;
#[cfg(test)]
mod tests;

use rooms::UNSAFE_ROOMS;
use source::Source;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// An exception and why it is one.
type Excused = (&'static str, &'static str);

/// The runtime's sources; floors, bans and loom twins hold inside it.
const RUNTIME: &str = "crates/runtime/src/";

/// Folders and files of the runtime and the floor each stands on; an import goes to a strictly lower floor or stays.
const FLOORS: &[(&str, i32)] = &[
    ("loom", -1),
    ("sys", 0),
    ("collections", 0),
    ("coroutine", 1),
    ("driver", 2),
    ("offload", 2),
    ("wait", 3),
    ("sched", 4),
    ("sync", 4),
    ("channel", 4),
    ("time", 4),
    ("io", 5),
    ("net", 6),
    ("fs", 6),
    ("hook", 6),
    ("lib", 7),
    ("api", 7),
    ("runtime", 7),
    ("compat", 8),
    ("extras", 8),
    ("names", 9),
];

/// Where `cfg(target_*)` chooses: a port is a folder.
const CFG_ROOMS: &[Excused] = &[
    (
        "crates/context/**",
        "the machine: one folder per processor architecture",
    ),
    ("crates/interpose/**", "the C library: its symbols differ per system"),
    (
        "crates/runtime/src/sys/**",
        "the kernel: one chooser, one folder per system",
    ),
];

/// Files whose orderings need no partner named.
const ORDERING_EXEMPT: &[Excused] = &[
    (
        "conformance/**",
        "user programs of the kind that takes SeqCst everywhere; what they check is the runtime's orderings",
    ),
    ("examples/**", "user programs of the same kind"),
];

/// Files of the runtime that name an `Ordering` and need no loom twin.
const LOOM_EXEMPT: &[Excused] = &[
    ("crates/runtime/src/compat/may.rs", "a setting without effect"),
    (
        "crates/runtime/src/sched/preempt.rs",
        "a word that is written before the signals that read it",
    ),
    (
        "crates/runtime/src/coroutine/core/link.rs",
        "the link that `sched` seizes, modelled there",
    ),
    (
        "crates/runtime/src/runtime/default.rs",
        "independent settings that order nothing",
    ),
    (
        "crates/runtime/src/sys/linux/**",
        "the other party is the kernel or a signal, which loom cannot play",
    ),
    (
        "crates/runtime/src/driver/fd_table/**",
        "facts about a number; whoever hands the number on orders them",
    ),
    (
        "crates/runtime/src/sched/mod.rs",
        "report counters and once-set flags; the wake-ups go through `idle`, which is modelled",
    ),
    (
        "crates/runtime/src/sched/shutdown.rs",
        "sums of counters, asked again until they agree; the stop flag is modelled with `idle`",
    ),
    (
        "crates/runtime/src/sched/spawn.rs",
        "counters and distinct ids; the core is handed over by the ring or the injector, which are modelled",
    ),
    (
        "crates/runtime/src/sched/life.rs",
        "a function's address that is set once",
    ),
    (
        "crates/runtime/src/sched/light.rs",
        "one flag, set before the first spawn, that orders nothing",
    ),
    (
        "crates/runtime/src/sched/worker.rs",
        "counters and distinct ids; its part of the idle protocol is modelled",
    ),
    (
        "crates/runtime/src/sched/processor.rs",
        "one-writer counters, and a slot of one swap per side; the ring is modelled",
    ),
    (
        "crates/runtime/src/driver/mod.rs",
        "a hint whether a look at the kernel is worth its price",
    ),
    (
        "crates/runtime/src/driver/timers.rs",
        "a copy of what the locked wheel says, read by the thread that sleeps on it",
    ),
    (
        "crates/runtime/src/api/handle.rs",
        "sets the token of `park`, then wakes through the lifecycle word, which is modelled",
    ),
    (
        "crates/runtime/src/api/park.rs",
        "takes the token of `park`; a miss is followed by a park on the lifecycle word, which is modelled",
    ),
    ("crates/runtime/src/sched/overflow.rs", "one flag that orders nothing"),
];

/// Files over [`FILE_LINES_MAX`], up to [`FILE_LINES_HARD`].
const LONG_FILES: &[Excused] = &[];

/// Functions over [`FUNCTION_LINES_MAX`], as `path::name`.
const LONG_FUNCTIONS: &[Excused] = &[];

/// Names that `crate::` reaches from any floor, since they stand on none.
const FLOORLESS: &[Excused] = &[(
    "names",
    "second names for users; nothing of the runtime goes through it",
)];

/// Rooms whose files still import each other in a circle.
const CIRCLES: &[Excused] = &[];

/// Names of types that stand in several rooms of the runtime.
const SHARED_NAMES: &[Excused] = &[
    (
        "Iter",
        "std's name of a collection's iterator, in each module that has one",
    ),
    ("IntoIter", "std's name, likewise"),
    ("Ref", "std's name of what a borrow gives"),
    (
        "Scheduler",
        "the public one has cogo's name; inside the runtime it is the scheduler",
    ),
];

/// What the runtime does not call outside tests: the call, where it is allowed all the same, what to do instead.
const BANNED_CALLS: &[(&str, &[&str], &str)] = &[
    (
        "std::sync::Mutex",
        &[],
        "it blocks through our own hooks; use sys::lock, or sync::Mutex above it",
    ),
    (
        "parking_lot",
        &[],
        "its per-thread data would follow the worker; use sys::lock",
    ),
    (
        "println!",
        &[],
        "a runtime owns no stdout; return it, or count it in the inspector",
    ),
    (
        "thread_local!",
        &[
            "crates/runtime/src/coroutine/",
            "crates/runtime/src/hook/",
            "crates/runtime/src/sched/",
        ],
        "a coroutine moves between threads; keep it in the coroutine or in the processor",
    ),
];

/// What nobody writes: the word, and whether only code counts (else comments and strings too).
const BANNED_WORDS: &[(&str, bool, &str)] = &[
    ("todo!(", true, "write it, or leave it out"),
    ("unimplemented!(", true, "write it, or leave it out"),
    ("dbg!(", true, "temporary prints do not land"),
    ("green thread", false, "one word per concept: coroutine"),
    ("fiber", false, "one word per concept: coroutine"),
];

/// The file that has to name the banned words.
const TIDY_ITSELF: &str = "xtask/src/tidy";

const COMMENT_WIDTH_MAX: usize = 120;
const FILE_LINES_MAX: usize = 600;
const FILE_LINES_HARD: usize = 1000;
const FUNCTION_LINES_MAX: usize = 70;
/// How far above an `unsafe` its note may begin.
const SAFETY_LINES: usize = 6;
/// How far above an `Ordering` its partner may be named.
const PARTNER_LINES: usize = 4;

/// A breach of a rule at a line.
#[derive(Debug, PartialEq)]
pub struct Finding {
    path: String,
    /// Counted from 1; 0 is the file as a whole.
    line: usize,
    rule: &'static str,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            path,
            line,
            rule,
            message,
        } = self;
        if *line == 0 {
            write!(f, "{path}: [{rule}] {message}")
        } else {
            write!(f, "{path}:{line}: [{rule}] {message}")
        }
    }
}

/// What a run saw.
pub struct Report {
    /// How many files were read.
    pub files: usize,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

/// Checks every `.rs` file under `root`.
pub fn run(root: &Path) -> io::Result<Report> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let mut sources = Vec::new();
    for path in &paths {
        let name = path
            .strip_prefix(root)
            .expect("collected below root")
            .to_string_lossy()
            .replace('\\', "/");
        sources.push(Source::new(&name, &fs::read_to_string(path)?));
    }
    Ok(Report {
        files: sources.len(),
        findings: check(&sources),
    })
}

/// Checks a set of files that is the whole repository.
fn check(sources: &[Source]) -> Vec<Finding> {
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(check_file(source));
        findings.extend(rules::loom_twin(source, &paths));
    }
    findings.extend(tables::stale_exceptions(sources));
    findings.extend(tables::one_name_one_room(sources));
    findings.extend(circles::circles(sources));
    findings
}

/// The rules that need to see no other file.
fn check_file(source: &Source) -> Vec<Finding> {
    let rules: &[fn(&Source) -> Vec<Finding>] = &[
        floors::imports,
        rules::cfg_rooms,
        rules::unsafe_rooms,
        rules::unsafe_notes,
        rules::ordering_partners,
        rules::head_essay,
        rules::file_length,
        rules::function_length,
        rules::banned_words,
        rules::banned_calls,
        rules::comment_width,
        rules::vague_notes,
        rules::dead_modules,
        rules::parses,
    ];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&entry.path(), into)?;
            }
        } else if name.ends_with(".rs") {
            into.push(entry.path());
        }
    }
    Ok(())
}

/// Whether `path` is `pattern`, or below the folder of a `folder/**`.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix("**") {
        Some(folder) => path.starts_with(folder),
        None => path == pattern,
    }
}

fn is_excused(table: &[Excused], path: &str) -> bool {
    table.iter().any(|(pattern, _)| matches(pattern, path))
}
