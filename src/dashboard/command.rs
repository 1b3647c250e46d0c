//! An action as commands: a request over NATS, one over HTTP, and the command line.

use serde_json::Value;

use super::command_line::command_line;
use super::form::Field;
use super::parts::path_part;
use super::shell::{quoted, text};
use super::visit::Visitor;
use crate::api::operations::Operation;

/// What a visitor could type instead of sending a form.
pub(super) struct Commands {
    /// With the `nats` CLI.
    pub(super) nats: String,
    /// With curl.
    pub(super) curl: String,
    /// With our own command line, if it has a command for it.
    pub(super) cli: Option<String>,
}

impl Commands {
    /// The commands for an operation with these fields, as the visitor would ask for it.
    pub(super) fn of(visitor: &Visitor<'_>, operation: &Operation, fields: &[Field]) -> Self {
        Self::made(operation, fields, &visitor.actor, &visitor.base(), !visitor.is_open)
    }

    /// The same, made by `actor`, of a service at `base`.
    fn made(
        operation: &Operation,
        fields: &[Field],
        actor: &str,
        base: &str,
        needs_token: bool,
    ) -> Self {
        // A form's own key would make the command do nothing.
        let fields: Vec<&Field> =
            fields.iter().filter(|(name, _)| name != "idempotency_key").collect();
        let header = quoted(&format!("{}: {actor}", operation.actor_header));
        let header_nats = quoted(&format!("{}:{actor}", operation.actor_header));
        // Many take longer than the CLI waits by default.
        let patience = if operation.name.starts_with("bulk.") { " --timeout 5m" } else { "" };
        let body = object(&fields);
        // The CLI takes double braces for a template of its own.
        let verbatim = if body.contains("{{") { " --no-templates" } else { "" };
        let nats = format!(
            "nats req cmd.scheduler.{} {} -H {header_nats}{patience}{verbatim}",
            operation.name,
            quoted(&body)
        );
        let curl = curl(operation, &fields, &header, base, needs_token);
        let cli = command_line(operation.name, &fields);
        Self { nats, curl, cli: cli.map(|cli| format!("{cli} --actor {}", quoted(actor))) }
    }

    /// Several, a line each.
    pub(super) fn one_after_the_other(each: impl Iterator<Item = Self>) -> Self {
        let mut all = Self { nats: String::new(), curl: String::new(), cli: Some(String::new()) };
        for Self { nats, curl, cli } in each {
            all.nats += &format!("{nats}\n");
            all.curl += &format!("{curl}\n");
            all.cli = all.cli.zip(cli).map(|(all, one)| format!("{all}{one}\n"));
        }
        all
    }
}

/// A JSON object of fields, as they are.
fn object(fields: &[&Field]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), value.get()))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn curl(
    operation: &Operation,
    fields: &[&Field],
    header: &str,
    base: &str,
    needs_token: bool,
) -> String {
    let Some(route) = operation.routes.first() else { return String::new() };
    let in_path: Vec<&str> = route.path_fields().collect();
    let mut path = route.path.clone();
    for (name, value) in fields.iter().filter(|(name, _)| in_path.contains(&name.as_str())) {
        path = path.replace(&format!("{{{name}}}"), &path_part(&text(value.get())));
    }
    let rest: Vec<&Field> =
        fields.iter().copied().filter(|(name, _)| !in_path.contains(&name.as_str())).collect();
    let mut url = format!("{base}{path}");
    let mut body = String::new();
    if route.has_body {
        body = format!(" --json {}", quoted(&object(&rest)));
    } else if !rest.is_empty() {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in rest {
            query.append_pair(name, &text(value.get()));
        }
        url = format!("{url}?{}", query.finish());
    }
    let token = if needs_token { " -H \"Authorization: Bearer $TOKEN\"" } else { "" };
    format!("curl -X {} {}{token} -H {header}{body}", route.method, quoted(&url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::form::raw;
    use crate::dashboard::visit::named_operation;

    fn commands(operation: &str, fields: &[(&str, Value)]) -> Commands {
        let fields: Vec<Field> = fields.iter().map(|(n, v)| ((*n).to_owned(), raw(v))).collect();
        let operation = named_operation(operation).unwrap();
        Commands::made(operation, &fields, "o'neil", "http://localhost:8008", true)
    }

    #[test]
    fn an_action_is_said_in_three_ways() {
        let made = commands(
            "schedule.pause",
            &[("schedule_id", "17".into()), ("reason", "it's late; rm -rf /".into())],
        );
        assert_eq!(
            made.nats,
            r#"nats req cmd.scheduler.schedule.pause '{"schedule_id":"17","reason":"it'\''s late; rm -rf /"}' -H 'X-Paused-By:o'\''neil'"#
        );
        assert_eq!(
            made.curl,
            r#"curl -X POST http://localhost:8008/api/v1/schedules/17/pause -H "Authorization: Bearer $TOKEN" -H 'X-Paused-By: o'\''neil' --json '{"reason":"it'\''s late; rm -rf /"}'"#
        );
        assert_eq!(
            made.cli.unwrap(),
            r"nats-scheduler pause 17 --reason 'it'\''s late; rm -rf /' --actor 'o'\''neil'"
        );
    }

    #[test]
    fn fields_stand_where_the_route_has_them_and_a_key_is_left_out() {
        let made = commands(
            "schedule.delete",
            &[
                ("schedule_id", "17".into()),
                ("hard_delete", true.into()),
                ("idempotency_key", "k".into()),
            ],
        );
        assert!(
            made.curl.starts_with(
                "curl -X DELETE 'http://localhost:8008/api/v1/schedules/17?hard_delete=true' "
            ),
            "{}",
            made.curl
        );
        assert_eq!(made.cli.unwrap(), r"nats-scheduler rm 17 --hard --actor 'o'\''neil'");
        let braces = commands(
            "schedule.create",
            &[("command_payload", serde_json::json!({ "a": "{{id}}" }))],
        );
        assert!(braces.nats.ends_with(" --no-templates"), "{}", braces.nats);
        let put = commands(
            "calendar.put",
            &[
                ("name", "off duty".into()),
                ("days", serde_json::json!(["2026-12-25"])),
                (
                    "spans",
                    serde_json::json!([{ "start": "2026-12-31T12:00:00Z", "end": "2027-01-01T00:00:00Z" }]),
                ),
                ("expected_revision", 0.into()),
            ],
        );
        assert_eq!(
            put.cli.unwrap(),
            "nats-scheduler calendar put 'off duty' --day 2026-12-25 \
             --span 2026-12-31T12:00:00Z/2027-01-01T00:00:00Z --expect 0 --actor 'o'\\''neil'"
        );
        let cancel = commands("rerun.cancel", &[("rerun_id", "17".into())]);
        assert_eq!(cancel.cli.unwrap(), r"nats-scheduler rerun cancel 17 --actor 'o'\''neil'");
        let group = commands("group.put", &[("name", "db".into()), ("limit", 2.into())]);
        assert_eq!(
            group.cli.unwrap(),
            r"nats-scheduler group put db --limit 2 --actor 'o'\''neil'"
        );
        assert!(
            group.curl.contains("-X PUT http://localhost:8008/api/v1/groups/db "),
            "{}",
            group.curl
        );
        let many = commands(
            "bulk.operation",
            &[
                ("operation", "delete".into()),
                ("schedule_ids", serde_json::json!(["1", "2"])),
                ("dry_run", true.into()),
            ],
        );
        assert_eq!(many.cli.unwrap(), r"nats-scheduler rm 1 2 --dry-run --actor 'o'\''neil'");
    }
}
