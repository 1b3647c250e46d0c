//! Tests with real nats-server processes: started, frozen, killed, restarted.

use tempfile::TempDir;

use super::*;

fn binary() -> ServerBinary {
    find(&mut |message| eprintln!("{message}")).unwrap()
}

async fn start(store: &TempDir) -> RunningServer {
    let options = ServerOptions::new(store.path());
    RunningServer::start(&binary(), options).await.unwrap()
}

fn is_alive(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    test_kill_process(pid).is_ok()
}

async fn answers(server: &RunningServer) -> bool {
    let asked = ServerInfo::ask("127.0.0.1", server.port());
    matches!(timeout(Duration::from_secs(1), asked).await, Ok(Ok(_)))
}

#[tokio::test]
async fn a_started_server_greets_with_jetstream() {
    let store = tempfile::tempdir().unwrap();
    let options =
        ServerOptions { name: Some("greeter".to_owned()), ..ServerOptions::new(store.path()) };
    let server = RunningServer::start(&binary(), options).await.unwrap();
    assert_eq!(server.url(), format!("nats://127.0.0.1:{}", server.port()));
    let info = ServerInfo::ask("127.0.0.1", server.port()).await.unwrap();
    assert_eq!(info.server_name, "greeter");
    assert!(info.jetstream);
}

#[tokio::test]
async fn a_stopped_server_leaves_by_itself_even_when_it_was_frozen() {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(&store).await;
    server.freeze().unwrap();
    assert!(server.stop().await);
    assert!(!is_alive(server.pid()));
}

#[tokio::test]
async fn a_killed_server_comes_back_on_the_same_port() {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(&store).await;
    let (port, pid) = (server.port(), server.pid());
    server.kill();
    assert!(!is_alive(pid));
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert!(answers(&server).await);
}

#[tokio::test]
async fn a_frozen_server_does_not_greet_until_it_goes_on() {
    let store = tempfile::tempdir().unwrap();
    let server = start(&store).await;
    server.freeze().unwrap();
    // A signal takes effect in its own time, thread by thread.
    let frozen = async { while answers(&server).await {} };
    timeout(Duration::from_secs(10), frozen).await.unwrap();
    server.thaw().unwrap();
    assert!(answers(&server).await);
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let store = tempfile::tempdir().unwrap();
    let server = start(&store).await;
    let pid = server.pid();
    assert!(is_alive(pid));
    drop(server);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_servers_own_words() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(&first).await;
    let options = ServerOptions { port: Some(server.port()), ..ServerOptions::new(second.path()) };
    let error = RunningServer::start(&binary(), options).await.unwrap_err();
    assert!(matches!(error, StartError::Ended(..)), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_is_noticed() {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(&store).await;
    server.signal(rustix::process::Signal::TERM).unwrap();
    let exited = timeout(Duration::from_secs(10), server.exited()).await;
    assert!(exited.unwrap().is_ok());
}

/// Hanging up the guard's pipe stands in for this process being killed: the guard sees the same.
#[tokio::test]
async fn when_the_owner_is_gone_the_guard_stops_the_server() {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(&store).await;
    server.guard.as_mut().unwrap().hang_up();
    let exited = timeout(Duration::from_secs(10), server.exited()).await;
    assert!(exited.unwrap().is_ok());
}

#[tokio::test]
async fn the_example_configuration_gives_way_to_the_options() {
    let store = tempfile::tempdir().unwrap();
    let folder = store.path().join("a \"quoted\" name");
    let options = ServerOptions {
        config: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/nats-server.conf").into()),
        ..ServerOptions::new(&folder)
    };
    let server = RunningServer::start(&binary(), options).await.unwrap();
    assert_ne!(server.port(), 4222);
    assert!(folder.join("jetstream").is_dir());
}

#[tokio::test]
async fn a_store_that_a_server_has_is_refused_to_a_second_one() {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(&store).await;
    let error = RunningServer::start(&binary(), ServerOptions::new(store.path())).await;
    let error = error.unwrap_err();
    let StartError::StoreInUse(_, holder) = error else { panic!("{error}") };
    assert_eq!(holder.pid(), Some(server.pid()));
    assert!(answers(&server).await, "the first one goes on");
    server.stop().await;
    start(&store).await;
}

/// As if this process had been killed, and the guard with it.
#[tokio::test]
async fn a_server_that_outlives_its_owner_keeps_its_store() {
    let store = tempfile::tempdir().unwrap();
    let mut server = start(&store).await;
    server.lock = None;
    let error = RunningServer::start(&binary(), ServerOptions::new(store.path())).await;
    assert!(matches!(error, Err(StartError::StoreInUse(..))), "{error:?}");
    server.kill();
    start(&store).await;
}
