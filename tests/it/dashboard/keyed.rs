//! Calendars and concurrency groups.

use reqwest::Method;
use serde_json::json;

use super::Browser;
use crate::harness::{Nats, far, in_ms, wait_for};

#[tokio::test]
async fn a_calendar_is_created_changed_used_and_deleted_by_forms_alone() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let list = browser.page("/calendars").await;
    list.has("There is no calendar.");
    let put = "/act/calendar.put";
    let named = ("name", "public & school");
    let refused =
        browser.submit(&list, put, &[named, ("days", "2026-12-25\r\nat Christmas")]).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    // What was typed is still there.
    refused.has("at Christmas").has("role=\"alert\"");
    let days = "2026-12-24/2026-12-26\r\n2027-01-01";
    let spans = "2026-12-31T12:00/2027-01-01T00:00:00Z";
    let put_it = browser.submit(&list, put, &[named, ("days", days), ("spans", spans)]).await;
    let path = put_it.leads_to().to_owned();
    assert_eq!(path, "/calendars?name=public+%26+school&done=calendar.put");
    let page = browser.page(&path).await;
    page.has("The calendar is as you said.").has("2026-12-24 to 2026-12-26").has("2027-01-01");
    page.has("2026-12-31 12:00:00 UTC").has("revision 1");
    // One of that name is there by now, which is not to be replaced unseen.
    assert_eq!(browser.submit(&list, put, &[named]).await.status, 409);

    let dry = page.filled(put, &[("days", "2027-01-01"), ("description", "off")]);
    let told = browser.post("/command/calendar.put", &dry).await;
    told.has("nats req cmd.scheduler.calendar.put").has("nats-scheduler calendar put");
    let page = browser.post(put, &dry).await;
    let page = browser.page(page.leads_to()).await;
    page.has("revision 2").lacks("2026-12-24 to").has("off").has("12:00:00 UTC");

    let body = json!({ "name": "user of it", "schedule_type": "interval", "interval_seconds": 3600,
                       "start_at": in_ms(3_600_000), "exclude": ["public & school"],
                       "target_command": "cmd.example.run" });
    let id = nats.create(body).await;
    browser
        .page(&format!("/schedules/{id}"))
        .await
        .has("href=\"/calendars?name=public+%26+school\"");
    let page = browser.page("/calendars?name=public+%26+school").await;
    page.has("user of it").has("it cannot be deleted");
    page.has("href=\"/upcoming?calendar=public+%26+school\"");
    let found = "/schedules?calendar=public+%26+school";
    page.has(&format!("href=\"{found}\""));
    browser.page("/calendars").await.has(&format!("href=\"{found}\">1<"));
    browser
        .page(found)
        .await
        .has(">user of it<")
        .has("name=\"calendar\" value=\"public &amp; school\"");
    browser.page("/schedules?calendar=other").await.lacks(">user of it<");
    browser.page("/upcoming?calendar=public+%26+school").await.has(">user of it<");
    browser.page("/upcoming?calendar=other").await.lacks(">user of it<");
    let refused = browser.submit(&page, "/act/calendar.delete", &[]).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    let gone = browser.submit(&page, "/act/calendar.delete", &[]).await;
    browser
        .page(gone.leads_to())
        .await
        .has("The calendar is deleted.")
        .has("There is no calendar.");
    let missing = browser.send(browser.ask(Method::GET, "/calendars?name=public+%26+school")).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn what_a_calendar_leaves_out_is_said_beside_the_times() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let day = &in_ms(2 * 86_400_000)[..10];
    nats.ask("calendar.put", json!({ "name": "off", "days": [day] })).await;
    let body = json!({ "name": "daily", "schedule_type": "cron", "cron_expression": "0 12 * * *",
                       "exclude": ["off"], "target_command": "cmd.example.run" });
    let id = nats.create(body).await;
    let page = browser.page(&format!("/schedules/{id}")).await;
    page.has("Calendars leave out 1 until ").has(&format!(">{day} 12:00:00 UTC<"));
    let edit = browser.page(&format!("/schedules/{id}/edit")).await;
    let more = [("cron_expression", "0 13 * * *")];
    let dry = browser.submit(&edit, "/act/schedule.update", &more).await;
    dry.has("Calendars leave out 1 until ").has(&format!(">{day} 13:00:00 UTC<"));
    // Where nothing is open, that is why.
    let shut = json!({ "name": "shut", "days": ["2020-01-01"] });
    nats.ask("calendar.put", shut).await;
    let body = json!({ "name": "never", "schedule_type": "cron", "cron_expression": "0 12 * * *",
                       "only": ["shut"], "target_command": "cmd.example.run" });
    let id = nats.create(body).await;
    let page = browser.page(&format!("/schedules/{id}")).await;
    page.has("No time comes.").has("Calendars leave out 36").has(", …");
}

#[tokio::test]
async fn a_group_shows_what_has_its_slots_and_what_waits() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let list = browser.page("/groups").await;
    list.has("There is no group.");
    // A name that a path would take for another place.
    let made = browser
        .submit(
            &list,
            "/act/group.put",
            &[("name", ".."), ("limit", "1"), ("description", "heavy")],
        )
        .await;
    browser.page(made.leads_to()).await.has("The group is as you said.").has("0 of 1");

    let mut ids = Vec::new();
    for name in ["first in", "second in"] {
        let mut body = far(name);
        body["delivery"] = json!({ "mode": "job", "timeout_seconds": 60 });
        body["group"] = "..".into();
        let id = nats.create(body).await;
        nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
        if ids.is_empty() {
            wait_for("a slot", || async {
                let group = nats.ask("group.get", json!({ "name": ".." })).await;
                (group["running"] == 1).then_some(())
            })
            .await;
        }
        ids.push(id);
    }
    let page = wait_for("the other to wait", || async {
        let page = browser.page("/groups?name=..").await;
        page.text.contains("1 waiting").then_some(page)
    })
    .await;
    page.has("1 of 1").has("/executions/").has("first in").has("second in").has("1 waiting</span>");
    let slots = page.text.split("id=\"slots\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(slots.contains("first in") && !slots.contains("second in"), "{slots}");
    browser.page("/schedules?group=..").await.has(">first in<").has(">second in<");
    browser.page("/schedules?group=.").await.lacks(">first in<");
    browser.page("/groups").await.has("href=\"/schedules?group=..\">2<");
    browser.page("/groups").await.has("1 of 1").has("heavy").has("href=\"/groups?name=..\"");
    let edit = browser.page(&format!("/schedules/{}/edit", ids[0])).await;
    let filled = edit.filled("/act/schedule.update", &[]);
    assert!(filled.contains(&("group".to_owned(), "..".to_owned())), "{filled:?}");
    browser.page(&format!("/schedules/{}", ids[0])).await.has("href=\"/groups?name=..\"");

    // More room lets the other begin.
    let more = browser.submit(&page, "/act/group.put", &[("limit", "2")]).await;
    more.leads_to();
    wait_for("both to be under way", || async {
        let page = browser.page("/groups?name=..").await;
        page.text.contains("2 of 2").then_some(())
    })
    .await;
    let refused = browser.submit(&page, "/act/group.delete", &[]).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
}
