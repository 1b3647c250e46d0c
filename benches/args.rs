//! Command-line arguments of benchmarks.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

/// Whether a word is among the arguments.
pub fn is_given(word: &str) -> bool {
    std::env::args().any(|argument| argument == word)
}

/// The number that follows an argument.
pub fn number(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(default, |text| text.parse().expect(name))
}
