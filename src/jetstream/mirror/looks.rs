//! Notices when the reader of a stream shows nothing any more, without an error.

/// Checks in a row, each finding nothing shown of what was there at the one before, after which the reader counts as
/// silent. A reader can fall silent without an error, and an instance that takes an attempt over waits for what it
/// shows.
const SILENT_LOOKS: u32 = 2;

/// What the checks of the stream have found.
#[derive(Default)]
pub(super) struct Looks {
    /// How often in a row the index held a number of entries other than the stream's.
    pub(super) differences: u32,
    /// How often in a row the index was shown nothing, though there was something to show.
    silent: u32,
    /// The sequences that the index had been shown, and the stream had stored, at the last check.
    last: Option<(u64, u64)>,
}

impl Looks {
    /// Notes another check; returns whether the reader has fallen silent.
    pub(super) fn is_silent(&mut self, seen: u64, stored: u64) -> bool {
        let before = self.last.replace((seen, stored));
        let shown = before.is_none_or(|(before, stored)| seen > before || stored <= before);
        self.silent = if shown { 0 } else { self.silent + 1 };
        self.silent >= SILENT_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_silent_that_shows_nothing_of_what_was_there_look_after_look() {
        let silent = |looks: &[(u64, u64)]| {
            let mut noted = Looks::default();
            looks.iter().map(|(seen, stored)| noted.is_silent(*seen, *stored)).collect::<Vec<_>>()
        };
        assert_eq!(silent(&[(1, 5), (1, 5), (1, 5)]), [false, false, true]);
        // It is slow, or there is nothing, or what there is came since the last check.
        assert_eq!(silent(&[(1, 5), (2, 5), (3, 5), (4, 9)]), [false; 4]);
        assert_eq!(silent(&[(5, 5), (5, 5), (5, 5)]), [false; 3]);
        assert_eq!(silent(&[(5, 5), (5, 9), (9, 9), (9, 12), (12, 12)]), [false; 5]);
    }
}
