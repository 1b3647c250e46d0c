//! A second opinion on clock changes: walks through real time in small steps, looks at the local clock at each, and
//! applies the rules as they are written down. Slow and obvious, and independent of the crate: even the expression is
//! parsed separately.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use chrono_tz::Tz;
use nats_scheduler::trigger::{DstGap, DstOverlap, Moved, Occurrence};
use proptest::prelude::*;

use crate::expressions::{self, changes, offset};

const HOUR: i64 = 3_600;

/// Zones whose clock changes are unlike the usual hour in the small hours.
const ZONES: [Tz; 12] = [
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Africa__Casablanca,
    Tz::Antarctica__Troll,
    Tz::Australia__Lord_Howe,
    Tz::Asia__Gaza,
    Tz::Asia__Kathmandu,
    Tz::Asia__Pyongyang,
    Tz::Pacific__Apia,
    Tz::Pacific__Kwajalein,
    Tz::America__Sao_Paulo,
    Tz::America__Caracas,
];

/// An expression of six fields without days counted from the end of the month, read naively.
struct Naive {
    fields: Vec<Vec<u32>>,
    either_day: bool,
    wildcard: bool,
}

impl Naive {
    fn read(expression: &str) -> Naive {
        let limits = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
        let texts: Vec<&str> = expression.split(' ').collect();
        let fields = texts.iter().zip(limits).map(|(text, limits)| values(text, limits)).collect();
        Naive {
            fields,
            either_day: !texts[3].starts_with('*') && !texts[5].starts_with('*'),
            wildcard: texts[..3].iter().any(|text| text.starts_with('*')),
        }
    }

    fn matches(&self, local: NaiveDateTime) -> bool {
        let has = |field: usize, value: u32| self.fields[field].contains(&value);
        let day = has(3, local.day());
        let weekday = has(5, local.weekday().num_days_from_sunday());
        has(0, local.second())
            && has(1, local.minute())
            && has(2, local.hour())
            && has(4, local.month())
            && if self.either_day { day || weekday } else { day && weekday }
    }
}

fn values(text: &str, (min, max): (u32, u32)) -> Vec<u32> {
    let mut values = Vec::new();
    for item in text.split(',') {
        let (base, step) = item.split_once('/').unwrap_or((item, "1"));
        let number = |text: &str| text.parse::<u32>().expect(text);
        let (start, end) = match base.split_once('-') {
            Some((start, end)) => (number(start), number(end)),
            None if base == "*" => (min, max),
            None if item.contains('/') => (number(base), max),
            None => (number(base), number(base)),
        };
        values.extend((start..=end).step_by(number(step) as usize));
    }
    values
}

/// Every occurrence in `[from, until]`, `step` seconds at a time.
fn walk(
    naive: &Naive,
    zone: Tz,
    (gap, overlap): (DstGap, DstOverlap),
    (from, until, step): (i64, i64, i64),
) -> Vec<Occurrence> {
    let mut known = HashMap::new();
    let mut matches = |local: i64| {
        let at = DateTime::from_timestamp(local, 0).expect("in range").naive_utc();
        *known.entry(local).or_insert_with(|| naive.matches(at))
    };
    let mut occurrences = Vec::new();
    // The local time that would come next if no clock were ever changed forward.
    let mut expected = from + offset(zone, from);
    for now in (from..=until).step_by(step as usize) {
        let local = now + offset(zone, now);
        let due = matches(local);
        let moved = if naive.wildcard {
            due.then_some(None)
        } else if local < expected {
            (due && overlap == DstOverlap::Both).then_some(Some(Moved::DstOverlap))
        } else if due {
            Some(None)
        } else {
            let skipped = (expected..local).step_by(step as usize).any(&mut matches);
            (skipped && gap == DstGap::NextValid).then_some(Some(Moved::DstGap))
        };
        if let Some(moved) = moved {
            let at = DateTime::from_timestamp(now, 0).expect("in range");
            occurrences.push(Occurrence { at, moved });
        }
        expected = expected.max(local + step);
    }
    occurrences
}

/// A list of up to three items, weighted towards stars so that something happens near the change.
fn field(min: u32, max: u32, stars: u32) -> impl Strategy<Value = String> {
    let item = prop_oneof![
        3 => (min..=max).prop_map(|value| value.to_string()),
        1 => (min..=max, 2..=max.max(3) / 2).prop_map(|(start, step)| format!("{start}/{step}")),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ];
    prop_oneof![
        stars => Just("*".to_owned()),
        1 => (2..=max / 2).prop_map(|step| format!("*/{step}")),
        4 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

fn check(
    expression: &str,
    zone: Tz,
    policies: (DstGap, DstOverlap),
    fraction: f64,
    (before, after, step): (i64, i64, i64),
) -> Result<(), TestCaseError> {
    let changes = changes(zone);
    let change = changes[(fraction * changes.len() as f64) as usize];
    let span = (change - before, change + after, step);
    // The walk begins with a clock that has not just been changed, and steps that meet whole
    // minutes.
    let disturbed = changes.iter().any(|other| (span.0 - 48 * HOUR..=span.0).contains(other));
    let aligned =
        (span.0..=span.1).step_by(HOUR as usize).all(|at| (at + offset(zone, at)) % step == 0);
    let Some(trigger) = expressions::trigger(expression, zone, policies) else {
        return Ok(());
    };
    if disturbed || !aligned {
        return Ok(());
    }
    let expected = walk(&Naive::read(expression), zone, policies, span);
    let until = DateTime::from_timestamp(span.1, 0).expect("in range");
    let from = DateTime::from_timestamp(span.0 - 1, 0).expect("in range");
    let found: Vec<_> = trigger
        .occurrences_after(from)
        .take_while(|occurrence| occurrence.at <= until)
        .take(expected.len() + 1)
        .collect();
    prop_assert_eq!(trigger.count_in(from, until), expected.len() as u64);
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(expressions::config(1_500))]

    #[test]
    fn a_walk_by_minutes_over_four_days_fires_at_the_same_instants(
        times in (field(0, 59, 1), field(0, 23, 1)),
        days in (field(1, 31, 6), field(1, 12, 6), field(0, 6, 6)),
        zone in prop::sample::select(ZONES.to_vec()),
        policies in expressions::policies(),
        fraction in 0.0..1.0,
    ) {
        let ((minute, hour), (day, month, weekday)) = (times, days);
        let expression = format!("0 {minute} {hour} {day} {month} {weekday}");
        check(&expression, zone, policies, fraction, (48 * HOUR, 48 * HOUR, 60))?;
    }

    #[test]
    fn a_walk_by_seconds_over_a_change_fires_at_the_same_instants(
        fields in (field(0, 59, 1), field(0, 59, 1), field(0, 5, 2)),
        zone in prop::sample::select(ZONES.to_vec()),
        policies in expressions::policies(),
        fraction in 0.0..1.0,
    ) {
        let (second, minute, hour) = fields;
        let expression = format!("{second} {minute} {hour} * * *");
        check(&expression, zone, policies, fraction, (2 * HOUR, 4 * HOUR, 1))?;
    }
}
