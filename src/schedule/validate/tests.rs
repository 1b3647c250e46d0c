mod declared;

use super::*;

fn create(json: &str) -> Result<Schedule, Vec<String>> {
    let rules = Rules {
        allowed_targets: vec![TargetPattern::parse("cmd.report.>").unwrap()],
        ..Rules::default()
    };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let writer = Writer { instance: Uuid::nil(), token: 1 };
    let texts = |faults: Vec<FieldFault>| faults.iter().map(ToString::to_string).collect();
    let request =
        super::super::parse_fields(json.as_bytes()).map_err(|unread| texts(unread.faults))?;
    new_schedule(&request, &rules, Uuid::nil(), now, "me", "c", writer)
        .map(|(schedule, _)| schedule)
        .map_err(texts)
}

#[test]
fn the_smallest_request_gets_the_defaults() {
    let schedule = create(
        r#"{"name":"n","schedule_type":"cron","cron_expression":"@daily","target_command":"cmd.report.a"}"#,
    )
    .unwrap();
    let spec = &schedule.spec;
    assert_eq!(spec.priority, 5);
    assert_eq!((spec.max_retries, spec.retry_delay_seconds), (3, 300));
    assert_eq!(spec.misfire_grace_seconds, 300);
    assert_eq!(spec.command_payload.as_str(), "{}");
    assert_eq!(spec.delivery.known, super::super::Delivery::default());
    // Midnight itself is the first occurrence of a schedule created at midnight.
    assert_eq!(schedule.next_run_at.unwrap().to_rfc3339(), "2026-01-01T00:00:00+00:00");
}

#[test]
fn several_faults_are_reported_together() {
    let faults = create(
        r#"{"name":"","schedule_type":"cron","target_command":"cmd.other.a","priority":11,
            "max_retries":11,"tags":["a","a"],"delivery":{"timeout_seconds":0}}"#,
    )
    .unwrap_err();
    for field in [
        "name",
        "cron_expression",
        "target_command",
        "priority",
        "max_retries",
        "tags[1]",
        "delivery.timeout_seconds",
    ] {
        assert!(faults.iter().any(|f| f.starts_with(&format!("{field}: "))), "{field}: {faults:?}");
    }
}

#[test]
fn a_cron_whose_last_year_is_over_is_refused() {
    let faults = create(
        r#"{"name":"n","schedule_type":"cron","cron_expression":"0 0 0 1 1 * 2020","target_command":"cmd.report.a"}"#,
    )
    .unwrap_err();
    assert_eq!(faults, ["cron_expression: has no time in the future"]);
}

#[test]
fn where_no_time_comes_the_field_at_fault_is_named() {
    let once_a_day =
        r#""schedule_type":"cron","cron_expression":"0 3 * * *","end_at":"2026-01-01T02:00:00Z""#;
    let weekly = r#""schedule_type":"interval","interval_seconds":604800,"start_at":"2025-12-31T00:00:00Z","end_at":"2026-01-05T00:00:00Z""#;
    for (timing, next) in [(once_a_day, "2026-01-01T03:00:00Z"), (weekly, "2026-01-07T00:00:00Z")] {
        let body = format!(r#"{{"name":"n",{timing},"target_command":"cmd.report.a"}}"#);
        let fault = format!("end_at: is before the next time, which is {next}");
        assert_eq!(create(&body).unwrap_err(), [fault]);
    }
}

#[test]
fn both_ends_are_kept_in_whole_milliseconds() {
    let span = |start: &str, end: &str| {
        format!(
            r#"{{"name":"n","schedule_type":"interval","interval_seconds":60,"start_at":"2026-01-02T00:{start}Z","end_at":"2026-01-02T00:{end}Z","target_command":"cmd.report.a"}}"#
        )
    };
    let schedule = create(&span("00:00.0001", "02:00.0001")).unwrap();
    let timing = &schedule.spec.timing;
    let trigger = timing.plain_trigger(schedule.id).unwrap();
    let times = trigger.occurrences_after(timing.start_at.unwrap().just_before());
    assert_eq!(times.map(|it| it.at).last(), timing.end_at, "the last one is at the end");
    let faults = create(&span("00:00.0001", "00:00.0002")).unwrap_err();
    assert!(faults[0].starts_with("end_at: must be in the future, and later"), "{faults:?}");
}

#[test]
fn times_that_a_fast_clock_has_acted_on_are_not_used_again() {
    let mut schedule = create(
        r#"{"name":"n","schedule_type":"interval","interval_seconds":10,"target_command":"cmd.report.a"}"#,
    )
    .unwrap();
    let at = |time: &str| format!("2026-01-01T{time}Z").parse::<DateTime<Utc>>().unwrap();
    schedule.last_scheduled_for = Some(at("00:01:00"));
    let rules = Rules {
        allowed_targets: vec![TargetPattern::parse("cmd.report.>").unwrap()],
        ..Rules::default()
    };
    for (interval, next) in [(10, "00:01:10"), (15, "00:00:45"), (60, "00:02:00")] {
        let update = UpdateSchedule { interval_seconds: Some(interval), ..Default::default() };
        let mut schedule = schedule.clone();
        apply_update(&update, &mut schedule, &rules, at("00:00:16")).unwrap();
        assert_eq!(schedule.next_run_at, Some(at(next)), "every {interval} s");
    }
    // Fast by years, which takes no longer.
    let mut far = schedule.clone();
    far.last_scheduled_for = Some("2031-01-01T00:00:00Z".parse().unwrap());
    let update = UpdateSchedule { interval_seconds: Some(10), ..Default::default() };
    apply_update(&update, &mut far, &rules, at("00:00:16")).unwrap();
    assert_eq!(far.next_run_at, Some("2031-01-01T00:00:10Z".parse().unwrap()));
    let trigger = schedule.spec.timing.plain_trigger(schedule.id).unwrap();
    (schedule.status, schedule.deleted_from) = (Status::Deleted.into(), Some(Status::Active));
    restore(&mut schedule, &trigger, at("00:00:16")).unwrap();
    assert_eq!(schedule.next_run_at, Some(at("00:01:10")), "restored");
}
