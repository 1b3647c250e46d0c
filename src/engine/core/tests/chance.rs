//! Tests of the core under random events, until all has ended.

use super::*;

/// Work that has begun and not ended.
#[derive(Default)]
struct UnderWay {
    working: HashMap<Uuid, Lane>,
    permits: [usize; 3],
    announcing: HashSet<Uuid>,
    log: Vec<String>,
}

impl UnderWay {
    fn begin(&mut self, actions: Vec<Action<&'static str>>) {
        for action in actions {
            match action {
                Action::Work { id, lane, claim, .. } => {
                    assert_eq!(
                        self.working.insert(id, lane),
                        None,
                        "one write of a record at a time"
                    );
                    self.permits[lane as usize] += 1;
                    self.log.push(format!("work {id} {lane:?} {claim:?}"));
                }
                Action::Release(_) => {
                    self.permits[Lane::Fast as usize] += 1;
                    self.log.push("release".to_owned());
                }
                Action::Announce(id) => {
                    assert!(self.announcing.insert(id), "announced by one task at a time");
                }
                Action::AnnounceOverall
                | Action::Tell(_)
                | Action::Correct(_)
                | Action::Stop(_)
                | Action::Forget(_) => {}
            }
        }
        assert!(
            self.permits[0] <= 2 && self.permits[1] <= 1 && self.permits[2] <= 2,
            "{:?}",
            self.permits
        );
    }

    /// Ends a piece of work in a random way.
    fn end(&mut self, world: &World, now: DateTime<Utc>, how: u8) -> Vec<Event<&'static str>> {
        let Some((id, lane)) =
            self.working.iter().min_by_key(|(id, _)| **id).map(|(id, lane)| (*id, *lane))
        else {
            return Vec::new();
        };
        self.working.remove(&id);
        self.permits[lane as usize] -= 1;
        let mut events = match how % 3 {
            0 => vec![Event::Later(id)],
            1 => vec![
                Event::Back(id, Done { told: vec![OTHER], ..Done::default() }),
                Event::Later(id),
            ],
            _ => {
                if let Some(entry) = world.entry(id)
                    && wake_at(&entry.schedule, world).is_some_and(|at| at <= now)
                    && plan(&entry.schedule, &entry.trigger, now, world, Duration::seconds(300))
                        .is_some()
                {
                    let made = world.claim(id, ME, now);
                    world.running.borrow_mut().extend(made.iter().map(|one| one.execution_id));
                }
                vec![Event::Free(id)]
            }
        };
        events.push(Event::Returned(lane));
        events
    }
}

/// Runs the core under random events, until all has ended and every schedule is gone.
fn run(steps: &[(u8, u8)]) -> Vec<String> {
    let (world, mut core, mut under_way) = (World::default(), core(), UnderWay::default());
    let mut now = at("00:00:00");
    for (what, which) in steps {
        let id = Uuid::from_u128(u128::from(which % 5));
        let events = match what % 9 {
            0 if world.entry(id).is_none() => {
                let mode = if which % 2 == 0 { r#","delivery":{"mode":"request"}"# } else { "" };
                vec![Event::Changed(world.add(u128::from(which % 5), mode))]
            }
            1 => {
                world.entries.borrow_mut().remove(&id);
                vec![Event::Changed(id)]
            }
            2 => vec![Event::MayClaim(which % 4 != 0), Event::Members],
            3 => vec![Event::Sees],
            4 => {
                let armed = Armed {
                    due: now + Duration::seconds(1),
                    priority: 5,
                    execution: id,
                    attempt: "go",
                };
                vec![Event::Armed(armed)]
            }
            5 | 6 => under_way.end(&world, now, *which),
            _ => {
                now += Duration::milliseconds(i64::from(*which) * 300);
                Vec::new()
            }
        };
        let released = under_way.permits[0]
            - under_way.working.values().filter(|lane| **lane == Lane::Fast).count();
        under_way.permits[0] -= released;
        let returned = (0..released).map(|_| Event::Returned(Lane::Fast));
        let actions = core.step(events.into_iter().chain(returned), now, &world);
        under_way.begin(actions);
    }
    world.entries.borrow_mut().clear();
    for _ in 0..1000 {
        now += Duration::seconds(1);
        let mut events: Vec<_> = (0..5).map(|n| Event::Changed(Uuid::from_u128(n))).collect();
        events.extend(under_way.end(&world, now, 2));
        events.extend(under_way.announcing.drain().map(|id| Event::Announced(id, Vec::new())));
        let released = under_way.permits[0]
            - under_way.working.values().filter(|lane| **lane == Lane::Fast).count();
        under_way.permits[0] -= released;
        events.extend((0..released).map(|_| Event::Returned(Lane::Fast)));
        let actions = core.step(events, now, &world);
        under_way.begin(actions);
    }
    assert!(core.is_quiet() && core.table.is_empty(), "slots are left");
    assert!(core.overdue.is_empty() && core.rate_places.is_empty() && core.ready == 0);
    assert!(core.lanes.has_room(Lane::Request) && under_way.permits == [0, 0, 0]);
    under_way.log
}

proptest::proptest! {
    #[test]
    fn whatever_happens_bounds_hold_nothing_is_left_and_the_same_events_give_the_same_run(
        steps in proptest::collection::vec(proptest::prelude::any::<(u8, u8)>(), 0..300),
    ) {
        proptest::prop_assert_eq!(run(&steps), run(&steps));
    }
}
