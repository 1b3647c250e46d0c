//! Executions to act on: oldest first, and up to a place of the stream, so that what the acting adds is not among them.

use super::HistoryIndex;
use super::query::Filter;

/// A part of what was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The places of this part, oldest first.
    pub places: Vec<u64>,
    /// How many are behind it.
    pub left: u64,
    /// How many there are in all.
    pub total: u64,
}

impl HistoryIndex {
    /// The first `limit` executions that match at the place `until` or before, behind the place `after`. Error types
    /// that came after 65,535 others, and commands, are told apart for sure only by what is fetched.
    pub fn choose(&self, filter: &Filter, until: u64, after: u64, limit: usize) -> Chosen {
        let mut chosen = Chosen::default();
        let Some(wanted) = self.wanted(filter) else { return chosen };
        for chunk in self.chunks.iter().filter(|chunk| chunk.count(&wanted) > 0) {
            let matches =
                |at: &usize| chunk.sequences[*at] <= until && chunk.is_wanted(*at, &wanted);
            for at in (0..chunk.len()).filter(matches) {
                chosen.total += 1;
                if chunk.sequences[at] <= after {
                    continue;
                }
                if chosen.places.len() < limit {
                    chosen.places.push(chunk.sequences[at]);
                } else {
                    chosen.left += 1;
                }
            }
        }
        chosen
    }
}
