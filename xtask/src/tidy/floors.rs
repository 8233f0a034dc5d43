//! Who may import whom in the runtime? Only files of higher floors, and neighbours in one folder.
//!
//! A file belongs to its first folder below `src/`, a file in `src/` itself to its own name; all files of floor 7 count
//! as one folder, the assembly. An import is any `crate::x`, in a `use` or in the middle of an expression, alone or in
//! a group, and any chain of `super::` that climbs to the crate's root. Names that are no module (`crate::Runtime`) are
//! re-exports of `lib.rs` and so stand on its floor. `crate::x!` is a macro, whose body was checked where it is
//! written; `$crate::x` is expanded in the user's crate and names the public surface.

use super::source::Source;
use super::syntax::{Named, Role};
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
    let mut findings = Vec::new();
    for named in &source.syntax.paths {
        let Some(target) = root_name(named, inside).filter(|target| !may_import(home, floor, target)) else {
            continue;
        };
        let target_floor = floor_of(target).unwrap_or(ASSEMBLY);
        findings.push(Finding {
            path: source.path.clone(),
            line: named.line + 1,
            rule: RULE,
            message: format!("`{home}` (floor {floor}) imports `{target}` (floor {target_floor}): only lower floors"),
        });
    }
    findings
}

/// The floor of `lib.rs`, and of every name that only it exports.
const ASSEMBLY: i32 = 7;

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

/// The name that a path reaches in the crate's root, if it begins there.
fn root_name<'n>(named: &'n Named, inside: &str) -> Option<&'n str> {
    if !named.is_head {
        return None;
    }
    let climbs = match named.path.first()?.as_str() {
        "crate" => 1,
        "super" => {
            let climbs = named.path.iter().take_while(|name| *name == "super").count();
            let depth = module_depth(inside) + named.inside.len();
            (climbs == depth).then_some(climbs)?
        }
        _ => return None,
    };
    let name = named.path.get(climbs)?;
    let is_macro = named.role == Role::Called && named.path.len() == climbs + 1;
    (name != "*" && !is_macro).then_some(name)
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
