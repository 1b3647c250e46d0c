//! How the service is reached: settings, contexts of the `nats` CLI, and what is said if it is not.

use super::{Answer, cli, file, finish, program};
use crate::harness::Nats;

#[tokio::test]
async fn what_cannot_be_reached_is_told_apart() {
    let nats = Nats::bare().await;
    let (code, said) = cli(&nats, &["ls"]).await.failed();
    assert!(
        code == 5 && said.starts_with("error: nobody answers on cmd.scheduler.schedule.list"),
        "{said}"
    );
    assert!(said.contains("hint: `nats-scheduler serve` starts one"), "{said}");
    let mut silent = nats.client.subscribe("cmd.scheduler.>").await.unwrap();
    let (code, said) = cli(&nats, &["ls", "--timeout", "200ms"]).await.failed();
    assert!(code == 5 && said.starts_with("error: no reply on"), "{said}");
    silent.unsubscribe().await.unwrap();
    let (code, said) = cli(&nats, &["ls", "-s", "nats://127.0.0.1:1"]).await.failed();
    assert!(
        code == 5 && said.starts_with("error: cannot connect to NATS at 127.0.0.1:1: "),
        "{said}"
    );
    let mut command = program("xyz://");
    command.args(["ls"]).env("NATS_USER", "me");
    let (code, said) = finish(command).await.failed();
    assert_eq!(code, 2);
    assert!(
        said.contains("  NATS_PASSWORD: must be set") && said.contains("  NATS_URL: must be"),
        "{said}"
    );
}

async fn with_contexts(nats: &Nats, arguments: &[&str], more: &[(&str, &str)]) -> Answer {
    let mut command = program("nats://127.0.0.1:1");
    command.args(arguments).env("XDG_CONFIG_HOME", nats.dir().join("config"));
    command.envs(more.iter().copied());
    finish(command).await
}

#[tokio::test]
async fn contexts_of_the_nats_cli_count_if_they_are_asked_for() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let url = nats.url();
    file(&nats, "config/nats/context.txt", "chosen\n");
    let text = format!(r#"{{"description":"here","url":"{url}","token":"","creds":"","nkey":""}}"#);
    file(&nats, "config/nats/context/chosen.json", &text);
    file(
        &nats,
        "config/nats/context/other.json",
        r#"{"url":"nats://127.0.0.1:1","nsc":"nsc://a/b/c"}"#,
    );
    file(&nats, "config/nats/context/broken.json", "{");
    let (code, _) = with_contexts(&nats, &["ls"], &[]).await.failed();
    assert_eq!(code, 5, "one that is selected for something else is not used");
    for (arguments, settings) in [
        (&["ls", "--context", "chosen"][..], &[][..]),
        (&["ls", "--context", "-"], &[]),
        (&["ls"], &[("NATS_CONTEXT", "chosen")]),
        (&["ls", "--context", "chosen"], &[("NATS_TOKEN", "of another NATS")]),
    ] {
        let answer = with_contexts(&nats, arguments, settings).await;
        assert_eq!((answer.code, answer.err.as_str()), (0, "no schedules\n"), "{arguments:?}");
    }
    let server =
        with_contexts(&nats, &["ls", "--context", "chosen", "-s", "nats://127.0.0.1:1"], &[]).await;
    assert_eq!(server.code, 5, "--server takes precedence");
    for (name, fault) in [
        ("none", "none.json: No such file"),
        ("other", "context other has \"nsc\""),
        ("broken", "broken.json: EOF"),
        ("../chosen", "is not the name of a context"),
    ] {
        let (code, said) = with_contexts(&nats, &["ls", "--context", name], &[]).await.failed();
        assert!(code == 2 && said.contains(fault), "{name}: {said}");
    }
}
