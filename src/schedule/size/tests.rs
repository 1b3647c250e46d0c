use chrono::{DateTime, Duration, Utc};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::schedule::{
    Author, Cancel, ChangeKind, CreateSchedule, Manual, Origin, Rules, Writer, differences,
    new_schedule,
};
use crate::stored::Unknown;

const SERVERS: [usize; 5] = [16 * 1024, 65_536, 131_072, 1_048_576, 8 * 1_048_576];

fn now() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn payload(bytes: usize) -> Payload {
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes.saturating_sub(8)));
    Payload::from_text(text).unwrap()
}

/// A schedule with a payload of a given size, and texts of the maximum length if `long`.
fn schedule(bytes: usize, long: bool) -> Schedule {
    let description = if long { "\u{10348}".repeat(1000) } else { String::new() };
    let tags = if long {
        (0..20).map(|n| format!("{n:?}{}", "\u{10348}".repeat(98))).collect()
    } else {
        Vec::new()
    };
    let request = CreateSchedule {
        description: Some(description),
        tags: Some(tags),
        ..serde_json::from_value(json!({
            "name": "n", "schedule_type": "interval", "interval_seconds": 1, "target_command": "cmd.a",
        }))
        .unwrap()
    };
    let writer = Writer { instance: Uuid::max(), token: u64::MAX };
    let mut schedule = new_schedule(
        &request,
        &Rules::default(),
        Uuid::max(),
        now(),
        "me",
        &Uuid::max().to_string(),
        writer,
    )
    .unwrap()
    .0;
    let spec = std::sync::Arc::make_mut(&mut schedule.spec);
    spec.command_payload = payload(bytes);
    if long {
        spec.name = "\u{10348}".repeat(255).into();
    }
    schedule
}

fn fits(room: Room, schedule: &Schedule) -> Result<usize, TooLarge> {
    room.fit(schedule, encode(schedule)).map(|bytes| bytes.len())
}

/// Adds a change with its event, as the API does.
fn change(schedule: &mut Schedule, kind: ChangeKind, details: serde_json::Value) {
    schedule.note_change(Uuid::max());
    let (actor, correlation_id) = ("somebody", Uuid::max().to_string());
    schedule.updated_by = Some(actor.into());
    let author = Author { actor, correlation_id: &correlation_id };
    let event = Change::new(Uuid::max(), kind, schedule, author, now(), details);
    schedule.events.push(event);
}

/// The record after an update that sets a payload with a different text.
fn update(room: Room, old: &Schedule, letter: &str) -> Result<Schedule, TooLarge> {
    let mut new = old.clone();
    let text = format!(r#"{{"a":"{}"}}"#, letter.repeat(room.payload() - 8));
    std::sync::Arc::make_mut(&mut new.spec).command_payload = Payload::from_text(text).unwrap();
    room.admits(Some(old), &new)?;
    let pins = new.pin(old);
    room.admits_pins(&new, pins).map(|()| new)
}

#[test]
fn a_payload_that_is_about_to_be_sent_is_kept_once_and_always_has_room() {
    for max_payload in [65_536, 131_072, 1_048_576] {
        let room = Room::of(max_payload);
        let mut record = schedule(room.payload(), false);
        record.attempts.push(claimed(Uuid::max(), 0));
        // Fill it with runs by hand, with and without payloads of their own.
        for bytes in [room.payload(), room.payload() / 4, 100] {
            loop {
                record.attempts.push(run(Some(payload(bytes))));
                if record.attempts.len() > 60 || room.admits_run(&record).is_err() {
                    record.attempts.pop();
                    break;
                }
            }
        }
        assert!(record.attempts.len() > 1, "a run with as large a payload has room too");
        // Claim occurrences as long as there is room.
        for n in 1..16 {
            record.attempts.push(claimed(Uuid::max(), n));
            if record.attempts.len() > 64 || !room.admits_claims(&record) {
                record.attempts.pop();
                break;
            }
        }
        let updated = update(room, &record, "y").unwrap();
        let bytes = fits(room, &updated).unwrap();
        let read: Schedule = serde_json::from_slice(&encode(&updated)).unwrap();
        assert_eq!(read, updated, "each has it again");
        let sends = |attempt: &Attempt| updated.sends(attempt).payload == &payload(room.payload());
        let others = updated.attempts.iter().filter(|one| one.manual.is_none());
        assert!(others.clone().all(sends));
        assert!(bytes <= room.record() && others.count() >= 1);
    }
}

#[test]
fn payloads_of_several_updates_leave_room_for_one_and_no_number_of_them() {
    let room = Room::of(1_048_576);
    let mut record = schedule(room.payload(), true);
    let mut refused = None;
    for (n, letter) in ["y", "z", "v", "w"].into_iter().enumerate() {
        record.attempts.push(claimed(Uuid::max(), i64::try_from(n).unwrap()));
        match update(room, &record, letter) {
            Ok(updated) => record = updated,
            Err(error) => refused = refused.or(Some((n, error))),
        }
        assert!(fits(room, &record).is_ok());
    }
    let (n, refused) = refused.unwrap();
    assert!(n > 0, "one has room");
    assert_eq!(refused.what, "command_payload");
    assert!(refused.most < refused.bytes, "{refused}");
}

#[test]
fn who_had_a_payload_that_others_share_may_leave_and_one_that_is_lost_is_not_made_up() {
    let room = Room::of(1_048_576);
    let mut record = schedule(1000, false);
    record.attempts.extend((0..3).map(|n| claimed(Uuid::max(), n)));
    let updated = update(room, &record, "y").unwrap();
    let mut stored = serde_json::to_value(&updated).unwrap();
    let first = stored["attempts"][0]["execution_id"].clone();
    assert_eq!(stored["attempts"][2]["pinned"], json!({ "payload_of": first }));
    let mut rest = updated.clone();
    rest.attempts.remove(0);
    let read: Schedule = serde_json::from_value(serde_json::to_value(&rest).unwrap()).unwrap();
    assert_eq!(read, rest);
    // A version that does not know the reference has settled the first.
    stored["attempts"].as_array_mut().unwrap().remove(0);
    let read: Schedule = serde_json::from_value(stored).unwrap();
    assert!(read.attempts.iter().all(|attempt| !read.sends(attempt).is_payload_known));
}

/// A run by hand.
fn run(payload: Option<Payload>) -> Attempt {
    let manual = Manual {
        payload,
        correlation_id: Uuid::max().to_string(),
        by: "somebody".to_owned(),
        trace: None,
        origin: Origin::User,
        retry_of: None,
        unknown: Unknown::default(),
    };
    Attempt::manual(Uuid::max(), now(), manual)
}

/// A claimed occurrence of a job.
fn claimed(schedule: Uuid, n: i64) -> Attempt {
    let until = now() + Duration::milliseconds(300_001);
    let phase = Phase::Claimed { by: Uuid::max(), at: now() + Duration::milliseconds(1), until };
    let mut attempt = Attempt::new(schedule, now() + Duration::seconds(n), 1, phase);
    attempt.token = Some("f".repeat(57));
    attempt
}

/// Changes a record as a deletion does.
fn delete(schedule: &mut Schedule) {
    let cancel = Cancel::new("somebody".to_owned(), Some("the schedule was deleted".to_owned()));
    for attempt in &mut schedule.attempts {
        if matches!(*attempt.phase, Phase::Waiting { .. }) {
            let report = Box::new(cancel.report(now()));
            attempt.phase = Phase::Reported { by: Uuid::max(), since: now(), report }.into();
        }
    }
    schedule.status = Status::Deleted.into();
    (schedule.deleted_at, schedule.deleted_by) = (Some(Box::new(now())), Some("somebody".into()));
    change(
        schedule,
        ChangeKind::Deleted,
        json!({ "deleted_by": "somebody", "hard_delete": false }),
    );
}

#[test]
fn the_largest_that_can_be_created_can_be_changed_and_deleted_whatever_goes_on() {
    for max_payload in SERVERS {
        let room = Room::of(max_payload);
        for long in [false, true] {
            let too_large = room.admits(None, &schedule(room.payload() + 1, false)).unwrap_err();
            assert_eq!((too_large.what, too_large.most), ("command_payload", room.payload()));
            let mut record = schedule(room.payload(), long);
            if let Err(error) = room.admits(None, &record) {
                assert!(long && max_payload < 65_536, "{error}");
                continue;
            }
            // A run by hand with as large a payload, all the occurrences that a record holds, all changed.
            record.attempts.push(run(Some(payload(room.payload()))));
            room.admits_run(&record).unwrap();
            let most = if max_payload < 65_536 { 8 } else { 63 };
            record.attempts.extend((0..most).map(|n| claimed(Uuid::max(), n)));
            let mut other = schedule(room.payload(), !long);
            other.revision = record.revision;
            if room.admits(Some(&record), &other).is_ok() {
                let changes = differences(&record, &other);
                change(&mut record, ChangeKind::Updated, json!({ "changes": changes }));
            }
            for kind in [ChangeKind::Paused, ChangeKind::Resumed, ChangeKind::Restored] {
                change(&mut record, kind, json!({ "reason": "x".repeat(500) }));
                fits(room, &record).unwrap();
            }
            delete(&mut record);
            fits(room, &record).unwrap();
        }
    }
}

#[test]
fn what_waits_leaves_room_for_changes() {
    for max_payload in SERVERS {
        let room = Room::of(max_payload);
        let mut record = schedule(room.payload(), false);
        let mut refused = None;
        while refused.is_none() && record.attempts.len() < 64 {
            let bytes = if record.attempts.len() < 2 { room.payload() } else { 100 };
            record.attempts.push(run(Some(payload(bytes))));
            refused = room.admits_run(&record).err();
        }
        if let Some(refused) = refused {
            record.attempts.pop();
            assert_eq!(refused.what, "override_payload", "{refused}");
        }
        assert!(!record.attempts.is_empty(), "{max_payload}");
        delete(&mut record);
        fits(room, &record).unwrap();
    }
}

#[test]
fn what_was_too_large_before_may_stay_so_and_not_grow() {
    let (old, room) = (schedule(80_000, false), Room::of(131_072));
    room.admits(None, &old).unwrap_err();
    let mut same = old.clone();
    change(&mut same, ChangeKind::Paused, json!({ "reason": "x" }));
    room.admits(Some(&old), &same).unwrap();
    fits(room, &same).unwrap();
    room.admits(Some(&old), &schedule(80_001, false)).unwrap_err();
    room.admits(Some(&old), &schedule(10, false)).unwrap();
}

#[test]
fn a_record_that_is_too_large_gives_up_what_it_can_do_without() {
    let mut record = schedule(50_000, true);
    let room = Room::of(65_536);
    let changes = differences(&record, &schedule(10, false));
    for _ in 0..3 {
        change(&mut record, ChangeKind::Updated, json!({ "changes": changes }));
    }
    assert!(encode(&record).len() > room.record());
    let error = fits(room, &record).unwrap_err();
    assert_eq!(error.what, "the record");
    let mut record = Schedule { spec: schedule(50_000, false).spec, ..record };
    let fitting = room.fit(&record, encode(&record)).unwrap();
    let fitting: Schedule = serde_json::from_slice(&fitting).unwrap();
    assert_eq!(fitting.spec, record.spec);
    assert_eq!(fitting.events.len(), 3);
    let event: serde_json::Value = serde_json::from_str(fitting.events[0].body.get()).unwrap();
    assert_eq!((&event["event"], &event["truncated"]), (&json!("updated"), &json!(true)));
    assert_eq!(event["changes"], json!(null));
    // Deleted for good, it needs no payload any more; deleted softly, it does.
    record.spec = schedule(80_000, false).spec;
    delete(&mut record);
    fits(room, &record).unwrap_err();
    record.purge = true;
    fits(room, &record).unwrap();
    record.attempts.push(claimed(Uuid::max(), 0));
    fits(room, &record).unwrap_err();
}

proptest! {
    /// Whatever is admitted can be paused, updated to the same size and deleted.
    #[test]
    fn what_is_admitted_can_be_stopped(
        server in 1..5_usize,
        part in 0..=100_usize,
        long: bool,
        runs in proptest::collection::vec((0..=100_usize, any::<bool>()), 0..70),
        occurrences in 0..16_i64,
    ) {
        let room = Room::of(SERVERS[server]);
        let mut record = schedule(room.payload() * part / 100, long);
        prop_assert_eq!(room.admits(None, &record), Ok(()));
        for (part, own) in runs {
            record.attempts.push(run(own.then(|| payload(room.payload() * part / 100))));
            if record.attempts.len() > 64 || room.admits_run(&record).is_err() {
                record.attempts.pop();
            }
        }
        let room_left = 64 - record.attempts.len();
        for n in (0..occurrences).take(room_left) {
            record.attempts.push(claimed(Uuid::max(), n));
            if !room.admits_claims(&record) {
                record.attempts.pop();
            }
        }
        // Claimed attempts keep what an update replaces.
        let mut updated = record.clone();
        let spec = std::sync::Arc::make_mut(&mut updated.spec);
        (spec.name, spec.command_payload) = ("other".into(), payload(0));
        let pins = updated.pin(&record);
        if room.admits_pins(&updated, pins).is_ok() {
            record = updated;
        }
        // The latest changes are remembered.
        (0..40).for_each(|n| record.note_change(Uuid::from_u128(u128::MAX - n)));
        change(&mut record, ChangeKind::Updated, json!({ "changes": "x".repeat(30_000) }));
        prop_assert_eq!(room.admits(Some(&record), &record), Ok(()));
        prop_assert!(fits(room, &record).is_ok());
        change(&mut record, ChangeKind::Paused, json!({ "reason": "x".repeat(500) }));
        prop_assert!(fits(room, &record).is_ok());
        delete(&mut record);
        prop_assert!(fits(room, &record).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is admitted, every report on what is under way is kept, shortened if necessary.
    #[test]
    fn no_report_is_refused_for_what_others_wrote(
        server in 1..5_usize,
        part in 0..=100_usize,
        long: bool,
        runs in proptest::collection::vec((0..=100_usize, any::<bool>()), 0..70),
        occurrences in 0..16_i64,
        changes in 0..200_usize,
        letter in prop_oneof![Just("\u{1}"), Just("\u{10348}"), Just("x")],
    ) {
        let room = Room::of(SERVERS[server]);
        let mut record = schedule(room.payload() * part / 100, long);
        prop_assert_eq!(room.admits(None, &record), Ok(()));
        for (part, own) in runs {
            record.attempts.push(run(own.then(|| payload(room.payload() * part / 100))));
            if record.attempts.len() > 64 || room.admits_run(&record).is_err() {
                record.attempts.pop();
            }
        }
        let room_left = 64 - record.attempts.len();
        for n in (0..occurrences).take(room_left) {
            record.attempts.push(claimed(Uuid::max(), n));
            if !room.admits_claims(&record) {
                record.attempts.pop();
            }
        }
        for _ in 0..changes {
            change(&mut record, ChangeKind::Paused, json!({ "reason": letter.repeat(500) }));
            if room.admits_change(&record).is_err() {
                record.events.pop();
            }
        }
        prop_assert!(fits(room, &record).is_ok());
        for place in 0..record.attempts.len() {
            let cancel = Cancel::new(letter.repeat(60), Some(letter.repeat(500)));
            let mut report = cancel.report(now());
            if place % 3 > 0 {
                report.ending = crate::schedule::Ending::Failed;
                report.error_type = Some(letter.repeat(100));
                report.message = Some(letter.repeat(2000));
                report.response = Some(format!("\"{}\"", "x".repeat(64 * 1024 - 2)));
                report.by = None;
            }
            let attempt = &mut record.attempts[place];
            attempt.cancel = (place % 2 > 0).then(|| Box::new(cancel));
            let report = Box::new(report);
            attempt.phase = Phase::Reported { by: Uuid::max(), since: now(), report }.into();
            if place % 8 == 0 || place + 1 == record.attempts.len() {
                let fitting = fits(room, &record);
                prop_assert!(fitting.is_ok(), "report {}: {:?}", place, fitting);
            }
        }
    }
}
