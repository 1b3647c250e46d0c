//! Stored values outlive versions: what an instance does not know, it keeps.
//!
//! Instances of several versions share one bucket while a service is upgraded, and after it is taken
//! back. So whoever rewrites a value keeps the fields that it does not know, at every level
//! ([`Unknown`], [`Kept`]); reads words that were added since as they are ([`Word`]); and leaves alone
//! what it may not act on: a record says the format that it was written in and the least one that may
//! act on it ([`mod@format`]).
//!
//! A value without unknown fields costs nothing but a comparison of each name with the one that is
//! expected next.

mod few;
pub mod format;
mod kept;
mod shared;
mod unknown;
mod word;

pub use few::Few;
pub use kept::Kept;
pub(crate) use shared::Pool;
pub use shared::Shared;
pub use unknown::Unknown;
pub(crate) use unknown::{Capture, keeps_unknown, write_behind};
pub use word::Word;
