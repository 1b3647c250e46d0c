//! The words of the service's lists, as values of options.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::node::Node;

/// Takes one of the words of a list, as the value that it stands for in requests.
pub fn one_of<T: DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static>()
-> impl TypedValueParser<Value = T> {
    one_of_but(&[])
}

/// The same without some of the words.
pub fn one_of_but<T: DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static>(
    but: &[&str],
) -> impl TypedValueParser<Value = T> + use<T> {
    let words = words::<T>().into_iter().filter(|word| !but.contains(&word.as_str()));
    PossibleValuesParser::new(words)
        .try_map(|word| serde_json::from_value::<T>(Value::String(word)))
}

/// A name, an id or an address. An empty one is a variable of a script that is not set: it must not mean all of them, or
/// another one.
pub fn some_name(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("must not be empty".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The words of a list, in the service's order.
fn words<T: JsonSchema>() -> Vec<String> {
    let mut found = Vec::new();
    collect(schemars::schema_for!(T).as_value(), &mut found);
    found
}

fn collect(schema: &Value, found: &mut Vec<String>) {
    let own = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
    found.extend(own.filter_map(|word| Some(word.as_str()?.to_owned())));
    let others = ["oneOf", "anyOf"].into_iter().filter_map(|of| schema[of].as_array());
    others.flatten().for_each(|one| collect(one, found));
}

/// The word that a value stands for in replies.
pub fn word(value: &impl Serialize) -> String {
    match Node::of(value) {
        Ok(Node::Text(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use nats_scheduler::client::{
        AuditEvent, DeliveryMode, Ending, ExecutionStatus, ScheduleType, Sort, Status,
    };

    use super::*;

    fn check<T: DeserializeOwned + Serialize + JsonSchema>(some: &[&str]) {
        let all = words::<T>();
        for word in &all {
            let value: T = serde_json::from_value(word.as_str().into()).unwrap();
            assert_eq!(super::word(&value), *word);
        }
        for word in some {
            assert!(all.iter().any(|one| one == word), "{word} of {all:?}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_service() {
        check::<Status>(&["active", "deleted"]);
        check::<ScheduleType>(&["cron", "dependent"]);
        check::<Ending>(&["success", "cancelled"]);
        check::<Sort>(&["created_at", "-next_run_at"]);
        check::<ExecutionStatus>(&["running", "corrected"]);
        check::<AuditEvent>(&["created", "resumed_all"]);
        check::<DeliveryMode>(&["publish", "core"]);
    }
}
