//! What users do with schedules: declare, change, find, pause and restrict them, and ask what becomes of them.

pub mod alerts;
pub mod applied;
pub mod bulk;
pub mod by_name;
pub mod calendars;
pub mod creating;
pub mod explain;
pub mod groups;
pub mod instants;
pub mod lifecycle;
pub mod limits;
pub mod lists;
pub mod pause_all;
pub mod pauses;
pub mod restores;
pub mod sets;
pub mod sizes;
pub mod upcoming;
pub mod updates;
