//! A minute of `examples/chaos`: the program against real nats-servers while everything goes wrong.
//!
//! `CHAOS_SEED` sets another seed.

use std::time::Duration;

use crate::world::{Folder, Plan};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_what_is_promised_is_kept() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let folder = Folder::new();
    let plan = Plan {
        seed,
        faults: Duration::from_secs(35),
        one_by_one: false,
        schedules: 120,
        service: env!("CARGO_BIN_EXE_nats-scheduler").into(),
        folder: folder.path().to_owned(),
    };
    let report = plan.run().await;
    if !report.violations.is_empty() {
        let folder = folder.keep();
        panic!("seed {seed}, {}: {:#?}", folder.display(), report.violations);
    }
    eprint!("{}", report.summary);
}
