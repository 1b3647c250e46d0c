//! Sorted slots of rows, in few bytes each.
//!
//! A member is the slot of its row and a rank, which decides nearly every comparison without a look at the
//! row. Members are kept in chunks of some hundred, so that adding or removing one moves few others. A tree
//! of keys and ids would take four times the memory.

/// Maximum number of members of a chunk.
const MOST: usize = if cfg!(test) { 4 } else { 512 };

/// Slots in an order. Callers pass the comparison, which may look at rows.
#[derive(Default)]
pub(crate) struct Order {
    /// Chunks of members, none of them empty.
    chunks: Vec<Chunk>,
    len: usize,
}

struct Chunk {
    ranks: Vec<i64>,
    /// Slots of the same members.
    slots: Vec<u32>,
}

/// Position of a member.
struct At {
    chunk: usize,
    within: usize,
}

impl Order {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a member after all that are `before` it.
    pub fn insert(&mut self, rank: i64, slot: u32, before: impl Fn(i64, u32) -> bool) {
        let At { mut chunk, mut within } = self.place(before);
        self.len += 1;
        if chunk == self.chunks.len() {
            // Sorted input fills one chunk after the other.
            match self.chunks.last().filter(|last| last.slots.len() < MOST) {
                Some(last) => (chunk, within) = (chunk - 1, last.slots.len()),
                None => self.chunks.push(Chunk::new()),
            }
        } else if self.chunks[chunk].slots.len() == MOST {
            let behind = self.chunks[chunk].split();
            self.chunks.insert(chunk + 1, behind);
            if within > MOST / 2 {
                (chunk, within) = (chunk + 1, within - MOST / 2);
            }
        }
        self.chunks[chunk].ranks.insert(within, rank);
        self.chunks[chunk].slots.insert(within, slot);
    }

    /// Removes a member, which is the first that is not `before` itself.
    pub fn remove(&mut self, slot: u32, before: impl Fn(i64, u32) -> bool) {
        let At { chunk, within } = self.place(before);
        let Some(found) = self.chunks.get_mut(chunk) else { return };
        debug_assert_eq!(found.slots.get(within), Some(&slot), "an order that is not kept");
        found.ranks.remove(within);
        found.slots.remove(within);
        self.len -= 1;
        if found.slots.is_empty() {
            self.chunks.remove(chunk);
            return;
        }
        let few = found.slots.len();
        let next = self.chunks.get(chunk + 1).map(|next| next.slots.len());
        if next.is_some_and(|next| few + next <= MOST / 2) {
            let behind = self.chunks.remove(chunk + 1);
            self.chunks[chunk].ranks.extend(behind.ranks);
            self.chunks[chunk].slots.extend(behind.slots);
        }
    }

    /// Changes the slot of a member whose row moves.
    pub fn renumber(&mut self, from: u32, to: u32, before: impl Fn(i64, u32) -> bool) {
        let At { chunk, within } = self.place(before);
        if let Some(found) = self.chunks.get_mut(chunk) {
            debug_assert_eq!(found.slots.get(within), Some(&from), "an order that is not kept");
            found.slots[within] = to;
        }
    }

    /// Number of members that are `before` a place.
    pub fn count(&self, before: impl Fn(i64, u32) -> bool) -> usize {
        let At { chunk, within } = self.place(before);
        self.chunks[..chunk].iter().map(|chunk| chunk.slots.len()).sum::<usize>() + within
    }

    /// All but the first `left_out` members, in order.
    pub fn forward(&self, left_out: usize) -> impl Iterator<Item = u32> {
        let mut left_out = left_out;
        let parts = self.chunks.iter().filter_map(move |chunk| {
            let from = left_out.min(chunk.slots.len());
            left_out -= from;
            chunk.slots.get(from..)
        });
        parts.flatten().copied()
    }

    /// The first `count` members, the last of them first.
    pub fn backward(&self, count: usize) -> impl Iterator<Item = u32> {
        let mut left_out = self.len - count.min(self.len);
        let parts = self.chunks.iter().rev().filter_map(move |chunk| {
            let without = left_out.min(chunk.slots.len());
            left_out -= without;
            chunk.slots.get(..chunk.slots.len() - without)
        });
        parts.flat_map(|part| part.iter().rev()).copied()
    }

    /// The members from the first that is not `before` a place, in order, each with its rank.
    pub fn from(&self, before: impl Fn(i64, u32) -> bool) -> impl Iterator<Item = (i64, u32)> {
        let At { chunk, mut within } = self.place(before);
        let parts = self.chunks.get(chunk..).unwrap_or_default().iter().flat_map(move |chunk| {
            let from = std::mem::take(&mut within);
            chunk.ranks[from..].iter().zip(&chunk.slots[from..])
        });
        parts.map(|(rank, slot)| (*rank, *slot))
    }

    /// The first member that is not `before` a place.
    fn place(&self, before: impl Fn(i64, u32) -> bool) -> At {
        let is_before = |chunk: &Chunk| match (chunk.ranks.last(), chunk.slots.last()) {
            (Some(rank), Some(slot)) => before(*rank, *slot),
            _ => true,
        };
        let chunk = self.chunks.partition_point(is_before);
        let within = self.chunks.get(chunk).map_or(0, |chunk| chunk.place(before));
        At { chunk, within }
    }
}

impl Chunk {
    fn new() -> Self {
        Self { ranks: Vec::with_capacity(MOST), slots: Vec::with_capacity(MOST) }
    }

    /// Splits off the second half.
    fn split(&mut self) -> Self {
        let mut behind = Self::new();
        behind.ranks.extend(self.ranks.drain(MOST / 2..));
        behind.slots.extend(self.slots.drain(MOST / 2..));
        behind
    }

    fn place(&self, before: impl Fn(i64, u32) -> bool) -> usize {
        let (mut from, mut until) = (0, self.slots.len());
        while from < until {
            let middle = usize::midpoint(from, until);
            match before(self.ranks[middle], self.slots[middle]) {
                true => from = middle + 1,
                false => until = middle,
            }
        }
        from
    }
}
