//! Lines of cron. A command becomes the payload: nobody runs a shell here, and a worker decides what to do with it.

use std::collections::HashMap;
use std::path::Path;

use super::{Entry, target, text};
use crate::cli::node::Node;

/// Variables that name the time zone of the lines below them.
const ZONES: [&str; 2] = ["CRON_TZ", "TZ"];

/// An entry for each line that has a command.
///
/// # Errors
/// None: each line has its own.
pub(super) fn entries(crontab: &str, is_system: bool, rule: &str) -> Result<Vec<Entry>, String> {
    let (mut zone, mut names, mut found) = (None, HashMap::new(), Vec::new());
    for (n, line) in crontab.lines().enumerate() {
        let (place, line) = (format!("line {}", n + 1), line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = variable(line) {
            if ZONES.contains(&name) {
                zone = Some(value.to_owned()).filter(|zone| !zone.is_empty());
            } else {
                let reason = format!("{name} is a variable: commands get no environment");
                found.push(Entry { place, made: Err(reason) });
            }
            continue;
        }
        let made = schedule(line, is_system).map(|(expression, user, command)| {
            let mut fields = vec![
                text("name", unique(&name(command), &mut names)),
                text("schedule_type", "cron"),
                text("cron_expression", expression),
            ];
            fields.extend(zone.clone().map(|zone| text("timezone", zone)));
            let name = Node::Map(fields.clone()).text("name").unwrap_or_default().to_owned();
            fields.push(text("target_command", target(rule, &name)));
            let mut payload = vec![text("command", command)];
            payload.extend(user.map(|user| text("user", user)));
            fields.push(("command_payload".to_owned(), Node::Map(payload)));
            let remarks = zone.is_none().then(|| "the zone is that of the service".to_owned());
            (Node::Map(fields), remarks.into_iter().collect())
        });
        found.push(Entry { place, made });
    }
    Ok(found)
}

/// A variable and its value.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim().trim_matches(['"', '\'']));
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && !name.is_empty()).then_some((name, value))
}

/// The expression, the user if there is one, and the command of a line.
fn schedule(line: &str, is_system: bool) -> Result<(String, Option<&str>, &str), String> {
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
    // An unescaped percent sign ends the command, and input follows.
    if rest.replace("\\%", "").contains('%') {
        return Err("has input for the command (%): put it into the payload by hand".to_owned());
    }
    Ok((expression.join(" "), user, rest))
}

/// A name for a command: that of its program.
fn name(command: &str) -> String {
    let program = command.split_whitespace().find(|word| !word.contains('=')).unwrap_or(command);
    let program = Path::new(program).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    program.filter(|name| !name.is_empty()).unwrap_or_else(|| "command".to_owned())
}

/// The name, with a number if there is one of that name already.
fn unique(name: &str, names: &mut HashMap<String, usize>) -> String {
    let count = names.entry(name.to_owned()).or_default();
    *count += 1;
    if *count == 1 { name.to_owned() } else { format!("{name}-{count}") }
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
                r#"line 10: {"name":"date","schedule_type":"cron","cron_expression":"5 4 * * *","timezone":"Europe/Berlin","target_command":"cmd.cron.date","command_payload":{"command":"date +\\%F"}}"#,
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
