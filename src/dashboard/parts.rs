//! Parts that several pages have: times, statuses, lists, forms.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use maud::{Markup, html};
use serde_json::Value;

use super::json::{Look as _, indented};
use super::visit::{Exact, ONCE, Read, Visitor, WHOLE};

/// Most times that are shown of those that calendars leave out.
const LEFT_OUT: usize = 3;

/// An instant in a zone; UTC if the zone is not known. It has its offset, as the short names of zones stand for several.
/// The title says it in UTC, and the script adds the browser's time, which a button shows in its place.
pub(super) fn time_in(at: Option<DateTime<Utc>>, zone: &str) -> Markup {
    let Some(at) = at else { return html! { span.dim { "–" } } };
    let zone: Tz = zone.parse().unwrap_or(Tz::UTC);
    let offset = if zone == Tz::UTC { "UTC" } else { "%:z" };
    let local = at.with_timezone(&zone).format(&format!("%Y-%m-%d %H:%M:%S {offset}")).to_string();
    let utc = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    html! { time datetime=(utc) title=(format!("{utc} · {zone}")) { (local) } }
}

/// An instant in UTC.
pub(super) fn time(at: Option<DateTime<Utc>>) -> Markup {
    time_in(at, "UTC")
}

/// How far an instant is from now, in words; the script keeps it right.
pub(super) fn relative(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Markup {
    let Some(at) = at else { return html! { span.dim { "–" } } };
    let utc = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    html! { time.relative datetime=(utc) title=(utc) data-relative { (distance(at - now)) } }
}

fn distance(to: TimeDelta) -> String {
    let seconds = to.num_seconds();
    let text = span_of(seconds.unsigned_abs());
    match seconds {
        -1..=1 => "now".to_owned(),
        2.. => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

fn span_of(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds / 60),
        6_000..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// What calendars leave out of the times of a preview, if they do: the first of it in a line.
pub(super) fn left_out(preview: &Value, zone: &str) -> Markup {
    let data = &preview["left_out"];
    let instant = |at: &Value| at.as_str().and_then(|at| at.parse().ok());
    let (count, shown) = (data.count("count"), data.items("occurrences").iter().take(LEFT_OUT));
    html! {
        @if count > 0 {
            p.dim {
                "Calendars leave out " (count) " until " (time_in(data.instant("until"), zone)) ": "
                @for (n, at) in shown.enumerate() { @if n > 0 { ", " } (time_in(instant(at), zone)) }
                @if count > LEFT_OUT as u64 { ", …" }
            }
        }
    }
}

/// A count for people.
pub(super) fn count(number: &Value) -> String {
    number.as_u64().map_or_else(|| "–".to_owned(), |number| number.to_string())
}

/// Milliseconds for people.
pub(super) fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms.abs() < 1_000.0 => format!("{ms:.0} ms"),
        Some(ms) if ms.abs() < 100_000.0 => format!("{:.1} s", ms / 1_000.0),
        Some(ms) => format!("{:.0} min", ms / 60_000.0),
    }
}

/// A status or an outcome, told by its word and not by its colour alone.
pub(super) fn badge(word: &str) -> Markup {
    html! { span.badge.(tone(word)) { (word.replace('_', " ")) } }
}

/// The tone of a status: a fixed set of words, whatever others say.
pub(super) fn tone(word: &str) -> &'static str {
    match word {
        "success" | "active" | "ok" | "completed" | "done" => "good",
        "failed" | "failing" | "overdue" => "bad",
        "running" | "pending" | "waiting" | "due" | "coming" => "busy",
        "skipped" | "paused" | "switched_off" | "degraded" | "cancelled" => "warn",
        _ => "plain",
    }
}

/// A hidden field of a form.
pub(super) fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

/// A form that is sent to `action`, and leads to `next` when that is done.
pub(super) fn submit_form(
    visitor: &Visitor<'_>,
    action: &str,
    next: &str,
    content: Markup,
) -> Markup {
    html! {
        form method="post" action=(action) {
            (hidden("_form", &visitor.form_token))
            (hidden("_next", next))
            (content)
        }
    }
}

/// A form for an operation, with a way to see it as a command; nothing for those who may only read.
pub(super) fn action(
    visitor: &Visitor<'_>,
    operation: &str,
    next: &str,
    content: Markup,
) -> Markup {
    if !visitor.may_act() {
        return html! {};
    }
    submit_form(
        visitor,
        &format!("/act/{operation}"),
        next,
        html! {
            (content)
            button.link type="submit" formaction=(format!("/command/{operation}")) formnovalidate data-command {
                "as a command"
            }
        },
    )
}

/// The text in place of an empty list.
pub(super) fn nothing(text: &str) -> Markup {
    html! { p.dim { (text) } }
}

/// A part that was read soon, or word that it is still being read. The script asks for it; without it, a link does.
pub(super) fn when_read(
    visitor: &Visitor<'_>,
    part: Option<&Read>,
    shown: impl FnOnce(&Read) -> Markup,
) -> Markup {
    match part {
        Some(part) => shown(part),
        None => html! {
            p.dim data-coming { "Being read … " a href=(address(visitor, WHOLE, "true")) { "Wait for it" } }
        },
    }
}

/// Says how many of a list are not shown.
pub(super) fn rest(all: usize, shown: usize) -> Markup {
    html! { @if all > shown { p.dim { "and " (all - shown) " more" } } }
}

/// A form of filters, which is sent to `path`.
pub(super) fn filters(path: &str, content: Markup) -> Markup {
    html! {
        form.filters action=(path) {
            (content)
            button type="submit" { "Filter" }
            a href=(path) { "Clear" }
        }
    }
}

/// Filters that are seldom needed. None is in force unseen.
pub(super) fn more(visitor: &Visitor<'_>, names: &[&str], content: Markup) -> Markup {
    let is_any = names.iter().any(|name| visitor.query(name).is_some());
    html! { details open[is_any] { summary { "More" } (content) } }
}

/// Links to the pages beside this one.
pub(super) fn pager(visitor: &Visitor<'_>, pagination: &Value) -> Markup {
    let (page, limit, total) =
        (pagination.count("page"), pagination.count("limit").max(1), pagination.count("total"));
    let last = total.div_ceil(limit).max(1);
    html! {
        p.pager {
            (total)
            " in all"
            @if page > last { ", there is no page " (page) } @else if total != 1 { ", page " (page) " of " (last) }
            @if page > 1 {
                " "
                a rel="prev" href=(address(visitor, "page", &(page - 1).min(last).to_string())) { "Previous" }
            }
            @if page < last { " " a rel="next" href=(address(visitor, "page", &(page + 1).to_string())) { "Next" } }
        }
    }
}

/// The present address with one parameter changed.
pub(super) fn address(visitor: &Visitor<'_>, name: &str, value: &str) -> String {
    let query = visitor.parts.uri.query().unwrap_or_default();
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(key, value)| {
        key != name && key != "page" && !ONCE.contains(&&**key) && !value.is_empty()
    });
    let mut made = form_urlencoded::Serializer::new(String::new());
    made.extend_pairs(kept);
    made.append_pair(name, value);
    format!("{}?{}", visitor.parts.uri.path(), made.finish())
}

/// A choice in a form of filters.
pub(super) fn choice(visitor: &Visitor<'_>, name: &str, label: &str, words: &[&str]) -> Markup {
    let chosen = visitor.query(name);
    html! {
        label { (label)
            select name=(name) {
                option value="" { "any" }
                @for word in words {
                    option value=(word) selected[chosen.as_deref() == Some(*word)] { (word.replace('_', " ")) }
                }
            }
        }
    }
}

/// A text in a form of filters.
pub(super) fn search(visitor: &Visitor<'_>, name: &str, label: &str) -> Markup {
    html! { label { (label) input type="text" name=(name) value=(visitor.query(name).unwrap_or_default()); } }
}

/// A link to a schedule by its name.
pub(super) fn schedule_link(id: &str, name: &str) -> Markup {
    html! { a.row href=(format!("/schedules/{}", path_part(id))) { bdi { (if name.is_empty() { id } else { name }) } } }
}

/// The page of an execution.
pub(super) fn execution_path(id: &str) -> String {
    format!("/executions/{}", path_part(id))
}

/// The page of a calendar. Its name is no part of the path: it may be one that paths give a meaning, such as two dots.
pub(super) fn calendar_path(name: &str) -> String {
    query_path("/calendars", "name", name)
}

/// The page of a concurrency group.
pub(super) fn group_path(name: &str) -> String {
    query_path("/groups", "name", name)
}

/// A path with one parameter.
pub(super) fn query_path(path: &str, parameter: &str, value: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{path}?{}", query.append_pair(parameter, value).finish())
}

/// A text as one part of a path.
pub(super) fn path_part(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// JSON as others sent it, unless payloads are hidden.
pub(super) fn payload(visitor: &Visitor<'_>, fields: &Exact, name: &str) -> Markup {
    html! {
        @match fields.get(name).map(|value| value.get()).filter(|json| *json != "null") {
            None => span.dim { "–" },
            Some(_) if !visitor.sees_payloads() => span.dim { "hidden" },
            Some(json) => pre tabindex="0" { (indented(json)) },
        }
    }
}

/// A field of a reply for people: an instant as a time in a zone, anything else in short.
pub(super) fn field(name: &str, value: &Value, zone: &str) -> Markup {
    let is_instant = name.ends_with("_at") || matches!(name, "from" | "to");
    let at = value.as_str().filter(|_| is_instant).and_then(|text| text.parse().ok());
    html! { @if at.is_some() { (time_in(at, zone)) } @else { bdi { (short(value)) } } }
}

/// A value of a field, in short.
pub(super) fn short(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_say_their_zone() {
        let at = "2026-03-29T00:30:00Z".parse().ok();
        assert!(time(at).into_string().contains(">2026-03-29 00:30:00 UTC<"));
        let berlin = time_in(at, "Europe/Berlin").into_string();
        assert!(berlin.contains(">2026-03-29 01:30:00 +01:00<"), "{berlin}");
        // CST is the time of Shanghai and of Chicago, and of Havana; and an hour comes twice where clocks are put back.
        let read = |text: &str| text.parse().ok();
        for (instant, zone, expected) in [
            ("2026-11-29T20:48:00Z", "Asia/Shanghai", "2026-11-30 04:48:00 +08:00"),
            ("2026-11-30T08:00:00Z", "America/Chicago", "2026-11-30 02:00:00 -06:00"),
            ("2026-10-25T00:30:00Z", "Europe/Berlin", "2026-10-25 02:30:00 +02:00"),
            ("2026-10-25T01:30:00Z", "Europe/Berlin", "2026-10-25 02:30:00 +01:00"),
        ] {
            let shown = time_in(read(instant), zone).into_string();
            assert!(shown.contains(&format!(">{expected}<")), "{shown}");
        }
        assert!(berlin.contains("2026-03-29T00:30:00.000Z · Europe/Berlin"), "{berlin}");
        assert!(time_in(at, "<nowhere>").into_string().contains("00:30:00 UTC"));
        for (seconds, expected) in [
            (0, "now"),
            (5, "in 5 s"),
            (-5, "5 s ago"),
            (600, "in 10 min"),
            (-7_200, "2 h ago"),
            (864_000, "in 10 d"),
        ] {
            assert_eq!(distance(TimeDelta::seconds(seconds)), expected);
        }
        assert_eq!(
            (millis(Some(12.4)).as_str(), millis(Some(1500.0)).as_str()),
            ("12 ms", "1.5 s")
        );
    }

    #[test]
    fn instants_of_fields_are_times_and_other_texts_stay() {
        let at = Value::from("2026-03-29T00:30:00Z");
        let shown = |name: &str| field(name, &at, "Europe/Berlin").into_string();
        assert!(
            shown("start_at").contains("<time") && shown("start_at").contains("01:30:00 +01:00")
        );
        assert_eq!(shown("description"), "<bdi>2026-03-29T00:30:00Z</bdi>");
        assert_eq!(field("end_at", &Value::Null, "UTC").into_string(), "<bdi>–</bdi>");
    }
}
