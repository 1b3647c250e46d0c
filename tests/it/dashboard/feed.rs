//! Browsers are told that something has changed.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::Browser;
use crate::harness::{DEADLINE, Nats, far, wait_for};
use crate::http::Http;
use crate::http::limits::cut;

/// A stream of events.
struct Events(Response);

impl Events {
    async fn open(browser: &Browser) -> Self {
        let response = browser.ask(Method::GET, "/events").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response)
    }

    /// Waits for the next change; nothing if the stream ends.
    async fn change(&mut self) -> Option<()> {
        loop {
            let chunk = tokio::time::timeout(DEADLINE, self.0.chunk()).await.unwrap();
            let text = String::from_utf8(chunk.ok()??.to_vec()).unwrap();
            if text.contains("event: change\n") {
                return Some(());
            }
        }
    }

    /// Waits until no change is told for a while.
    async fn calm(&mut self) {
        while tokio::time::timeout(Duration::from_secs(2), self.change()).await.is_ok() {}
    }
}

#[tokio::test]
async fn a_change_is_told_within_a_second_and_only_once() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let (mut one, mut other) = (Events::open(&browser).await, Events::open(&browser).await);
    one.change().await.unwrap();
    one.calm().await;
    other.calm().await;
    let began = Instant::now();
    let id = nats.create(far("told")).await;
    one.change().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    other.change().await.unwrap();
    browser.page("/schedules").await.has(&id);
}

#[tokio::test]
async fn streams_are_bounded_and_leave_when_the_service_stops() {
    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("DASHBOARD_MAX_STREAMS", "2")]).await;
    let browser = Browser::new(&service).await;
    let mut first = Events::open(&browser).await;
    let second = Events::open(&browser).await;
    let refused = browser.send(browser.ask(Method::GET, "/events")).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (503, &"10".parse().unwrap())
    );
    browser.page("/").await.has("Now");
    // A browser that has gone makes room.
    drop(second);
    let mut second = wait_for("room", || async {
        let response = browser.ask(Method::GET, "/events").send().await.unwrap();
        (response.status() == 200).then_some(Events(response))
    })
    .await;
    let began = Instant::now();
    let (ended, ()) = tokio::join!(service.stop(), async {
        while first.change().await.is_some() {}
        while second.change().await.is_some() {}
    });
    assert!(ended.success(), "{ended}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A hundred browsers that open a stream and never read from it.
#[tokio::test]
async fn browsers_that_do_not_read_hold_nothing() {
    let nats = Nats::start().await;
    let settings = [("DASHBOARD_MAX_STREAMS", "100"), ("API_MAX_CONCURRENT", "1")];
    let mut service = nats.service_with(&settings).await;
    let browser = Browser::new(&service).await;
    let address = service.http().await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // It is open once it answers.
        stream.readable().await.unwrap();
        stalled.push(stream);
    }
    let refused = browser.send(browser.ask(Method::GET, "/events")).await;
    assert_eq!(refused.status, 503, "all of them have their places");
    let mut seen = 0;
    for n in 0..20 {
        let began = Instant::now();
        let id = nats.create(far(&format!("goes on {n}"))).await;
        browser.page("/schedules?sort=-created_at").await.has(&id);
        seen += usize::from(began.elapsed() < Duration::from_secs(1));
    }
    assert!(seen >= 15, "only {seen} of 20 were made and shown within a second");
    let began = Instant::now();
    assert!(service.stop().await.success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(stalled);
}

/// Makes a change, and says whether a stream told it within a second.
async fn is_told_soon(nats: &Nats, events: &mut Events, name: &str) -> bool {
    let began = Instant::now();
    nats.create(far(name)).await;
    events.change().await.unwrap();
    began.elapsed() < Duration::from_secs(1)
}

/// Before its stream each browser asks for some answers that it does not read either. Those with many never come to the
/// stream; those with as many as the socket just holds have a stream whose first events fill it.
#[tokio::test]
async fn a_stream_whose_socket_is_full_is_ended_and_its_place_is_given_back() {
    const STALLED: usize = 64;
    const PLACES: usize = STALLED + 1;
    // Ten seconds for the socket to be filled, twenty that a reader may take, and a machine that is busy.
    const END: Duration = Duration::from_secs(90);
    let nats = Nats::start().await;
    let places = PLACES.to_string();
    let settings =
        [("DASHBOARD_MAX_STREAMS", &*places), ("NATS_SCHEDULER_FAILPOINT", "small_sends")];
    let service = nats.service_with(&settings).await;
    let (browser, http) = (Browser::new(&service).await, Http::new(&service).await);
    let mut reader = Events::open(&browser).await;
    let address = service.http().await;
    let mut stalled = Vec::new();
    for n in 0..STALLED {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let requests = get("/live").repeat(n) + &get("/events");
        stream.write_all(requests.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let started = Instant::now();
    let (mut told, mut soon) = (0, 0);
    // Those that never come to their streams are cut first: by then all others have theirs.
    while cut(&http, "slow_reader").await == 0 {
        soon += usize::from(is_told_soon(&nats, &mut reader, &format!("first {told}")).await);
        told += 1;
        assert!(started.elapsed() < END, "nobody was cut");
    }
    let open = async || {
        let response = browser.ask(Method::GET, "/events").send().await.unwrap();
        (response.status() == 200).then_some(Events(response))
    };
    let mut others = Vec::new();
    while let Some(events) = open().await {
        others.push(events);
    }
    let streams = PLACES - 1 - others.len();
    assert!((1..STALLED).contains(&streams), "{streams} of {STALLED} have streams");
    let freed = loop {
        soon += usize::from(is_told_soon(&nats, &mut reader, &format!("then {told}")).await);
        told += 1;
        if let Some(events) = open().await {
            break events;
        }
        assert!(started.elapsed() < END, "no place was given back");
    };
    // It was the place of one of them.
    let none = u64::try_from(STALLED - streams).unwrap();
    wait_for("more to be cut than had no streams", || async {
        (cut(&http, "slow_reader").await > none).then_some(())
    })
    .await;
    assert!(soon * 4 >= told * 3, "only {soon} of {told} changes were told within a second");
    drop((freed, others, stalled));
}

#[tokio::test]
async fn without_nats_the_pages_say_so_and_heal() {
    let mut nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    nats.create(far("still there")).await;
    let mut events = Events::open(&browser).await;
    events.calm().await;
    nats.server.kill();
    events.change().await.unwrap();
    wait_for("the news", || async {
        let page = browser.page("/").await;
        page.text.contains("NATS is out of reach").then_some(())
    })
    .await;
    // What is in memory is shown all the same.
    browser.page("/schedules").await.has("still there");
    nats.server.restart().await.unwrap();
    wait_for("the healing", || async {
        let page = browser.page("/").await;
        (!page.text.contains("NATS is out of reach")).then_some(())
    })
    .await;
    events.change().await.unwrap();
}
