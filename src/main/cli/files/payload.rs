//! What differs between two payloads, path by path: the service shows them by their hashes, which nobody can review.

use std::collections::{HashMap, HashSet};

use crate::cli::node::Node;
use crate::cli::text::quoted;

/// A value of a payload that differs.
#[derive(Debug, PartialEq, Eq)]
pub struct PathChange<'a> {
    /// Such as `command_payload.items[2].id`.
    pub path: String,
    pub old: Option<&'a Node>,
    pub new: Option<&'a Node>,
}

/// What differs between two values at `path`, in the order of the new one, and then what is gone.
pub fn changes<'a>(path: &str, old: &'a Node, new: &'a Node) -> Vec<PathChange<'a>> {
    let mut found = Vec::new();
    compare(path.to_owned(), Some(old), Some(new), &mut found);
    found
}

fn compare<'a>(
    path: String,
    old: Option<&'a Node>,
    new: Option<&'a Node>,
    found: &mut Vec<PathChange<'a>>,
) {
    match (old, new) {
        (Some(Node::Map(before)), Some(Node::Map(after))) => {
            // By name: a payload may have thousands of keys, and in any order.
            let known: HashSet<&str> = after.iter().map(|(key, _)| key.as_str()).collect();
            let former: HashMap<&str, &Node> =
                before.iter().map(|(key, value)| (key.as_str(), value)).collect();
            if known.len() < after.len() || former.len() < before.len() {
                // Which of two equal keys is which, nobody can say.
                if before != after {
                    found.push(PathChange { path, old, new });
                }
                return;
            }
            for (key, value) in after {
                compare(inner(&path, key), former.get(key.as_str()).copied(), Some(value), found);
            }
            for (key, value) in before.iter().filter(|(key, _)| !known.contains(key.as_str())) {
                compare(inner(&path, key), Some(value), None, found);
            }
        }
        (Some(Node::List(before)), Some(Node::List(after))) => {
            for n in 0..before.len().max(after.len()) {
                compare(format!("{path}[{n}]"), before.get(n), after.get(n), found);
            }
        }
        _ if old == new => {}
        _ => found.push(PathChange { path, old, new }),
    }
}

/// The path of a key; one that would be misread is quoted.
fn inner(path: &str, key: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    match !key.is_empty() && key.chars().all(is_plain) {
        true => format!("{path}.{key}"),
        false => format!("{path}[{}]", quoted(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_that_differs_is_named_by_its_path() {
        let node = |json| Node::of_json(json).unwrap();
        let said = |old, new| {
            let (old, new) = (node(old), node(new));
            let shown = |node: Option<&Node>| node.map_or("-".to_owned(), ToString::to_string);
            let line =
                |it: PathChange<'_>| format!("{}: {} -> {}", it.path, shown(it.old), shown(it.new));
            changes("p", &old, &new).into_iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(said(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), [""; 0], "the order is no change");
        assert_eq!(said(r#"{"a":1}"#, r#"{"a":2}"#), ["p.a: 1 -> 2"]);
        assert_eq!(said(r#"{"a":1.5}"#, r#"{"a":1.50}"#), ["p.a: 1.5 -> 1.50"]);
        assert_eq!(
            said(
                r#"{"a":{"x":[1,{"y":2}]},"gone":null}"#,
                r#"{"new":{"k":1},"a":{"x":[1,{"y":3},4]}}"#
            ),
            [
                r#"p.new: - -> {"k":1}"#,
                "p.a.x[1].y: 2 -> 3",
                "p.a.x[2]: - -> 4",
                "p.gone: null -> -"
            ]
        );
        assert_eq!(
            said(r#"{"p":{"a":1,"a":2}}"#, r#"{"p":{"a":1,"a":2,"b":3}}"#),
            [r#"p.p: {"a":1,"a":2} -> {"a":1,"a":2,"b":3}"#]
        );
        assert_eq!(said(r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#), [""; 0]);
        assert_eq!(said(r#"{"a":[1]}"#, r#"{"a":{"0":1}}"#), [r#"p.a: [1] -> {"0":1}"#]);
        assert_eq!(
            said(r#"{"a.b":1,"":2,"ü-_1":3}"#, "{}"),
            [r#"p["a.b"]: 1 -> -"#, r#"p[""]: 2 -> -"#, "p.ü-_1: 3 -> -"]
        );
    }
}
