//! Tests of the subjects of heartbeats, with times set by hand.

use super::*;

const PLAIN: Heard = Heard {
    leaving: false,
    needs_old: false,
    acts_on: 0,
    time_error_ms: 0,
    is_frequent: false,
    listens_on: None,
};
const OLD: Heard = Heard { needs_old: true, ..PLAIN };
const GOODBYE: Heard = Heard { leaving: true, ..PLAIN };

fn after(start: Instant, seconds: f64) -> Instant {
    start + Duration::from_secs_f64(seconds)
}

/// The fields `present again old old_only` of the next heartbeat, by their initials.
fn way(paths: &mut Paths, now: Instant) -> String {
    let Way { present, again, old, old_only } = paths.next(now);
    let words = [("p", present), ("a", again), ("o", old), ("!", old_only)];
    words.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect()
}

fn load(timers: usize, executions: usize) -> Load {
    let load = Load::default();
    load.timers.store(timers, Ordering::Relaxed);
    load.executions.store(executions, Ordering::Relaxed);
    load.honours.store(1_000_000_000, Ordering::Relaxed);
    load.claimed(DateTime::from_timestamp_millis(1_800_000_000_000).unwrap());
    load
}

#[test]
fn every_body_is_a_heartbeat_and_says_what_it_can() {
    for (body, by_present, by_old) in [
        ("", PLAIN, OLD),
        ("leaving", PLAIN, GOODBYE),
        ("\u{fffd}{", PLAIN, OLD),
        ("[]", PLAIN, OLD),
        ("null", PLAIN, OLD),
        (r#"{"leaving":true}"#, PLAIN, OLD),
        (r#"{"format":1,"leaving":false,"old_subject_only":true}"#, PLAIN, OLD),
        (r#"{"format":1,"leaving":false,"schedules":3}"#, PLAIN, PLAIN),
        (r#"{"format":1,"leaving":true}"#, GOODBYE, GOODBYE),
        // From a future version.
        (r#"{"format":9,"leaving":true,"schedules":{"active":3},"mood":[]}"#, GOODBYE, GOODBYE),
        (r#"{"format":{"major":2},"leaving":"at noon"}"#, PLAIN, OLD),
        (r#"{"format":1,"every_ms":1000,"listens_on":null}"#, PLAIN, PLAIN),
    ] {
        assert_eq!(Heard::read(body.as_bytes(), false), by_present, "{body}");
        assert_eq!(Heard::read(body.as_bytes(), true), by_old, "{body}, by the old subject");
    }
}

#[test]
fn what_is_said_in_other_ways_is_left_out() {
    for body in
        ["", "leaving", "[]", r#"{"version":7,"started_at":"noon","schedules":{"active":3}}"#]
    {
        assert_eq!(about(body.as_bytes()), About::default(), "{body}");
    }
    let long = format!(r#"{{"version":"{}","in_flight":-1}}"#, "9".repeat(100_000));
    let said_of_it = about(long.as_bytes());
    assert!(said_of_it.version.unwrap().len() <= MAX_VERSION && said_of_it.in_flight.is_none());
}

#[test]
fn a_beat_is_short_and_read_as_it_was_meant() {
    let inbox = "_INBOX.0123456789abcdefghijkl".to_owned();
    let beat = Beat::new(DateTime::UNIX_EPOCH, &load(1_000_000, 200_000), 1500, inbox.clone());
    let bytes = beat.old_subject_only(true).leaving().to_bytes();
    assert!(bytes.len() < 360, "{} bytes", bytes.len());
    let said = Heard {
        leaving: true,
        needs_old: true,
        acts_on: format::supported(),
        time_error_ms: 1500,
        is_frequent: true,
        listens_on: Some(inbox),
    };
    assert_eq!(Heard::read(&bytes, true), said);
    let said_of_it = about(&bytes);
    assert_eq!((said_of_it.schedules, said_of_it.in_flight), (Some(1_000_000), Some(200_000)));
    assert_eq!(said_of_it.started_at, Some(DateTime::UNIX_EPOCH));
    assert_eq!((said_of_it.acts_on, said_of_it.honours), (format::supported(), 1_000_000_000));
    assert_eq!(said_of_it.armed_until, DateTime::from_timestamp_millis(1_800_000_000_000));
    assert_eq!(said_of_it.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    let plain = Beat::new(DateTime::UNIX_EPOCH, &Load::default(), 0, String::new()).to_bytes();
    let read = Heard::read(&plain, true);
    assert_eq!((read.leaving, read.needs_old, read.time_error_ms), (false, false, 0));
}

#[test]
fn alone_only_the_first_beat_goes_by_the_old_subject() {
    let start = Instant::now();
    let mut paths = Paths::new(start);
    assert!(paths.is_deaf(start));
    assert_eq!(way(&mut paths, start), "po");
    for second in 1..100 {
        assert!(!paths.hear_ourselves(false, after(start, f64::from(second) - 0.9)));
        assert_eq!(way(&mut paths, after(start, f64::from(second))), "p");
        assert!(!paths.is_deaf(after(start, f64::from(second))));
    }
    paths.disconnect(after(start, 100.0));
    assert_eq!(way(&mut paths, after(start, 101.0)), "po");
}

#[test]
fn who_does_not_hear_itself_speaks_by_the_old_subject_and_says_so() {
    let start = Instant::now();
    let mut paths = Paths::new(start);
    for (second, expected) in [(0.0, "po"), (1.0, "po"), (2.0, "po"), (3.0, "po!"), (4.0, "po!")] {
        assert_eq!(way(&mut paths, after(start, second)), expected, "{second}");
    }
    assert_eq!(paths.deaf_for(after(start, 4.0)), Duration::from_secs(4));
    paths.hear_ourselves(true, after(start, 4.0));
    assert!(!paths.is_deaf(after(start, 5.0)));
    assert_eq!(way(&mut paths, after(start, 5.0)), "po!");
    paths.hear_ourselves(false, after(start, 5.0));
    assert_eq!(way(&mut paths, after(start, 6.0)), "p");
    // Its own subscription is gone, as after a server reloads a configuration that permits less.
    assert_eq!(way(&mut paths, after(start, 8.0)), "po!");
}

#[test]
fn a_refused_subject_is_tried_again_until_it_is_heard() {
    let start = Instant::now();
    let mut paths = Paths::new(start);
    paths.next(start);
    assert!(paths.refuse(start));
    assert_eq!(way(&mut paths, after(start, 1.0)), "o!");
    assert_eq!(way(&mut paths, after(start, 20.0)), "pao!");
    assert!(!paths.refuse(after(start, 20.0)), "no news");
    assert_eq!(way(&mut paths, after(start, 21.0)), "o!");
    assert_eq!(way(&mut paths, after(start, 41.0)), "pao!");
    assert!(paths.hear_ourselves(false, after(start, 41.0)));
    assert_eq!(way(&mut paths, after(start, 42.0)), "p");
}

#[test]
fn an_earlier_instance_is_spoken_to_until_its_goodbye_or_long_after_its_last_beat() {
    let start = Instant::now();
    let mut paths = Paths::new(start);
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let hears_itself = |paths: &mut Paths, seconds: f64| {
        paths.hear_ourselves(false, after(start, seconds));
        way(paths, after(start, seconds))
    };
    assert_eq!(hears_itself(&mut paths, 0.0), "p");
    paths.hear(one, &OLD, after(start, 1.0));
    paths.hear(other, &OLD, after(start, 1.0));
    assert_eq!(hears_itself(&mut paths, 1.0), "po", "it does not say that it could not");
    paths.hear(one, &GOODBYE, after(start, 2.0));
    assert_eq!(hears_itself(&mut paths, 2.0), "po");
    assert_eq!(hears_itself(&mut paths, 30.0), "po", "after half a minute of silence");
    assert_eq!(hears_itself(&mut paths, 31.0), "p");
    paths.hear(other, &OLD, after(start, 32.0));
    assert_eq!(hears_itself(&mut paths, 32.0), "po", "it is back");
    // An instance that uses both for the other's sake needs neither.
    paths.hear(other, &GOODBYE, after(start, 33.0));
    paths.hear(one, &PLAIN, after(start, 33.0));
    assert_eq!(hears_itself(&mut paths, 33.0), "p");
}
