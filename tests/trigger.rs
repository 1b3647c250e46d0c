//! Tests of the trigger module from outside: it is pure, so none of them needs a server or a clock.
//!
//! * `conformance`: the test tables of other schedulers, see `tests/cron/`;
//! * `properties`: laws that hold for any expression, zone and instant;
//! * `walk`: a naive walk through real time, second by second, which must fire where the trigger does;
//! * `croner`: in UTC, croner's own search must find the same times.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "trigger/conformance.rs"]
mod conformance;
#[path = "trigger/croner.rs"]
mod croner;
#[path = "trigger/expressions.rs"]
mod expressions;
#[path = "trigger/properties.rs"]
mod properties;
#[path = "trigger/walk.rs"]
mod walk;
