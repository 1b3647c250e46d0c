//! Texts that others make long: whatever they are, the event can be stored.

use proptest::prelude::*;

use super::*;
use crate::schedule::{CreateSchedule, Manual, Origin, Phase, Rules, Writer, new_schedule};
use crate::text::cut;

fn now() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn schedule(hostile: &str) -> Schedule {
    let request: CreateSchedule = serde_json::from_str(
        r#"{"name":"n","schedule_type":"immediate","target_command":"cmd.a"}"#,
    )
    .unwrap();
    let writer = Writer { instance: Uuid::max(), token: u64::MAX };
    let rules = Rules::default();
    let mut schedule =
        new_schedule(&request, &rules, Uuid::max(), now(), "me", "c", writer).unwrap().0;
    // As if the record had been written by hand.
    std::sync::Arc::make_mut(&mut schedule.spec).name = hostile.into();
    schedule.created_by = hostile.into();
    schedule.correlation_id = hostile.into();
    schedule
}

fn attempt(hostile: &str) -> Attempt {
    let manual = Manual {
        payload: Some(
            Payload::from_text(format!(r#"{{"a":[{}1]}}"#, "1,".repeat(32_000))).unwrap(),
        ),
        correlation_id: hostile.to_owned(),
        by: hostile.to_owned(),
        trace: None,
        origin: Origin::User,
        retry_of: None,
        unknown: Unknown::default(),
    };
    Attempt::beside(Uuid::max(), now(), Phase::Waiting { due_at: now() }, manual)
}

/// All ways in which an attempt can end, with texts of others.
fn outcomes(hostile: &str) -> Vec<Outcome> {
    let text = || hostile.to_owned();
    let response = || Some(Response::keep(hostile.as_bytes()));
    vec![
        Outcome::Success { response_event: Some(text()), response: response() },
        Outcome::Failed {
            error_type: ErrorType::from(text()),
            message: text(),
            response: response(),
            uncertain: false,
        },
        Outcome::uncertain(ErrorType::Refused, text()),
        Outcome::Cancelled { by: Some(text()), reason: Some(text()) },
    ]
}

/// Long texts, of characters that are costly to encode and of easy ones.
fn hostile() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        any::<char>(),
        Just('\u{1}'),
        Just('\u{7f}'),
        Just('"'),
        Just('\u{10348}'),
        Just(' '),
        Just('x'),
    ];
    (proptest::collection::vec(letter, 0..8), prop_oneof![0..40_usize, 3_000..40_000_usize])
        .prop_map(|(letters, times)| letters.iter().collect::<String>().repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_event_of_hostile_texts_has_a_bound(text in hostile()) {
        let (schedule, attempt) = (schedule(&text), attempt(&text));
        let claim = Claim { instance: Uuid::max(), revision: u64::MAX };
        for outcome in outcomes(&text) {
            let mut event = Execution::started(&schedule, &attempt, claim, now());
            let bytes = serde_json::to_vec(&event).unwrap().len();
            prop_assert!(bytes <= MAX_EVENT_BYTES, "{bytes} bytes at its start");
            event.end(outcome, now());
            let bytes = serde_json::to_vec(&event).unwrap().len();
            prop_assert!(bytes <= MAX_EVENT_BYTES, "{bytes} bytes at its end");
        }
    }
}

#[test]
fn bytes_that_are_no_json_count_as_the_string_that_they_become() {
    let kept = Response::keep(&[1; MAX_KEPT_BYTES / 4]);
    assert!(kept.payload.is_none() && kept.truncated, "each has six bytes in JSON");
    let kept = Response::keep(&vec![b'x'; MAX_KEPT_BYTES - 2]);
    assert!(kept.payload.is_some() && !kept.truncated);
}

#[test]
fn the_cut_of_a_message_is_marked() {
    let mut message = "y".repeat(200_000);
    cut(&mut message, SHORT);
    let claim = Claim { instance: Uuid::max(), revision: 1 };
    let mut event = Execution::started(&schedule("n"), &attempt("c"), claim, now());
    event.end(Outcome::failed(ErrorType::ServiceError, "y".repeat(200_000)), now());
    assert_eq!(event.error_message.as_deref(), Some(message.as_str()));
    assert!(message.ends_with("... (200000 bytes)"), "{message}");
}

#[test]
fn the_times_of_an_event_that_was_written_by_hand_can_be_shown_and_moved() {
    let claim = Claim { instance: Uuid::max(), revision: 1 };
    let mut event = Execution::started(&schedule("n"), &attempt("c"), claim, now());
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    (event.time, event.scheduled_for) = (first, last);
    (event.started_at, event.completed_at, event.retry_at) = (Some(first), Some(last), Some(last));
    event.timings.sent_at = Some(first);
    event.mend_instants();
    let json = serde_json::to_string(&event).unwrap();
    assert!(!json.contains("\"+") && !json.contains("\"-"), "{json}");
    // The sum of any two spans that settings allow.
    let _ = (
        event.time - chrono::Duration::days(400),
        event.scheduled_for + chrono::Duration::days(400),
    );
}
