//! The floors of the runtime: who may import whom.
//!
//! A file belongs to its first folder below `src/`, a file in `src/` itself to its own name; all files of floor 6 count
//! as one folder, the assembly. An import is any `crate::x`, in a `use` or in the middle of an expression, alone or in
//! a group, and any chain of `super::` that climbs to the crate's root. Names that are no module (`crate::Runtime`) are
//! re-exports of `lib.rs` and so stand on its floor. `crate::x!` is a macro, whose body was checked where it is
//! written; `$crate::x` is expanded in the user's crate and names the public surface.

use super::source::{Source, find_words, group_members};
use super::{FLOORLESS, FLOORS, Finding, RUNTIME};

const RULE: &str = "floors";

/// Imports that do not go down.
pub fn imports(source: &Source) -> Vec<Finding> {
    let Some(inside) = source.path.strip_prefix(RUNTIME) else {
        return Vec::new();
    };
    let home = home_of(inside);
    let Some(floor) = floor_of(home) else {
        return vec![Finding {
            path: source.path.clone(),
            line: 0,
            rule: RULE,
            message: format!("`{home}` stands on no floor: give it one in FLOORS, in xtask/src/tidy.rs"),
        }];
    };
    let code = source.code();
    let mut findings = Vec::new();
    for (offset, target) in root_names(&code, source, inside) {
        if may_import(home, floor, &target) {
            continue;
        }
        let target_floor = floor_of(&target).unwrap_or(ASSEMBLY);
        findings.push(Finding {
            path: source.path.clone(),
            line: Source::line_of(&code, offset) + 1,
            rule: RULE,
            message: format!("`{home}` (floor {floor}) imports `{target}` (floor {target_floor}): only lower floors"),
        });
    }
    findings
}

/// The floor of `lib.rs`, and of every name that only it exports.
const ASSEMBLY: i32 = 6;

fn may_import(home: &str, floor: i32, target: &str) -> bool {
    let target_floor = floor_of(target).unwrap_or(ASSEMBLY);
    let same_folder = target == home || floor == ASSEMBLY && target_floor == ASSEMBLY;
    same_folder || target_floor < floor || FLOORLESS.iter().any(|(name, _)| *name == target)
}

fn home_of(inside: &str) -> &str {
    let first = inside.split('/').next().unwrap_or(inside);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn floor_of(name: &str) -> Option<i32> {
    FLOORS
        .iter()
        .find(|(folder, _)| *folder == name)
        .map(|(_, floor)| *floor)
}

/// Every name reached from the crate's root, with the offset of the path that reaches it.
fn root_names(code: &str, source: &Source, inside: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for at in find_words(code, "crate") {
        let path = &code[at + "crate".len()..];
        if !code[..at].ends_with('$') {
            names.extend(heads(path).into_iter().map(|name| (at, name)));
        }
    }
    let depth = module_depth(inside);
    for at in find_words(code, "super") {
        if code[..at].trim_end().ends_with("::") {
            continue;
        }
        let (climbs, rest) = climb(&code[at..]);
        // A `mod tests` inside the file is one more step from the root.
        let nested = usize::from(source.lines[Source::line_of(code, at)].test && depth > 0 && !is_test_file(inside));
        if climbs == depth + nested {
            names.extend(heads(rest).into_iter().map(|name| (at, name)));
        }
    }
    names
}

fn is_test_file(inside: &str) -> bool {
    super::source::is_test_path(inside)
}

/// How many `super` lead from the file's module to the crate's root.
fn module_depth(inside: &str) -> usize {
    let names: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    match names.last() {
        Some(&"mod") => names.len() - 1,
        Some(&"lib") if names.len() == 1 => 0,
        _ => names.len(),
    }
}

/// How often `path` says `super::`, and what follows.
fn climb(mut path: &str) -> (usize, &str) {
    let mut climbs = 0;
    while let Some(rest) = path.strip_prefix("super") {
        climbs += 1;
        match rest.strip_prefix("::") {
            Some(next) if next.starts_with("super") => path = next,
            _ => return (climbs, rest),
        }
    }
    (climbs, path)
}

/// The first names of `::a::b` (one) or `::{a::b, c}` (several); none for a bare `crate` and for `::name!`.
fn heads(path: &str) -> Vec<String> {
    let Some(path) = path.trim_start().strip_prefix("::") else {
        return Vec::new();
    };
    let path = path.trim_start();
    match path.strip_prefix('{') {
        Some(group) => group_members(group).filter_map(head).collect(),
        None => head(path).into_iter().collect(),
    }
}

fn head(path: &str) -> Option<String> {
    let name: String = path
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let is_macro = path.trim_start()[name.len()..].starts_with('!');
    (!name.is_empty() && name != "self" && !is_macro).then_some(name)
}
