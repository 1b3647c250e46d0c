//! A connection that breaks just when something is handed to it: the client may send that over the next one, after
//! another instance has done it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use nats_scheduler::names;
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;
use tokio::time::sleep;

use crate::instance;
use crate::nats::Server;

/// How long the streams remember ids: less than the cut lasts after the other instance has taken over.
const WINDOW: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn what_is_handed_to_a_connection_as_it_breaks_is_not_sent_when_another_has_done_it() {
    for seed in 1..5 {
        let server = Server::with_streams(seed);
        let streams = ["COMMANDS", names::EXECUTIONS_STREAM, names::AUDIT_STREAM];
        for text in [
            include_str!("../../streams/COMMANDS.json"),
            include_str!("../../streams/SCHEDULER_EXECUTIONS.json"),
            include_str!("../../streams/SCHEDULER_AUDIT.json"),
        ] {
            let config: Config = serde_json::from_str(text).unwrap();
            server.create_stream(Config { duplicate_window: WINDOW, ..config });
        }
        let instances = instance::start(&server, 2).await;
        let (one, nats) = &instances[0];
        for n in 0..40 {
            let request: CreateSchedule = serde_json::from_value(json!({
                "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 1,
                "target_command": format!("cmd.example.{n}"),
            }))
            .unwrap();
            one.api.create_schedule(request, &one.caller()).await.unwrap();
        }
        sleep(Duration::from_millis(3000 + 37 * seed)).await;
        nats.sends(Duration::from_secs(1)).await;
        nats.cut();
        sleep(Duration::from_secs(12)).await;
        nats.reconnect();
        sleep(Duration::from_secs(3)).await;
        for stream in streams {
            let mut ids: BTreeMap<String, u32> = BTreeMap::new();
            for message in server.messages(stream) {
                let id = message.headers.get(names::MESSAGE_ID).unwrap().to_string();
                *ids.entry(id).or_default() += 1;
            }
            ids.retain(|_, count| *count > 1);
            assert!(ids.is_empty(), "seed {seed}: stored twice in {stream}: {ids:?}");
        }
    }
}
