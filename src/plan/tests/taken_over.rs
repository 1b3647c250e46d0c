//! Taking over what others, or this instance, have claimed.

use super::*;

#[test]
fn only_what_is_abandoned_is_taken_over_under_its_own_id() {
    let (schedule, trigger) = minutely();
    let mut theirs = knows();
    theirs.me = OTHER;
    let claimed = plan(&schedule, &trigger, at("00:00:00"), &theirs, lease()).unwrap();
    let mut view = knows();
    let now = at("00:00:30");
    assert_eq!(plan(&claimed.schedule, &trigger, now, &view, lease()), None, "it is alive");
    assert_eq!(wake_at(&claimed.schedule, &view), Some(at("00:01:00")));
    view.gone.insert(OTHER);
    let taken = plan(&claimed.schedule, &trigger, now, &view, lease()).unwrap();
    assert_eq!(taken.recover[0].execution_id, claimed.fire[0].execution_id);
    assert!(taken.fire.is_empty());
    let Phase::Claimed { by, at: since, .. } = *taken.schedule.attempts[0].phase else { panic!() };
    assert_eq!((by, since), (ME, at("00:00:00")), "since when it may have been sent is kept");
}

#[test]
fn a_claim_whose_lease_is_over_is_taken_over_from_the_living() {
    let (schedule, trigger) =
        schedule(r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:00:01Z"}"#);
    let mut theirs = knows();
    theirs.me = OTHER;
    let claimed = plan(&schedule, &trigger, at("00:00:01"), &theirs, lease()).unwrap();
    assert_eq!(wake_at(&claimed.schedule, &knows()), Some(at("00:05:01")));
    let taken = plan(&claimed.schedule, &trigger, at("00:05:01"), &knows(), lease()).unwrap();
    assert_eq!(taken.recover.len(), 1);
}

#[test]
fn our_own_forgotten_claim_is_taken_up_at_once_and_a_running_one_never() {
    let (schedule, trigger) = minutely();
    let claimed = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let now = at("00:00:02");
    assert_eq!(plan(&claimed.schedule, &trigger, now, &knows(), lease()).unwrap().recover.len(), 1);
    let mut view = knows();
    view.running.insert(claimed.fire[0].execution_id);
    assert_eq!(plan(&claimed.schedule, &trigger, now, &view, lease()), None);
    let after_lease = at("00:00:00") + lease() * 2;
    let later = plan(&claimed.schedule, &trigger, after_lease, &view, lease()).unwrap();
    assert!(later.recover.is_empty(), "we still act on it, however long it takes");
}

#[test]
fn skipped_entries_of_the_gone_are_recorded_by_others() {
    let (schedule, trigger) = minutely();
    let mut theirs = knows();
    theirs.me = OTHER;
    let skipped = plan(&schedule, &trigger, at("01:00:00"), &theirs, lease()).unwrap();
    let mut view = knows();
    view.gone.insert(OTHER);
    let taken = plan(&skipped.schedule, &trigger, at("01:00:05"), &view, lease()).unwrap();
    assert_eq!(taken.finish.len(), skipped.skip.len());
    assert_eq!(taken.finish[0].execution_id, skipped.skip[0].0.execution_id);
    assert_eq!(taken.recover.len(), 1);
}
