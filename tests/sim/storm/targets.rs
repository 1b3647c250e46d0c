//! Targets of commands: streams of all kinds, listeners, and nobody.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use nats_scheduler::names;
use nats_scheduler::schedule::{DeliveryMode, TargetPattern};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::source;
use crate::nats::Server;

/// One that remembers ids for a short time only, in some storms.
pub const SHORT: &str = "SHORT";
/// A work queue, which does the same.
const QUEUE: &str = "QUEUE";
/// One that acknowledges nothing.
const MUTE: &str = "MUTE";

/// Streams of targets.
pub const STREAMS: [&str; 4] = [names::COMMANDS_STREAM, SHORT, QUEUE, MUTE];

/// Targets that no stream takes, and somebody listens to.
pub const NOBODY: &str = "cmd.nobody.>";

/// How long streams remember ids where they do so for a short time: less than a cut may last after another instance has
/// taken over.
const WINDOW: Duration = Duration::from_secs(2);
/// How long a message may be on its way then.
pub const ON_ITS_WAY: Duration = Duration::from_millis(1500);

/// Creates those that are not there yet; some of them and the history remember ids for a short time, if they are to.
pub fn open(server: &Server, forgets: bool) {
    let history = include_str!("../../../streams/SCHEDULER_EXECUTIONS.json");
    let history: Config = serde_json::from_str(history).unwrap();
    let duplicate_window = if forgets { WINDOW } else { history.duplicate_window };
    let stream = |name: &str, word: &str| Config {
        name: name.to_owned(),
        subjects: vec![format!("cmd.{word}.>")],
        duplicate_window,
        ..Config::default()
    };
    server.create_stream(stream(SHORT, "short"));
    server
        .create_stream(Config { retention: RetentionPolicy::WorkQueue, ..stream(QUEUE, "queue") });
    server.create_stream(Config { no_ack: true, ..stream(MUTE, "mute") });
    server.create_stream(Config { duplicate_window, ..history });
}

/// The only targets that a stream is about, if it is about some.
pub fn of(stream: &str) -> Option<&'static str> {
    Some(match stream {
        SHORT => "cmd.short.>",
        QUEUE => "cmd.queue.>",
        MUTE => "cmd.mute.>",
        _ => return None,
    })
}

/// Where commands of a mode go.
pub fn any(chance: &mut StdRng, mode: DeliveryMode, n: u64) -> String {
    let word = match (mode, chance.random_range(0..20)) {
        (DeliveryMode::Publish | DeliveryMode::Job, 0..=4) => "short",
        (DeliveryMode::Publish, 5 | 6) => "queue",
        (DeliveryMode::Publish, 7) => "mute",
        (DeliveryMode::Publish, 8) => "nobody",
        (DeliveryMode::Publish, _) => "example",
        (DeliveryMode::Job, _) => "report",
        (DeliveryMode::Request, _) => "worker",
        (DeliveryMode::Core, _) => "listener",
    };
    format!("cmd.{word}.n{n}")
}

/// Limits on commands per second, which some storms have. They are drawn aside, so that all else of a storm is drawn as it
/// is without them.
pub fn rates(seed: u64) -> Vec<(TargetPattern, f64)> {
    let mut chance = source(seed, usize::MAX / 7);
    let mut limit = |pattern| {
        let limited = chance.random_bool(0.25);
        limited.then(|| (TargetPattern::parse(pattern).unwrap(), chance.random_range(9.0..30.0)))
    };
    ["cmd.worker.>", "cmd.report.>", "cmd.example.>"].into_iter().filter_map(&mut limit).collect()
}
