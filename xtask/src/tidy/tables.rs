//! Which rules need all files at a time? Those about tables whose entries excuse nothing, and about names that stand
//! for two things.

use super::rules::names_ordering;
use super::source::Source;
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
    let is_long = |source: &Source| source.lines.len() > FILE_LINES_MAX;
    let mut findings = unneeded(LONG_FILES, "LONG_FILES", sources, is_long);
    findings.extend(unneeded(UNSAFE_ROOMS, "UNSAFE_ROOMS", sources, |source| {
        !source.syntax.unsafes.is_empty()
    }));
    findings.extend(unneeded(CFG_ROOMS, "CFG_ROOMS", sources, |source| {
        !source.syntax.cfgs.is_empty()
    }));
    findings.extend(unneeded(ORDERING_EXEMPT, "ORDERING_EXEMPT", sources, |source| {
        source.syntax.naming(&["Ordering"]).next().is_some()
    }));
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
            let mut long = source
                .syntax
                .functions
                .iter()
                .filter(|function| function.lines > FUNCTION_LINES_MAX);
            long.any(|function| entry == format!("{}::{}", source.path, function.name))
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
        for (name, line) in source.syntax.types.iter().filter(|(_, line)| !source.is_test(*line)) {
            let place = format!("{}:{}", source.path, line + 1);
            rooms.entry(name.clone()).or_default().entry(room).or_insert(place);
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
