//! What tests of this module have in common.

pub(in crate::dev) mod fakes;
