use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn payload(text: &str) -> Payload {
    serde_json::from_str(text).unwrap()
}

fn values(schedule_name: &str) -> Values<'_> {
    Values {
        schedule_id: Uuid::from_u128(1),
        schedule_name,
        execution_id: Uuid::from_u128(2),
        correlation_id: "c\\1",
        attempt: 3,
        scheduled_for: "2026-03-28T23:30:00.5Z".parse().unwrap(),
        zone: Tz::Europe__Berlin,
    }
}

#[test]
fn placeholders_are_replaced_and_nothing_else() {
    for (written, rendered) in [
        ("${schedule.id}", "00000000-0000-0000-0000-000000000001"),
        ("${execution_id}", "00000000-0000-0000-0000-000000000002"),
        ("<${schedule.name}>", r#"<a "b" \ ü\u0001>"#),
        ("${correlation_id}", r"c\1"),
        ("${attempt}", "3"),
        ("${attempt}${attempt}/${attempt}", "33/3"),
        ("${scheduled_for}", "2026-03-28T23:30:00.500Z"),
        ("${scheduled_for:%Y-%m-%d}", "2026-03-29"),
        ("${scheduled_for:%H:%M %Z %:z %%}", "00:30 CET +01:00 %"),
        ("${scheduled_for:%d%n%m%t%y}", "29\n03\t26"),
        ("${scheduled_for:%-d日 \"%b\"\n}", "29日 \"Mar\"\n"),
        ("$ $x {x} $$ 5$", "$ $x {x} $$ 5$"),
        ("$${attempt}", "${attempt}"),
        ("$$${attempt}", "$${attempt}"),
        ("$${${attempt}$${", "${3${"),
        (r"\${attempt}", r"\3"),
        (r#"\"${attempt}\"#, r#"\"3\"#),
    ] {
        let rendered = rendered.replace("\\u0001", "\u{1}");
        let payload = Payload::from_object(&json!({ "a": ["x", { "b": written }] })).unwrap();
        assert_eq!(check(&payload), Ok(()), "{written}");
        let text = render(&payload, &values("a \"b\" \\ ü\u{1}"));
        let read: Value = serde_json::from_str(&text).expect(&text);
        assert_eq!(read, json!({ "a": ["x", { "b": rendered }] }), "{written}");
    }
}

#[test]
fn keys_numbers_spaces_and_escapes_stay_as_written() {
    let text = r#"{ "${attempt}" : 1.0,"${" :{"$${":1e3 , "k":"\u0024{attempt} \u00e9\/${X}"}}"#;
    let written = payload(&text.replace("${X}", "${attempt}"));
    assert_eq!(check(&written), Ok(()));
    assert_eq!(render(&written, &values("n")), text.replace("${X}", "3"));
    let dollar = payload(r#"{"a":"\u0024${attempt} ${scheduled_for:\u65e5%d\"\\}"}"#);
    assert_eq!(check(&dollar), Ok(()));
    assert_eq!(render(&dollar, &values("n")), r#"{"a":"\u00243 \u65e529\"\\"}"#);
}

#[test]
fn faults_are_named_with_their_place_and_left_alone_when_rendered() {
    for (text, fault) in [
        (r#"{"a":"${nam}"}"#, "at a: ${nam} is not a placeholder; known are schedule.id, "),
        (r#"{"a":"${}"}"#, "at a: ${} has no name; "),
        (r#"{"a":"${:%Y}"}"#, "at a: ${:%Y} has no name; "),
        (r#"{"a":"${ attempt}"}"#, "at a: ${ attempt} is not a placeholder; "),
        (r#"{"a":"${attempt:%d}"}"#, "at a: ${attempt:%d} is not a placeholder; "),
        (r#"{"a":"${attempt","b":"}"}"#, "at a: ${attempt is not closed; "),
        (r#"{"a":"\\${x\"}"}"#, r#"at a: ${x\"} is not a placeholder; "#),
        (r#"{"a":"${scheduled_for:}"}"#, "at a: ${scheduled_for:} has a format without a %"),
        (r#"{"a":"${scheduled_for:YYYY}"}"#, "at a: ${scheduled_for:YYYY} has a format wi"),
        (r#"{"a":"${scheduled_for:%Q}"}"#, "at a: ${scheduled_for:%Q} has a format that"),
        (r#"{"a":"${scheduled_for:%d%}"}"#, "at a: ${scheduled_for:%d%} has a format that"),
        (r#"{"a":"${scheduled_for:%d%#z}"}"#, "at a: ${scheduled_for:%d%#z} has a format"),
        (r#"{"a":"${scheduled_for:%d%\n}"}"#, r"at a: ${scheduled_for:%d%\n} has a format"),
        (r#"{"a":"${attempt $${"}"#, "at a: ${attempt $${ is not closed; "),
        (
            r#"{"z":[{}],"a":[1,[2,3],{"x":"]"},{"y":{"z":{}},"b c":["${"]}]}"#,
            r#"at a[3]["b c"][0]: ${ is not closed; "#,
        ),
        (r#"{"k":"${attempt","a":{"b":{"c":"${"}}}"#, "at k: ${attempt is not closed; "),
        (r#"{"a":{"b":{"c":"${"}}}"#, "at a.b.c: ${ is not closed; "),
    ] {
        let payload = payload(text);
        let reason = check(&payload).unwrap_err();
        assert!(reason.starts_with(fault), "{reason}");
        assert!(reason.ends_with(KNOWN), "{reason}");
        assert_eq!(render(&payload, &values("n")), text);
    }
}

#[test]
fn a_rendered_payload_cannot_outgrow_a_message() {
    let many = |count: usize| {
        Payload::from_object(&json!({ "a": "${schedule.name}".repeat(count) })).unwrap()
    };
    assert!(check(&many(101)).unwrap_err().contains("} is one too many: 100 placeholders"));
    assert_eq!(check(&many(100)), Ok(()));
    let text = render(&many(100), &values(&"\u{1}".repeat(255)));
    assert!(text.len() < 160 * 1024, "{}", text.len());
    let date = |format: &str| format!(r#"{{"a":"${{scheduled_for:{format}}}"}}"#);
    assert_eq!(check(&payload(&date(&"%+".repeat(32)))), Ok(()));
    let reason = check(&payload(&date(&"%+".repeat(33)))).unwrap_err();
    assert!(reason.contains("… has a format of more than 64 bytes; "), "{reason}");
    let deep = format!(r#"{{"{}":["${{{}}}"]}}"#, "k".repeat(999), "x".repeat(999));
    assert!(check(&payload(&deep)).unwrap_err().chars().count() <= 300);
}

/// Text that is likely to contain everything that has a meaning here.
fn text() -> impl Strategy<Value = String> {
    let special = proptest::sample::select(vec![
        "$",
        "{",
        "}",
        "${",
        "$${",
        "${attempt}",
        "${schedule.name}",
        "${scheduled_for:",
        "%Y",
        "%n",
        "%",
        ":",
        ",",
        "[",
        "\"",
        "\\",
        "\n",
        "\\u0024{",
        "é",
        " ",
    ]);
    let part = prop_oneof![3 => special.prop_map(str::to_owned), 1 => any::<String>()];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// An object that contains numbers, lists and objects.
type Object = BTreeMap<String, (f64, Vec<String>, BTreeMap<String, String>)>;

fn object() -> impl Strategy<Value = Object> {
    let texts = proptest::collection::vec(text(), 0..4);
    let inner = proptest::collection::btree_map(text(), text(), 0..4);
    proptest::collection::btree_map(text(), (any::<f64>(), texts, inner), 0..4)
}

/// Applies `change` to all strings that are not keys.
fn changed(object: &Object, change: impl Fn(&str) -> String) -> Object {
    let mut object = object.clone();
    for (_, texts, inner) in object.values_mut() {
        texts.iter_mut().chain(inner.values_mut()).for_each(|text| *text = change(text));
    }
    object
}

proptest! {
    #[test]
    fn payloads_without_placeholders_stay_byte_for_byte(object in object(), pretty: bool) {
        let object = changed(&object, |text| text.replace("${", "$ {"));
        let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let text = write(&object).unwrap();
        let payload = payload(&text);
        prop_assert_eq!(check(&payload), Ok(()));
        prop_assert_eq!(render(&payload, &values("n")), text);
    }

    #[test]
    fn whatever_is_rendered_is_json_of_the_same_shape(object in object(), name: String) {
        let text = render(&Payload::from_object(&object).unwrap(), &values(&name));
        let rendered: Object = serde_json::from_str(&text).unwrap();
        prop_assert!(rendered.keys().eq(object.keys()), "{}", text);
        for ((_, texts, inner), (_, texts_before, inner_before)) in
            rendered.values().zip(object.values())
        {
            prop_assert_eq!(texts.len(), texts_before.len());
            prop_assert!(inner.keys().eq(inner_before.keys()), "{}", text);
        }
    }

    #[test]
    fn text_is_protected_by_a_second_dollar_sign(object in object(), name: String) {
        let protected = changed(&object, |text| text.replace("${", "$${"));
        let payload = Payload::from_object(&protected).unwrap();
        prop_assert_eq!(check(&payload), Ok(()));
        let text = render(&payload, &values(&name));
        prop_assert_eq!(text, serde_json::to_string(&object).unwrap());
    }
}
