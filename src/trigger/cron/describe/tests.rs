use std::collections::HashMap;

use chrono::DateTime;

use super::super::{calendar::Calendar, parse};
use super::*;

fn calendar(expression: &str) -> Calendar {
    parse::parse(expression, 0).expect(expression)
}

const SAID: &[(&str, &str)] = &[
    // Steadily.
    ("* * * * *", "every minute"),
    ("*/5 * * * *", "every 5 minutes"),
    ("0/15 * * * *", "every 15 minutes"),
    ("0,30 * * * *", "every 30 minutes"),
    ("@hourly", "every hour"),
    ("0 */2 * * *", "every 2 hours"),
    ("0 */8 * * *", "at 00:00, 08:00 and 16:00 every day"),
    ("5 * * * *", "every hour at minute 5"),
    ("5,20 * * * *", "at minutes 5 and 20 of every hour"),
    ("*/7 * * * *", "every 7 minutes from minute 0 to 56 of every hour"),
    ("* * * * * *", "every second"),
    ("*/10 * * * * *", "every 10 seconds"),
    ("30 * * * * *", "every minute at second 30"),
    ("5,10 * * * * *", "at seconds 5 and 10 of every minute"),
    ("*/10 0 * * * *", "every 10 seconds of minute 0 of every hour"),
    // At times of the day.
    ("30 2 * * *", "at 02:30 every day"),
    ("@daily", "at 00:00 every day"),
    ("0 2,14 * * *", "at 02:00 and 14:00 every day"),
    ("15,45 9,17 * * *", "at 09:15, 09:45, 17:15 and 17:45 every day"),
    ("30 0 14 * * *", "at 14:00:30 every day"),
    // From when to when.
    ("0 9-17 * * *", "every hour from 09:00 to 17:00, every day"),
    ("15 8-18/2 * * *", "every 2 hours from 08:15 to 18:15, every day"),
    ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:45, Monday to Friday"),
    ("* 22 * * *", "every minute from 22:00 to 22:59, every day"),
    (
        "*/15 8-11,14-17 * * *",
        "every 15 minutes from 08:00 to 11:45 and from 14:00 to 17:45, every day",
    ),
    ("*/20 * 9 * * *", "every 20 seconds from 09:00:00 to 09:59:40, every day"),
    ("5,20 9-17 * * *", "at minutes 5 and 20 of hours 9 to 17, every day"),
    ("*/15 */3 * * *", "every 15 minutes in hours 0, 3, 6, 9, 12, 15, 18 and 21, every day"),
    // Days of the week.
    ("0 9 * * MON-FRI", "at 09:00, Monday to Friday"),
    ("0 9 * * 1", "at 09:00 on Mondays"),
    ("0 9 * * 1,4", "at 09:00 on Mondays and Thursdays"),
    ("0 9 * * SAT,SUN,MON", "at 09:00, Saturday to Monday"),
    ("0 9 * * 1-3,5", "at 09:00, Monday to Wednesday and Friday"),
    ("*/5 * * * 6,0", "every 5 minutes on Saturdays and Sundays"),
    ("0 12 * * FRI#2", "at 12:00 on the second Friday of every month"),
    ("0 12 * * 5L", "at 12:00 on the last Friday of every month"),
    ("0 12 * * MON,FRI#2", "at 12:00 on Mondays, and on the second Friday of every month"),
    // Days of the month.
    ("0 0 1 * *", "at 00:00 on the 1st of every month"),
    ("0 0 1,15 * *", "at 00:00 on the 1st and the 15th of every month"),
    ("0 0 1-7 * *", "at 00:00 on the 1st to the 7th of every month"),
    ("0 12 L * *", "at 12:00 on the last day of every month"),
    ("0 12 LW * *", "at 12:00 on the last weekday of every month"),
    ("0 12 15W * *", "at 12:00 on the weekday nearest the 15th of every month"),
    ("0 0 1,15 * MON", "at 00:00 on the 1st and the 15th of every month, and on Mondays"),
    ("0 0 1-31 * MON", "at 00:00 every day"),
    ("0 0 13 * +FRI", "at 00:00 on the 13th of every month if it is a Friday"),
    // Months and years.
    ("@yearly", "at 00:00 on the 1st of January"),
    ("0 0 1 */3 *", "at 00:00 on the 1st of January, April, July and October"),
    ("30 2 * 6-9 *", "at 02:30 every day in June to September"),
    ("*/5 * * JUN *", "every 5 minutes in June"),
    ("0 9 * 6 1-5", "at 09:00, Monday to Friday in June"),
    ("0 0 9 * * * 2030", "at 09:00 every day, in 2030"),
    ("0 0 9 1 1 * 2030-2035", "at 09:00 on the 1st of January, from 2030 to 2035"),
    (
        "0 12 L-2W JAN FRI",
        "at 12:00 on the weekday nearest the day 2 days before the last of January, and on Fridays in \
         January",
    ),
];

#[test]
fn descriptions_read_as_people_write() {
    for (expression, expected) in SAID {
        assert_eq!(describe(&calendar(expression)), *expected, "{expression}");
    }
}

/// The first local times from each of a few instants.
fn fires(calendar: &Calendar) -> Vec<Option<i64>> {
    let mut found = Vec::new();
    for start in ["1999-12-30T23:00:00Z", "2026-02-27T08:57:00Z", "2031-06-29T16:43:51Z"] {
        let start = DateTime::parse_from_rfc3339(start).expect(start).timestamp();
        let mut next = calendar.next(start, i64::MAX);
        for _ in 0..80 {
            found.push(next);
            next = next.and_then(|at| calendar.next(at + 1, i64::MAX));
        }
    }
    found
}

/// All expressions of a choice of items for each field.
fn all(fields: [&[&str]; 7]) -> Vec<String> {
    let mut expressions = vec![String::new()];
    for items in fields {
        let longer = |start: String| items.iter().map(move |item| format!("{start} {item}"));
        expressions = expressions.into_iter().flat_map(longer).collect();
    }
    expressions
}

#[test]
fn two_expressions_with_the_same_description_fire_at_the_same_times() {
    let seconds = &["0", "30", "*", "*/20", "5,10", "*/7", "10-50/10"];
    let minutes =
        &["0", "5", "*", "*/15", "5/15", "0-10", "*/7", "5,20", "1-59/2", "0,30", "15,45", "0-3"];
    let hours = &[
        "*",
        "0",
        "9",
        "9-17",
        "*/2",
        "1/2",
        "9,14",
        "8-18/2",
        "0-22",
        "6-8,20-22",
        "*/12",
        "0,6,7",
        "9-11",
        "*/6",
        "0-10/2",
    ];
    let dates = &["*", "1", "1,15", "L", "LW", "15W", "L-1", "L-2", "L-2W", "1-7", "1-31", "1,2"];
    let months = &["*", "1", "1-6", "1,4,7,10", "2,3"];
    let weekdays = &[
        "*",
        "MON",
        "MON-FRI",
        "FRI#2",
        "FRIL",
        "+FRI",
        "SAT,SUN,MON",
        "MON,FRI#1",
        "+MON,FRI#2",
        "MON,WED",
        "0-6",
    ];
    let years = &["*", "2030", "2030-2035", "2026/2", "2031,2033"];
    let times = all([seconds, minutes, hours, &["*"], &["*"], &["*", "MON-FRI"], &["*"]]);
    let days = all([&["0"], &["0", "*/15"], &["9"], dates, months, weekdays, years]);
    let mut known: HashMap<String, (String, Vec<Option<i64>>)> = HashMap::new();
    for expression in times.into_iter().chain(days) {
        let calendar = calendar(&expression);
        let fires = fires(&calendar);
        let said = describe(&calendar);
        let (other, same) =
            known.entry(said.clone()).or_insert((expression.clone(), fires.clone()));
        assert_eq!(*same, fires, "{said:?} is said of {other:?} and {expression:?}");
    }
    assert!(known.len() > 2000, "{}", known.len());
}
