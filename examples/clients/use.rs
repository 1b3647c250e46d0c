//! Uses a client that progenitor has made of the service's OpenAPI document: see README.md.

use std::num::NonZeroU64;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use scheduler::types::{Code, ScheduleType, Status};
use scheduler::{Client, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (url, token) = (arguments.next().ok_or("no URL")?, arguments.next().ok_or("no token")?);
    let token = HeaderValue::try_from(format!("Bearer {token}"))?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
    let client = reqwest::Client::builder().default_headers(headers).build()?;
    let client = Client::new_with_client(&url, client);

    let minute = NonZeroU64::new(60);
    let create = || {
        client.schedule_create().body_map(|body| {
            body.name("generated")
                .schedule_type(ScheduleType::Interval)
                .interval_seconds(minute)
                .target_command("cmd.example.x")
        })
    };
    let created = create().send().await?;
    assert_eq!(created.data.status, Status::Active);
    let id = created.data.id;
    let got = client.schedule_get().schedule_id(id).send().await?;
    assert_eq!(got.data.interval_seconds, Some(60));
    let listed = client.schedule_list().send().await?;
    assert_eq!(listed.data.iter().map(|one| one.id).collect::<Vec<_>>(), [id]);
    match create().send().await {
        Err(Error::ErrorResponse(refused)) => assert_eq!(refused.error.code, Code::AlreadyExists),
        other => return Err(format!("not refused: {other:?}").into()),
    }
    client.schedule_delete().schedule_id(id).send().await?;
    Ok(())
}
