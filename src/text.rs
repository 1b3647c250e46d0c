//! Cuts texts that others make, leaving a mark, before they are kept.
//!
//! A text is kept as JSON, sent in headers percent-encoded, or both, and either makes it longer: a control
//! character takes six bytes in JSON, a character of four bytes takes twelve in a header. So bounds count
//! what a text takes in the worse of the two, and a value with cut texts has a maximum size that is known
//! beforehand.

use std::borrow::Cow;

/// Maximum bytes of a name, an id, a subject, or another system's error text.
pub const SHORT: usize = 4 * 1024;
/// Maximum bytes of texts by people and workers: 2,000 characters of any kind fit.
pub const LONG: usize = 24 * 1024;

/// Maximum encoded bytes of one byte.
const WORST: usize = 6;
/// Maximum bytes of the mark.
const MARK: usize = 48;

/// Cuts a text to at most `most` encoded bytes, including a mark with its former length.
pub fn cut(text: &mut String, most: usize) {
    if text.len().saturating_mul(WORST) <= most {
        return;
    }
    let (mut taken, mut kept, mut fits) = (0, 0, true);
    for (at, letter) in text.char_indices() {
        taken += encoded(letter);
        if taken <= most.saturating_sub(MARK) {
            kept = at + letter.len_utf8();
        }
        if taken > most {
            fits = false;
            break;
        }
    }
    if !fits {
        let bytes = text.len();
        text.truncate(kept);
        text.push_str(&format!("... ({bytes} bytes)"));
    }
}

/// Does the same for a borrowed text.
pub fn within(text: &str, most: usize) -> Cow<'_, str> {
    if text.len().saturating_mul(WORST) <= most {
        return text.into();
    }
    let mut kept = text.to_owned();
    cut(&mut kept, most);
    kept.into()
}

/// Cuts an owned text to [`SHORT`] bytes.
#[must_use]
pub fn short(mut text: String) -> String {
    cut(&mut text, SHORT);
    text
}

/// Bytes of a character in JSON or in a header, whichever is more.
fn encoded(letter: char) -> usize {
    match letter {
        '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 3,
        '\0'..='\u{1f}' => WORST,
        '"' | '\\' => 2,
        // White space at the ends is encoded too.
        ' ' | '%' | '\u{7f}' => 3,
        '!'..='~' => 1,
        _ => 3 * letter.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::header_text;

    #[test]
    fn a_cut_says_how_long_it_was() {
        let mut text = "x".repeat(200_000);
        cut(&mut text, 100);
        assert_eq!(text, format!("{}... (200000 bytes)", "x".repeat(52)));
        let mut again = text.clone();
        cut(&mut again, 100);
        assert_eq!(again, text, "what was cut stays as it is");
    }

    #[test]
    fn what_users_may_write_is_kept_whole() {
        for letter in ["\u{10348}", "\u{1}", "a", "\""] {
            let text = letter.repeat(2000);
            let mut kept = text.clone();
            cut(&mut kept, LONG);
            assert_eq!(kept, text);
        }
    }

    proptest! {
        #[test]
        fn what_was_cut_fits_however_it_is_encoded(
            letters in proptest::collection::vec(any::<char>(), 0..400),
            control in 0..300_usize,
            most in MARK..2000_usize,
        ) {
            let whole: String = "\u{1}".repeat(control) + &letters.iter().collect::<String>();
            let mut text = whole.clone();
            cut(&mut text, most);
            let json = serde_json::to_string(&text).unwrap();
            prop_assert!(json.len() <= most + 2, "{} bytes of JSON", json.len());
            let header = header_text(&text);
            prop_assert!(header.len() <= most, "{} bytes of a header", header.len());
            let is_cut = text != whole;
            prop_assert_eq!(is_cut, text.ends_with(&format!("... ({} bytes)", whole.len())));
        }
    }
}
