//! Writes YAML: blocks for people, and JSON, which is YAML too, for what must not change by a letter.

use super::super::text::{is_unsafe, quoted};
use super::Node;

/// Fields that programs wrote and read: they stay JSON.
const BODIES: [&str; 3] = ["command_payload", "response_payload", "override_payload"];
/// Longest key that YAML takes without being told that it is one.
const LONGEST_KEY: usize = 1000;

impl Node {
    /// The YAML, with a line end.
    pub fn yaml(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Map(entries) if !entries.is_empty() => block(entries, &mut text, 0),
            Self::List(items) if !self.is_short() => list(items, &mut text, 0),
            other => flow(other, &mut text),
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// Whether it is a list that fits into a line: of nothing but scalars.
    fn is_short(&self) -> bool {
        let is_scalar = |node: &Self| !matches!(node, Self::Map(_) | Self::List(_));
        matches!(self, Self::List(items) if items.iter().all(is_scalar))
    }
}

fn block(entries: &[(String, Node)], text: &mut String, indent: usize) {
    for (n, (key, value)) in entries.iter().enumerate() {
        if n > 0 {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str(&plain_or_quoted(key));
        text.push(':');
        let is_body = BODIES.contains(&key.as_str());
        match value {
            Node::Map(inner) if !inner.is_empty() && !is_body => {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent + 2));
                block(inner, text, indent + 2);
            }
            Node::List(items) if !value.is_short() && !is_body => {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent + 2));
                list(items, text, indent + 2);
            }
            other => {
                text.push(' ');
                match other {
                    Node::Text(value) => text.push_str(&plain_or_quoted(value)),
                    other => flow(other, text),
                }
                text.push('\n');
            }
        }
    }
}

fn list(items: &[Node], text: &mut String, indent: usize) {
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str("- ");
        match item {
            Node::Map(entries) if !entries.is_empty() => block(entries, text, indent + 2),
            Node::List(inner) if !item.is_short() => list(inner, text, indent + 2),
            other => {
                flow(other, text);
                text.push('\n');
            }
        }
    }
}

/// Writes JSON on one line, with spaces for people.
fn flow(node: &Node, text: &mut String) {
    let comma = |n: usize| if n > 0 { ", " } else { "" };
    match node {
        Node::List(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                text.push_str(comma(n));
                flow(item, text);
            }
            text.push(']');
        }
        Node::Map(entries) => {
            text.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                text.push_str(comma(n));
                text.push_str(if key.len() > LONGEST_KEY { "? " } else { "" });
                text.push_str(&quoted(key));
                text.push_str(": ");
                flow(value, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.scalar()),
    }
}

/// A text without quotes, if nobody can take it for anything else.
fn plain_or_quoted(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ' | '+');
    let begins = text.chars().next().is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '/'));
    let other = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_plain = begins
        && text.len() <= LONGEST_KEY
        && text.trim() == text
        && text.chars().all(|c| is_word(c) && !is_unsafe(c))
        && !other.contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { quoted(text) }
}
