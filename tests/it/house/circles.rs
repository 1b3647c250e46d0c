//! No file of the library needs another that needs it, over however many files between.
//!
//! A module and those within it are one: a parent names what its children have, and they name what it has. Names are
//! followed through re-exports to the file that has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::house::structure::{code, root, sources};

/// A module, or what is in one: `["schedule", "timing", "Timing"]`.
type Path = Vec<String>;

struct File {
    /// Where each name leads that it brings in.
    names: BTreeMap<String, Path>,
    /// All that it names of others.
    named: Vec<Path>,
}

/// The parts of `a::{b, c::{d as e}}`: each path, and the name that it has here.
fn expand(tree: &str) -> Vec<(String, String)> {
    let tree = tree.trim();
    let Some((before, inner)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let path = path.trim().trim_end_matches("::self");
        let name = name.trim().trim_end_matches("::self").rsplit("::").next().unwrap();
        return vec![(path.to_owned(), name.to_owned())];
    };
    let (mut parts, mut depth) = (vec![String::new()], 0);
    // It is no import, but text that looks like one.
    let Some(inner) = inner.trim_end().strip_suffix('}') else { return Vec::new() };
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{before}{}", part.trim()))).collect()
}

/// A path from the root of the crate; `None` if it leads to another crate.
fn absolute(from: &[String], path: &str, files: &BTreeSet<Path>) -> Option<Path> {
    let mut parts = path.split("::").map(str::to_owned).peekable();
    let mut at = from.to_vec();
    if parts.next_if(|part| part == "crate").is_some() {
        at.clear();
    } else if parts.peek().is_some_and(|part| part == "super") {
        while parts.next_if(|part| part == "super").is_some() {
            at.pop();
        }
    } else {
        parts.next_if(|part| part == "self");
        let child = at.iter().chain(parts.peek()).cloned().collect::<Path>();
        files.contains(&child).then_some(())?;
    }
    at.extend(parts);
    Some(at)
}

/// The module that has what a path leads to.
fn module(path: &[String], files: &BTreeMap<Path, File>, depth: usize) -> Path {
    let mut at = Path::new();
    for (index, part) in path.iter().enumerate() {
        let child = [&at[..], std::slice::from_ref(part)].concat();
        if files.contains_key(&child) {
            at = child;
            continue;
        }
        let target = files.get(&at).and_then(|file| file.names.get(part));
        return match target.filter(|target| depth < 8 && target[..] != *path) {
            Some(target) => module(&[&target[..], &path[index + 1..]].concat(), files, depth + 1),
            None => at,
        };
    }
    at
}

fn read() -> BTreeMap<Path, File> {
    let mut texts = BTreeMap::new();
    for path in sources(&root().join("src")) {
        let name = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let mut parts: Path = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if parts[0] == "main" || parts.iter().any(|part| part == "tests") {
            continue;
        }
        if matches!(&**parts.last().unwrap(), "mod" | "lib") {
            parts.pop();
        }
        let text = code(&path);
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        texts.insert(parts, text);
    }
    let all: BTreeSet<Path> = texts.keys().cloned().collect();
    let file = |(module, text): (Path, String)| {
        let mut file = File { names: BTreeMap::new(), named: Vec::new() };
        let uses = text.split(';').filter_map(|statement| {
            let begins = |at: &usize| {
                let before = statement[..*at].rsplit('\n').next().unwrap();
                before.trim().is_empty() || before.trim_start().starts_with("pub")
            };
            let at = statement.match_indices("use ").map(|(at, _)| at).find(begins)?;
            Some(&statement[at + 4..])
        });
        for (path, name) in uses.flat_map(expand) {
            if let Some(path) = absolute(&module, &path, &all) {
                file.named.push(path.clone());
                file.names.insert(name, path);
            }
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let paths = text.split(|c| !is_part(c)).map(|path| path.trim_end_matches(':'));
        let inline =
            paths.filter(|path| path.starts_with("crate::") || path.starts_with("super::"));
        file.named.extend(inline.filter_map(|path| absolute(&module, path, &all)));
        (module, file)
    };
    texts.into_iter().map(file).collect()
}

/// The modules that can be reached from each, without those that it is within or that are within it.
fn arrows(files: &BTreeMap<Path, File>) -> BTreeMap<&Path, BTreeSet<Path>> {
    let arrows_of = |from: &Path, file: &File| {
        let to = file.named.iter().map(|path| module(path, files, 0));
        to.filter(|to| !to.starts_with(from) && !from.starts_with(to)).collect()
    };
    files.iter().map(|(from, file)| (from, arrows_of(from, file))).collect()
}

#[test]
fn no_files_need_each_other() {
    let files = read();
    assert!(files.len() > 400, "{}", files.len());
    let mut arrows = arrows(&files);
    assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 1500);
    // What needs nothing that is left is in no circle.
    let is_free = |to: &BTreeSet<Path>, left: &BTreeMap<&Path, BTreeSet<Path>>| {
        !to.iter().any(|to| left.contains_key(to))
    };
    while let Some((free, _)) = arrows.iter().find(|(_, to)| is_free(to, &arrows)) {
        let free = *free;
        arrows.remove(free);
    }
    // Nor is what nothing that is left needs.
    while let Some(free) =
        arrows.keys().find(|one| !arrows.values().any(|to| to.contains(**one))).copied()
    {
        arrows.remove(free);
    }
    let circles: Vec<_> = arrows
        .iter()
        .map(|(from, to)| {
            let to: Vec<_> = to.iter().filter(|to| arrows.contains_key(to)).collect();
            let to: Vec<_> = to.iter().map(|to| to.join("::")).collect();
            format!("{} needs {}", from.join("::"), to.join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "files that need each other:\n{}", circles.join("\n"));
}

#[test]
fn names_are_followed_to_the_file_that_has_them() {
    let files = read();
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Path>();
    for (name, expected) in [
        ("schedule::Timing", "schedule::timing"),
        ("schedule::Calendars", "schedule::calendar::known"),
        ("api::error::ApiError", "api::error"),
        ("plan::View", "plan"),
    ] {
        assert_eq!(module(&path(name), &files, 0), path(expected), "{name}");
    }
}
