//! Text of others, made harmless for a terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};

pub use nats_scheduler::shown::{is_unsafe, safe};

/// Says something beside the answer, on standard error.
pub fn note(text: &str) {
    super::progress::erase();
    // Where nobody listens there is nothing to be done about it.
    let _ = writeln!(io::stderr(), "{}", safe(text));
}

/// A count with its noun.
pub fn counted(count: u64, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    }
}

/// The text as a JSON string, which is YAML too, with such characters as escapes.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if is_unsafe(c) && (c as u32) < 0x10000 => {
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            // JSON writes these as two halves, and YAML does not know halves: they are tags that nobody sees.
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(safe("a\u{1b}[31mb\r\n\u{202e}c\u{9b}"), r"a\u{1b}[31mb\r\n\u{202e}c\u{9b}");
        assert_eq!(safe("größer 東京 עברית 👩‍🚀"), "größer 東京 עברית 👩‍🚀");
        assert_eq!(quoted("a\"\\\u{1b}\u{202e}\n"), r#""a\"\\\u001b\u202e\n""#);
    }
}
