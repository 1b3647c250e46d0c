//! Times of a day in words.

use crate::trigger::cron::bits;
use crate::trigger::cron::times::Times;
use crate::trigger::words::{and, every, ranges, runs, step};

/// Most times of a day that are listed one by one, whatever their rhythm.
const FEW: usize = 4;
/// Most times of a day that are listed one by one if they have no rhythm.
const MAX_LISTED: usize = 6;
/// Maximum number of windows of a day that are listed.
const MAX_WINDOWS: usize = 3;

/// Form of a description, which decides how the days are joined to it.
pub(super) enum Rhythm {
    /// It goes on all day, so "every day" need not be added.
    Steady,
    /// It lists times of the day.
    Clock,
    /// It gives windows: from when to when.
    Windows,
}

/// The members of a field.
struct Set {
    members: Vec<u32>,
    /// Number of values of the field.
    size: u32,
}

impl Set {
    fn of(set: u64, size: u32) -> Self {
        Self { members: bits::members(set).collect(), size }
    }

    fn only(&self) -> Option<u32> {
        match self.members.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    fn is_all(&self) -> bool {
        self.members.len() == self.size as usize
    }

    /// The step with which the set goes round the whole field, again and again, from 0. A set like 0, 7, …,
    /// 56 has none, because 0 follows 56.
    fn round(&self) -> Option<u32> {
        let step = step(&self.members, 2)?;
        let whole = self.members[0] == 0 && step * self.members.len() as u32 == self.size;
        whole.then_some(step)
    }

    fn first(&self) -> u32 {
        self.members.first().copied().unwrap_or_default()
    }

    fn last(&self) -> u32 {
        self.members.last().copied().unwrap_or_default()
    }

    /// "minute 5", "minutes 0 to 10 and 30".
    fn named(&self, unit: &str) -> String {
        let plural = if self.members.len() == 1 { "" } else { "s" };
        let items = ranges(&self.members, 3, |member| member.to_string());
        format!("{unit}{plural} {}", and(&items))
    }

    /// "minutes 5 and 20 of", or "every 7 minutes from minute 0 to 56 of".
    fn at(&self, unit: &str) -> String {
        match step(&self.members, 4) {
            Some(distance) => {
                let (first, last) = (self.first(), self.last());
                format!("{} from {unit} {first} to {last}", every(distance, unit))
            }
            None => format!("at {}", self.named(unit)),
        }
    }
}

/// The fields of a time of day.
struct Fields {
    seconds: Set,
    minutes: Set,
    hours: Set,
}

/// Describes times of a day.
pub(super) fn describe(times: &Times) -> (String, Rhythm) {
    let fields = Fields {
        seconds: Set::of(times.seconds, 60),
        minutes: Set::of(times.minutes, 60),
        hours: Set::of(times.hours, 24),
    };
    let count = [&fields.seconds, &fields.minutes, &fields.hours].map(|set| set.members.len());
    match fields.seconds.only() {
        _ if count.iter().product::<usize>() <= FEW => (fields.clock(), Rhythm::Clock),
        Some(second) => fields.at_second(second),
        None => fields.many_seconds(),
    }
}

impl Fields {
    /// Times that all have the same second.
    fn at_second(&self, second: u32) -> (String, Rhythm) {
        let Self { minutes, hours, .. } = self;
        let steady = |text: String| (text, Rhythm::Steady);
        if let Some(minute) = minutes.only() {
            return self.hourly(minute, second);
        }
        if let Some(distance) = minutes.round() {
            let rhythm = every(distance, "minute");
            return match (hours.is_all(), second) {
                (true, 0) => steady(rhythm),
                (true, _) => steady(format!("{rhythm} at second {second}")),
                (false, _) => self.within(&rhythm, |minute| (minute, second)),
            };
        }
        if minutes.members.len() * hours.members.len() <= MAX_LISTED {
            return (self.clock(), Rhythm::Clock);
        }
        if let (Some(_), Some(distance)) = (hours.only(), step(&minutes.members, 4)) {
            return self.within(&every(distance, "minute"), |minute| (minute, second));
        }
        let of = self.of_hours();
        let at = minutes.at("minute");
        let seconds = if second == 0 { String::new() } else { format!(" at second {second}") };
        (format!("{at} of {of}{seconds}"), self.rhythm())
    }

    /// Times that all have the same minute and second.
    fn hourly(&self, minute: u32, second: u32) -> (String, Rhythm) {
        let hours = &self.hours;
        if hours.is_all() {
            let text = match (minute, second) {
                (0, 0) => "every hour".to_owned(),
                (_, 0) => format!("every hour at minute {minute}"),
                _ => format!("every hour at minute {minute} and second {second}"),
            };
            return (text, Rhythm::Steady);
        }
        let at = |hour| clock(hour, minute, second);
        match (hours.round(), step(&hours.members, FEW + 1)) {
            (Some(distance), _) if minute == 0 && second == 0 => {
                (every(distance, "hour"), Rhythm::Steady)
            }
            (_, Some(distance)) => {
                let (first, last) = (at(hours.first()), at(hours.last()));
                let text = format!("{} from {first} to {last}", every(distance, "hour"));
                (text, Rhythm::Windows)
            }
            _ => (self.clock(), Rhythm::Clock),
        }
    }

    /// Times with several seconds of a minute.
    fn many_seconds(&self) -> (String, Rhythm) {
        let Self { seconds, minutes, hours } = self;
        let round = seconds.round().map(|distance| every(distance, "second"));
        let (first, last) = (seconds.first(), seconds.last());
        match (&round, minutes.is_all(), hours.is_all()) {
            (Some(rhythm), true, true) => return (rhythm.clone(), Rhythm::Steady),
            (Some(rhythm), true, false) => {
                let edge = |minute| (minute, if minute == 0 { first } else { last });
                return self.within(rhythm, edge);
            }
            (None, true, true) => {
                return (format!("{} of every minute", seconds.at("second")), Rhythm::Steady);
            }
            _ => {}
        }
        let minute = minutes.only();
        if let (Some(rhythm), Some(minute), Some(hour)) = (&round, minute, hours.only()) {
            let at = |second| with_seconds(hour, minute, second);
            let (first, last) = (at(first), at(last));
            return (format!("{rhythm} from {first} to {last}"), Rhythm::Windows);
        }
        let rhythm = round.unwrap_or_else(|| seconds.at("second"));
        let of = if minutes.is_all() { "every minute".to_owned() } else { minutes.named("minute") };
        (format!("{rhythm} of {of} of {}", self.of_hours()), self.rhythm())
    }

    /// A rhythm within runs of hours; `edge` returns the minute and second at which it begins in the first
    /// hour, or ends in the last, given the first or last minute.
    fn within(&self, rhythm: &str, edge: impl Fn(u32) -> (u32, u32)) -> (String, Rhythm) {
        let runs = runs(&self.hours.members);
        if runs.len() > MAX_WINDOWS {
            let second = self.seconds.only().filter(|second| *second != 0);
            let at = second.map(|second| format!(" at second {second}")).unwrap_or_default();
            return (format!("{rhythm} in {}{at}", self.of_hours()), Rhythm::Windows);
        }
        let (first, last) = (edge(self.minutes.first()), edge(self.minutes.last()));
        let show = if first.1 == 0 && last.1 == 0 { clock } else { with_seconds };
        let windows: Vec<_> = runs
            .iter()
            .map(|(from, to)| {
                let (from, to) = (show(*from, first.0, first.1), show(*to, last.0, last.1));
                format!("from {from} to {to}")
            })
            .collect();
        (format!("{rhythm} {}", and(&windows)), Rhythm::Windows)
    }

    /// All times, one by one.
    fn clock(&self) -> String {
        let show = if self.seconds.last() == 0 { clock } else { with_seconds };
        let mut times = Vec::new();
        for hour in &self.hours.members {
            for minute in &self.minutes.members {
                times.extend(
                    self.seconds.members.iter().map(|second| show(*hour, *minute, *second)),
                );
            }
        }
        format!("at {}", and(&times))
    }

    fn of_hours(&self) -> String {
        if self.hours.is_all() { "every hour".to_owned() } else { self.hours.named("hour") }
    }

    fn rhythm(&self) -> Rhythm {
        if self.hours.is_all() { Rhythm::Steady } else { Rhythm::Windows }
    }
}

fn clock(hour: u32, minute: u32, second: u32) -> String {
    if second == 0 { format!("{hour:02}:{minute:02}") } else { with_seconds(hour, minute, second) }
}

fn with_seconds(hour: u32, minute: u32, second: u32) -> String {
    format!("{hour:02}:{minute:02}:{second:02}")
}
