//! Counters of records, of which there may be millions in memory.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number in six bytes, up to [`Count::MOST`], where it stays.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Count([u8; 6]);

impl Count {
    /// The greatest number: a thousand a second for 8,900 years.
    pub const MOST: u64 = (1 << 48) - 1;

    /// The number.
    pub fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// Counts one more.
    pub fn add(&mut self) {
        *self = Self::from(self.get() + 1);
    }

    /// Takes one back.
    pub fn take_back(&mut self) {
        *self = Self::from(self.get().saturating_sub(1));
    }
}

impl From<u64> for Count {
    fn from(number: u64) -> Self {
        let [a, b, c, d, e, f, ..] = number.min(Self::MOST).to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_stored_as_numbers_and_stay_at_the_greatest() {
        for (stored, number) in [
            ("0", 0),
            ("256", 256),
            ("281474976710655", Count::MOST),
            ("18446744073709551615", Count::MOST),
        ] {
            let count: Count = serde_json::from_str(stored).unwrap();
            assert_eq!(count.get(), number);
            assert_eq!(serde_json::to_string(&count).unwrap(), number.to_string());
        }
        assert!(serde_json::from_str::<Count>("-1").is_err());
        let mut count = Count::from(255);
        count.add();
        assert_eq!(count.get(), 256);
        count.take_back();
        assert_eq!(count.get(), 255);
        let (mut most, mut none) = (Count::from(u64::MAX), Count::default());
        most.add();
        none.take_back();
        assert_eq!((most.get(), none.get()), (Count::MOST, 0));
    }
}
