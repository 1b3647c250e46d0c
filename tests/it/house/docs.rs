//! Tests of the documents: each link leads somewhere, the README is short, and the index lists all of them.
//!
//! They need no server and no network: of an external link only the URL is checked.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

const README_LINES: usize = 220;

/// With all links resolved, so that paths can be compared.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// The Markdown files below a folder, but for what tools have put there.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            found.extend(documents(&path));
        } else if is_markdown(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A document as GitHub reads it, with where each part stands.
fn events(text: &str) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    Parser::new_ext(text, options).into_offset_iter()
}

struct Link {
    /// From 1.
    line: usize,
    target: String,
}

/// The links and images of a document. What is in code is none.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (event, range) in events(text) {
        if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event {
            let line = text[..range.start].matches('\n').count() + 1;
            found.push(Link { line, target: dest_url.into_string() });
        }
    }
    found
}

fn headings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut heading = None;
    for (event, _) in events(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => found.extend(heading.take()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            _ => {}
        }
    }
    found
}

/// The anchor that GitHub gives a heading: punctuation is dropped, a space becomes a dash.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// The anchors of a document: of equal headings, the later ones have numbers.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in headings(text) {
        let slug = slug(&heading);
        let numbered = (1..).map(|number| format!("{slug}-{number}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|it| !found.contains(it));
        found.extend(free);
    }
    found
}

fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// The file or folder of the project that a link of the document at `path` leads to.
fn resolve(path: &Path, target: &str) -> Result<PathBuf, String> {
    let file = target.split('#').next().unwrap();
    if file.is_empty() {
        return Ok(path.to_owned());
    }
    if file.starts_with('/') {
        return Err("is not relative".to_owned());
    }
    let found = path.parent().unwrap().join(file).canonicalize();
    let found = found.map_err(|error| error.to_string())?;
    if found.starts_with(root()) { Ok(found) } else { Err("leaves the project".to_owned()) }
}

/// What is wrong with a link of the document at `path`, which has this text.
fn fault(path: &Path, text: &str, target: &str) -> Option<String> {
    if is_elsewhere(target) {
        return reqwest::Url::parse(target).err().map(|error| error.to_string());
    }
    let file = match resolve(path, target) {
        Ok(file) => file,
        Err(fault) => return Some(fault),
    };
    // Without an anchor there is no more to look for.
    let (_, anchor) = target.split_once('#')?;
    let anchors = if file == path {
        anchors(text)
    } else if is_markdown(&file) {
        anchors(&read(&file))
    } else {
        return Some("has an anchor, and leads to no document".to_owned());
    };
    (!anchors.contains(anchor)).then(|| "no heading has this anchor".to_owned())
}

/// The faults of a document, a line each.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let describe = |link: Link| {
        let fault = fault(path, text, &link.target)?;
        Some(format!("{name}:{}: {}: {fault}", link.line, link.target))
    };
    links(text).into_iter().filter_map(describe).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents(&root());
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/monitoring/README.md"] {
        assert!(documents.contains(&root().join(name)), "{name} is not looked at");
    }
    let faults: Vec<_> = documents.iter().flat_map(|path| faults(path, &read(path))).collect();
    assert!(faults.is_empty(), "links that lead nowhere:\n{}", faults.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let text = "\
# Here

[here](#here), [the index](README.md#documents), [a folder](../streams), <https://nats.io>,
`[code](nowhere.md)`
[nowhere](nowhere.md)

| table |
|---|
| [no heading](#nowhere), [none there](README.md#nowhere) |

![image](nowhere.png) [code](../src/lib.rs#L1) [root](/README.md) [out](../../)
[no host](https://) [port](http://localhost:port/)
";
    let faults = faults(&root().join("docs/new.md"), text);
    let expected = [
        "docs/new.md:5: nowhere.md: No such file",
        "docs/new.md:9: #nowhere: no heading has this anchor",
        "docs/new.md:9: README.md#nowhere: no heading has this anchor",
        "docs/new.md:11: nowhere.png: No such file",
        "docs/new.md:11: ../src/lib.rs#L1: has an anchor, and leads to no document",
        "docs/new.md:11: /README.md: is not relative",
        "docs/new.md:11: ../../: leaves the project",
        "docs/new.md:12: https://: empty host",
        "docs/new.md:12: http://localhost:port/: invalid port number",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}, not {expected}");
    }
}

#[test]
fn anchors_are_those_that_github_gives() {
    for (heading, anchor) in [
        ("What is guaranteed", "what-is-guaranteed"),
        ("The `nats` CLI, *by hand*", "the-nats-cli-by-hand"),
        ("13. Known limits", "13-known-limits"),
        ("Changes that undo nobody's", "changes-that-undo-nobodys"),
        ("execution.by_correlation", "executionby_correlation"),
        ("[Unreleased]", "unreleased"),
        ("Zeiten – größer", "zeiten--größer"),
    ] {
        let found = anchors(&format!("## {heading}\n"));
        assert!(found.contains(anchor), "{heading}: {found:?}");
    }
    let found =
        anchors("# Same\n\n## Same\n\n### Same-1\n\n```\n# no heading\n```\n\nUnderlined\n---\n");
    let expected = ["same", "same-1", "same-1-1", "underlined"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
}

#[test]
fn the_readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines, {README_LINES} at most");
}

#[test]
fn the_index_has_every_document() {
    let index = root().join("docs/README.md");
    let listed: Vec<_> = links(&read(&index))
        .into_iter()
        .filter_map(|link| resolve(&index, &link.target).ok())
        .collect();
    let missing: Vec<_> = documents(&root().join("docs"))
        .into_iter()
        .filter(|path| *path != index && !listed.contains(path))
        .collect();
    assert!(missing.is_empty(), "docs/README.md does not link to {missing:?}");
}

/// Names of the dependencies that `Cargo.toml` has for the program and for its tests.
fn dependencies() -> Vec<String> {
    let manifest = read(&root().join("Cargo.toml"));
    let mut found = Vec::new();
    let mut is_listed = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_listed = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_listed) {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn contributing_says_what_each_dependency_is_for() {
    let (text, names) = (read(&root().join("CONTRIBUTING.md")), dependencies());
    assert!(names.len() > 30, "{names:?}");
    let unexplained: Vec<_> =
        names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(
        unexplained.is_empty(),
        "CONTRIBUTING.md does not say what these are for: {unexplained:?}"
    );
}

/// Who grants permissions goes by these tables.
#[test]
fn the_tables_of_names_have_every_operation_with_its_access() {
    let permissions = fs::read_to_string(root().join("docs/nats-permissions.md")).unwrap();
    let design = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let features = design.split("### Names by feature").nth(1).unwrap();
    let features = features.split("\n## ").next().unwrap();
    for operation in nats_scheduler::api::operations::operations() {
        let name = format!("`{}`", operation.name);
        let row = format!("| {:?} | ", operation.access);
        let row = permissions.lines().find(|line| line.starts_with(&row)).unwrap_or_default();
        assert!(row.contains(&name), "docs/nats-permissions.md does not have {name} in {row:?}");
        assert!(features.contains(&name), "docs/design.md: {name} belongs to no feature");
        let header = format!("`{}`", operation.actor_header);
        let changes = operation.access.changes() && !operation.name.starts_with("execution.");
        assert!(!changes || features.contains(&header), "docs/design.md does not name {header}");
    }
}
