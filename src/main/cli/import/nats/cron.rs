//! Cron expressions of nats-server, in the words of ours.
//!
//! Both have six fields. What differs is the two fields of days: there a star with a step, as in `*/2`, restricts a field,
//! and a star anywhere in a list does not; and what a clock change skips or repeats: there a time that is skipped does
//! not fire, and one that is repeated fires twice.

use chrono_tz::Tz;
use nats_scheduler::trigger::{CronTrigger, DstGap, DstOverlap};

/// The least and the largest value of each field.
const BOUNDS: [(u32, u32); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
/// The fields of days: of the month, and of the week.
const DAYS: [usize; 2] = [3, 5];

/// The expression that fires at the same times.
///
/// # Errors
/// Why there is none.
pub(super) fn expression(pattern: &str, zone: Tz) -> Result<String, String> {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let ours = match fields.len() {
        // Nicknames are the same.
        1 if pattern.starts_with('@') => pattern.to_owned(),
        6 => {
            let fields: Vec<_> = fields.iter().enumerate().map(|(n, it)| field(n, it)).collect();
            fields.join(" ")
        }
        count => return Err(format!("{pattern:?} has {count} fields, and not six")),
    };
    match CronTrigger::new(&ours, zone, DstGap::Skip, DstOverlap::Both, 0) {
        Ok(_) => Ok(ours),
        Err(error) => Err(format!("{pattern:?}: {error}")),
    }
}

fn field(place: usize, field: &str) -> String {
    let items: Vec<&str> = field.split(',').filter(|item| !item.is_empty()).collect();
    let is_every = |item: &&str| matches!(*item, "*" | "?" | "*/1" | "?/1");
    if items.iter().any(is_every) {
        return "*".to_owned();
    }
    let (least, largest) = BOUNDS[place];
    let items = items.into_iter().map(|item| match item.strip_prefix(['*', '?']) {
        Some(step) if DAYS.contains(&place) => format!("{least}-{largest}{step}"),
        Some(step) => format!("*{step}"),
        None => item.to_owned(),
    });
    items.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_fire_at_the_same_times() {
        for (pattern, ours) in [
            ("@hourly", "@hourly"),
            ("0 30 2 * * *", "0 30 2 * * *"),
            ("0  0 0 ? jan mon-fri", "0 0 0 * jan mon-fri"),
            ("*/10 ?/5 ? * * *", "*/10 */5 * * * *"),
            ("0 0 0 */2 * mon", "0 0 0 1-31/2 * mon"),
            ("0 0 0 1,* * */2", "0 0 0 * * 0-6/2"),
            ("0 0 0 1,,15 * *", "0 0 0 1,15 * *"),
            ("0 0 0 */1 * 5", "0 0 0 * * 5"),
        ] {
            assert_eq!(expression(pattern, Tz::UTC).as_deref(), Ok(ours), "{pattern}");
        }
        for (pattern, reason) in [
            ("0 2 * * *", "\"0 2 * * *\" has 5 fields, and not six"),
            ("@often", "\"@often\": unknown nickname"),
            ("0 0 0 31 2 *", "\"0 0 0 31 2 *\": "),
            ("*-5 * * * * *", "\"*-5 * * * * *\": second: "),
        ] {
            let said = expression(pattern, Tz::UTC).unwrap_err();
            assert!(said.starts_with(reason), "{pattern}: {said}");
        }
    }
}
