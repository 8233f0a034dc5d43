//! Which files of a crate import each other in a circle? A file and its own folder may; nothing else may.
//!
//! A *module* is the path of a file below the crate's `src`, without `mod`, `lib` and `main`. An *edge* leads from a
//! module to another that its code names: in a `use`, or by a path that begins with `crate` or `super`. A name that is
//! reached through another module's import counts as an edge to the module that defines it, so a folder's `mod.rs`
//! hides nothing. (Its private imports are open to the files of the folder.)
//! Methods are found without an import and make no edge. Test modules do not count. Every crate is held to it, the
//! tools too.

use super::source::{Source, is_test_path};
use super::syntax::{Named, Role};
use super::{CIRCLES, Finding};
use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// Every circle, once; and entries of the table that name none.
pub fn circles(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut excused = BTreeSet::new();
    for root in roots(sources) {
        for circle in of_crate(sources, root) {
            let names: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            let entry = CIRCLES
                .iter()
                .find(|(room, _)| names.iter().all(|name| name.starts_with(room)));
            match entry {
                Some((room, _)) => drop(excused.insert(*room)),
                None => findings.push(Finding {
                    path: root.to_string(),
                    line: 0,
                    rule: "circle",
                    message: format!("these files import each other in a circle: {}", names.join(", ")),
                }),
            }
        }
    }
    let stale = CIRCLES.iter().filter(|(room, _)| !excused.contains(room));
    findings.extend(stale.map(|(room, _)| super::tables::stale(room, "CIRCLES")));
    findings
}

/// The folders of the crates' sources.
fn roots(sources: &[Source]) -> BTreeSet<&str> {
    const FOLDER: &str = "/src/";
    let paths = sources.iter().map(|source| source.path.as_str());
    paths
        .filter_map(|path| path.find(FOLDER).map(|at| &path[..at + FOLDER.len()]))
        .collect()
}

fn of_crate(sources: &[Source], root: &str) -> Vec<Vec<Module>> {
    let mut modules: BTreeMap<Module, Vec<Import>> = BTreeMap::new();
    for source in sources {
        let Some(inside) = source.path.strip_prefix(root).filter(|_| !is_test_path(&source.path)) else {
            continue;
        };
        let mut module: Module = inside.trim_end_matches(".rs").split('/').map(String::from).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        modules.insert(module, imports(source));
    }
    components(&edges(&modules))
}

/// A path that a file names.
struct Import {
    path: Vec<String>,
    /// The modules of the file that it stands in.
    inside: Vec<String>,
    /// The name that it has here, if it is imported: folders below reach it by that.
    name: Option<String>,
}

fn imports(source: &Source) -> Vec<Import> {
    let counts = |named: &&Named| {
        let leads_home = matches!(named.path[0].as_str(), "crate" | "super");
        let is_import = matches!(named.role, Role::Imported { .. });
        named.is_head && !source.is_test(named.line) && (is_import || leads_home)
    };
    let import = |named: &Named| Import {
        path: named.path.clone(),
        inside: named.inside.clone(),
        name: match &named.role {
            Role::Imported { name } => Some(name.clone()),
            _ => None,
        },
    };
    source.syntax.paths.iter().filter(counts).map(import).collect()
}

type Graph = BTreeMap<Module, BTreeSet<Module>>;

fn edges(modules: &BTreeMap<Module, Vec<Import>>) -> Graph {
    let mut handed_on: BTreeMap<Module, Module> = BTreeMap::new();
    for (module, imports) in modules {
        for import in imports {
            if let (Some(name), Some(target)) = (&import.name, absolute(module, import, modules)) {
                let path = [&module[..], &import.inside, std::slice::from_ref(name)].concat();
                handed_on.insert(path, target);
            }
        }
    }
    let mut graph = Graph::new();
    for (module, imports) in modules {
        let targets = imports
            .iter()
            .filter_map(|import| absolute(module, import, modules))
            .filter_map(|target| defining(target, modules, &handed_on))
            .filter(|target| !target.starts_with(module) && !module.starts_with(target))
            .filter(|target| !super::FLOORLESS.iter().any(|(room, _)| target[0] == *room));
        graph.insert(module.clone(), targets.collect());
    }
    graph
}

/// A path from the crate's root; none for other crates' names.
fn absolute(module: &Module, import: &Import, modules: &BTreeMap<Module, Vec<Import>>) -> Option<Module> {
    let here = [&module[..], &import.inside].concat();
    let path = &import.path;
    let climbs = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" => (&[][..], &path[1..]),
        "self" => (&here[..], &path[1..]),
        "super" => (&here[..here.len().checked_sub(climbs)?], &path[climbs..]),
        first => {
            let mut child = here.clone();
            child.push(first.to_string());
            modules.contains_key(&child).then_some((&here[..], &path[..]))?
        }
    };
    Some([base, rest].concat())
}

/// The module of the longest prefix that is one, through names that are handed on.
fn defining(
    path: Module,
    modules: &BTreeMap<Module, Vec<Import>>,
    handed_on: &BTreeMap<Module, Module>,
) -> Option<Module> {
    const HOPS_MAX: usize = 6;
    let mut path = path;
    for _ in 0..HOPS_MAX {
        let length = (0..=path.len())
            .rev()
            .find(|length| modules.contains_key(&path[..*length]))?;
        let next = path.get(..=length).and_then(|name| handed_on.get(name));
        match next.filter(|next| next[..] != path[..=length]) {
            Some(next) => path = [&next[..], &path[length + 1..]].concat(),
            None => return Some(path[..length].to_vec()).filter(|module| !module.is_empty()),
        }
    }
    None
}

/// Sets of modules that reach each other: what is reachable from each, both ways. The graph is small.
fn components(graph: &Graph) -> Vec<Vec<Module>> {
    let reach = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in graph.get(module).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = graph.keys().map(|module| (module, reach(module))).collect();
    let mut found: BTreeSet<Vec<Module>> = BTreeSet::new();
    for (module, from_here) in &reached {
        let circle: Vec<Module> = from_here
            .iter()
            .filter(|other| reached.get(**other).is_some_and(|back| back.contains(module)))
            .map(|other| (**other).clone())
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}
