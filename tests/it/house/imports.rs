//! Imports form no cycle, neither of folders nor of files.
//!
//! A file and the one that declares it may name each other: that is how Rust hides what is inside. All other imports
//! point one way, so that a file can be understood once the files that it names are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::house::structure::{code, root, sources};

/// A module's path, as in `engine::core::look`.
type Module = Vec<String>;

/// All modules with their code, without tests.
fn modules() -> BTreeMap<Module, String> {
    let src = root().join("src");
    let mut found = BTreeMap::new();
    for path in sources(&src) {
        let module = module_of(path.strip_prefix(&src).unwrap());
        let code = code(&path);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        found.insert(module, code.to_owned());
    }
    let tests: Vec<Module> = found
        .iter()
        .flat_map(|(module, code)| {
            let declared = code.split("#[cfg(test)]\n").skip(1);
            let names = declared
                .filter_map(|rest| rest.trim_start().strip_prefix("mod ")?.split(';').next());
            names.map(|name| child(module, name)).collect::<Vec<_>>()
        })
        .collect();
    found.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    found
}

fn module_of(path: &Path) -> Module {
    let mut module: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    // The root of the crate, and of a folder.
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The paths that code names, those of `use` trees laid out.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = String::new();
    for (n, part) in code.split("use ").enumerate() {
        match part.split_once(';').filter(|_| n > 0) {
            Some((tree, behind)) => {
                lay_out("", tree, &mut found);
                rest.push_str(behind);
            }
            None => rest.push_str(part),
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    found.extend(rest.split(|c| !is_path(c)).filter(|path| path.contains("::")).map(str::to_owned));
    found
}

fn lay_out(before: &str, tree: &str, found: &mut Vec<String>) {
    let (mut depth, mut begin) = (0, 0);
    let ends = tree.char_indices().chain([(tree.len(), ',')]);
    for (at, c) in ends {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = tree[begin..at].trim();
                begin = at + 1;
                match item.split_once('{') {
                    Some((path, inner)) => {
                        lay_out(
                            &format!("{before}{}", path.trim()),
                            inner.trim_end_matches('}'),
                            found,
                        );
                    }
                    None => found.push(format!("{before}{}", item.split(" as ").next().unwrap())),
                }
            }
            _ => {}
        }
    }
}

/// The module that a path leads to, seen from a module.
fn target(from: &Module, path: &str, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut segments = path.trim_start_matches("pub(crate) ").split("::").peekable();
    let mut at = match *segments.peek()? {
        "crate" => Module::new(),
        "super" | "self" => from.clone(),
        name if modules.contains_key(&child(from, name)) => from.clone(),
        _ => return None,
    };
    for segment in segments {
        match segment {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name if modules.contains_key(&child(&at, name)) => at.push(name.to_owned()),
            _ => break,
        }
    }
    Some(at)
}

/// Which modules each module names, without those that it declares, and that declare it.
fn arrows() -> BTreeMap<Module, BTreeSet<Module>> {
    let modules = modules();
    let mut arrows = BTreeMap::new();
    for (from, code) in &modules {
        // The crate's root only declares, and the program stands above all.
        if from.is_empty() {
            continue;
        }
        let named = paths(code).into_iter().filter_map(|path| target(from, &path, &modules));
        let others = named.filter(|to| !to.starts_with(from) && !from.starts_with(to));
        arrows.insert(from.clone(), others.collect());
    }
    arrows
}

/// A way along the arrows that comes back to where it began.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn walk(
        at: &Module,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
        arrows: &BTreeMap<Module, BTreeSet<Module>>,
    ) -> Option<Vec<Module>> {
        if let Some(begin) = way.iter().position(|passed| passed == at) {
            return Some(way.split_off(begin));
        }
        if !done.insert(at.clone()) {
            return None;
        }
        way.push(at.clone());
        let found = arrows.get(at).into_iter().flatten().find_map(|to| walk(to, way, done, arrows));
        if found.is_none() {
            way.pop();
        }
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|module| walk(module, &mut Vec::new(), &mut done, arrows))
}

#[test]
fn files_name_each_other_one_way() {
    let arrows = arrows();
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(count > 500, "only {count} imports were found");
    assert_eq!(circle(&arrows), None);
}

#[test]
fn folders_name_each_other_one_way() {
    let mut folders = BTreeMap::<Module, BTreeSet<Module>>::new();
    for (from, to) in arrows() {
        let top = |module: &Module| module[..1].to_vec();
        let others = to.iter().map(top).filter(|to| *to != top(&from));
        folders.entry(top(&from)).or_default().extend(others);
    }
    assert_eq!(circle(&folders), None);
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let arrow = |from: &str, to: &[&str]| (module(from), to.iter().copied().map(module).collect());
    let arrows = BTreeMap::from([arrow("a", &["b"]), arrow("b", &["c", "d"]), arrow("d", &["b"])]);
    assert_eq!(circle(&arrows), Some(vec![module("b"), module("d")]));
    let code = "use crate::{a::{self, B}, c};\nuse super::d::E as F;\nfn f() { crate::g::h() }";
    assert_eq!(
        paths(code),
        ["crate::a::self", "crate::a::B", "crate::c", "super::d::E", "crate::g::h"]
    );
}
