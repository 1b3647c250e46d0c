//! Schedules as files: read, compared with what there is, applied and exported.

pub mod apply;
pub mod export;
mod plan;
mod read;
pub mod schema;
mod send;
mod set;
