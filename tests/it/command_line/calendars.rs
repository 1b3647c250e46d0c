//! Calendars from the command line.

use super::{cli, fed, file, words};
use crate::harness::{Nats, in_ms};

#[tokio::test]
async fn calendars_are_kept_from_files_and_lists() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    assert_eq!(cli(&nats, &["calendar", "ls"]).await.err, "no calendars\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    let ics = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261225\r\n\
               END:VEVENT\r\nEND:VCALENDAR\r\n";
    std::fs::write(file.path(), ics).unwrap();
    let path = file.path().to_str().unwrap();
    let put = [
        "calendar",
        "put",
        "holidays",
        "--ics",
        path,
        "--day",
        "2027-01-01",
        "--span",
        "2026-12-31T12:00:00Z/2027-01-01T00:00:00Z",
    ];
    let made = cli(&nats, &put).await.done();
    assert_eq!(made, "calendar holidays created: 2 date entries, 1 span, used by 0\n");
    let same = cli(&nats, &put).await.done();
    assert!(same.starts_with("calendar holidays unchanged: "), "{same}");
    let piped =
        fed(&nats, ics, &put.map(|word| if word == path { "-" } else { word })).await.done();
    assert!(piped.starts_with("calendar holidays unchanged: "), "{piped}");
    let got = cli(&nats, &["calendar", "get", "holidays", "-o", "json"]).await.json();
    assert_eq!(got["days"], serde_json::json!(["2026-12-25", "2027-01-01"]), "{got}");
    let create = [
        "create",
        "daily",
        "--cron",
        "0 12 * * *",
        "-t",
        "cmd.example.a",
        "--set",
        r#"exclude=["holidays"]"#,
    ];
    cli(&nats, &create).await.done();
    let other = ["create", "other", "--cron", "@daily", "-t", "cmd.example.a"];
    cli(&nats, &other).await.done();
    for command in [&["ls"][..], &["next", "--to", "in 48h"]] {
        let asked = [command, &["--calendar", "holidays", "-o", "name", "-n", "1"]].concat();
        let shown = cli(&nats, &asked).await.done();
        assert!(shown.starts_with("daily") && shown.lines().count() == 1, "{asked:?}: {shown}");
    }
    let dry = ["pause", "--calendar", "holidays", "--dry-run"];
    assert_eq!(cli(&nats, &dry).await.done(), "1 of 1 schedules would be paused\n");
    cli(&nats, &["rm", "other"]).await.done();
    let listed = cli(&nats, &["calendar", "ls"]).await.done();
    assert_eq!(
        words(&listed),
        "NAME | DAYS | SPANS | USED BY | UPDATED | BY\nholidays | 2 | 1 | 1 | <time> | anna"
    );
    let got = words(&cli(&nats, &["calendar", "get", "holidays"]).await.done());
    assert_eq!(
        got,
        "name: | holidays\ndescription: | -\ndays: | 2026-12-25, 2027-01-01\n\
         spans: | <time>/<time>\nknown until: | -\nused by: | 1\nrevision: | 1\n\
         updated: | <time>\nupdated by: | anna"
    );
    let used = cli(&nats, &["calendar", "rm", "holidays"]).await;
    assert!(used.err.contains("1 schedule uses the calendar \"holidays\": \"daily\""), "{used:?}");
    assert_ne!(used.code, 0);
    std::fs::write(file.path(), "nothing").unwrap();
    let odd = cli(&nats, &["calendar", "put", "holidays", "--ics", path]).await;
    assert!(odd.err.contains("ics: is not an iCalendar file"), "{odd:?}");
    cli(&nats, &["rm", "daily"]).await.done();
    assert_eq!(
        cli(&nats, &["calendar", "rm", "holidays"]).await.done(),
        "calendar holidays deleted\n"
    );
}

#[tokio::test]
async fn what_a_calendar_leaves_out_is_said_where_times_are_shown() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    // Neither the last that is shown, whenever this runs, nor one of them.
    let day = &in_ms(2 * 86_400_000)[..10];
    cli(&nats, &["calendar", "put", "off", "--day", day]).await.done();
    let create = ["create", "daily", "--cron", "0 12 * * *", "-t", "cmd.example.a"];
    cli(&nats, &[&create[..], &["--set", r#"exclude=["off"]"#]].concat()).await.done();
    let next = cli(&nats, &["next", "daily", "-n", "5"]).await;
    let said = next.err.lines().find(|line| line.starts_with("calendars leave out 1 until "));
    let said = said.unwrap_or_else(|| panic!("{next:?}"));
    assert!(said.ends_with(&format!(": {day}T12:00:00Z")), "{said}");
    assert!(!next.done().contains(day));
    cli(&nats, &["create", "plain", "--cron", "0 12 * * *", "-t", "cmd.example.a"]).await.done();
    assert!(!cli(&nats, &["next", "plain"]).await.err.contains("leave out"));
    let times = "name: daily\nschedule_type: cron\ncron_expression: 0 13 * * *\n\
                 target_command: cmd.example.a\nexclude: [\"off\"]\n";
    let path = file(&nats, "daily.yaml", times);
    let plan = cli(&nats, &["plan", "-f", &path]).await.done();
    let said = plan.lines().find(|line| line.starts_with("    calendars leave out 1 until "));
    assert!(said.is_some_and(|said| said.ends_with(&format!(": {day}T13:00:00Z"))), "{plan}");
}
