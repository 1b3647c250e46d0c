use super::*;

fn check(json: &str) -> Result<(Timing, Trigger), Vec<String>> {
    let fields: TimingFields = super::super::parse_fields(json.as_bytes()).unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut faults = Vec::new();
    fields
        .check(Uuid::nil(), now, &Rules::default(), &mut faults)
        .ok_or_else(|| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn each_kind_takes_its_own_fields() {
    for good in [
        r#"{"schedule_type":"cron","cron_expression":"0 2 * * *","timezone":"Europe/Berlin"}"#,
        r#"{"schedule_type":"interval","interval_seconds":60}"#,
        r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:00:01+00:00"}"#,
        r#"{"schedule_type":"immediate"}"#,
    ] {
        assert!(check(good).is_ok(), "{good}: {:?}", check(good));
    }
}

#[test]
fn faults_name_the_field() {
    for (json, field) in [
        (r"{}", "schedule_type"),
        (r#"{"schedule_type":"cron"}"#, "cron_expression"),
        (r#"{"schedule_type":"cron","cron_expression":"61 * * * *"}"#, "cron_expression"),
        (r#"{"schedule_type":"cron","cron_expression":"0 0 30 2 *"}"#, "cron_expression"),
        (r#"{"schedule_type":"interval","interval_seconds":0}"#, "interval_seconds"),
        (r#"{"schedule_type":"interval","interval_seconds":31536001}"#, "interval_seconds"),
        (r#"{"schedule_type":"one_time","scheduled_at":"2025-12-31T23:59:59Z"}"#, "scheduled_at"),
        (r#"{"schedule_type":"one_time","scheduled_at":"2027-01-02T00:00:00Z"}"#, "scheduled_at"),
        (r#"{"schedule_type":"immediate","interval_seconds":5}"#, "interval_seconds"),
        (r#"{"schedule_type":"immediate","timezone":"Mars/Base"}"#, "timezone"),
        (r#"{"schedule_type":"interval","interval_seconds":5,"dst_gap":"skip"}"#, "dst_gap"),
    ] {
        let faults = check(json).unwrap_err();
        assert_eq!(faults.len(), 1, "{json}: {faults:?}");
        assert!(faults[0].starts_with(field), "{json}: {faults:?}");
    }
}

#[test]
fn a_one_time_is_never_moved_earlier_by_rounding() {
    let json = r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:00:01.0000001Z"}"#;
    let (timing, _) = check(json).unwrap();
    assert_eq!(timing.scheduled_at.unwrap().to_rfc3339(), "2026-01-01T00:00:01.001+00:00");
}
