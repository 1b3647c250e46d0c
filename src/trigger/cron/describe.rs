//! Describes an expression in plain English, as people say it: "at 09:00, Monday to Friday".
//!
//! The description is made from the parsed sets, so `H` is shown by its value, and two spellings of the same
//! times have one description. It is complete: two expressions with the same description fire at the same
//! times, except in the hours in which a clock changes.

mod days;
mod times;

use super::calendar::Calendar;
use times::Rhythm;

/// Describes the local times of `calendar`, without the zone and without a full stop.
pub(super) fn describe(calendar: &Calendar) -> String {
    let (time, rhythm) = times::describe(&calendar.times);
    let days = days::describe(&calendar.dates);
    match (days.is_any, rhythm) {
        (true, Rhythm::Clock) => format!("{time} every day{}", days.text),
        (true, Rhythm::Windows) => format!("{time}, every day{}", days.text),
        _ => time + &days.text,
    }
}

#[cfg(test)]
mod tests;
