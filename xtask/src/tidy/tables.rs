//! Rules about the whole repository: entries of the tables that excuse nothing, and names that stand for two things.

use super::rules::{functions, names_ordering};
use super::source::{Source, find_words};
use super::{
    CFG_ROOMS, Excused, FILE_LINES_MAX, FLOORLESS, FLOORS, FUNCTION_LINES_MAX, Finding, LONG_FILES, LONG_FUNCTIONS,
    LOOM_EXEMPT, ORDERING_EXEMPT, RUNTIME, SHARED_NAMES, UNSAFE_ROOMS, matches,
};
use std::collections::BTreeMap;

pub fn stale(entry: &str, table: &str) -> Finding {
    Finding {
        path: "xtask/src/tidy.rs".to_string(),
        line: 0,
        rule: "stale",
        message: format!("{table} names `{entry}`, which needs no entry: remove it"),
    }
}

/// Entries of a table of paths for which no file is as the table excuses it.
fn unneeded(table: &[Excused], name: &str, sources: &[Source], needs: impl Fn(&Source) -> bool) -> Vec<Finding> {
    let is_needed = |pattern: &str| {
        sources
            .iter()
            .any(|source| matches(pattern, &source.path) && needs(source))
    };
    table
        .iter()
        .filter(|(pattern, _)| !is_needed(pattern))
        .map(|(pattern, _)| stale(pattern, name))
        .collect()
}

/// Entries that excuse nothing any more.
pub fn stale_exceptions(sources: &[Source]) -> Vec<Finding> {
    let says = |word: &'static str| {
        move |source: &Source| source.lines.iter().any(|line| !find_words(&line.code, word).is_empty())
    };
    let is_long = |source: &Source| source.lines.len() > FILE_LINES_MAX;
    let mut findings = unneeded(LONG_FILES, "LONG_FILES", sources, is_long);
    findings.extend(unneeded(UNSAFE_ROOMS, "UNSAFE_ROOMS", sources, says("unsafe")));
    findings.extend(unneeded(CFG_ROOMS, "CFG_ROOMS", sources, |source| {
        source.code().contains("target_")
    }));
    findings.extend(unneeded(ORDERING_EXEMPT, "ORDERING_EXEMPT", sources, says("Ordering")));
    findings.extend(unneeded(LOOM_EXEMPT, "LOOM_EXEMPT", sources, |source| {
        names_ordering(source).is_some()
    }));
    findings.extend(stale_functions(sources));
    findings.extend(stale_rooms(sources));
    findings
}

fn stale_functions(sources: &[Source]) -> Vec<Finding> {
    let has_long = |entry: &str| {
        sources.iter().any(|source| {
            functions(source)
                .iter()
                .any(|(name, _, lines)| *lines > FUNCTION_LINES_MAX && entry == format!("{}::{name}", source.path))
        })
    };
    LONG_FUNCTIONS
        .iter()
        .filter(|(entry, _)| !has_long(entry))
        .map(|(entry, _)| stale(entry, "LONG_FUNCTIONS"))
        .collect()
}

/// Rooms of the runtime that have neither a file nor a folder.
fn stale_rooms(sources: &[Source]) -> Vec<Finding> {
    let exists = |room: &str| {
        let (file, folder) = (format!("{RUNTIME}{room}.rs"), format!("{RUNTIME}{room}/"));
        sources
            .iter()
            .any(|source| source.path == file || source.path.starts_with(&folder))
    };
    let floors = FLOORS.iter().map(|(room, _)| (*room, "FLOORS"));
    floors
        .chain(FLOORLESS.iter().map(|(room, _)| (*room, "FLOORLESS")))
        .filter(|(room, _)| !exists(room))
        .map(|(room, table)| stale(room, table))
        .collect()
}

/// A type's name in two rooms of the runtime. Tests and nested functions name their own.
pub fn one_name_one_room(sources: &[Source]) -> Vec<Finding> {
    let mut rooms: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
    for source in sources {
        let Some(path) = source.path.strip_prefix(RUNTIME) else {
            continue;
        };
        let room = path.split(['/', '.']).next().unwrap_or(path);
        for (index, line) in source.lines.iter().enumerate().filter(|(_, line)| !line.test) {
            let Some(name) = type_name(&line.code) else { continue };
            let place = format!("{}:{}", source.path, index + 1);
            rooms.entry(name.to_string()).or_default().entry(room).or_insert(place);
        }
    }
    let is_excused = |name: &str| SHARED_NAMES.iter().any(|(excused, _)| *excused == name);
    let doubled = rooms
        .iter()
        .filter(|(name, places)| places.len() > 1 && !is_excused(name));
    let mut findings: Vec<Finding> = doubled
        .map(|(name, places)| Finding {
            path: RUNTIME.to_string(),
            line: 0,
            rule: "one-name",
            message: format!(
                "`{name}` is a type in {}",
                places.values().cloned().collect::<Vec<_>>().join(", ")
            ),
        })
        .collect();
    let is_stale = |name: &str| rooms.get(name).is_none_or(|places| places.len() < 2);
    findings.extend(
        SHARED_NAMES
            .iter()
            .filter(|(name, _)| is_stale(name))
            .map(|(name, _)| stale(name, "SHARED_NAMES")),
    );
    findings
}

/// The name of the type that a line at the file's own level defines.
fn type_name(code: &str) -> Option<&str> {
    let rest = code.strip_prefix("pub").map_or(code, |rest| {
        let rest = rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .map_or(rest, |(_, rest)| rest);
        rest.trim_start()
    });
    let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
    let words = ["struct ", "enum ", "union ", "trait "];
    let name = words.iter().find_map(|word| rest.strip_prefix(word))?;
    let end = name
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(name.len());
    Some(&name[..end])
}
