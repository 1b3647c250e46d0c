//! Headers of the messages that we send: the one place where values become headers.
//!
//! async-nats panics at a line break in a value and sends anything else as it is, and records, which anybody with
//! access to the bucket can write by hand, hold any text. So no text is trusted because of where it came from: each is
//! made one bounded line here. Sound texts, such as all that came in by a request, stay as they are.

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, HeaderValue};

use crate::names::{header_line, header_text};
use crate::text::{LONG, SHORT, within};

/// Headers whose values are all sound.
#[derive(Clone, Debug, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Sets an id, or any other value that receivers expect as it is; see [`header_line`].
    pub fn line(&mut self, name: &'static str, text: &str) {
        self.set(name, header_line(&within(text, SHORT)).into_owned());
    }

    /// Sets a text that receivers decode; see [`header_text`].
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.set(name, header_text(&within(text, LONG)).into_owned());
    }

    /// Sets a number.
    pub fn number(&mut self, name: &'static str, number: u64) {
        self.0.insert(HeaderName::from_static(name), HeaderValue::from(number));
    }

    fn set(&mut self, name: &'static str, line: String) {
        self.0.insert(HeaderName::from_static(name), line);
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> Self {
        headers.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_text_is_its_header_is_one_bounded_line(
            text in proptest::collection::vec(
                prop_oneof![any::<char>(), Just('\r'), Just('\n'), Just(' '), Just('\0')],
                0..300,
            ),
            times in prop_oneof![Just(1_usize), Just(500)],
        ) {
            let text = text.iter().collect::<String>().repeat(times);
            let mut headers = Headers::default();
            headers.line("X-Line", &text);
            headers.text("X-Text", &text);
            for (name, most) in [("X-Line", SHORT), ("X-Text", LONG)] {
                let value = headers.0.get(name).unwrap().as_str();
                prop_assert!(!value.contains(char::is_control), "{value:?}");
                prop_assert_eq!(value.trim(), value);
                prop_assert!(value.len() <= most, "{} bytes", value.len());
            }
        }
    }

    #[test]
    fn what_came_in_by_a_request_is_sent_as_it_is() {
        let mut headers = Headers::default();
        for sound in ["a b", "50%20", "café \u{1f600}", &"x".repeat(255), ""] {
            headers.line("X", sound);
            assert_eq!(headers.0.get("X").unwrap().as_str(), sound);
        }
        headers.number("X", 7);
        assert_eq!(headers.0.get("X").unwrap().as_str(), "7");
    }
}
