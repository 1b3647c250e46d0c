//! Formats of records.
//!
//! A record has two numbers. `format` is the highest format among those that wrote it. `needs` is the lowest
//! format that may act on it: a version with a feature that older ones would get wrong raises [`FORMAT`], and
//! raises `needs` of the records that use the feature, and of no others. An instance whose format is too low
//! for a record leaves it to newer ones: it does not claim, change or show it.
//!
//! A feature that older versions can do without, such as a field that only adds to a reply, raises neither:
//! they keep it.

/// The format of this version. Records without a number are of format 0; 2 has pauses that end by themselves,
/// 3 expectations of success, 4 pauses of all schedules, 5 calendars, 6 groups, 7 reruns by what was sent, by nominal
/// times or by several statuses.
pub const FORMAT: u16 = 7;

/// The format up to which this instance may act on records: [`FORMAT`].
///
/// Only builds with debug assertions can pretend to be of a newer version, by `NATS_SCHEDULER_FORMAT`, so
/// that tests can run two versions beside each other.
#[cfg(debug_assertions)]
pub fn supported() -> u16 {
    static SUPPORTED: std::sync::LazyLock<u16> = std::sync::LazyLock::new(|| {
        let pretended = std::env::var("NATS_SCHEDULER_FORMAT").ok();
        pretended.and_then(|text| text.parse().ok()).unwrap_or(FORMAT)
    });
    *SUPPORTED
}

/// The format up to which this instance may act on records: [`FORMAT`].
#[cfg(not(debug_assertions))]
pub const fn supported() -> u16 {
    FORMAT
}

/// The format that events of the history and of the audit stream carry.
pub(crate) fn of_events() -> u16 {
    FORMAT
}
