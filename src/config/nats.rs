//! How to reach NATS, and who we are there.

use std::path::PathBuf;

use async_nats::ServerAddr;
use nkeys::{KeyPair, KeyPairType};

use super::reader::Reader;

/// Where NATS is and who we are there.
#[derive(Clone, Default)]
pub struct NatsConfig {
    /// Where servers are: one or several of a cluster.
    pub servers: Vec<ServerAddr>,
    /// User name, with `password`.
    pub user: Option<String>,
    /// Password, with `user`.
    pub password: Option<String>,
    /// Token.
    pub token: Option<String>,
    /// NKey seed.
    pub nkey_seed: Option<String>,
    /// Credentials file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// Root certificates to trust beside the system's.
    pub tls_ca: Option<PathBuf>,
    /// Client certificate, with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// Key of the client certificate.
    pub tls_key: Option<PathBuf>,
    /// Whether to refuse connections without TLS.
    pub tls_required: bool,
    /// Whether to start TLS before the server speaks.
    pub tls_first: bool,
    /// First tokens of our reply subjects, default `_INBOX`.
    pub inbox_prefix: Option<String>,
}

/// Without what is secret.
impl std::fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsConfig").field("servers", &self.shown_servers()).finish_non_exhaustive()
    }
}

impl NatsConfig {
    /// The addresses without the users and passwords that they may hold.
    pub(crate) fn shown_servers(&self) -> String {
        let bare: Vec<_> = self.servers.iter().map(|server| bare(server.as_url_str())).collect();
        bare.join(",")
    }
}

/// Reads addresses that are separated by commas.
///
/// # Errors
/// The one that is none, as it may be shown: without user and password.
pub fn parse_servers(text: &str) -> Result<Vec<ServerAddr>, String> {
    let parse = |text: &str| {
        let address = text.parse::<ServerAddr>().ok();
        // It takes any path after the scheme for an address.
        address.filter(|address| !address.host().is_empty()).ok_or_else(|| bare(text))
    };
    text.split(',').map(str::trim).map(parse).collect()
}

fn bare(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let urls = "nats://me:pa@ss@one:4222, two:4222,tls://token@three";
        let servers = parse_servers(urls).unwrap();
        let config =
            NatsConfig { servers, password: Some("hidden".to_owned()), ..Default::default() };
        assert_eq!(config.shown_servers(), "nats://one:4222,nats://two:4222,tls://three");
        let text = format!("{config:?}");
        assert!(!text.contains("hidden") && !text.contains("pa@ss"), "{text}");
        assert_eq!(parse_servers("one,xyz://me:secret@two").unwrap_err(), "xyz://two");
    }

    #[test]
    fn what_is_no_address_of_nats_is_refused() {
        for text in
            ["xyz://", "xyz://a:4222", "nats://", "nats:///x", "a,,b", ",", "a:b:c", "a:99999"]
        {
            assert!(parse_servers(text).is_err(), "{text:?}");
        }
        for text in ["localhost", "a:4222", "nats://[::1]:4222", "tls://a, nats://b:1", "me@a"] {
            assert!(parse_servers(text).is_ok(), "{text:?}");
        }
    }
}
