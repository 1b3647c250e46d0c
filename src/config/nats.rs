//! Settings of the connection to NATS: addresses and credentials.

use std::path::PathBuf;

use async_nats::ServerAddr;
use nkeys::{KeyPair, KeyPairType};

use super::faults::Faults;
use super::forms::{OneOf, Optional, Written, any_text, file, flag, optional, written};
use super::reader::Reader;
use super::setting::{Described, Setting, plain, settings};
use crate::schedule::FieldFault;

const ADDRESSES: &str = "addresses of NATS, as in `nats://localhost:4222`";
const PREFIX: &str = "tokens without wildcards, as in `_INBOX_scheduler`";
const SEED: &str = "the seed of a user, which begins with `SU`";

settings! {
    /// Name of this service in NATS connections and logs
    SERVICE_NAME: Written<String> = written("nats-scheduler", "", |text, _| text.to_owned());
    /// NATS servers, separated by commas. `dev` sets it
    NATS_URL: Written<Vec<ServerAddr>> = written("nats://localhost:4222", ADDRESSES, servers);
    /// User name, with `NATS_PASSWORD`
    NATS_USER: Optional<String> = any_text();
    /// Password, with `NATS_USER`
    NATS_PASSWORD: Optional<String> = any_text(), secret;
    /// Token
    NATS_TOKEN: Optional<String> = any_text(), secret;
    /// NKey seed
    NATS_NKEY_SEED: Optional<String> = optional(SEED, seed), secret;
    /// Credentials file (JWT and seed)
    NATS_CREDS: Optional<PathBuf> = file();
    /// Root certificates to trust beside the system's (PEM file)
    NATS_TLS_CA: Optional<PathBuf> = file();
    /// Client certificate (PEM file), with `NATS_TLS_KEY`
    NATS_TLS_CERT: Optional<PathBuf> = file();
    /// Key of the client certificate (PEM file), with `NATS_TLS_CERT`
    NATS_TLS_KEY: Optional<PathBuf> = file();
    /// Refuse connections without TLS
    NATS_TLS_REQUIRED: OneOf<bool> = flag(false);
    /// Start TLS before the server speaks
    NATS_TLS_FIRST: OneOf<bool> = flag(false);
    /// First tokens of the service's own reply subjects
    NATS_INBOX_PREFIX: Written<String> = written("_INBOX", PREFIX, prefix);
}

/// How to reach NATS, and with which credentials.
#[derive(Clone, Default)]
pub struct NatsConfig {
    /// Addresses of one server, or of several in a cluster.
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

/// Leaves out secrets.
impl std::fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsConfig").field("servers", &self.shown_servers()).finish_non_exhaustive()
    }
}

impl NatsConfig {
    /// Reads these settings alone, for a program that only talks to the service.
    ///
    /// # Errors
    /// All faults, each with the setting's name. None shows a secret.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<FieldFault>> {
        let mut read = Reader::new(&lookup);
        let config = Self::read(&mut read);
        read.done(config)
    }

    pub(super) fn read(read: &mut Reader<'_>) -> Self {
        read.pair(&NATS_USER, &NATS_PASSWORD);
        read.pair(&NATS_TLS_CERT, &NATS_TLS_KEY);
        Self {
            servers: read.get(&NATS_URL),
            user: read.get(&NATS_USER),
            password: read.get(&NATS_PASSWORD),
            token: read.get(&NATS_TOKEN),
            nkey_seed: read.get(&NATS_NKEY_SEED),
            credentials_file: read.get(&NATS_CREDS),
            tls_ca: read.get(&NATS_TLS_CA),
            tls_cert: read.get(&NATS_TLS_CERT),
            tls_key: read.get(&NATS_TLS_KEY),
            tls_required: read.get(&NATS_TLS_REQUIRED),
            tls_first: read.get(&NATS_TLS_FIRST),
            inbox_prefix: Some(read.get(&NATS_INBOX_PREFIX)),
        }
    }

    /// The addresses without the users and passwords that they may contain.
    pub(crate) fn shown_servers(&self) -> String {
        let bare: Vec<_> = self.servers.iter().map(|server| bare(server.as_url_str())).collect();
        bare.join(",")
    }
}

/// Parses addresses that are separated by commas.
///
/// # Errors
/// The text that is not an address, without user and password so that it may be shown; nothing if it may be part of a
/// password.
pub fn parse_servers(text: &str) -> Result<Vec<ServerAddr>, Option<String>> {
    let entries: Vec<_> = text.split(',').map(str::trim).collect();
    let parse = |(n, entry): (usize, &&str)| {
        let address = entry.parse::<ServerAddr>().ok();
        // The parser takes any path after the scheme for an address.
        let address = address.filter(|address| !address.host().is_empty());
        // A password may contain commas too, and an `@` may follow it.
        let is_in_password = entries[n + 1..].iter().any(|entry| entry.contains('@'));
        address.ok_or_else(|| (!is_in_password).then(|| bare(entry)))
    };
    entries.iter().enumerate().map(parse).collect()
}

pub(super) fn bare(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

fn servers(text: &str, faults: &mut Faults<'_>) -> Vec<ServerAddr> {
    parse_servers(text).unwrap_or_else(|no_address| {
        match no_address {
            Some(shown) => faults.must_be(ADDRESSES, &shown),
            None => faults.say(format!("must be {}", plain(ADDRESSES))),
        }
        Vec::new()
    })
}

fn seed(text: &str, faults: &mut Faults<'_>) -> Option<String> {
    let pair = KeyPair::from_seed(text.trim());
    if !pair.is_ok_and(|pair| matches!(pair.key_pair_type(), KeyPairType::User)) {
        faults.must_be(SEED, text);
    }
    Some(text.trim().to_owned())
}

fn prefix(text: &str, faults: &mut Faults<'_>) -> String {
    let is_token = |token: &str| {
        !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c))
    };
    if !text.trim().split('.').all(is_token) {
        faults.must_be(PREFIX, text);
    }
    text.trim().to_owned()
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
        for (text, shown) in [
            ("one,xyz://me:secret@two", Some("xyz://two")),
            ("xyz://one,two", Some("xyz://one")),
            ("nats://me:sec,ret@two", None),
            ("nats://me:s@c:r,t@two", None),
        ] {
            assert_eq!(parse_servers(text).unwrap_err().as_deref(), shown, "{text}");
        }
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
