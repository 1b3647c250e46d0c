//! Whatever breaks, nothing is lost or doubled: processes, connections, servers and clocks.

pub mod answers;
mod chaos;
pub mod clocks;
pub mod cluster;
pub mod corrections;
pub mod crashes;
pub mod cuts;
pub mod failures;
pub mod health;
pub mod heartbeats;
pub mod instances;
pub mod outages;
pub mod overtaken;
pub mod pinned;
pub mod safety;
pub mod takeovers;
