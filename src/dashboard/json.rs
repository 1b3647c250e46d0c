//! Replies as pages read them: what is absent, or of another kind, is empty.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Looks into a reply.
pub(super) trait Look {
    /// A text; empty if there is none.
    fn text(&self, name: &str) -> &str;
    /// A number.
    fn number(&self, name: &str) -> Option<f64>;
    /// A count; 0 if there is none.
    fn count(&self, name: &str) -> u64;
    /// Whether it is there and true.
    fn is(&self, name: &str) -> bool;
    /// The items of a list.
    fn items(&self, name: &str) -> &[Value];
    /// An instant.
    fn instant(&self, name: &str) -> Option<DateTime<Utc>>;
}

impl Look for Value {
    fn text(&self, name: &str) -> &str {
        self[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self[name].as_f64()
    }

    fn count(&self, name: &str) -> u64 {
        self[name].as_u64().unwrap_or_default()
    }

    fn is(&self, name: &str) -> bool {
        self[name].as_bool().unwrap_or_default()
    }

    fn items(&self, name: &str) -> &[Value] {
        self[name].as_array().map_or(&[], Vec::as_slice)
    }

    fn instant(&self, name: &str) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(self.text(name)).ok().map(|at| at.to_utc())
    }
}

/// JSON for people to read. Nothing but white space changes: numbers keep their digits, and keys their order.
pub(super) fn indented(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if is_text {
            text.push(c);
            is_text = is_escaped || c != '"';
            is_escaped = c == '\\' && !is_escaped;
            continue;
        }
        match c {
            '"' => {
                is_text = true;
                text.push(c);
            }
            '{' | '[' => {
                text.push(c);
                while chars.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    chars.next();
                }
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        break_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                break_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => text.push(c),
        }
    }
    text
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let json = r#"{"b": 1e2,"a":[12345678901234567890123, {} , [ ]],"t":"x, {\"y\": 1}\\"}"#;
        let text = indented(json);
        let expected = "{\n  \"b\": 1e2,\n  \"a\": [\n    12345678901234567890123,\n    {},\n    []\n  ],\n  \
                        \"t\": \"x, {\\\"y\\\": 1}\\\\\"\n}";
        assert_eq!(text, expected);
        assert_eq!(indented(&text), text);
        assert_eq!((indented("3"), indented("{}")), ("3".to_owned(), "{}".to_owned()));
    }
}
