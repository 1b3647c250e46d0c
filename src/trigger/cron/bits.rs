//! Searching a set of small numbers kept as the bits of a word.

/// The smallest member that is at least `from`.
pub(super) fn next(set: u64, from: u32) -> Option<u32> {
    let rest = set.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

/// The largest member that is at most `to`.
pub(super) fn previous(set: u64, to: u32) -> Option<u32> {
    let rest = set & below(to + 1);
    (rest != 0).then(|| 63 - rest.leading_zeros())
}

/// The set of all numbers less than `end`.
pub(super) fn below(end: u32) -> u64 {
    1_u64.checked_shl(end).map_or(u64::MAX, |bit| bit - 1)
}

/// Whether `value` is a member.
pub(super) fn has(set: u64, value: u32) -> bool {
    set.checked_shr(value).is_some_and(|rest| rest & 1 == 1)
}

/// The members, ascending.
pub(super) fn members(set: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(next(set, 0), move |last| next(set, last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_stop_at_both_ends_of_the_word() {
        let set = 1 | 1 << 5 | 1 << 63;
        assert_eq!(members(set).collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!((next(set, 6), next(set, 63), next(set, 64)), (Some(63), Some(63), None));
        assert_eq!(
            (previous(set, 64), previous(set, 62), previous(1 << 5, 4)),
            (Some(63), Some(5), None)
        );
        assert_eq!((below(0), below(3), below(64)), (0, 0b111, u64::MAX));
        assert!(has(set, 63) && !has(set, 64) && !has(set, 4));
    }
}
