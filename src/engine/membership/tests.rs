use super::*;
use crate::guards::All;

/// A message that NATS sends back to its sender.
fn message(subject: String) -> Message {
    Message {
        subject: subject.into(),
        reply: None,
        payload: Bytes::new(),
        headers: None,
        status: None,
        description: None,
        length: 0,
    }
}

/// Has an instance hear its own heartbeat and the echo after it.
fn hear_ourselves(members: &Members) {
    members.hear(&message(names::instance_subject(members.me)), false);
    let number = members.write(|roster| roster.hearing.send(true, Instant::now()));
    members.hear_echo::<All>(&message(format!("_INBOX.us.{number}")));
}

#[tokio::test(start_paused = true)]
async fn silence_says_nothing_to_who_has_been_deaf_though_nobody_has_noted_that() {
    let members = Members::new(Uuid::from_u128(1), Arc::default(), Clock::default());
    let other = Uuid::from_u128(2);
    hear_ourselves(&members);
    // Cut off, while the task that would note it waits for NATS.
    tokio::time::advance(2 * GONE_AFTER).await;
    assert!(!members.is_gone::<All>(other), "it does not hear");
    hear_ourselves(&members);
    assert!(!members.is_gone::<All>(other), "it hears again, and did not");
    let heard_again = Instant::now();
    while heard_again.elapsed() < GONE_AFTER {
        assert!(!members.is_gone::<All>(other));
        tokio::time::advance(HEARTBEAT).await;
        hear_ourselves(&members);
    }
    assert!(members.is_gone::<All>(other), "it would have heard it");
}

#[tokio::test]
async fn who_acts_on_a_format_is_heard_or_not() {
    let members = Members::new(Uuid::from_u128(1), Arc::default(), Clock::default());
    assert!(!members.hears_one_for(3));
    let payload = r#"{"format":1,"acts_on":3}"#.into();
    let subject = names::instance_subject(Uuid::from_u128(2));
    members.hear(&Message { payload, ..message(subject) }, false);
    assert!(members.hears_one_for(3) && !members.hears_one_for(4));
}
