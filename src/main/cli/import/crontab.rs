//! Lines of cron. A command becomes the payload: nobody runs a shell here, and a worker decides what to do with it.

use std::path::Path;

use chrono_tz::Tz;

use super::{Entry, Names, cron, target, text};
use crate::cli::node::Node;

/// The variable that names the time zone of the lines below it.
const ZONE: &str = "CRON_TZ";
/// The variable that looks as if it did.
const ZONE_OF_COMMANDS: &str = "TZ";

/// An entry for each line that has a command.
///
/// # Errors
/// None: each line has its own.
pub(super) fn entries(crontab: &str, is_system: bool, rule: &str) -> Result<Vec<Entry>, String> {
    let (mut zone, mut names, mut found) = (None, Names::default(), Vec::new());
    for (n, line) in crontab.lines().enumerate() {
        let (place, line) = (format!("line {}", n + 1), line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = variable(line) {
            if name == ZONE {
                zone = Some(value).filter(|zone| !zone.is_empty());
            } else {
                let mut reason = format!("{name} is a variable: commands get no environment");
                if name == ZONE_OF_COMMANDS {
                    reason.push_str(", and the time zone of lines is CRON_TZ");
                }
                found.push(Entry { place, made: Err(reason) });
            }
            continue;
        }
        found.push(Entry { place, made: schedule(line, is_system, zone, rule, &mut names) });
    }
    Ok(found)
}

/// The schedule of a line, with remarks; or why there is none.
fn schedule(
    line: &str,
    is_system: bool,
    zone: Option<&str>,
    rule: &str,
    names: &mut Names,
) -> Result<(Node, Vec<String>), String> {
    let Line { expression, user, command } = parts(line, is_system)?;
    cron::check(&expression, zone.map_or(Ok(Tz::UTC), cron::zone)?)?;
    let name = names.unique(&name(&command));
    let target = target(rule, &name)?;
    let mut fields = vec![
        text("name", name),
        text("schedule_type", "cron"),
        text("cron_expression", expression),
    ];
    fields.extend(zone.map(|zone| text("timezone", zone)));
    fields.push(text("target_command", target));
    let mut payload = vec![text("command", command)];
    payload.extend(user.map(|user| text("user", user)));
    fields.push(("command_payload".to_owned(), Node::Map(payload)));
    let remarks = zone.is_none().then(|| "the zone is that of the service".to_owned());
    Ok((Node::Map(fields), remarks.into_iter().collect()))
}

/// What a line has.
struct Line<'a> {
    expression: String,
    user: Option<&'a str>,
    command: String,
}

/// A variable and its value.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim().trim_matches(['"', '\'']));
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && !name.is_empty()).then_some((name, value))
}

fn parts(line: &str, is_system: bool) -> Result<Line<'_>, String> {
    if line.starts_with("@reboot") {
        return Err("@reboot is no time".to_owned());
    }
    let columns = if line.starts_with('@') { 1 } else { 5 };
    let (mut rest, mut expression) = (line, Vec::new());
    for _ in 0..columns {
        let (column, after) = rest.split_once(char::is_whitespace).ok_or("has no command")?;
        expression.push(column);
        rest = after.trim_start();
    }
    let mut user = None;
    if is_system {
        let (name, after) = rest.split_once(char::is_whitespace).ok_or("has no command")?;
        (user, rest) = (Some(name), after.trim_start());
    }
    if rest.is_empty() {
        return Err("has no command".to_owned());
    }
    Ok(Line { expression: expression.join(" "), user, command: unescaped(rest)? })
}

/// The command as cron runs it: without the backslashes that keep percent signs from being the end of it.
fn unescaped(text: &str) -> Result<String, String> {
    let (mut command, mut is_escaped) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        if c == '%' {
            if !is_escaped {
                let reason = "has input for the command (%): put it into the payload by hand";
                return Err(reason.to_owned());
            }
            command.pop();
        }
        command.push(c);
        is_escaped = c == '\\' && !is_escaped;
    }
    Ok(command)
}

/// A name for a command: that of its program.
fn name(command: &str) -> String {
    let program = command.split_whitespace().find(|word| !word.contains('=')).unwrap_or(command);
    let program = Path::new(program).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    program.filter(|name| !name.is_empty()).unwrap_or_else(|| "command".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_becomes_a_schedule_or_says_why_not() {
        let crontab = "# night\nMAILTO=ops\nCRON_TZ=Europe/Berlin\n0 2 * * 1-5 /usr/bin/backup.sh --all\n\n\
                       @daily X=1 backup.sh\n@reboot start\n* * * * *\n0 0 * * * mail%text\n5 4 * * * date +\\%F\n";
        let entries = entries(crontab, false, "cmd.cron.{name}").unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| match &entry.made {
                Ok((node, _)) => format!("{}: {node}", entry.place),
                Err(reason) => format!("{}: {reason}", entry.place),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "line 2: MAILTO is a variable: commands get no environment",
                r#"line 4: {"name":"backup","schedule_type":"cron","cron_expression":"0 2 * * 1-5","timezone":"Europe/Berlin","target_command":"cmd.cron.backup","command_payload":{"command":"/usr/bin/backup.sh --all"}}"#,
                r#"line 6: {"name":"backup-2","schedule_type":"cron","cron_expression":"@daily","timezone":"Europe/Berlin","target_command":"cmd.cron.backup-2","command_payload":{"command":"X=1 backup.sh"}}"#,
                "line 7: @reboot is no time",
                "line 8: has no command",
                "line 9: has input for the command (%): put it into the payload by hand",
                r#"line 10: {"name":"date","schedule_type":"cron","cron_expression":"5 4 * * *","timezone":"Europe/Berlin","target_command":"cmd.cron.date","command_payload":{"command":"date +%F"}}"#,
            ]
        );
        let system = super::entries("0 1 * * * root /bin/x\n", true, "cmd.cron.all").unwrap();
        let (node, remarks) = system[0].made.as_ref().unwrap();
        assert_eq!(
            node.get("command_payload").unwrap().to_string(),
            r#"{"command":"/bin/x","user":"root"}"#
        );
        assert_eq!(remarks.len(), 1, "no zone");
    }
}
