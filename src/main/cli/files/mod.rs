//! Schedules as files: read, compared with what there is, applied and exported.

pub mod apply;
pub mod creators;
pub mod export;
pub mod fields;
pub mod payload;
pub mod plan;
pub mod read;
pub mod schema;
pub mod send;
pub mod set;
