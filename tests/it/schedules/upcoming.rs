//! What comes, over all schedules.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use nats_scheduler::client::{Client, ListUpcoming};
use serde_json::{Value, json};

use crate::harness::{Nats, in_ms};
use crate::http::Http;

async fn part(nats: &Nats, request: &Value) -> Value {
    nats.ask("schedule.upcoming", request.clone()).await
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Names and nominal times of a part.
fn listed(part: &Value) -> Vec<(String, DateTime<Utc>)> {
    let occurrences = part["occurrences"].as_array().unwrap_or_else(|| panic!("{part}"));
    occurrences
        .iter()
        .map(|one| {
            let name = one["schedule_name"].as_str().unwrap().to_owned();
            (name, one["scheduled_for"].as_str().unwrap().parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn what_comes_is_listed_by_time_with_jitter_and_clock_changes_and_only_what_fires() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let cron = |name: &str, expression: &str| {
        json!({ "name": name, "schedule_type": "cron", "cron_expression": expression,
                "timezone": "Europe/Berlin", "target_command": "cmd.example.a", "tags": ["a"] })
    };
    nats.create(cron("gap", "30 2 * * *")).await;
    let mut spread = cron("spread", "0 */6 * * *");
    spread["jitter_seconds"] = json!(600);
    spread["tags"] = json!(["b"]);
    nats.create(spread).await;
    let paused = nats.create(cron("paused", "0 * * * *")).await;
    nats.ask("schedule.pause", json!({ "schedule_id": paused })).await;
    let deleted = nats.create(cron("deleted", "0 * * * *")).await;
    nats.ask("schedule.delete", json!({ "schedule_id": deleted })).await;
    let off = nats.create(cron("off", "0 * * * *")).await;
    nats.ask("schedule.update", json!({ "schedule_id": off, "is_active": false })).await;

    // The night when summer time begins.
    let span = json!({ "from": "2032-03-27T23:00:00Z", "to": "2032-03-28T10:00:00Z" });
    let night = part(&nats, &span).await;
    let expected = [
        ("spread", "2032-03-27T23:00:00Z"),
        ("gap", "2032-03-28T01:00:00Z"),
        ("spread", "2032-03-28T04:00:00Z"),
        ("spread", "2032-03-28T10:00:00Z"),
    ];
    assert_eq!(listed(&night), expected.map(|(name, at)| (name.to_owned(), time(at))));
    let occurrences = night["occurrences"].as_array().unwrap();
    assert_eq!(occurrences[1]["moved"], "dst_gap", "{night}");
    assert_eq!(occurrences[1]["due_at"], occurrences[1]["scheduled_for"]);
    assert!(occurrences[0]["moved"].is_null());
    let due = time(occurrences[0]["due_at"].as_str().unwrap());
    assert!((1..=600_000).contains(&(due - time("2032-03-27T23:00:00Z")).num_milliseconds()));
    assert_eq!(night["from"], "2032-03-27T23:00:00Z");

    let mut tagged = span.clone();
    tagged["tags"] = json!(["a"]);
    assert_eq!(listed(&part(&nats, &tagged).await).len(), 1);
    tagged["status"] = json!("paused");
    assert!(listed(&part(&nats, &tagged).await).is_empty());
    let http = Http::new(&service).await;
    let path =
        "/api/v1/schedules/upcoming?from=2032-03-27T23:00:00Z&to=2032-03-28T10:00:00Z&tags=b";
    let answer = http.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(listed(&answer.body["data"]).len(), 3);
    for (request, field) in [
        (json!({ "from": "2032-01-01T00:00:00Z", "to": "2032-02-02T00:00:00Z" }), "to"),
        (json!({ "limit": 1001 }), "limit"),
        (json!({ "cursor": "x" }), "cursor"),
    ] {
        let error = nats.refused("schedule.upcoming", request).await;
        assert_eq!(error["details"][0]["field"], field, "{error}");
    }
}

#[tokio::test]
async fn a_list_in_parts_has_each_occurrence_once() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for n in 0..20_i64 {
        let request = json!({ "name": format!("every {n}"), "schedule_type": "interval",
            "interval_seconds": 300 + n % 4 * 100, "start_at": in_ms(60_000 + n % 3 * 1000),
            "target_command": "cmd.example.a" });
        nats.create(request).await;
    }
    let whole = part(&nats, &json!({ "limit": 1000 })).await;
    let span = json!({ "from": whole["from"], "to": whole["to"], "limit": 1000 });
    let whole = listed(&whole);
    assert!(whole.len() > 100 && whole.is_sorted_by_key(|(_, at)| *at), "{}", whole.len());
    let distinct: BTreeSet<_> = whole.iter().collect();
    assert_eq!(distinct.len(), whole.len());
    let mut request = span.clone();
    request["limit"] = json!(7);
    let mut found = Vec::new();
    loop {
        let next = part(&nats, &request).await;
        found.extend(listed(&next));
        assert_eq!(next["to"], span["to"]);
        if next["next_cursor"].is_null() {
            break;
        }
        request = json!({ "limit": 7, "cursor": next["next_cursor"] });
    }
    assert_eq!(found, whole);

    // The later parts of a span that begins later have its lanes, and nothing from before it.
    let (from, to) = (in_ms(7_200_000), in_ms(10_800_000));
    let first = part(&nats, &json!({ "from": from, "to": to, "lanes": 50, "limit": 1 })).await;
    let rest = json!({ "lanes": 50, "limit": 1, "cursor": first["next_cursor"] });
    assert_eq!(part(&nats, &rest).await["lanes"], first["lanes"]);

    let client = Client::new(nats.client.clone());
    let request = ListUpcoming {
        name_prefix: Some("every 1".to_owned()),
        limit: Some(1000),
        ..ListUpcoming::default()
    };
    let ahead = client.upcoming(&request).await.unwrap().data;
    assert!(ahead.occurrences.iter().all(|one| one.schedule_name.starts_with("every 1")));
    assert!(ahead.next_cursor.is_none() && !ahead.occurrences.is_empty());
}

#[tokio::test]
async fn the_load_of_each_minute_is_counted_and_what_would_spread_it_is_said() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let every = |name: String, expression: &str| {
        json!({ "name": name, "schedule_type": "cron", "cron_expression": expression,
                "target_command": "cmd.example.a" })
    };
    // A hundred together at one minute of the day, and some beside.
    let later = Utc::now() + chrono::Duration::minutes(90);
    let busy = format!("{} {} * * *", later.format("%-M"), later.format("%-H"));
    let schedules: Vec<_> = (0..100).map(|n| every(format!("busy {n}"), &busy)).collect();
    let created = nats.ask("bulk.create", json!({ "schedules": schedules })).await;
    assert_eq!(created["failed"], 0, "{created}");
    nats.create(every("each".to_owned(), "* * * * *")).await;
    let to = in_ms(3 * 3_600_000);
    let request = json!({ "minutes": true, "limit": 1, "to": to });
    let found = part(&nats, &request).await;
    let minutes = &found["minutes"];
    let counts: Vec<u64> = serde_json::from_value(minutes["counts"].clone()).unwrap();
    assert_eq!((&minutes["exact"], &minutes["filtered"]), (&json!(true), &json!(false)));
    let first = time(minutes["from"].as_str().unwrap());
    let at = usize::try_from((later.timestamp() - first.timestamp()) / 60).unwrap();
    assert_eq!(counts[at], 101, "{minutes}");
    // What is due in a moment may be claimed already, also that of the next minute.
    let others = counts.iter().enumerate().filter(|(minute, _)| *minute != at && *minute > 1);
    assert!(others.clone().all(|(_, count)| *count == 1) && others.count() >= 177, "{counts:?}");
    let busiest = &minutes["busiest"][0];
    assert_eq!(time(busiest["at"].as_str().unwrap()).timestamp() / 60, later.timestamp() / 60);
    assert!(busiest["proposal"].as_str().unwrap().contains("jitter_seconds"), "{minutes}");
    assert!(minutes["busiest"][1].get("proposal").is_none(), "{minutes}");
    // The count is kept for a while, for all who ask.
    let again = part(&nats, &request).await;
    assert_eq!(again["minutes"]["as_of"], minutes["as_of"]);
    let http = Http::new(&service).await;
    let by_http = http.get("/api/v1/schedules/upcoming?minutes=true&limit=1").await;
    assert_eq!(by_http.body["data"]["minutes"]["as_of"], minutes["as_of"], "{by_http:?}");
    // Few that match are counted by themselves.
    for (name, each, together) in [("each", 1, 1), ("busy", 0, 100), ("no such", 0, 0)] {
        let few = json!({ "minutes": true, "limit": 1, "to": to, "name_prefix": name });
        let few = part(&nats, &few).await["minutes"].clone();
        let counts: Vec<u64> = serde_json::from_value(few["counts"].clone()).unwrap();
        let first = time(few["from"].as_str().unwrap());
        let at = usize::try_from((later.timestamp() - first.timestamp()) / 60).unwrap();
        assert_eq!((counts[at], counts[at + 1]), (together, each), "{name}: {few}");
        assert_eq!(few["filtered"], true);
    }
    // What is due while all are paused does not come.
    let until = later + chrono::Duration::minutes(1);
    nats.ask("schedule.pause_all", json!({ "resume_at": until })).await;
    let paused = nats.request("schedule.upcoming", &request).await;
    let counts: Vec<u64> =
        serde_json::from_value(paused["data"]["minutes"]["counts"].clone()).unwrap();
    assert!((1..=92).contains(&counts.iter().position(|count| *count > 0).unwrap()), "{paused}");
    assert_eq!(
        (counts.iter().max(), &paused["warnings"][0]["code"]),
        (Some(&1), &json!("all_paused"))
    );
    nats.ask("schedule.resume_all", json!({})).await;
    let plain = part(&nats, &json!({ "limit": 1 })).await;
    assert!(plain.get("minutes").is_none(), "{plain}");
    let client = Client::new(nats.client.clone());
    let request = ListUpcoming { minutes: Some(true), ..ListUpcoming::default() };
    let counted = client.upcoming(&request).await.unwrap().data.minutes.unwrap();
    assert!(counted.exact && (60..=61).contains(&counted.counts.len()), "{counted:?}");
}
