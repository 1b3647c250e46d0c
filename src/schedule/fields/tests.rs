use super::*;
use crate::schedule::{CreateSchedule, UpdateSchedule};

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Request {
    name: Option<String>,
    count: Option<u8>,
}

fn faults<T>(body: &str) -> Vec<String>
where
    T: DeserializeOwned + Default + fmt::Debug + JsonSchema + 'static,
{
    parse::<T>(body.as_bytes()).unwrap_err().faults.iter().map(ToString::to_string).collect()
}

#[test]
fn all_faults_are_named_together() {
    assert_eq!(
        faults::<Request>(r#"{"name": [7], "count": 300, "nam": "x", "count": 1, "color": "x"}"#),
        [
            "name: must be a text, such as \"text\"",
            "count: must be 0 to 255",
            "nam: is not a field of this request; did you mean name?; the fields are count, name",
            "count: is given more than once",
            "color: is not a field of this request",
        ]
    );
}

#[test]
fn bodies_that_are_no_object_are_one_fault() {
    for body in ["[]", "null", "{", "{\"a\":1} x", "\u{0}", "{\"\\ud800\":1}"] {
        let unread = parse::<Request>(body.as_bytes()).unwrap_err();
        assert_eq!(unread.faults.len(), 1, "{body}");
        assert_eq!(unread.faults[0].field, "body", "{body}");
        assert_eq!(unread.rest, None, "{body}");
    }
    assert_eq!(parse::<Request>(b" ").unwrap(), Request::default());
}

#[test]
fn sound_fields_survive_beside_faults() {
    let unread = parse::<Request>(br#"{"name": "n", "count": -1}"#).unwrap_err();
    assert_eq!(unread.rest.unwrap().name.as_deref(), Some("n"));
    assert_eq!(unread.faults.len(), 1);
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let body = format!("{{\"name\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(faults::<Request>(&body), ["name: must be a text, such as \"text\""]);
}

#[test]
fn faults_are_few_however_many_there_are() {
    let many: Vec<_> = (0..1000).map(|n| format!("\"x{n}\":1")).collect();
    let body = format!("{{{}}}", many.join(","));
    assert_eq!(faults::<Request>(&body).len(), MAX_FAULTS);
    let ids = format!("{{\"tags\":[{}]}}", vec!["7"; 1000].join(","));
    assert_eq!(faults::<CreateSchedule>(&ids).len(), MAX_FAULTS);
}

/// One field of a request with a value, and the expected reason.
const SAID: &[(&str, &str, &str)] = &[
    // Whole numbers.
    (
        "interval_seconds",
        "\"5\"",
        "must be a whole number from 1 to 31536000, such as 5, without quotes",
    ),
    ("interval_seconds", "\"soon\"", "must be a whole number from 1 to 31536000, such as 300"),
    ("interval_seconds", "60.0", "must be a whole number from 1 to 31536000, such as 60"),
    ("interval_seconds", "1.5", "must be a whole number from 1 to 31536000, such as 300"),
    ("interval_seconds", "-1", "must be 1 to 31536000"),
    ("interval_seconds", "99999999999999999999", "must be 1 to 31536000"),
    ("interval_seconds", "true", "must be a whole number from 1 to 31536000, such as 300"),
    ("interval_seconds", "[1]", "must be a whole number from 1 to 31536000, such as 300"),
    ("priority", "\"11\"", "must be a whole number from 1 to 10, such as 10"),
    ("max_runs", "\"x\"", "must be a whole number, such as 300"),
    ("max_runs", "-1", "must be at least 0"),
    ("max_runs", "99999999999999999999", "must be at most 18446744073709551615"),
    ("max_runs", "1e400", "must be a whole number, such as 300"),
    ("max_runs", "-0", "must be a whole number, such as 0"),
    // Words.
    (
        "schedule_type",
        "\"Cron\"",
        "must be one of cron, interval, one_time, immediate, dependent; did you mean cron?",
    ),
    ("schedule_type", "7", "must be one of cron, interval, one_time, immediate, dependent"),
    ("catch_up", "\"newest\"", "must be one of latest, all, none"),
    (
        "overlap",
        "\"skipp\"",
        "must be one of skip, allow, buffer_one, cancel_other; did you mean skip?",
    ),
    ("dst_gap", "\"next\"", "must be one of next_valid, skip; did you mean next_valid?"),
    // Strings, times, booleans.
    ("name", "7", "must be a text, such as \"7\""),
    ("name", "{\"a\":1}", "must be a text, such as \"text\""),
    ("name", "\"\\ud800\"", "has an escape, such as \\ud800, that stands for no character"),
    ("scheduled_at", "\"tomorrow\"", "must be a time in RFC 3339, such as 2030-01-31T02:00:00Z"),
    ("scheduled_at", "1700000000", "must be a time in RFC 3339, such as 2030-01-31T02:00:00Z"),
    ("payload_template", "\"true\"", "must be true or false, without quotes"),
    ("payload_template", "1", "must be true or false"),
    // Lists.
    ("tags", "\"a\"", "must be a list, such as [\"text\"]"),
    ("tags[1]", "[\"a\",7]", "must be a text, such as \"7\""),
    ("tags[0]", "[null]", "must be a text, such as \"text\""),
    // Objects.
    ("command_payload", "[1]", "must be a JSON object, such as {\"key\":\"value\"}"),
    ("delivery", "\"job\"", "must be a JSON object, such as {\"mode\":\"publish\"}"),
    ("delivery", "[\"job\"]", "must be a JSON object, such as {\"mode\":\"publish\"}"),
    (
        "delivery.mode",
        "{\"mode\":\"requets\"}",
        "must be one of publish, request, job, core; did you mean request?",
    ),
    ("delivery.mode", "{\"mode\":null}", "must be one of publish, request, job, core"),
    ("delivery.mode", "{\"mode\":\"job\",\"mode\":\"job\"}", "is given more than once"),
    ("delivery.timeout_seconds", "{\"timeout_seconds\":-1}", "must be 1 to 86400"),
    (
        "delivery.timout",
        "{\"timout\":5}",
        "is not a field of delivery; the fields are heartbeat_seconds, mode, timeout_seconds",
    ),
    (
        "after.schedule_id",
        "{\"schedule_id\":\"nightly\"}",
        "must be a UUID, such as 018f3c5e-7b1a-7cc3-9a4e-5d2f8b6a1c0e",
    ),
    ("retry.multiplier", "{\"multiplier\":\"2\"}", "must be a number from 1 to 10, such as 1.0"),
    ("retry.jitter", "{\"jitter\":1e400}", "must be a number from 0 to 1, such as 0.5"),
    ("retry.non_retryable[0]", "{\"non_retryable\":[7]}", "must be a text, such as \"7\""),
    ("retry", "{\"\\ud800\":1}", "has an escape, such as \\ud800, that stands for no character"),
];

#[test]
fn faults_say_what_was_expected() {
    for (field, value, said) in SAID {
        let top = field.split(['.', '[']).next().unwrap_or_default();
        let body = format!("{{\"{top}\": {value}}}");
        assert_eq!(faults::<CreateSchedule>(&body), [format!("{field}: {said}")], "{body}");
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
    assert_eq!(
        faults::<CreateSchedule>(&format!("{{\"command_payload\":{deep}}}")),
        ["command_payload: is nested deeper than 100 levels"]
    );
    assert_eq!(
        faults::<UpdateSchedule>("{\"schedule_id\":\"n\",\"is_active\":null}"),
        ["schedule_id: must be a UUID, such as 018f3c5e-7b1a-7cc3-9a4e-5d2f8b6a1c0e"]
    );
}

#[test]
fn the_list_of_fields_stands_once() {
    let faults = faults::<UpdateSchedule>(r#"{"nme":1,"colour":1,"delivery":{"mod":1,"x":2}}"#);
    let listed: Vec<_> =
        faults.iter().map(|fault| fault.matches("the fields are").count()).collect();
    assert_eq!(listed, [1, 0, 1, 0], "{faults:?}");
    assert!(faults[0].contains("did you mean name?"), "{faults:?}");
    assert!(faults[2].starts_with("delivery.mod: is not a field of delivery; did you mean mode?"));
}
