//! The settings that are in force, as they may be shown: without secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nats::{NATS_URL, bare};
use super::settings;
use super::traces::OTEL_EXPORTER_OTLP_ENDPOINT;

/// A setting that is in force.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingInForce {
    /// Name of the environment variable.
    pub name: String,
    /// Its value: as it is set, else its default, if it has one. Never that of a secret. Addresses are without the user
    /// and the password, or the token, that they may have.
    #[serde(default)]
    pub value: Option<String>,
    /// Whether it is set.
    pub is_set: bool,
    /// Whether its value is secret.
    pub is_secret: bool,
}

/// All settings, in the order of the documentation. A blank one counts as unset.
pub(super) fn in_force(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<SettingInForce> {
    let one = |setting: &dyn super::Described| {
        let (name, is_secret) = (setting.name(), setting.is_secret());
        let set = lookup(name).filter(|text| !text.trim().is_empty());
        let is_set = set.is_some();
        let text = set.unwrap_or_else(|| setting.default());
        let value = if is_secret { None } else { Some(shown(name, text.trim())) };
        let value = value.filter(|value| !value.is_empty());
        SettingInForce { name: name.to_owned(), value, is_set, is_secret }
    };
    settings().map(one).collect()
}

/// The value of a setting that is no secret by itself.
fn shown(name: &str, text: &str) -> String {
    if ![NATS_URL.name(), OTEL_EXPORTER_OTLP_ENDPOINT.name()].contains(&name) {
        return text.to_owned();
    }
    let addresses = text.split(',').map(str::trim);
    // What follows a question mark may be a key.
    let addresses = addresses.map(|address| bare(address).split('?').next().map(str::to_owned));
    addresses.map(Option::unwrap_or_default).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_secrets() {
        let secret = "s3cr3t";
        let lookup = |name: &str| match name {
            "NATS_URL" => Some(format!("nats://me:{secret}@one:4222, tls://{secret}@two")),
            "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                Some(format!("http://me:{secret}@three:4318/?key={secret}"))
            }
            "API_PORT" => Some(" 9009 ".to_owned()),
            "LOG_LEVEL" => Some(" ".to_owned()),
            name => {
                let is_secret = settings().any(|one| one.name() == name && one.is_secret());
                is_secret.then(|| secret.to_owned())
            }
        };
        let shown = in_force(&lookup);
        assert_eq!(shown.len(), settings().count());
        assert!(!format!("{shown:?}").contains(secret), "{shown:?}");
        let find = |name: &str| {
            let found = shown.iter().find(|one| one.name == name).unwrap();
            (found.value.as_deref(), found.is_set)
        };
        assert_eq!(find("NATS_URL"), (Some("nats://one:4222,tls://two"), true));
        assert_eq!(find("OTEL_EXPORTER_OTLP_ENDPOINT"), (Some("http://three:4318/"), true));
        assert_eq!(find("API_PORT"), (Some("9009"), true));
        assert_eq!(find("LOG_LEVEL"), (Some("INFO"), false));
        assert_eq!(find("API_TOKENS"), (None, true));
        assert_eq!(find("NATS_CREDS"), (None, false));
    }
}
