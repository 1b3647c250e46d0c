//! Command-line arguments of benchmarks.

/// The number that follows an argument.
pub fn number(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(default, |text| text.parse().expect(name))
}
