//! Reads YAML by the events of a parser, so that nothing turns a number into a float or sorts keys.
//!
//! What is no text in YAML 1.2 and no number of JSON either, such as `0x1F` or `.inf`, is refused: whatever was meant, a
//! payload cannot say it. Times are texts.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::{MAX_DEPTH, Node, TOO_DEEP};

/// Most nodes of a file, counting those that aliases repeat.
const MAX_NODES: usize = 1_000_000;

/// Error for a key `<<` without quotes; in quotes it is a key like any other.
const MERGE: &str =
    "merge keys are not part of YAML 1.2: repeat the fields, or quote the key if it is one";

/// A value of a file, with the line where it begins.
type Placed = (usize, Node);

/// The documents of a YAML text, and the items of those that are lists.
///
/// # Errors
/// What is wrong, with its line.
pub fn read_yaml(text: &str) -> Result<Vec<Placed>, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        builder.take(event, line).map_err(|fault| format!("line {line}: {fault}"))?;
    }
    Ok(builder.done)
}

/// A collection that is being read.
struct Open {
    line: usize,
    anchor: usize,
    node: Node,
    /// Of a map: the key whose value comes next.
    key: Option<String>,
}

/// Puts nodes together.
#[derive(Default)]
struct Builder {
    done: Vec<Placed>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::MappingStart(_, anchor, tag) => {
                reject(tag.as_deref(), "map")?;
                self.begin(line, anchor, Node::Map(Vec::new()))
            }
            Event::SequenceStart(_, anchor, tag) => {
                reject(tag.as_deref(), "seq")?;
                self.begin(line, anchor, Node::List(Vec::new()))
            }
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                // The items of an outermost list have been taken one by one.
                Some(done) if self.open.is_empty() && matches!(done.node, Node::List(_)) => Ok(()),
                Some(done) => self.add(done.node, done.anchor, done.line),
                None => Ok(()),
            },
            Event::Scalar(text, style, anchor, tag) => {
                if text == "<<" && style == ScalarStyle::Plain && tag.is_none() && self.awaits_key()
                {
                    return Err(MERGE.to_owned());
                }
                let node = scalar(text.into_owned(), style, tag.as_deref())?;
                self.add(node, anchor, line)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or("an alias within what it names")?;
                let (nodes, depth) = extent(node);
                self.nodes += nodes;
                if self.open.len() + depth > MAX_DEPTH {
                    return Err(TOO_DEEP.to_owned());
                }
                self.add(node.clone(), 0, line)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the next node is the key of a map.
    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { node: Node::Map(_), key: None, .. }))
    }

    fn begin(&mut self, line: usize, anchor: usize, node: Node) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(TOO_DEEP.to_owned());
        }
        self.open.push(Open { line, anchor, node, key: None });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err("the file is too large".to_owned());
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let is_outermost = self.open.len() == 1;
        let Some(Open { node: parent, key: open_key, .. }) = self.open.last_mut() else {
            self.done.push((line, node));
            return Ok(());
        };
        match (parent, open_key.take()) {
            (Node::List(_), _) if is_outermost => self.done.push((line, node)),
            (Node::List(items), _) => items.push(node),
            (Node::Map(entries), Some(key)) if entries.iter().any(|(other, _)| *other == key) => {
                return Err(format!("the key {key:?} is there twice"));
            }
            (Node::Map(entries), Some(key)) => entries.push((key, node)),
            (_, _) => *open_key = Some(key(node)?),
        }
        Ok(())
    }
}

/// The key of a map.
fn key(node: Node) -> Result<String, String> {
    match node {
        Node::Text(key) | Node::Number(key) => Ok(key),
        Node::Bool(key) => Ok(key.to_string()),
        _ => Err("a key must be a text".to_owned()),
    }
}

/// Number of nodes, and how deep they are nested.
fn extent(node: &Node) -> (usize, usize) {
    let sum = |parts: &mut dyn Iterator<Item = &Node>| {
        let grown = |(nodes, depth): (usize, usize), part| {
            let (more, deep) = extent(part);
            (nodes + more, depth.max(deep + 1))
        };
        parts.fold((1, 1), grown)
    };
    match node {
        Node::List(items) => sum(&mut items.iter()),
        Node::Map(entries) => sum(&mut entries.iter().map(|(_, value)| value)),
        _ => (1, 1),
    }
}

/// Refuses tags that say anything but what a collection is anyway.
fn reject(tag: Option<&Tag>, kind: &str) -> Result<(), String> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(kind) => Err("tags are not understood".to_owned()),
        _ => Ok(()),
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, String> {
    match tag.map(Tag::core_suffix) {
        Some(Some("str")) => return Ok(Node::Text(text)),
        Some(_) => return Err("of all tags only !!str is understood".to_owned()),
        None => {}
    }
    if style != ScalarStyle::Plain {
        return Ok(Node::Text(text));
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Node::Null),
        "true" | "True" | "TRUE" => Ok(Node::Bool(true)),
        "false" | "False" | "FALSE" => Ok(Node::Bool(false)),
        number if is_json_number(number) => Ok(Node::Number(text)),
        number if is_other_number(number) => Err(format!(
            "{number} is no number that JSON has: write it in decimal, or in quotes if it is a text"
        )),
        _ => Ok(Node::Text(text)),
    }
}

fn is_json_number(text: &str) -> bool {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    is_number && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether YAML 1.2 takes it for a number, and JSON does not.
fn is_other_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = |digits: &str, is_digit: fn(&char) -> bool| {
        !digits.is_empty() && digits.chars().all(|c| is_digit(&c))
    };
    if let Some(digits) = unsigned.strip_prefix("0x") {
        return all(digits, char::is_ascii_hexdigit);
    }
    if let Some(digits) = unsigned.strip_prefix("0o") {
        return all(digits, |c| ('0'..='7').contains(c));
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let begins = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    begins && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let mut documents = read_yaml(text)?;
        assert_eq!(documents.len(), 1, "{text}");
        Ok(documents.remove(0).1)
    }

    #[test]
    fn digits_and_the_order_of_keys_survive_both_ways() {
        for json in [
            r#"{"z":1.10,"a":123456789012345678901234567890,"m":1E400,"n":-0,"o":[1.0,"1.0",null,true]}"#,
            r#"{"command_payload":{"yes":"no","b\n":"\u202e\u0000","é":"東","":{}},"on":"success","tags":["a","0x1"]}"#,
            r#"{"a":[{"b":[[1],[]]},{}],"text":"a: b # c","multi":"1\n2","time":"2026-11-28","oct":"0o7"}"#,
            r#"{"command_payload":{"<<":{"a":1}},"<<":"<<"}"#,
            r#"{"command_payload":{"emoji":"👩‍🚀","esc":"\u001b[31m","slash":"\\/","quote":"\"'"}}"#,
        ] {
            let node = Node::of_json(json).unwrap();
            assert_eq!(node.to_string(), json);
            assert_eq!(read(&node.yaml()).unwrap(), node, "{}", node.yaml());
            assert_eq!(read(&node.pretty()).unwrap(), node, "JSON is YAML");
        }
        let long = "k".repeat(2000);
        let node = Node::of_json(&format!(r#"{{"command_payload":{{"{long}":1}}}}"#)).unwrap();
        assert_eq!(read(&node.yaml()).unwrap(), node);
    }

    #[test]
    fn yaml_of_people_is_read() {
        let text = "# a schedule\nname: nightly\ncron_expression: '0 2 * * *'\ntags: [a, b]\nafter:\n  on: failure\n\
                    description: >\n  two\n  lines\nbase: &base {x: 1.50}\nagain: *base\nzero: 0\nempty:\n";
        let json = r#"{"name":"nightly","cron_expression":"0 2 * * *","tags":["a","b"],"after":{"on":"failure"},"description":"two lines\n","base":{"x":1.50},"again":{"x":1.50},"zero":0,"empty":null}"#;
        assert_eq!(read(text).unwrap().to_string(), json);
        assert_eq!(read_yaml("a: 1\n---\n- b\n- c\n").unwrap().len(), 3);
        assert_eq!(read_yaml("").unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (text, fault) in [
            ("a: 1\nb: 0x1F", "line 2: 0x1F is no number that JSON has"),
            ("a: 007", "line 1: 007 is no number"),
            ("a: .inf", "line 1: .inf is no number"),
            ("a: 1\na: 2", "line 2: the key \"a\" is there twice"),
            ("<<: {a: 1}", "line 1: merge keys"),
            ("a: !thing 1", "line 1: of all tags"),
            ("{a: 1}: 2", "line 1: a key must be a text"),
            ("a: [1", "line 1: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(fault), "{text}: {error}");
        }
        let bomb = (0..12).fold("a0: &a0 [x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
            let items = format!("*a{n},").repeat(8);
            format!("{text}a{}: &a{} [{items}]\n", n + 1, n + 1)
        });
        assert!(read(&bomb).unwrap_err().ends_with("the file is too large"));
        assert!(
            read(&format!("{}{}", "{a: ".repeat(200), "}".repeat(200)))
                .unwrap_err()
                .contains("too deeply")
        );
    }
}
