//! Text of others, made harmless for a terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Whether a terminal might do something else with a character than show it: move the cursor, change the order of what
/// stands beside it, or hide it.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with such characters written out, as in `\n` and `\u{202e}`.
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Says something beside the answer, on standard error.
pub fn note(text: &str) {
    // Where nobody listens there is nothing to be done about it.
    let _ = writeln!(io::stderr(), "{}", safe(text));
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
