//! An expression in plain English, as people say it: "at 09:00, Monday to Friday".
//!
//! It is written from the parsed sets, so what `H` stands for is spelled out, and whatever is written in
//! two ways is described in one. It says all of them: two expressions with the same description fire at
//! the same times, but for the hours in which a clock changes.

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
