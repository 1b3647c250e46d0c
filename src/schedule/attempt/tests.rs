//! Ids of executions, and what retries of an attempt keep.

use super::*;

#[test]
fn a_payload_that_was_sent_before_has_no_placeholders_however_often_it_is_tried() {
    let at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let manual = |payload| Manual {
        payload,
        correlation_id: "c".to_owned(),
        by: "me".to_owned(),
        trace: None,
        origin: Origin::User,
        retry_of: Some(Uuid::nil()),
        unknown: Unknown::default(),
    };
    let payload = Payload::default();
    let own = Attempt::manual(Uuid::max(), at, manual(Some(payload))).verbatim();
    let third = own.retry(Uuid::nil(), at).retry(Uuid::nil(), at);
    assert_eq!(third.pinned.unwrap().payload_template, Some(false));
    let other = Attempt::manual(Uuid::max(), at, manual(None)).retry(Uuid::nil(), at);
    assert_eq!((other.pinned, other.manual.unwrap().retry_of), (None, Some(Uuid::nil())));
}

#[test]
fn execution_ids_are_stable_distinct_and_sort_by_time() {
    let schedule = Uuid::from_u128(1);
    let at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let id = execution_id(schedule, at, 1);
    assert_eq!(id, execution_id(schedule, at, 1));
    assert_eq!(id.get_version_num(), 8);
    assert_ne!(id, execution_id(schedule, at, 2));
    assert_ne!(id, execution_id(Uuid::from_u128(2), at, 1));
    assert!(id < execution_id(schedule, at + chrono::Duration::milliseconds(1), 1));
}
