//! Lists that are empty in nearly every record.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list that takes one word of memory while it is empty.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "a list that is there is rare, and its place is in all records"
)]
pub struct Few<T: 'static>(Option<Box<Vec<T>>>);

impl<T> Few<T> {
    const NONE: &'static Vec<T> = &Vec::new();

    /// An empty list.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.deref().is_empty()
    }

    /// Iterator that can change the items.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.as_mut().map(|items| &mut items[..]).unwrap_or_default().iter_mut()
    }

    /// Removes an item and returns it.
    pub fn remove(&mut self, index: usize) -> T {
        let removed = self.deref_mut().remove(index);
        self.let_go();
        removed
    }

    /// Keeps the items for which `holds` is true.
    pub fn retain(&mut self, holds: impl FnMut(&T) -> bool) {
        if let Some(items) = &mut self.0 {
            items.retain(holds);
        }
        self.let_go();
    }

    /// Frees the memory of an empty list.
    fn let_go(&mut self) {
        self.0.take_if(|items| items.is_empty());
    }
}

impl<T: Clone> Clone for Few<T> {
    fn clone(&self) -> Self {
        self.deref().clone().into()
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Some(items).filter(|items| !items.is_empty()).map(Box::new))
    }
}

impl<T> Deref for Few<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        self.0.as_deref().unwrap_or(Self::NONE)
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        // Most hold one, where a vector would begin with room for four.
        self.0.get_or_insert_with(|| Box::new(Vec::with_capacity(1)))
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(|items| *items).unwrap_or_default().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Few<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: Hash> Hash for Few<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: PartialEq> PartialEq<Vec<T>> for Few<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        **self == *other
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for Few<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        **self == *other
    }
}

impl<T: Serialize> Serialize for Few<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.deref().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}
