//! The structure of the source, and the agreement of documentation and code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nats_scheduler::config::settings;

pub fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The code of a file, without comments.
pub fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_pure_modules_know_no_network_and_no_clock() {
    for path in sources(&root().join("src")) {
        let name =
            path.strip_prefix(root().join("src")).unwrap().to_string_lossy().replace('\\', "/");
        let pure = ["trigger/", "schedule/", "plan", "execution", "history_index", "engine/core/"];
        if !pure.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let code = code(&path);
        for word in [
            "async ",
            "async_nats",
            "tokio",
            "Utc::now",
            "Instant::now",
            "crate::engine",
            "crate::api",
            "crate::jetstream",
        ] {
            assert!(!code.contains(word), "{name} uses {word:?}");
        }
    }
}

/// What stands behind the port can then be replaced, and all of the protocol runs over it.
#[test]
fn engine_and_operations_reach_nats_by_its_port() {
    let rim = ["jetstream/adapter", "jetstream/connect.rs", "jetstream/provision.rs", "api/nats/"];
    for dir in ["engine", "jetstream", "index", "clock", "api", "history_index"] {
        for path in sources(&root().join("src").join(dir)) {
            let name = path.strip_prefix(root().join("src")).unwrap().to_string_lossy();
            let name = name.replace('\\', "/");
            if rim.iter().any(|rim| name.starts_with(rim)) {
                continue;
            }
            for word in
                ["async_nats::Client", "Client,", "::Context", "Subscriber", "connection_state"]
            {
                assert!(!code(&path).contains(word), "{name} uses {word:?}");
            }
        }
    }
}

/// The runtime draws where several are ready at once, and nobody can tell it what.
#[test]
fn the_protocol_says_what_goes_first() {
    for dir in ["engine", "jetstream", "index", "clock", "api"] {
        for path in sources(&root().join("src").join(dir)) {
            let rim = ["src/api/http", "src/api/nats", "src/jetstream/adapter"];
            if rim.iter().any(|rim| path.starts_with(root().join(rim))) {
                continue;
            }
            let code = code(&path).split_whitespace().collect::<Vec<_>>().join(" ");
            for (at, _) in code.match_indices("select! {") {
                let first = &code[at + "select! {".len()..];
                let name = path.display();
                assert!(first.trim_start().starts_with("biased;"), "{name} lets the runtime draw");
            }
        }
    }
}

/// Then a paused runtime moves all of it, and a test can put hours into a moment.
#[test]
fn engine_and_operations_measure_time_by_the_runtime() {
    for dir in ["src/engine", "src/jetstream", "src/index", "src/api", "src/clock"] {
        for path in sources(&root().join(dir)) {
            // HTTP is a transport over real sockets.
            if path.starts_with(root().join("src/api/http")) {
                continue;
            }
            let code = code(&path);
            let is_std =
                code.contains("std::time::Instant") || code.contains("{Duration, Instant}");
            assert!(!is_std, "{} uses the Instant of std", path.display());
        }
    }
}

/// Past the end of time chrono panics, and records are written by hand too.
#[test]
fn the_pure_modules_move_instants_by_later_and_earlier() {
    for path in ["trigger", "schedule", "plan", "execution"]
        .iter()
        .flat_map(|dir| sources(&root().join("src").join(dir)))
    {
        let code = code(&path);
        let is_test = path.iter().any(|part| part == "tests" || part == "tests.rs");
        if is_test || code.contains("use super::tests::*") {
            continue;
        }
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for sum in ["+ Duration::", "- Duration::", "+ TimeDelta::", "- TimeDelta::", "now + "] {
            assert!(!code.contains(sum), "{} has {sum:?}", path.display());
        }
    }
}

#[test]
fn imports_point_one_way() {
    for (dir, forbidden) in [
        ("src/engine", &["crate::api", "crate::client", "crate::service"][..]),
        ("src/api", &["crate::client", "crate::engine", "crate::service"][..]),
        ("src/jetstream", &["crate::api", "crate::client", "crate::engine", "crate::service"][..]),
        (
            "src/client",
            &[
                "crate::engine",
                "crate::service",
                "crate::index",
                "crate::config",
                "crate::api::Api",
            ][..],
        ),
        (
            "src/config",
            &[
                "crate::api",
                "crate::client",
                "crate::dev",
                "crate::engine",
                "crate::health",
                "crate::index",
                "crate::jetstream",
                "crate::otlp",
                "crate::service",
            ],
        ),
        ("src/schedule", &["crate::config", "crate::plan", "crate::jetstream"]),
        ("src/trigger", &["crate::config", "crate::schedule", "crate::plan", "crate::jetstream"]),
    ] {
        for path in sources(&root().join(dir)) {
            let code = code(&path);
            for import in forbidden {
                assert!(!code.contains(import), "{} imports {import}", path.display());
            }
        }
    }
}

/// A value with a line break would make the client panic, and values come from records too.
#[test]
fn headers_are_made_in_one_place() {
    for path in sources(&root().join("src")) {
        let code = code(&path);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        // The client library refuses what is no header; HTTP has headers of its own.
        let other = ["src/client/", "src/api/http/", "src/dashboard/", "src/port/headers.rs"];
        if other.iter().any(|other| path.starts_with(other)) || path.ends_with("tests.rs") {
            continue;
        }
        for way in ["HeaderMap::new", "HeaderMap::default", "HeaderValue::from", "headers.insert("]
        {
            assert!(!code.contains(way), "{path} has {way:?}");
        }
    }
}

/// The route, the schemas and the subject follow from the table of operations, or a test beside it asks for them.
#[test]
fn each_operation_has_a_client_method_and_is_documented() {
    let client = sources(&root().join("src/client"));
    let client: String = client.iter().map(|path| code(path)).collect();
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (api, http) = (read("docs/api.md"), read("docs/http.md"));
    for operation in nats_scheduler::api::operations::operations() {
        let name = operation.name;
        assert!(client.contains(&format!("\"{name}\"")), "the Rust client has no {name}");
        let row = format!("| `{}` | `cmd.scheduler.{name}` |", name.replacen('.', "-", 1));
        assert!(api.contains(&row), "docs/api.md has no row for {name}");
        assert!(
            http.contains(&format!("| [{name}](api.md#")),
            "docs/http.md has no route for {name}"
        );
    }
}

/// The table of settings as it should be.
fn table_of_settings() -> Vec<String> {
    let mut lines = vec![
        "| setting | default | must be | meaning |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    lines.extend(settings().map(|setting| {
        let (name, expected, about) = (setting.name(), setting.expected(), setting.about());
        let default = match setting.default() {
            default if default.is_empty() => default,
            default => format!("`{default}`"),
        };
        format!("| `{name}` | {default} | {expected} | {about} |")
    }));
    lines
}

#[test]
fn the_table_of_settings_is_the_code() {
    let path = "docs/configuration.md";
    let document = std::fs::read_to_string(root().join(path)).unwrap();
    let table: Vec<_> = document
        .lines()
        .skip_while(|line| !line.starts_with("| setting |"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected = table_of_settings();
    for n in 0..table.len().max(expected.len()) {
        let (line, should_be) = (table.get(n), expected.get(n).map(String::as_str));
        assert_eq!(
            line.copied(),
            should_be,
            "{path} has another table of settings than the code. Write it again:\n\n{}\n",
            expected.join("\n")
        );
    }
}

/// What is said of a setting stands in a table, and as plain text in the help.
#[test]
fn texts_of_settings_fit_where_they_are_shown() {
    for setting in settings() {
        for text in [setting.about(), &setting.expected()] {
            let name = setting.name();
            assert!(
                !text.contains(['|', '\n', '[', '*']) && !text.ends_with('.'),
                "{name}: {text}"
            );
            assert!(text.matches('`').count().is_multiple_of(2), "{name}: {text}");
        }
    }
}

#[test]
fn the_map_has_every_module() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let contributing = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, layout) = contributing.split_once("\n## Layout\n").unwrap();
    let (layout, _) = layout.split_once("\n## ").unwrap();
    let (map, code) = lib.split_once("\n\npub mod ").unwrap();
    let code = format!("pub mod {code}");
    let modules = code.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    let modules: Vec<_> = modules.collect();
    assert!(modules.len() > 30, "{modules:?}");
    for name in &modules {
        assert!(map.contains(&format!("`{name}`")), "the tour in src/lib.rs lacks {name}");
    }
    // A helper of a few lines needs no line of its own there.
    let small = ["every", "moment", "shown", "stop", "text", "url_file"];
    for name in modules.iter().filter(|name| !small.contains(name)) {
        let is_there = [format!("{name}/"), format!("{name}.rs")];
        let is_there = is_there.iter().any(|path| layout.contains(path));
        assert!(is_there, "the layout in CONTRIBUTING.md lacks {name}");
    }
}

#[test]
fn the_design_names_every_failpoint() {
    let design = std::fs::read_to_string(root().join("docs/design.md")).unwrap();
    let mut known = BTreeSet::new();
    for path in sources(&root().join("src")) {
        let code = code(&path);
        for call in ["failpoint(", "pause(", "panic_at(", "reached("] {
            let names = code.split(call).skip(1).filter_map(|rest| rest.strip_prefix('"'));
            known.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    assert!(known.len() > 25, "{known:?}");
    let missing: Vec<_> =
        known.iter().filter(|name| !design.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/design.md lacks {missing:?}");
}

/// More is a second idea.
#[test]
fn files_are_short() {
    let lengths = sources(&root().join("src")).into_iter().map(|path| {
        let length = std::fs::read_to_string(&path).unwrap().lines().count();
        (length, path)
    });
    let mut lengths: Vec<_> = lengths.collect();
    lengths.sort();
    let (median, _) = &lengths[lengths.len() / 2];
    let (longest, path) = lengths.last().unwrap();
    assert!(*median < 160, "the median is {median}");
    assert!(*longest <= 400, "{} has {longest} lines", path.display());
}
