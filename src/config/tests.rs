mod refused;

use std::time::Duration;

use super::*;
use crate::schedule::Rules;
use refused::REFUSED;

fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let lookup = |name: &str| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_lookup(lookup).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn every_setting_has_a_default_that_is_valid() {
    let config = read(&[]).unwrap();
    assert_eq!(config.nats.servers, ["nats://localhost:4222".parse().unwrap()]);
    assert_eq!(config.rules.limits.schedules_per_creator, 1000);
    assert_eq!(config.engine.lease, Duration::from_secs(300));
    assert_eq!(config.nats.inbox_prefix.as_deref(), Some("_INBOX"));
    assert_eq!(config.otlp_endpoint, None);
    for setting in settings() {
        let (name, default) = (setting.name(), setting.default());
        let faults = if default.is_empty() { Vec::new() } else { setting.refuses(&default) };
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

/// The documented default of a setting is the value it has when unset.
#[test]
fn a_default_that_is_set_changes_nothing() {
    let defaults: Vec<_> = settings().map(|setting| (setting.name(), setting.default())).collect();
    let pairs: Vec<_> = defaults.iter().map(|(name, text)| (*name, text.as_str())).collect();
    // All but whether they are set.
    let all = |pairs: &[(&str, &str)]| {
        let mut config = read(pairs).unwrap();
        config.in_force.iter_mut().for_each(|setting| setting.is_set = false);
        format!("{config:?}")
    };
    assert_eq!(all(&pairs), all(&[]));
}

/// `schedule` knows no settings, and has defaults for callers without any.
#[test]
fn rules_are_by_default_what_they_are_without_settings() {
    assert_eq!(read(&[]).unwrap().rules, Rules::default());
}

#[test]
fn each_setting_is_listed_once() {
    let mut names: Vec<_> = settings().map(Described::name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn all_faults_are_reported_together() {
    let pairs = [
        ("STREAM_REPLICAS", "2"),
        ("LOG_FORMAT", "xml"),
        ("DEFAULT_MAX_RETRIES", "many"),
        ("ALLOWED_TARGET_COMMANDS", "cmd.a.>, evt.>"),
        ("NATS_URL", "xyz://"),
        ("LOG_LEVEL", "loud"),
        ("SCHEDULER_TIMEZONE", "Mars"),
    ];
    let faults = read(&pairs).unwrap_err();
    for (name, _) in pairs {
        assert!(faults.iter().any(|fault| fault.starts_with(name)), "{name}: {faults:?}");
    }
    assert_eq!(faults.len(), pairs.len(), "{faults:?}");
}

/// Every setting that can be wrong by itself is wrong at once.
#[test]
fn no_fault_hides_another() {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (name, value, message) in REFUSED {
        let is_of_itself = message.starts_with(&format!("{name}: "));
        if is_of_itself && !pairs.iter().any(|(other, _)| other == name) {
            pairs.push((name, value));
        }
    }
    let faults = read(&pairs).unwrap_err();
    for (name, _) in &pairs {
        let of_it = faults.iter().filter(|fault| fault.starts_with(&format!("{name}: ")));
        assert_eq!(of_it.count(), 1, "{name}: {faults:?}");
    }
}

#[test]
fn no_secret_is_shown() {
    let secret: Vec<_> = settings().filter(|setting| setting.is_secret()).collect();
    assert_eq!(
        secret.iter().map(|setting| setting.name()).collect::<Vec<_>>(),
        [
            "NATS_PASSWORD",
            "NATS_TOKEN",
            "NATS_NKEY_SEED",
            "API_TOKENS",
            "API_READ_TOKENS",
            "API_WORKER_TOKENS",
        ]
    );
    // Every secret is set, and two other settings are at fault, so that there are messages to look at.
    let mut pairs: Vec<_> = secret.iter().map(|setting| (setting.name(), "hidden")).collect();
    pairs.extend([("LOG_FORMAT", "xml"), ("NATS_URL", "xyz://me:hidden@,nats://me:hid,hidden@a")]);
    // A common mistake: giving the content where a file should be named.
    let content = "-----BEGIN PRIVATE KEY-----\nhidden\n";
    pairs.extend(["NATS_CREDS", "NATS_TLS_KEY", "API_TLS_KEY"].map(|name| (name, content)));
    let faults = read(&pairs).unwrap_err();
    assert!(faults.len() >= 6, "{faults:?}");
    assert!(!format!("{faults:?}").contains("hid"), "{faults:?}");
    let not_it = faults.iter().filter(|fault| fault.ends_with("a file, not what is in it"));
    assert_eq!(not_it.count(), 3, "{faults:?}");
}

#[test]
fn what_every_form_says_of_itself() {
    let said = |name: &str| {
        let setting = settings().find(|setting| setting.name() == name).unwrap();
        (setting.expected(), setting.default())
    };
    for (name, expected, default) in [
        ("MAX_BULK_OPERATIONS", "1 to 1000", "100"),
        ("STREAM_REPLICAS", "`1`, `3` or `5`", "1"),
        ("SCHEDULER_COALESCE", "`true` or `false`", "true"),
        ("SCHEDULER_TIMEZONE", "an IANA time zone, such as `Europe/Berlin`", "UTC"),
        ("API_PORT", "0 to 65535, or `off`", "8008"),
        ("API_TLS_KEY", "the path of a file", ""),
        ("TARGET_RATE_LIMITS", "`pattern=rate`, with 0.001 to 1000000 commands a second", ""),
        ("SERVICE_NAME", "", "nats-scheduler"),
    ] {
        assert_eq!(said(name), (expected.to_owned(), default.to_owned()), "{name}");
    }
}

#[test]
fn words_may_be_in_capitals() {
    let config = read(&[("NATS_TLS_FIRST", "True"), ("LOG_FORMAT", "TEXT"), ("API_PORT", "Off")]);
    let config = config.unwrap();
    assert!(config.nats.tls_first && config.http.is_none());
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
fn settings_of_parts_that_are_gone_are_noticed() {
    assert_eq!(read(&[("REDIS_URL", "redis://x")]).unwrap().obsolete, ["REDIS_URL"]);
}
