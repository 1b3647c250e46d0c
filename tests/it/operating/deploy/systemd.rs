//! The systemd unit.

use super::*;

const UNIT: &str = "deploy/nats-scheduler.service";

/// The directives of systemd that the unit may have; a name that is not here is misspelt, or new.
const KNOWN: [(&str, &[&str]); 3] = [
    (
        "Unit",
        &[
            "Description",
            "Documentation",
            "Wants",
            "After",
            "StartLimitIntervalSec",
            "StartLimitBurst",
        ],
    ),
    (
        "Service",
        &[
            "AmbientCapabilities",
            "CapabilityBoundingSet",
            "DynamicUser",
            "Environment",
            "EnvironmentFile",
            "ExecStart",
            "KillSignal",
            "LimitNOFILE",
            "LoadCredential",
            "LockPersonality",
            "MemoryDenyWriteExecute",
            "NoNewPrivileges",
            "PrivateDevices",
            "PrivateTmp",
            "PrivateUsers",
            "ProtectClock",
            "ProtectControlGroups",
            "ProtectHome",
            "ProtectHostname",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "ProtectProc",
            "ProtectSystem",
            "RemoveIPC",
            "Restart",
            "RestartPreventExitStatus",
            "RestartSec",
            "RestrictAddressFamilies",
            "RestrictNamespaces",
            "RestrictRealtime",
            "RestrictSUIDSGID",
            "SystemCallArchitectures",
            "SystemCallErrorNumber",
            "SystemCallFilter",
            "TimeoutStopSec",
            "Type",
            "UMask",
        ],
    ),
    ("Install", &["WantedBy"]),
];

/// Section, name and value of each directive; with `commented`, also of those that are offered
/// in comments.
fn directives(commented: bool) -> Vec<(String, String, String)> {
    let text = read(UNIT);
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{UNIT}:{}: {line}", number + 1);
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric());
        if let Some(name) = line.strip_prefix('[') {
            name.strip_suffix(']').unwrap_or_else(|| panic!("{place}")).clone_into(&mut section);
        } else if let Some(comment) = line.strip_prefix('#') {
            let offered = comment.trim().split_once('=').filter(|(name, _)| is_name(name));
            if let Some((name, value)) = offered.filter(|_| commented) {
                found.push((section.clone(), name.to_owned(), value.to_owned()));
            }
        } else if !line.is_empty() {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{place}"));
            assert!(is_name(name) && !value.starts_with(' '), "{place}");
            assert!(!value.ends_with('\\'), "{place}: keep it on one line");
            found.push((section.clone(), name.to_owned(), value.to_owned()));
        }
    }
    found
}

fn value(name: &str) -> String {
    let found: Vec<_> = directives(false).into_iter().filter(|(_, it, _)| it == name).collect();
    let [(_, _, value)] = &found[..] else { panic!("{name}: {found:?}") };
    value.clone()
}

#[test]
fn every_directive_is_known_in_its_section() {
    for (section, name, value) in directives(true) {
        let known = KNOWN.iter().find(|(it, _)| *it == section);
        let (_, names) = known.unwrap_or_else(|| panic!("section {section:?} of {name}"));
        assert!(names.contains(&&*name), "[{section}] {name}={value}");
    }
}

#[test]
fn it_starts_the_program_and_starts_it_again() {
    assert_eq!(value("ExecStart"), format!("{PROGRAM} serve"));
    assert_eq!(value("Type"), "exec");
    assert_eq!(value("EnvironmentFile"), "/etc/nats-scheduler/env");
    assert_eq!(value("Restart"), "always");
    assert!(value("RestartSec").parse::<u32>().unwrap() >= 1);
    // The exit code of settings that cannot be used.
    assert_eq!(value("RestartPreventExitStatus"), "2");
    assert_is_command(&["serve"]);
}

#[test]
fn it_has_the_time_to_stop() {
    assert_eq!(value("KillSignal"), "SIGTERM");
    let timeout: u64 = value("TimeoutStopSec").parse().unwrap();
    let grace: u64 = default_of("SHUTDOWN_GRACE_SECONDS").parse().unwrap();
    assert!(timeout > grace + LEAVING, "{timeout} {grace}");
}

#[test]
fn it_is_hardened() {
    for (name, expected) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let filters = directives(false).into_iter().filter(|(_, name, _)| name == "SystemCallFilter");
    let filters: Vec<_> = filters.map(|(_, _, value)| value).collect();
    assert_eq!(filters, ["@system-service", "~@privileged @resources"]);
}

#[test]
fn the_variables_that_it_offers_are_settings() {
    for (_, name, value) in directives(true) {
        if name == "Environment" {
            assert_is_setting(value.split('=').next().unwrap(), UNIT);
        }
    }
}
