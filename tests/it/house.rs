//! The source itself: its structure, and the places that must agree.

pub mod circles;
mod docs;
pub mod fields;
pub mod imports;
pub mod structure;
