//! Small numbers for texts that many schedules share.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::numbered::Numbered;

/// Numbers for texts.
#[derive(Default)]
pub(super) struct Interner {
    numbers: BTreeMap<Arc<str>, u32>,
    texts: Numbered<Arc<str>>,
}

/// A set of an interner's numbers.
pub(super) struct Numbers(Vec<u64>);

impl Interner {
    /// Holds a text once more and returns its number.
    pub fn hold(&mut self, text: &str) -> u32 {
        if let Some(number) = self.number(text) {
            self.texts.hold(number);
            return number;
        }
        let text: Arc<str> = text.into();
        let number = self.texts.add(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// Holds a number one time less.
    pub fn release(&mut self, number: u32) {
        if let Some(text) = self.texts.release(number) {
            self.numbers.remove(&text);
        }
    }

    /// The number of a text that is held.
    pub fn number(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The numbers of the texts with a prefix.
    pub fn beginning(&self, prefix: &str) -> Numbers {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let texts = self.numbers.range::<str, _>(from);
        let mut numbers = self.none();
        for (_, number) in texts.take_while(|(text, _)| text.starts_with(prefix)) {
            numbers.add(*number);
        }
        numbers
    }

    /// An empty set with room for every number.
    pub fn none(&self) -> Numbers {
        Numbers(vec![0; self.texts.end().div_ceil(64)])
    }
}

impl Numbers {
    /// Adds a number.
    pub fn add(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether the set has a number.
    pub fn has(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Interner;

    #[test]
    fn numbers_are_shared_and_used_again() {
        let mut texts = Interner::default();
        let (a, b) = (texts.hold("a"), texts.hold("b"));
        assert_eq!(texts.hold("a"), a);
        assert_ne!(a, b);
        texts.release(a);
        assert_eq!(texts.number("a"), Some(a));
        texts.release(a);
        assert_eq!(texts.number("a"), None);
        texts.release(a);
        for n in 0..1000 {
            let number = texts.hold(&n.to_string());
            texts.release(number);
        }
        assert_eq!((texts.texts.end(), texts.texts.len(), texts.numbers.len()), (2, 1, 1));
        assert_eq!(texts.number("b"), Some(b));
    }

    #[test]
    fn texts_are_found_by_how_they_begin() {
        let mut texts = Interner::default();
        let numbers: Vec<_> = (0..200).map(|n| texts.hold(&format!("cmd.{n}"))).collect();
        let found = texts.beginning("cmd.1");
        assert_eq!(found.len(), 111);
        for (n, number) in numbers.into_iter().enumerate() {
            assert_eq!(found.has(number), n.to_string().starts_with('1'), "{n}");
        }
        assert_eq!(texts.beginning("").len(), 200);
        assert_eq!(texts.beginning("cmd.x").len(), 0);
    }
}
