//! The template of the settings.

use super::*;

const TEMPLATE: &str = "deploy/.env.example";

/// What a production service usually sets, beside its secrets.
const SET: [(&str, &str); 3] = [
    ("NATS_URL", "nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222"),
    ("STREAM_REPLICAS", "3"),
    ("ALLOWED_TARGET_COMMANDS", "cmd.notification.>,cmd.billing.>"),
];

const HEAD: &str = "\
# Settings of nats-scheduler: a template for systemd's EnvironmentFile and for `docker run --env-file`.
#
# Every setting is here, with what it does, what it must be, and its default. Take the `# ` away from what you set.
# Values stand as they are, without quotes, to the end of the line; it is no shell script, so do not `source` it. With
# passwords or tokens in it, let nobody else read it. docs/deployment.md says what to set in production.
";

/// The longest line of a comment.
const WIDTH: usize = 118;

/// A text as a comment of lines that are not too long.
fn comment(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n")
}

/// The template, as it should be.
fn expected() -> String {
    let mut text = HEAD.to_owned();
    for setting in settings() {
        let (name, default) = (setting.name(), setting.default());
        let must_be = match plain(&setting.expected()) {
            expected if expected.is_empty() => expected,
            expected => format!(". Must be {expected}"),
        };
        let about = comment(&format!("{}{must_be}", plain(setting.about())));
        text += &format!("\n{about}\n# {name}={default}\n");
        for (_, value) in SET.iter().filter(|(it, _)| *it == name) {
            text += &format!("{name}={value}\n");
        }
    }
    text
}

fn assignments(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line}")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_template_has_every_setting_with_its_meaning_and_default() {
    let (template, expected) = (read(TEMPLATE), expected());
    if template == expected {
        return;
    }
    let lines = template.lines().zip(expected.lines()).enumerate();
    let first = lines.into_iter().find(|(_, (one, other))| one != other);
    panic!(
        "{TEMPLATE} is not what the settings say (first difference: {first:?}). Write it again:\n\
         cargo test --test it the_template_has | \
         sed -n '/^-----8</,/^----->8/{{//!p}}' > {TEMPLATE}\n\
         -----8<-----\n{expected}----->8-----"
    );
}

#[test]
fn the_template_is_accepted_as_it_is() {
    let variables = assignments(&read(TEMPLATE));
    for name in variables.keys() {
        assert_is_setting(name, TEMPLATE);
    }
    let config = configured(&variables).unwrap();
    assert_eq!(config.streams.replicas, 3);
}

#[test]
fn every_default_is_accepted_when_it_is_set() {
    let uncommented = read(TEMPLATE)
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| {
            line.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
            })
        })
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let variables = assignments(&uncommented);
    for setting in settings() {
        assert_eq!(variables.get(setting.name()), Some(&setting.default()), "{}", setting.name());
    }
    configured(&variables).map(drop).unwrap();
}
