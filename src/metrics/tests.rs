use std::collections::HashSet;
use std::time::Duration;

use chrono::DateTime;

use super::{Format, Gauges, Metrics, Stage, Stages, StreamGauges};
use crate::index::Counts;
use crate::schedule::{ScheduleType, Status};

/// The text while nothing but the recorded metrics is known.
pub(super) fn text(metrics: &Metrics) -> String {
    metrics.encode(&Gauges::default(), Format::OpenMetrics)
}

/// The value of a sample in a text: its name with its labels.
pub(super) fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(s, _)| s == sample));
    line.and_then(|line| line.rsplit_once(' ')).and_then(|(_, value)| value.parse().ok())
}

/// The value of a sample at present.
pub(super) fn now(metrics: &Metrics, sample: &str) -> Option<f64> {
    value(&text(metrics), sample)
}

#[test]
fn the_text_is_whole_and_describes_each_metric_once() {
    let metrics = Metrics::new();
    metrics.http_request("GET", "/metrics", 200, Duration::from_millis(1));
    metrics.nats_request("schedule.get", 404, Duration::from_millis(1));
    let text = text(&metrics);
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    let mut described = HashSet::new();
    for line in text.lines().filter(|line| line.starts_with("# ") && *line != "# EOF") {
        let what: Vec<_> = line.split(' ').take(3).collect();
        assert!(described.insert(what.join(" ")), "twice: {line}");
        let is_help = what[1] == "HELP";
        assert!(!is_help || line.ends_with('.') && !line.ends_with(".."), "{line}");
    }
}

#[test]
fn what_is_known_beforehand_starts_at_zero() {
    let metrics = Metrics::new();
    for sample in [
        r#"schedules_total{type="cron",status="active"}"#,
        r#"schedules_deleted_total{type="one_time",hard_delete="true"}"#,
        r#"schedule_executions_total{schedule_type="interval",status="skipped"}"#,
        r#"schedule_execution_duration_seconds_count{schedule_type="cron",status="failed"}"#,
        r#"schedule_misfires_total{schedule_type="dependent"}"#,
        r#"schedule_missed_total{cause="overlap"}"#,
        r#"schedule_retries_total{schedule_type="immediate",attempt="2"}"#,
        r#"schedule_lateness_seconds_count{schedule_type="cron"}"#,
        r#"distributed_locks_acquired_total{lock_type="takeover"}"#,
        r#"distributed_locks_failed_total{lock_type="claim",reason="expired"}"#,
        r#"distributed_lock_hold_duration_seconds_count{lock_type="name"}"#,
        "scheduler_claim_conflicts_total",
        "http_requests_in_flight",
        "schedule_queue_depth",
        "active_executions",
        r#"scheduler_in_flight{stage="waiting_reply"}"#,
        "scheduler_ready",
    ] {
        assert_eq!(now(&metrics, sample), Some(0.0), "{sample}");
    }
}

#[test]
fn what_is_read_at_the_scrape_is_shown_and_what_is_unknown_is_left_out() {
    let metrics = Metrics::new();
    let gauges = Gauges {
        all_paused: true,
        counts: Counts {
            schedules: [((ScheduleType::Cron, Status::Paused), 4)].into(),
            failing: 6,
            overdue: 7,
        },
        timer_lag: Duration::from_millis(1500),
        in_flight: Stages::new(|stage| if stage == Stage::Delivering { 3 } else { 0 }),
        watch_lag: Some(5),
        clock_offset: Some(-0.25),
        nats_rtt: Some(0.002),
        ready: true,
        vanished: 3,
        groups: vec![super::GroupGauges {
            name: "a \"b\"".to_owned(),
            limit: 4,
            running: 3,
            waiting: 2,
        }],
        streams: vec![StreamGauges {
            name: "S".to_owned(),
            exists: true,
            drift: 2,
            writes_fail: true,
        }],
        started_at: DateTime::from_timestamp_millis(1_700_000_000_500).unwrap(),
        ..Gauges::default()
    };
    let shown = metrics.encode(&gauges, Format::OpenMetrics);
    for (sample, expected) in [
        (r#"schedules{type="cron",status="paused"}"#, 4.0),
        (r#"schedules_total{type="cron",status="paused"}"#, 4.0),
        (r#"scheduler_in_flight{stage="delivering"}"#, 3.0),
        ("scheduler_schedules_failing", 6.0),
        ("scheduler_schedules_overdue", 7.0),
        ("scheduler_all_paused", 1.0),
        ("scheduler_timer_lag_seconds", 1.5),
        ("scheduler_watch_lag_records", 5.0),
        ("scheduler_clock_offset_seconds", -0.25),
        ("scheduler_nats_rtt_seconds", 0.002),
        ("scheduler_ready", 1.0),
        ("scheduler_schedules_vanished_total", 3.0),
        (r#"scheduler_group_limit{group="a \"b\""}"#, 4.0),
        (r#"scheduler_group_running{group="a \"b\""}"#, 3.0),
        (r#"scheduler_group_waiting_schedules{group="a \"b\""}"#, 2.0),
        (r#"scheduler_stream_up{stream="S"}"#, 1.0),
        (r#"scheduler_stream_drift{stream="S"}"#, 2.0),
        (r#"scheduler_stream_writes_failing{stream="S"}"#, 1.0),
        ("process_start_time_seconds", 1_700_000_000.5),
    ] {
        assert_eq!(value(&shown, sample), Some(expected), "{sample}");
    }
    // Nothing is left of the earlier scrape.
    let unknown = text(&metrics);
    for name in ["watch_lag_records", "clock_offset_seconds", "nats_rtt_seconds", "stream_up"] {
        assert!(!unknown.contains(&format!("scheduler_{name}")), "{name}");
    }
    let version = format!("scheduler_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&shown, &version), Some(1.0));
}

#[test]
fn scrapes_at_the_same_time_show_what_each_was_given() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for instances in 1..=4 {
            let metrics = &metrics;
            scope.spawn(move || {
                let gauges = Gauges { instances, ..Gauges::default() };
                for _ in 0..50 {
                    let shown = metrics.encode(&gauges, Format::Classic);
                    assert!(shown.contains(&format!("\nscheduler_instances {instances}\n")));
                }
            });
        }
    });
}
