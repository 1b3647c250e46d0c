use proptest::prelude::*;

use super::*;

const EVENTS: [&str; 3] = ["created", "paused", "resumed"];

fn all() -> Wanted {
    Wanted { schedule: None, events: None, actor: None, at_ms: i64::MIN..=i64::MAX }
}

/// What the stream would hold, and the index beside it.
#[derive(Default)]
struct Model {
    index: AuditIndex,
    /// Sequence, schedule, event, actor and time of each change.
    changes: Vec<(u64, u128, usize, usize, i64)>,
    last: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Change(u128, usize, usize, i64),
    Foreign,
    Gap(u64),
    ForgetBefore(usize),
    Forget(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = prop_oneof![0_i64..50, Just(i64::from(i32::MAX) * 2)];
    let step = prop_oneof![
        12 => (0..3_u128, 0..3_usize, 0..3_usize, time).prop_map(|(s, e, a, t)| Step::Change(s, e, a, t)),
        1 => Just(Step::Foreign),
        1 => prop_oneof![Just(3), Just(u64::from(u32::MAX) + 5)].prop_map(Step::Gap),
        1 => (0..30_usize).prop_map(Step::ForgetBefore),
        1 => (0..30_usize).prop_map(Step::Forget),
    ];
    proptest::collection::vec(step, 0..60)
}

impl Model {
    fn take(&mut self, step: Step) {
        let sequence = self.last + 1;
        match step {
            Step::Change(schedule, event, actor, at_ms) => {
                self.last = sequence;
                let actor_name = format!("a{actor}");
                self.index.apply(Noted {
                    sequence,
                    schedule: Uuid::from_u128(schedule),
                    event: EVENTS[event],
                    actor: &actor_name,
                    at_ms,
                });
                self.changes.push((sequence, schedule, event, actor, at_ms));
            }
            Step::Foreign => {
                self.last = sequence;
                self.index.apply_foreign(sequence);
            }
            Step::Gap(by) => self.last += by,
            Step::ForgetBefore(at) => {
                if let Some((first, ..)) = self.changes.get(at).copied() {
                    self.index.forget_before(first);
                    self.changes.retain(|change| change.0 >= first);
                }
            }
            Step::Forget(at) => {
                if at < self.changes.len() {
                    let (sequence, ..) = self.changes.remove(at);
                    self.index.forget(sequence);
                }
            }
        }
        if self.index.is_cut() {
            // Whole chunks go at a time.
            let (held, _) = self.index.page(&all(), 0, usize::MAX);
            let first = held.last().copied().unwrap_or(u64::MAX);
            self.changes.retain(|change| change.0 >= first);
        }
    }

    fn matching(&self, wanted: impl Fn(&(u64, u128, usize, usize, i64)) -> bool) -> Vec<u64> {
        let found = self.changes.iter().rev().filter(|change| wanted(change));
        found.map(|change| change.0).collect()
    }
}

proptest! {
    #[test]
    fn it_answers_like_a_plain_list(steps in steps()) {
        let mut model = Model::default();
        for step in steps {
            model.take(step);
            let everything = model.matching(|_| true);
            let total = everything.len();
            prop_assert_eq!(model.index.page(&all(), 0, 100), (everything, total as u64));
            prop_assert_eq!(model.index.len(), total);
            prop_assert!(model.index.slots <= MOST);
        }
        let wanted = Wanted {
            schedule: Some(Uuid::from_u128(1)),
            events: Some(vec!["paused".to_owned(), "created".to_owned()]),
            actor: Some("a2".to_owned()),
            at_ms: 10..=40,
        };
        let expected = model.matching(|(_, schedule, event, actor, at)| {
            *schedule == 1 && *event < 2 && *actor == 2 && (10..=40).contains(at)
        });
        let some: Vec<u64> = expected.iter().copied().skip(1).take(2).collect();
        prop_assert_eq!(model.index.page(&wanted, 1, 2), (some, expected.len() as u64));
    }
}

#[test]
fn the_oldest_go_where_there_are_too_many() {
    let mut model = Model::default();
    for n in 0..50 {
        model.take(Step::Change(n, 0, 0, 0));
        assert_eq!(model.index.is_cut(), n >= MOST as u128, "{n}");
    }
    assert!(model.index.len() > MOST - SLOTS);
    assert_eq!(model.index.entries(), None);
    model.index.restart(7, false);
    assert_eq!((model.index.len(), model.index.seen()), (0, 7));
}
