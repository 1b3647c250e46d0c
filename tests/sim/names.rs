//! Names whose creators are slow.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use nats_scheduler::guards::Guard;
use nats_scheduler::names;
use nats_scheduler::schedule::{CreateSchedule, Schedule};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::guards;
use crate::instance::Instance;
use crate::nats::{HostClock, Server, Simulated};

/// After which a name whose schedule does not come is taken for left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

/// Two instances, and a name that one of them is about to be asked for.
struct Contest {
    server: Server,
    instances: Vec<(Instance, Simulated)>,
}

impl Contest {
    async fn begin(seed: u64) -> Self {
        let server = Server::with_streams(seed);
        let mut instances = Vec::new();
        for n in 0..2 {
            let nats = server.connect();
            let clock = HostClock::off_by(&server, TimeDelta::zero());
            let instance = Instance::start_over(nats.clone(), clock, n).await.unwrap();
            instances.push((instance, nats));
        }
        Self { server, instances }
    }

    /// Asks one of them for a schedule of the name.
    fn create(&self, which: usize) -> JoinHandle<bool> {
        let instance = &self.instances[which].0;
        let (api, caller) = (Arc::clone(&instance.api), instance.caller());
        let request = CreateSchedule::interval("s", 3600, "cmd.example.s");
        tokio::spawn(async move { api.create_schedule(request, &caller).await.is_ok() })
    }

    /// Waits until the name is reserved.
    async fn reserved(&self) {
        let key = names::key_subject(&names::name_key("unknown", "s"));
        while self.server.last(names::SCHEDULES_STREAM, &key).is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many schedules have the name.
    fn named(&self) -> usize {
        let prefix = names::key_subject(names::SCHEDULE_KEY_PREFIX);
        let records = self.server.messages(names::SCHEDULES_STREAM).into_iter();
        let records = records.filter(|one| one.subject.starts_with(&prefix) && one.is_value());
        let records = records.map(|one| serde_json::from_slice::<Schedule>(&one.body).unwrap());
        records.filter(|record| *record.spec.name == *"s").count()
    }
}

/// Has a creator stand still as soon as it has reserved the name, until others take it over and for so much longer; how
/// many schedules have the name then. Those hear no more of the records by then: what they remember must not be needed.
async fn contest(seed: u64, longer: Duration) -> usize {
    let contest = Contest::begin(seed).await;
    let slow = contest.create(0);
    contest.reserved().await;
    contest.instances[0].1.suspend(LEFT_BEHIND + longer);
    let others: Vec<_> = (0..5).map(|_| contest.create(1)).collect();
    sleep(LEFT_BEHIND - Duration::from_secs(1)).await;
    contest.instances[1].1.silence();
    join_all(others.into_iter().chain([slow])).await;
    sleep(Duration::from_secs(5)).await;
    contest.named()
}

#[test]
fn a_name_is_one_schedules_though_its_creator_goes_on_when_it_is_taken_over() {
    let is_given_twice = |guard, cases: u64| {
        let run = |case: u64| {
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(contest(case / 40, Duration::from_millis(case % 40)))
        };
        guards::without(guard, || (0..cases).map(run).any(|named| named > 1))
    };
    assert!(!is_given_twice(None, 480));
    // It ends with the first case that shows it.
    assert!(is_given_twice(Some(Guard::Fence), 4000), "the guard is not missed");
}
