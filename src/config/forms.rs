//! The forms of settings: numbers, words, and other kinds of text.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::faults::Faults;

/// How a setting is parsed from text.
pub trait Form: Sync {
    /// The parsed type.
    type Value;

    /// The words after "must be", in Markdown; empty if any text is valid.
    fn expected(&self) -> String;

    /// The default as text; empty for none.
    fn default(&self) -> String;

    /// Value if the variable is not set.
    fn unset(&self, faults: &mut Faults<'_>) -> Self::Value;

    /// Value if the variable is set. After a fault any usable value will do, since the start ends.
    fn read(&self, text: &str, faults: &mut Faults<'_>) -> Self::Value;
}

/// A number within bounds.
pub struct Number<T> {
    default: T,
    range: RangeInclusive<T>,
}

/// A number with a default.
pub(super) const fn number<T: Copy>(default: T, range: RangeInclusive<T>) -> Number<T> {
    Number { default, range }
}

/// Parses a number, if it is within bounds.
pub(super) fn within<T: FromStr + PartialOrd>(range: &RangeInclusive<T>, text: &str) -> Option<T> {
    text.trim().parse().ok().filter(|number| range.contains(number))
}

/// Bounds in words, as in "1 to 1000".
pub(super) fn bounds<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("{} to {}", range.start(), range.end())
}

impl<T: FromStr + PartialOrd + Display + Copy + Sync> Form for Number<T> {
    type Value = T;

    fn expected(&self) -> String {
        bounds(&self.range)
    }

    fn default(&self) -> String {
        self.default.to_string()
    }

    fn unset(&self, _: &mut Faults<'_>) -> T {
        self.default
    }

    fn read(&self, text: &str, faults: &mut Faults<'_>) -> T {
        within(&self.range, text).unwrap_or_else(|| {
            faults.must_be(&self.expected(), text);
            self.default
        })
    }
}

/// One of a few words, in upper or lower case.
pub struct OneOf<T: 'static> {
    default: T,
    words: &'static [(&'static str, T)],
}

/// One of `words`, with a default that is among them.
pub(super) const fn one_of<T: Copy>(default: T, words: &'static [(&'static str, T)]) -> OneOf<T> {
    OneOf { default, words }
}

/// `true` or `false`.
pub(super) const fn flag(default: bool) -> OneOf<bool> {
    one_of(default, &[("true", true), ("false", false)])
}

impl<T: PartialEq + Copy + Sync> Form for OneOf<T> {
    type Value = T;

    fn expected(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|(word, _)| format!("`{word}`")).collect();
        match words.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => words.concat(),
        }
    }

    fn default(&self) -> String {
        let word = self.words.iter().find(|(_, value)| *value == self.default);
        word.map_or_else(String::new, |(word, _)| (*word).to_owned())
    }

    fn unset(&self, _: &mut Faults<'_>) -> T {
        self.default
    }

    fn read(&self, text: &str, faults: &mut Faults<'_>) -> T {
        let word = self.words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        word.map_or_else(
            || {
                faults.must_be(&self.expected(), text);
                self.default
            },
            |(_, value)| *value,
        )
    }
}

/// A value with a textual form and a default.
pub struct Parsed<T> {
    default: T,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

/// A value read by `parse`, with a default.
pub(super) const fn parsed<T: Copy>(
    default: T,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Parsed<T> {
    Parsed { default, expected, parse }
}

impl<T: Display + Copy + Sync> Form for Parsed<T> {
    type Value = T;

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn default(&self) -> String {
        self.default.to_string()
    }

    fn unset(&self, _: &mut Faults<'_>) -> T {
        self.default
    }

    fn read(&self, text: &str, faults: &mut Faults<'_>) -> T {
        (self.parse)(text.trim()).unwrap_or_else(|| {
            faults.must_be(self.expected, text);
            self.default
        })
    }
}

/// A value that cannot be a constant: its default is a text that is parsed as if it had been set.
pub struct Written<T> {
    default: &'static str,
    expected: &'static str,
    read: fn(&str, &mut Faults<'_>) -> T,
}

/// A value read by `read`.
pub(super) const fn written<T>(
    default: &'static str,
    expected: &'static str,
    read: fn(&str, &mut Faults<'_>) -> T,
) -> Written<T> {
    Written { default, expected, read }
}

impl<T> Form for Written<T> {
    type Value = T;

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn default(&self) -> String {
        self.default.to_owned()
    }

    fn unset(&self, faults: &mut Faults<'_>) -> T {
        (self.read)(self.default, faults)
    }

    fn read(&self, text: &str, faults: &mut Faults<'_>) -> T {
        (self.read)(text, faults)
    }
}

/// A value without a default.
pub struct Optional<T> {
    expected: &'static str,
    read: fn(&str, &mut Faults<'_>) -> Option<T>,
}

/// A value read by `read`, if set.
pub(super) const fn optional<T>(
    expected: &'static str,
    read: fn(&str, &mut Faults<'_>) -> Option<T>,
) -> Optional<T> {
    Optional { expected, read }
}

/// Any text, taken as it is.
pub(super) const fn any_text() -> Optional<String> {
    optional("", |text, _| Some(text.to_owned()))
}

/// A file that the part that needs it reads.
pub(super) const fn path() -> Optional<PathBuf> {
    optional(FILE, path_in)
}

/// A file that must be readable.
pub(super) const fn file() -> Optional<PathBuf> {
    optional(FILE, |text, faults| {
        let path = path_in(text, faults)?;
        if let Err(error) = std::fs::read(&path) {
            faults.say(format!("{}: {error}", path.display()));
        }
        Some(path)
    })
}

const FILE: &str = "the path of a file";

fn path_in(text: &str, faults: &mut Faults<'_>) -> Option<PathBuf> {
    if text.contains('\n') {
        // Keys and credentials span several lines, and are secret.
        faults.say(format!("must be {FILE}, not what is in it"));
        return None;
    }
    Some(PathBuf::from(text))
}

impl<T> Form for Optional<T> {
    type Value = Option<T>;

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn default(&self) -> String {
        String::new()
    }

    fn unset(&self, _: &mut Faults<'_>) -> Option<T> {
        None
    }

    fn read(&self, text: &str, faults: &mut Faults<'_>) -> Option<T> {
        (self.read)(text, faults)
    }
}
