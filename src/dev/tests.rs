//! Shared parts of the tests of this module.

pub(in crate::dev) mod fakes;
