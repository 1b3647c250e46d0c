//! How to reach NATS, and who we are there.

use nkeys::{KeyPair, KeyPairType};

use super::reader::Reader;
use crate::jetstream::connect::{NatsConfig, parse_servers};

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    pub(super) fn nats(&mut self) -> NatsConfig {
        self.pair("NATS_USER", "NATS_PASSWORD");
        self.pair("NATS_TLS_CERT", "NATS_TLS_KEY");
        let text = self.text("NATS_URL");
        let servers = parse_servers(&text).unwrap_or_else(|no_address| {
            let reason = "must be addresses of NATS, as in nats://localhost:4222";
            self.fault("NATS_URL", format!("{reason}, not {no_address:?}"));
            Vec::new()
        });
        let nkey_seed = self.optional("NATS_NKEY_SEED");
        let is_user = |seed: &String| {
            let pair = KeyPair::from_seed(seed.trim());
            pair.is_ok_and(|pair| matches!(pair.key_pair_type(), KeyPairType::User))
        };
        if nkey_seed.as_ref().is_some_and(|seed| !is_user(seed)) {
            // What it is instead may be a secret too.
            self.fault("NATS_NKEY_SEED", "must be the seed of a user, which begins with SU".into());
        }
        let prefix_reason = "must be tokens without wildcards, as in _INBOX_scheduler";
        NatsConfig {
            servers,
            user: self.optional("NATS_USER"),
            password: self.optional("NATS_PASSWORD"),
            token: self.optional("NATS_TOKEN"),
            nkey_seed,
            credentials_file: self.file("NATS_CREDS"),
            tls_ca: self.file("NATS_TLS_CA"),
            tls_cert: self.file("NATS_TLS_CERT"),
            tls_key: self.file("NATS_TLS_KEY"),
            tls_required: self.parsed("NATS_TLS_REQUIRED", "must be true or false", false),
            tls_first: self.parsed("NATS_TLS_FIRST", "must be true or false", false),
            inbox_prefix: self.checked("NATS_INBOX_PREFIX", prefix_reason, |text| {
                let is_token = |token: &str| {
                    !token.is_empty()
                        && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c))
                };
                text.split('.').all(is_token).then(|| text.to_owned())
            }),
        }
    }
}
