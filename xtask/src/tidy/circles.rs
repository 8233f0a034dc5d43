//! Circles of imports between files of a crate. A file and its own folder may import each other; nothing else may.
//!
//! A *module* is the path of a file below the crate's `src`, without `mod`, `lib` and `main`. An *edge* leads from a
//! module to another that its code names: in a `use`, or by a path that begins with `crate` or `super`. A name that a
//! module hands on by `pub use` counts as an edge to the module that defines it, so a folder's `mod.rs` hides nothing.
//! Methods are found without an import and make no edge. Test modules do not count.

use super::source::{Source, find_words, group_members, is_test_path};
use super::{CIRCLES, Finding};
use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// The crates in whose files circles are looked for.
const SOURCES: [&str; 4] = [
    "crates/runtime/src/",
    "crates/context/src/",
    "crates/interpose/src/",
    "crates/macros/src/",
];

/// Every circle, once; and entries of the table that name none.
pub fn circles(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut excused = BTreeSet::new();
    for root in SOURCES {
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
    /// It is handed on.
    public: bool,
}

fn imports(source: &Source) -> Vec<Import> {
    let lines = source.lines.iter().filter(|line| !line.test);
    let code = lines.map(|line| line.code.as_str()).collect::<Vec<_>>().join("\n");
    let mut imports = Vec::new();
    let mut rest = code.as_str();
    let mut elsewhere = String::new();
    while let Some(at) = find_words(rest, "use").first().copied() {
        let before = rest[..at].trim_end();
        let line = before.rsplit(['\n', ';', '}']).next().unwrap_or(before).trim_start();
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        for path in tree(&rest[at + 3..end], &[]) {
            imports.push(Import {
                path,
                public: line.starts_with("pub"),
            });
        }
        elsewhere.push_str(before);
        elsewhere.push('\n');
        rest = &rest[end..];
    }
    elsewhere.push_str(rest);
    for word in ["crate", "super"] {
        for at in find_words(&elsewhere, word) {
            let is_head = !elsewhere[..at].trim_end().ends_with("::") && !elsewhere[..at].ends_with('$');
            let path = names(&elsewhere[at..]);
            if is_head && path.len() > 1 {
                imports.push(Import { path, public: false });
            }
        }
    }
    imports
}

/// The leading `a::b::c` of a text.
fn names(text: &str) -> Vec<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .unwrap_or(text.len());
    text[..end]
        .split("::")
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect()
}

/// The paths of a use tree.
fn tree(text: &str, prefix: &[String]) -> Vec<Vec<String>> {
    let text = text.trim();
    let Some((head, group)) = text.split_once('{') else {
        let mut path = prefix.to_vec();
        path.extend(names(text.split(" as ").next().unwrap_or(text)));
        return vec![path];
    };
    let mut prefix = prefix.to_vec();
    prefix.extend(names(head.trim()));
    group_members(group)
        .filter(|member| !member.trim().is_empty())
        .flat_map(|member| tree(member, &prefix))
        .collect()
}

type Graph = BTreeMap<Module, BTreeSet<Module>>;

fn edges(modules: &BTreeMap<Module, Vec<Import>>) -> Graph {
    let mut handed_on: BTreeMap<Module, Module> = BTreeMap::new();
    for (module, imports) in modules {
        for import in imports.iter().filter(|import| import.public) {
            if let Some(target) = absolute(module, &import.path, modules) {
                let mut name = module.clone();
                name.extend(target.last().cloned());
                handed_on.insert(name, target);
            }
        }
    }
    let mut graph = Graph::new();
    for (module, imports) in modules {
        let targets = imports
            .iter()
            .filter_map(|import| absolute(module, &import.path, modules))
            .filter_map(|target| defining(target, modules, &handed_on))
            .filter(|target| !target.starts_with(module) && !module.starts_with(target))
            .filter(|target| !super::FLOORLESS.iter().any(|(room, _)| target[0] == *room));
        graph.insert(module.clone(), targets.collect());
    }
    graph
}

/// A path from the crate's root; none for other crates' names.
fn absolute(module: &Module, path: &[String], modules: &BTreeMap<Module, Vec<Import>>) -> Option<Module> {
    let climbs = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" => (&[][..], &path[1..]),
        "self" => (&module[..], &path[1..]),
        "super" => (&module[..module.len().checked_sub(climbs)?], &path[climbs..]),
        first => {
            let mut child = module.clone();
            child.push(first.to_string());
            modules.contains_key(&child).then_some((&module[..], path))?
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
