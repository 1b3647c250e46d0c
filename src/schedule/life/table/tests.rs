use chrono::Duration;

use super::*;
use crate::schedule::{Cancel, SkipCause};

const STATUSES: [Status; 5] =
    [Status::Active, Status::Paused, Status::Completed, Status::Failed, Status::Deleted];

/// The result of each event in each status, in their order.
#[test]
fn every_event_meets_every_status() {
    use NotNow::{HasEnded, IsDeleted, IsPaused, NotDeleted, NotPaused};
    use ScheduleEvent::{Delete, Pause, Plan, Restore, Resume};
    use Status::{Active, Completed, Deleted, Failed, Paused};
    let finish = ScheduleEvent::Finish;
    let back = |to, finish| Restore { to, finish };
    let alive =
        |then| [Err(NotDeleted), Err(NotDeleted), Err(NotDeleted), Err(NotDeleted), Ok(then)];
    let table = [
        (Pause, [Ok(Paused), Ok(Paused), Err(HasEnded), Err(HasEnded), Err(IsDeleted)]),
        (Resume, [Err(NotPaused), Ok(Active), Err(NotPaused), Err(NotPaused), Err(IsDeleted)]),
        (Plan, [Ok(Active), Ok(Paused), Ok(Active), Ok(Active), Err(IsDeleted)]),
        (
            finish(Finish::Completed),
            [Ok(Completed), Err(IsPaused), Err(HasEnded), Err(HasEnded), Err(IsDeleted)],
        ),
        (
            finish(Finish::Failed),
            [Ok(Failed), Err(IsPaused), Err(HasEnded), Err(HasEnded), Err(IsDeleted)],
        ),
        (Delete, [Ok(Deleted); 5]),
        (back(Active, None), alive(Active)),
        (back(Paused, None), alive(Paused)),
        (back(Completed, None), alive(Completed)),
        (back(Failed, None), alive(Failed)),
        (back(Deleted, None), alive(Active)),
        (back(Active, Some(Finish::Completed)), alive(Completed)),
        (back(Paused, Some(Finish::Failed)), alive(Failed)),
        (back(Failed, Some(Finish::Completed)), alive(Failed)),
    ];
    for (event, outcomes) in table {
        for (status, outcome) in STATUSES.into_iter().zip(outcomes) {
            assert_eq!(status.after(event), outcome, "{status:?} {event:?}");
        }
    }
}

fn at(second: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + Duration::seconds(second)
}

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

fn report(ending: Ending) -> Box<Report> {
    Box::new(Report { ending, ..Cancel::new("ops".to_owned(), None).report(at(20)) })
}

fn range(count: u64) -> SkippedRange {
    SkippedRange { cause: SkipCause::Missed, last: at(5), count }
}

fn running(since: i64, deadline: i64, heard_at: Option<i64>, progress: Option<u8>) -> Phase {
    Phase::Running {
        since: at(since),
        deadline: at(deadline),
        heartbeat_seconds: Some(9),
        heard_at: heard_at.map(at),
        progress,
    }
}

fn phases() -> [Phase; 6] {
    [
        Phase::Waiting { due_at: at(10) },
        Phase::Claimed { by: ONE, at: at(10), until: at(310) },
        running(10, 40, Some(12), Some(5)),
        Phase::Reported { by: ONE, since: at(10), report: report(Ending::Failed) },
        Phase::Corrected { by: ONE, range: range(3) },
        Phase::Skipped { by: ONE, range: range(3) },
    ]
}

/// The result of each event in each phase, in the order of [`phases`].
#[test]
fn every_event_meets_every_phase() {
    use AttemptEvent::{Claim, End, HandOver, Hear, LetGo, Narrow, PutBack, Stop, TakeOver};
    use Refused::{HasEnded, IsBeingSent, NotBegun, OutOfTurn};
    let out = || Err(OutOfTurn);
    let (failed, not_made) = (|| Err(HasEnded(Some(Ending::Failed))), || Err(HasEnded(None)));
    let reported =
        |since, ending| Ok(Phase::Reported { by: TWO, since: at(since), report: report(ending) });
    let taken = |ending| {
        let (by, since) = (TWO, at(10));
        Ok(Phase::Reported { by, since, report: report(ending) })
    };
    let heard = Hear { at: at(21), progress: None, deadline: at(51), heartbeat_seconds: Some(9) };
    let table: Vec<(AttemptEvent, [Result<Phase, Refused>; 6])> = vec![
        (
            Claim { by: TWO, at: at(20), until: at(320) },
            [
                Ok(Phase::Claimed { by: TWO, at: at(20), until: at(320) }),
                out(),
                out(),
                out(),
                out(),
                out(),
            ],
        ),
        (
            TakeOver { by: TWO, until: at(320) },
            [
                Err(NotBegun),
                Ok(Phase::Claimed { by: TWO, at: at(10), until: at(320) }),
                out(),
                taken(Ending::Failed),
                Ok(Phase::Corrected { by: TWO, range: range(3) }),
                Ok(Phase::Skipped { by: TWO, range: range(3) }),
            ],
        ),
        (
            HandOver { since: at(11), deadline: at(41), heartbeat_seconds: Some(9) },
            [Err(NotBegun), Ok(running(11, 41, None, None)), out(), out(), out(), out()],
        ),
        (
            heard,
            [
                Err(NotBegun),
                Ok(running(10, 51, Some(21), None)),
                Ok(running(10, 40, Some(21), Some(5))),
                failed(),
                not_made(),
                not_made(),
            ],
        ),
        (
            End { by: TWO, report: report(Ending::Success) },
            [
                Err(NotBegun),
                reported(10, Ending::Success),
                reported(10, Ending::Success),
                failed(),
                not_made(),
                not_made(),
            ],
        ),
        (
            Stop { by: TWO, report: report(Ending::Cancelled) },
            [
                reported(20, Ending::Cancelled),
                Err(IsBeingSent),
                reported(10, Ending::Cancelled),
                failed(),
                not_made(),
                not_made(),
            ],
        ),
        (
            LetGo { at: at(15) },
            [Ok(Phase::Waiting { due_at: at(15) }), out(), out(), out(), out(), out()],
        ),
        (
            PutBack { now: at(4) },
            [
                Ok(Phase::Waiting { due_at: at(4) }),
                out(),
                Ok(running(4, 34, Some(4), Some(5))),
                out(),
                out(),
                out(),
            ],
        ),
        // It lies no later than that.
        (
            PutBack { now: at(11) },
            [Ok(Phase::Waiting { due_at: at(10) }), out(), out(), out(), out(), out()],
        ),
        (
            Narrow { range: range(1) },
            [out(), out(), out(), out(), out(), Ok(Phase::Skipped { by: ONE, range: range(1) })],
        ),
    ];
    for (event, outcomes) in table {
        for (phase, outcome) in phases().into_iter().zip(outcomes) {
            assert_eq!(phase.after(event.clone()), outcome, "{phase:?} {event:?}");
            let mut attempt = Attempt::new(ONE, at(0), 1, phase.clone());
            let happened = attempt.on(event.clone());
            assert_eq!(happened, outcome.clone().map(drop));
            assert_eq!(attempt.phase, outcome.unwrap_or(phase), "a refusal changes nothing");
        }
    }
}
