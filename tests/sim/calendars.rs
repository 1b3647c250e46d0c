//! Calendars that change while instances are held up.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::chance::Chance;
use nats_scheduler::schedule::{CreateSchedule, PutCalendar};
use serde_json::json;
use tokio::time::sleep;

use crate::instance;
use crate::nats::{Server, Way};

/// What the calendar said, from when to when, and when the reply came.
struct Content {
    from: DateTime<Utc>,
    replied: DateTime<Utc>,
    shut: (DateTime<Utc>, DateTime<Utc>),
}

impl Content {
    fn leaves_out(&self, at: DateTime<Utc>) -> bool {
        self.shut.0 <= at && at < self.shut.1
    }
}

fn nominal(commands: &[nats_scheduler::port::Entry]) -> BTreeMap<(String, DateTime<Utc>), usize> {
    let mut sent = BTreeMap::new();
    for command in commands {
        let header = |name: &str| command.headers.get(name).expect("a header").as_str().to_owned();
        let at = header("Scheduler-Scheduled-For").parse().expect("a time");
        *sent.entry((header("Scheduler-Schedule-Name"), at)).or_default() += 1;
    }
    sent
}

/// Changes a calendar again and again, and says what was sent against it, and what was not sent although it was open.
async fn faults(seed: u64) -> Vec<String> {
    let server = Server::with_streams(seed);
    let instances = instance::start(&server, 3).await;
    let one = &instances[0].0;
    let chance = Chance::seeded(seed);
    let ms = |from: i64, to: i64| {
        TimeDelta::milliseconds(
            from + i64::try_from(chance.number() % 1_000_000).unwrap() % (to - from),
        )
    };
    let put = async |shut: Option<(DateTime<Utc>, DateTime<Utc>)>| {
        let spans: Vec<_> =
            shut.iter().map(|(start, end)| json!({ "start": start, "end": end })).collect();
        let request =
            json!({ "name": "freeze", "spans": spans, "description": chance.number().to_string() });
        let request: PutCalendar = serde_json::from_value(request).unwrap();
        let reply = one.api.put_calendar(request, &one.caller()).await.unwrap();
        assert!(reply.warnings.is_empty(), "{:?}", reply.warnings);
        let from = reply.data.calendar.updated_at;
        Content { from, replied: server.now(), shut: shut.unwrap_or((from, from)) }
    };
    let mut contents = vec![put(None).await];
    let mut begins = BTreeMap::new();
    for n in 0..10 {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 1,
            "target_command": "cmd.example.s", "exclude": ["freeze"], "catch_up": "all",
        }))
        .unwrap();
        let made = one.api.create_schedule(request, &one.caller()).await.unwrap().data;
        begins.insert(made.name, made.start_at.unwrap());
    }
    for _ in 0..6 {
        sleep(ms(300, 4000).to_std().unwrap()).await;
        let (_, nats) = &instances[1 + usize::try_from(chance.number() % 2).unwrap()];
        let held = ms(0, 2500).to_std().unwrap();
        match chance.number() % 3 {
            0 => nats.hold(Way::Here, held),
            1 => nats.suspend(held),
            _ => {}
        }
        sleep(ms(0, 700).to_std().unwrap()).await;
        let start = server.now() + ms(-1000, 2000);
        contents.push(put(Some((start, start + ms(1000, 6000)))).await);
    }
    sleep(Duration::from_secs(8)).await;
    contents.push(put(None).await);
    sleep(Duration::from_secs(20)).await;
    let (end, sent) =
        (server.now() - TimeDelta::seconds(10), nominal(&server.messages("COMMANDS")));
    let mut found: Vec<_> = sent
        .iter()
        .filter(|(_, n)| **n > 1)
        .map(|(at, n)| format!("{at:?} was sent {n} times"))
        .collect();
    for (name, begin) in begins {
        let mut at = begin;
        while at < end {
            let content = contents.iter().rfind(|content| content.from <= at).unwrap();
            let is_sent = sent.contains_key(&(name.clone(), at));
            if content.leaves_out(at) && at > content.replied && is_sent {
                found.push(format!("{name} was sent at {at}, which was left out"));
            }
            if !content.leaves_out(at) && !is_sent {
                found.push(format!("{name} was not sent at {at}, which was open"));
            }
            at += TimeDelta::seconds(1);
        }
    }
    found
}

#[test]
fn what_a_calendar_leaves_out_is_not_sent_and_all_else_is_whoever_is_held_up() {
    for seed in 1..=20 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let found = runtime.block_on(faults(seed));
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}
