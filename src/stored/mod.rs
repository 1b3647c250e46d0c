//! Stored values outlive versions: what an instance does not know, it keeps.
//!
//! Instances of several versions share one bucket while a service is upgraded, and after a rollback. So an
//! instance that rewrites a value keeps the fields that it does not know, at every level ([`Unknown`],
//! [`Kept`]); it reads words added by newer versions as they are ([`Word`]); and it leaves alone what it may
//! not act on: a record says the format that it was written in and the lowest one that may act on it
//! ([`mod@format`]).
//!
//! A value without unknown fields costs only a comparison of each name with the one expected next.

mod count;
pub(crate) mod damage;
mod few;
pub(crate) mod format;
mod kept;
mod pooled;
mod unknown;
mod word;

/// Most stored values are no longer than this, in bytes, so their memory is taken at once.
const USUAL: usize = 2048;

/// The stored form of a value.
///
/// # Errors
/// It cannot be written as JSON, which no valid value is.
pub(crate) fn encode(value: &impl serde::Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut text, value).map(|()| text)
}

pub use count::Count;
pub use few::Few;
pub use kept::Kept;
pub(crate) use pooled::Pool;
pub use pooled::Pooled;
pub use unknown::Unknown;
pub(crate) use unknown::{Capture, keeps_unknown, write_behind};
pub use word::Word;
