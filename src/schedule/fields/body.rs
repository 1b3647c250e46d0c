//! Faults of a body that cannot be read at all.

use serde_json::error::Category;
use serde_json::value::RawValue;

/// Why a body is not a JSON object whose names can be read.
pub(super) fn fault(body: &[u8]) -> String {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            let (line, column) = place(&body[..error.valid_up_to()]);
            return format!("is not UTF-8 at line {line}, column {column}");
        }
    };
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => return syntax(text, &error),
    };
    let kind = match raw.get().as_bytes().first() {
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f' | b'n') => raw.get(),
        Some(b'{') => {
            return "has a name with an escape, such as \\ud800, that stands for no character"
                .to_owned();
        }
        _ => "a number",
    };
    format!("must be a JSON object, such as {{\"name\": \"value\"}}, and is {kind}")
}

fn syntax(text: &str, error: &serde_json::Error) -> String {
    // The library counts bytes, and its position is the byte that it could not use.
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let behind = lines.map(str::len).sum::<usize>() + error.column();
    let mut at = text.floor_char_boundary(behind.saturating_sub(1));
    // Stay in front of a control character in a string, usually a line end.
    if let Some((length, next)) = text[at..].char_indices().nth(1)
        && next.is_control()
        && ends_in_text(&text[..at + length])
    {
        at += length;
    }
    let (line, column) = place(&text.as_bytes()[..at]);
    let found = text[at..].chars().next().filter(|_| error.classify() != Category::Eof);
    match found {
        None => {
            format!("is not JSON: it ends at line {line}, column {column}, and is not complete")
        }
        Some(found) => {
            let shown = if found.is_ascii_graphic() || found.is_alphanumeric() {
                format!("`{found}`")
            } else {
                format!("U+{:04X}", u32::from(found))
            };
            format!("is not JSON: unexpected {shown} at line {line}, column {column}")
        }
    }
}

/// Whether the beginning of some JSON breaks off within a string.
fn ends_in_text(json: &str) -> bool {
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
    }
    in_text
}

/// Line and column, from 1 and in characters, of what follows some text.
fn place(before: &[u8]) -> (usize, usize) {
    let text = String::from_utf8_lossy(before);
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_told_with_its_place() {
        for (body, expected) in [
            ("{", "is not JSON: it ends at line 1, column 1, and is not complete"),
            ("{\"name\":", "is not JSON: it ends at line 1, column 8, and is not complete"),
            ("{\"a\":}", "is not JSON: unexpected `}` at line 1, column 6"),
            ("{\"a\":1,}", "is not JSON: unexpected `}` at line 1, column 8"),
            ("{\n  \"é\": 1,\n  'b': 2\n}", "is not JSON: unexpected `'` at line 3, column 3"),
            ("{\"é\":x}", "is not JSON: unexpected `x` at line 1, column 6"),
            ("{\"a\":01}", "is not JSON: unexpected `1` at line 1, column 7"),
            ("{\"a\":nul}", "is not JSON: unexpected `}` at line 1, column 9"),
            ("{\"a\":\"\\x\"}", "is not JSON: unexpected `x` at line 1, column 8"),
            ("{\"a\":\"\n\"}", "is not JSON: unexpected U+000A at line 1, column 7"),
            ("{\"a\":\"x\ty\"}", "is not JSON: unexpected U+0009 at line 1, column 8"),
            ("{\"a\":\"é\n\"}", "is not JSON: unexpected U+000A at line 1, column 8"),
            ("{\"a\":x\n}", "is not JSON: unexpected `x` at line 1, column 6"),
            ("{\"a\":1} x", "is not JSON: unexpected `x` at line 1, column 9"),
            ("\u{feff}{}", "is not JSON: unexpected U+FEFF at line 1, column 1"),
            ("\0", "is not JSON: unexpected U+0000 at line 1, column 1"),
            ("[]", "must be a JSON object, such as {\"name\": \"value\"}, and is a list"),
            ("null", "must be a JSON object, such as {\"name\": \"value\"}, and is null"),
            ("\"{}\"", "must be a JSON object, such as {\"name\": \"value\"}, and is a text"),
            ("1e400", "must be a JSON object, such as {\"name\": \"value\"}, and is a number"),
            (
                "{\"\\ud800\":1}",
                "has a name with an escape, such as \\ud800, that stands for no character",
            ),
        ] {
            assert_eq!(fault(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(fault(b"{\"a\":\n\"\xff\"}"), "is not UTF-8 at line 2, column 2");
    }
}
