//! Which rules look at one file at a time? All but those of `floors`, `circles` and `tables`.
//!
//! Tests are held to the rules about memory (`unsafe` rooms and notes), floors, and size, but not to the ones about
//! orderings and calls: a test may order as it likes and print what it likes.

use super::source::{Line, Source, find_words, is_test_path};
use super::syntax::{Function, Named, Role};
use super::{
    BANNED_CALLS, BANNED_WORDS, CFG_ROOMS, COMMENT_WIDTH_MAX, FILE_LINES_HARD, FILE_LINES_MAX, FUNCTION_LINES_MAX,
    Finding, LONG_FILES, LONG_FUNCTIONS, LOOM_EXEMPT, ORDERING_EXEMPT, PARTNER_LINES, RUNTIME, SAFETY_LINES,
    TIDY_ITSELF, UNSAFE_ROOMS, is_excused,
};

fn finding(source: &Source, index: usize, rule: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        path: source.path.clone(),
        line: index + 1,
        rule,
        message: message.into(),
    }
}

fn whole_file(source: &Source, rule: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        path: source.path.clone(),
        line: 0,
        rule,
        message: message.into(),
    }
}

/// `cfg(target_*)` outside its rooms; a `compile_error!` in the runtime's `lib.rs` may say what is not supported.
pub fn cfg_rooms(source: &Source) -> Vec<Finding> {
    if is_excused(CFG_ROOMS, &source.path) {
        return Vec::new();
    }
    let may_refuse = source.path == "crates/runtime/src/lib.rs";
    let cfgs = source.syntax.cfgs.iter();
    cfgs.filter(|cfg| !(cfg.refuses && may_refuse))
        .map(|cfg| {
            let message = "cfg(target_*) belongs in crates/context, crates/interpose or runtime/src/sys";
            finding(source, cfg.line, "cfg", message)
        })
        .collect()
}

/// `unsafe` outside the allowed files.
pub fn unsafe_rooms(source: &Source) -> Vec<Finding> {
    if may_be_unsafe(&source.path) {
        return Vec::new();
    }
    let message = "`unsafe` is not allowed in this file: UNSAFE_ROOMS in xtask/src/tidy.rs";
    source
        .syntax
        .unsafes
        .iter()
        .map(|site| finding(source, site.line, "unsafe", message))
        .collect()
}

/// A file of tests may do what the file that it tests may: `foo/tests.rs` what `foo.rs` may, or any file beside it.
fn may_be_unsafe(path: &str) -> bool {
    if is_excused(UNSAFE_ROOMS, path) {
        return true;
    }
    let Some((folder, _)) = path.rsplit_once('/').filter(|_| is_test_path(path)) else {
        return false;
    };
    let tested = format!("{folder}.rs");
    UNSAFE_ROOMS
        .iter()
        .any(|(room, _)| *room == tested || room.rsplit_once('/').is_some_and(|(parent, _)| parent == folder))
}

/// An `unsafe` block or impl without a note that cites an obligation.
pub fn unsafe_notes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for site in source.syntax.unsafes.iter().filter(|site| site.claims) {
        let index = site.line;
        let first = index.saturating_sub(SAFETY_LINES);
        let notes: Vec<&str> = source.lines[first..=index]
            .iter()
            .map(|line| line.comment.as_str())
            .collect();
        let message = match notes.iter().rposition(|note| note.contains("SAFETY:")) {
            None => format!("no `// SAFETY:` within {SAFETY_LINES} lines above"),
            Some(start) if !cites_obligation(&notes[start..].join(" ")) => {
                format!("the `// SAFETY:` note cites none of S1..S{OBLIGATIONS} (SAFETY.md)")
            }
            Some(_) => continue,
        };
        findings.push(finding(source, index, "safety-note", message));
    }
    findings
}

/// The last one in SAFETY.md.
const OBLIGATIONS: u32 = 14;

fn cites_obligation(note: &str) -> bool {
    (1..=OBLIGATIONS).any(|number| !find_words(note, &format!("S{number}")).is_empty())
}

const STRONG: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];

/// A strong `Ordering` without its partner's name, and imports that would hide one.
pub fn ordering_partners(source: &Source) -> Vec<Finding> {
    if is_excused(ORDERING_EXEMPT, &source.path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for named in source.syntax.paths.iter().filter(|named| !source.is_test(named.line)) {
        if hides_ordering(named) {
            let message = "import `Ordering` itself, so that each use says what it is";
            findings.push(finding(source, named.line, "ordering", message));
        }
        let Some(strong) = ordering(named).filter(|name| STRONG.contains(name)) else {
            continue;
        };
        let above = &source.lines[named.line.saturating_sub(PARTNER_LINES)..=named.line];
        let says = |line: &Line| line.comment.contains("pairs") || line.comment.contains("partner");
        if !above.iter().any(says) {
            let message = format!("{strong}: no comment within {PARTNER_LINES} lines above names what it pairs with");
            findings.push(finding(source, named.line, "ordering", message));
        }
    }
    findings.dedup();
    findings
}

/// The atomic ordering that a path names, and does not import.
fn ordering(named: &Named) -> Option<&str> {
    let at = named.path.iter().position(|name| name == "Ordering")?;
    let name = named.path.get(at + 1)?.as_str();
    let is_import = matches!(named.role, Role::Imported { .. });
    (!is_import && (STRONG.contains(&name) || name == "Relaxed")).then_some(name)
}

/// An import by which an ordering is used without its type's name: of one, of all, or under another name.
fn hides_ordering(named: &Named) -> bool {
    let Role::Imported { name: here } = &named.role else {
        return false;
    };
    let is_comparison = named.path.iter().any(|name| name == "cmp");
    match named.path.iter().position(|name| name == "Ordering") {
        Some(at) if at + 1 == named.path.len() => here != "Ordering" && here != "_" && !is_comparison,
        Some(at) => {
            let inner = named.path[at + 1].as_str();
            STRONG.contains(&inner) || inner == "Relaxed" || inner == "*" && !is_comparison
        }
        None => false,
    }
}

/// The first line outside tests that names an atomic `Ordering`.
pub fn names_ordering(source: &Source) -> Option<usize> {
    let mut paths = source.syntax.paths.iter();
    paths
        .find(|named| !source.is_test(named.line) && ordering(named).is_some())
        .map(|named| named.line)
}

/// A file of the runtime that names an atomic `Ordering` and has no loom model beside it.
pub fn loom_twin(source: &Source, paths: &[&str]) -> Vec<Finding> {
    if !source.path.starts_with(RUNTIME) || is_excused(LOOM_EXEMPT, &source.path) {
        return Vec::new();
    }
    let Some(index) = names_ordering(source) else {
        return Vec::new();
    };
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let twins = [
        format!("{folder}/loom_tests.rs"),
        format!("{}/loom_tests.rs", source.path.trim_end_matches(".rs")),
    ];
    if twins.iter().any(|twin| paths.contains(&twin.as_str())) {
        return Vec::new();
    }
    vec![finding(
        source,
        index,
        "loom-twin",
        format!("names an `Ordering` but has neither {} nor {}", twins[0], twins[1]),
    )]
}

/// A file that does not say what it is.
pub fn head_essay(source: &Source) -> Vec<Finding> {
    let is_head = |line: &&Line| {
        let raw = line.raw.trim_start();
        !raw.is_empty() && !raw.starts_with("#![") && !raw.starts_with("#!/")
    };
    match source.lines.iter().find(is_head) {
        Some(line) if line.raw.starts_with("//!") => Vec::new(),
        _ => vec![whole_file(source, "head", "the file does not start with a `//!` head")],
    }
}

/// A file that should have been split.
pub fn file_length(source: &Source) -> Vec<Finding> {
    let limit = if is_excused(LONG_FILES, &source.path) {
        FILE_LINES_HARD
    } else {
        FILE_LINES_MAX
    };
    let lines = source.lines.len();
    if lines <= limit {
        return Vec::new();
    }
    vec![whole_file(
        source,
        "file-length",
        format!("{lines} lines, at most {limit}: split it"),
    )]
}

/// A function that should have been split.
pub fn function_length(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in &source.syntax.functions {
        let Function { name, line, lines } = function;
        let excused = LONG_FUNCTIONS
            .iter()
            .any(|(entry, _)| *entry == format!("{}::{name}", source.path));
        if *lines > FUNCTION_LINES_MAX && !excused {
            let message = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            findings.push(finding(source, *line, "function-length", message));
        }
    }
    findings
}

/// Words that nobody writes.
pub fn banned_words(source: &Source) -> Vec<Finding> {
    if source.path.starts_with(TIDY_ITSELF) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        for (word, code_only, instead) in BANNED_WORDS {
            let found = if *code_only {
                !find_words(&line.code, word).is_empty()
            } else {
                line.raw.to_lowercase().contains(word)
            };
            if found {
                findings.push(finding(source, index, "banned-word", format!("`{word}`: {instead}")));
            }
        }
    }
    findings
}

/// Calls that the runtime does not make outside tests.
pub fn banned_calls(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(RUNTIME) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (call, rooms, instead) in BANNED_CALLS {
        if rooms.iter().any(|room| source.path.starts_with(room)) {
            continue;
        }
        let (path, is_macro) = call.strip_suffix('!').map_or((*call, false), |name| (name, true));
        let path: Vec<&str> = path.split("::").collect();
        for named in source.syntax.naming(&path) {
            let is_call = !is_macro || named.role == Role::Called;
            if is_call && !source.is_test(named.line) {
                findings.push(finding(
                    source,
                    named.line,
                    "banned-call",
                    format!("`{call}`: {instead}"),
                ));
            }
        }
    }
    findings
}

/// A comment that is wider than the code may be. Rows of tables, and what has no blank to break at, are let through.
pub fn comment_width(source: &Source) -> Vec<Finding> {
    let mut in_fence = false;
    let mut findings = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        let raw = line.raw.trim_start();
        let text = raw.trim_start_matches(['/', '!']).trim_start();
        if !raw.starts_with("//") {
            in_fence = false;
            continue;
        }
        in_fence ^= text.starts_with("```");
        let is_long = line.raw.chars().count() > COMMENT_WIDTH_MAX;
        if is_long && !in_fence && !text.starts_with('|') && text.contains(' ') {
            let message = format!("a comment of more than {COMMENT_WIDTH_MAX} columns");
            findings.push(finding(source, index, "comment-width", message));
        }
    }
    findings
}

/// Notes that send the reader elsewhere instead of naming the duty.
const VAGUE: [&str; 6] = [
    "as above",
    "as there",
    "as before",
    "the same",
    "likewise",
    "the caller's contract",
];

/// A `SAFETY:` note that names an obligation and says nothing of why it holds here.
pub fn vague_notes(source: &Source) -> Vec<Finding> {
    let is_vague = |(index, line): &(usize, &Line)| {
        let Some((_, note)) = line.comment.split_once("SAFETY: ") else {
            return false;
        };
        let Some((_, duty)) = note.split_once(": ") else {
            return false;
        };
        let next = source.lines.get(index + 1).map_or("", |line| line.comment.trim());
        let goes_on = next.starts_with("//") && !next.contains("SAFETY:");
        !goes_on && VAGUE.contains(&duty.trim_end_matches(['.', ' ']).to_lowercase().as_str())
    };
    let message = "name the duty, or cite the contract of a trait or type that does";
    source
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.raw.trim_start().starts_with("//"))
        .filter(is_vague)
        .map(|(index, _)| finding(source, index, "safety-note", message))
        .collect()
}

/// What nobody uses goes; a module as a whole is not excused.
pub fn dead_modules(source: &Source) -> Vec<Finding> {
    let lines = source.syntax.dead_modules.iter();
    lines
        .map(|line| finding(source, *line, "dead-code", "remove what nobody uses"))
        .collect()
}

/// A file that syn cannot read escapes the other rules.
pub fn parses(source: &Source) -> Vec<Finding> {
    let error = source.syntax.error.iter();
    error
        .map(|(line, why)| finding(source, *line, "syntax", format!("no Rust that syn can read: {why}")))
        .collect()
}
