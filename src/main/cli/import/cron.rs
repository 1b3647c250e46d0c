//! Cron expressions of others, in the words of ours.
//!
//! Those of cron itself are the same. Those of nats-server and of Kubernetes, which both read them as the Go package
//! robfig/cron does, differ in the two fields of days: there a star with a step, as in `*/2`, restricts a field, and a
//! star anywhere in a list does not; and in what a clock change skips or repeats: there a time that is skipped does not
//! fire, and one that is repeated fires twice.

use chrono_tz::Tz;
use nats_scheduler::schedule::MAX_INTERVAL_SECONDS;
use nats_scheduler::trigger::{CronTrigger, DstGap, DstOverlap};

use super::span::span;

/// The least and the largest value of each field.
const BOUNDS: [(u32, u32); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
/// The fields of days: of the month, and of the week.
const DAYS: [usize; 2] = [3, 5];

/// A time zone by its name.
///
/// # Errors
/// There is none of that name.
pub(super) fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("the time zone {name:?} is not known"))
}

/// Checks that the service takes an expression.
///
/// # Errors
/// Why it does not.
pub(super) fn check(expression: &str, zone: Tz) -> Result<(), String> {
    match CronTrigger::new(expression, zone, DstGap::Skip, DstOverlap::Both, 0) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{expression:?}: {error}")),
    }
}

/// The expression that fires at the same times as one of Go, which has so many fields: five, or six with seconds.
///
/// # Errors
/// Why there is none.
pub(super) fn of_go(pattern: &str, count: usize, zone: Tz) -> Result<String, String> {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let ours = match fields.len() {
        // Nicknames are the same.
        1 if pattern.starts_with('@') => pattern.to_owned(),
        found if found == count => {
            let places = BOUNDS.len() - count..;
            let fields: Vec<_> = places.zip(&fields).map(|(n, it)| field(n, it)).collect();
            fields.join(" ")
        }
        found => return Err(format!("{pattern:?} has {found} fields, and not {count}")),
    };
    match check(&ours, zone) {
        Err(reason) if ours != pattern => Err(format!("{pattern:?}, which is {reason}")),
        checked => checked.map(|()| ours),
    }
}

/// How many seconds lie between two times of `@every`.
///
/// # Errors
/// What is no span, or none that an interval can have.
pub(super) fn every(text: &str) -> Result<u32, String> {
    let every = span(text).ok_or_else(|| format!("\"@every {text}\" is no span"))?;
    if every.subsec_nanos() != 0 || every.num_seconds() < 1 {
        return Err(format!("\"@every {text}\" is no whole number of seconds"));
    }
    let seconds = u32::try_from(every.num_seconds()).ok();
    let seconds = seconds.filter(|seconds| *seconds <= MAX_INTERVAL_SECONDS);
    seconds.ok_or_else(|| format!("\"@every {text}\" is longer than 365 days"))
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
            assert_eq!(of_go(pattern, 6, Tz::UTC).as_deref(), Ok(ours), "{pattern}");
        }
        for (pattern, ours) in [
            ("0 0 */2 * MON", "0 0 1-31/2 * MON"),
            ("*/15 8-17 ? * 1-5", "*/15 8-17 * * 1-5"),
            ("@daily", "@daily"),
        ] {
            assert_eq!(of_go(pattern, 5, Tz::UTC).as_deref(), Ok(ours), "{pattern}");
        }
        for (pattern, reason) in [
            ("0 2 * * *", "\"0 2 * * *\" has 5 fields, and not 6"),
            ("@often", "\"@often\": unknown nickname"),
            ("0 0 0 31 2 *", "\"0 0 0 31 2 *\": "),
            ("*-5 * * * * *", "\"*-5 * * * * *\": second: "),
        ] {
            let said = of_go(pattern, 6, Tz::UTC).unwrap_err();
            assert!(said.starts_with(reason), "{pattern}: {said}");
        }
    }
}
