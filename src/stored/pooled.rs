//! Values that many records have in common.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A value that records may share. A change affects only the holder's own copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pooled<T>(Arc<T>);

impl<T> From<T> for Pooled<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl From<&str> for Pooled<String> {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// Values in use, each kept once.
#[derive(Debug)]
pub(crate) struct Pool<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// Number of values at which unused ones are looked for.
    full: usize,
}

/// Number of values below which none is dropped.
const FEW: usize = if cfg!(test) { 8 } else { 1024 };

impl<T: Eq + Hash + ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { values: HashSet::default(), full: FEW }
    }
}

impl<T: Eq + Hash + ?Sized> Pool<T> {
    /// Replaces `value` with the kept one that is equal to it, or keeps it.
    pub fn share(&mut self, value: &mut Arc<T>) {
        if let Some(kept) = self.values.get(&**value) {
            value.clone_from(kept);
            return;
        }
        if self.values.len() >= self.full {
            self.values.retain(|kept| Arc::strong_count(kept) > 1);
            self.full = FEW.max(2 * self.values.len());
        }
        self.values.insert(Arc::clone(value));
    }
}

impl<T: Eq + Hash> Pool<T> {
    /// Shares the value behind a [`Pooled`], as [`Pool::share`] does.
    pub fn share_value(&mut self, value: &mut Pooled<T>) {
        self.share(&mut value.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_what_nobody_uses_is_let_go_of() {
        let mut pool = Pool::<str>::default();
        let [mut a, mut b]: [Arc<str>; 2] = ["a".into(), "a".into()];
        pool.share(&mut a);
        pool.share(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
        for n in 0..1000 {
            pool.share(&mut n.to_string().into());
        }
        assert!(pool.values.len() <= FEW, "{}", pool.values.len());
        let mut c = "a".into();
        pool.share(&mut c);
        assert!(Arc::ptr_eq(&a, &c));
    }

    #[test]
    fn who_changes_a_shared_value_changes_a_copy() {
        let mut pool = Pool::default();
        let [mut a, mut b] = [Pooled::from(vec![1]), Pooled::from(vec![1])];
        pool.share_value(&mut a);
        pool.share_value(&mut b);
        b.push(2);
        assert_eq!((&*a, &*b), (&vec![1], &vec![1, 2]));
    }
}
