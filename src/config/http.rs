//! Settings of HTTP.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Config;
use super::certificate::Certificate;
use super::reader::Reader;
use super::tokens::{Role, Tokens};
use crate::schedule::FieldFault;

/// Settings of the HTTP facade.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address that it listens on.
    pub host: IpAddr,
    /// The port; 0 for any.
    pub port: u16,
    /// Who may do what, until their file changes.
    pub tokens: Tokens,
    /// What TLS is spoken with, until its files change.
    pub tls: Option<Certificate>,
    /// Whether SIGHUP makes it read those files again at once; else it ends the process, as it does by default.
    pub rereads_on_hangup: bool,
    /// Connections at once.
    pub max_connections: usize,
    /// Longest body of a request, in bytes.
    pub max_body: usize,
    /// How long an operation may take.
    pub timeout: Duration,
    /// Operations under way at once.
    pub max_concurrent: usize,
}

/// Where an instance is asked whether it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The address that it listens on.
    pub host: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub over_tls: bool,
}

/// The settings that are lists of tokens.
const TOKENS: [(&str, Role); 3] = [
    ("API_TOKENS", Role::Full),
    ("API_READ_TOKENS", Role::Read),
    ("API_WORKER_TOKENS", Role::Worker),
];

impl Config {
    /// Where an instance with these settings is asked whether it works; nowhere if it has no HTTP.
    ///
    /// No other setting matters to that: an instance whose file of tokens is being written works.
    ///
    /// # Errors
    /// All faults, each with the setting's name.
    pub fn probed(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Probed>, Vec<FieldFault>> {
        let mut read = Reader::new(lookup);
        let probed = read.listens().map(|(host, port)| Probed {
            host,
            port,
            over_tls: read.optional("API_TLS_CERT").is_some(),
        });
        if read.faults.is_empty() { Ok(probed) } else { Err(read.faults) }
    }
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    pub(super) fn http(&mut self) -> Option<HttpConfig> {
        let (host, port) = self.listens()?;
        let tokens = self.tokens();
        let is_open = tokens.as_ref().is_some_and(Tokens::is_empty);
        let insecure = self.parsed("API_INSECURE", "must be true or false", false);
        if is_open && !host.is_loopback() && !insecure {
            let reason = format!(
                "{host} can be reached from elsewhere: set API_TOKENS, or say --insecure-http if \
                 everybody there may do everything"
            );
            self.fault("API_HOST", reason);
        }
        let max_concurrent = self.size("API_MAX_CONCURRENT", 1, 100_000);
        let max_connections = self.size("API_MAX_CONNECTIONS", 2, 1_000_000);
        if max_connections <= max_concurrent {
            let reason = format!(
                "must be more than API_MAX_CONCURRENT, {max_concurrent}, so that probes are answered \
                 while so many requests are under way"
            );
            self.fault("API_MAX_CONNECTIONS", reason);
        }
        Some(HttpConfig {
            host,
            port,
            tokens: tokens.unwrap_or_default(),
            tls: self.certificate(),
            rereads_on_hangup: false,
            max_connections,
            max_body: self.size("API_MAX_BODY_BYTES", 1024, 64 << 20),
            timeout: Duration::from_secs(self.number("API_TIMEOUT_SECONDS", 1, 3600)),
            max_concurrent,
        })
    }

    /// Address and port, unless there is no HTTP.
    fn listens(&mut self) -> Option<(IpAddr, u16)> {
        if self.text("API_PORT").trim().eq_ignore_ascii_case("off") {
            return None;
        }
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let host = match self.text("API_HOST").trim() {
            "localhost" => local,
            _ => self.parsed("API_HOST", "must be an IP address", local),
        };
        Some((host, self.parsed("API_PORT", "must be 0 to 65535, or off", 8008)))
    }

    /// All tokens; none at all if a setting of them is at fault. One that has none is: everybody could do
    /// everything, which is not what was meant.
    fn tokens(&mut self) -> Option<Tokens> {
        let (mut tokens, faults) = (Tokens::default(), self.faults.len());
        for (name, role) in TOKENS {
            let Some(text) = self.optional(name) else { continue };
            let listed: Vec<_> =
                text.split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
            if listed.is_empty() {
                self.fault(name, "has no token".to_owned());
            }
            listed.into_iter().for_each(|token| tokens.add(token, role));
        }
        if let Some(path) = self.optional("API_TOKENS_FILE")
            && let Err(reason) = tokens.add_file(Path::new(&path))
        {
            self.fault("API_TOKENS_FILE", reason);
        }
        (self.faults.len() == faults).then_some(tokens)
    }

    fn certificate(&mut self) -> Option<Certificate> {
        self.pair("API_TLS_CERT", "API_TLS_KEY");
        let (chain, key) = (self.optional("API_TLS_CERT"), self.optional("API_TLS_KEY"));
        match Certificate::read(PathBuf::from(chain?), PathBuf::from(key?)) {
            Ok(certificate) => Some(certificate),
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
        let faults = Config::from_lookup(lookup(pairs)).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_fault_is_said_once_of_the_setting_that_has_it() {
        for (pairs, names) in [
            (
                &[
                    ("API_TOKENS_FILE", "/nowhere/tokens"),
                    ("API_TLS_CERT", "/nowhere/chain.pem"),
                    ("API_TLS_KEY", "/nowhere/key.pem"),
                    ("API_WORKER_TOKENS", ","),
                    ("API_HOST", "0.0.0.0"),
                ][..],
                &["API_WORKER_TOKENS: ", "API_TOKENS_FILE: /nowhere/tokens", "API_TLS_CERT: /no"][..],
            ),
            (&[("API_HOST", "0.0.0.0")], &["API_HOST: "]),
            (&[("API_TOKENS", "a"), ("API_READ_TOKENS", " , ")], &["API_READ_TOKENS: "]),
            (&[("API_TLS_KEY", "/nowhere/key.pem")], &["API_TLS_CERT: must be set"]),
            (&[("API_MAX_CONNECTIONS", "512")], &["API_MAX_CONNECTIONS: must be more than"]),
            (&[("API_MAX_CONCURRENT", "5000")], &["API_MAX_CONNECTIONS: must be more than"]),
        ] {
            let faults = faults(pairs);
            assert_eq!(faults.len(), names.len(), "{faults:?}");
            for (fault, name) in faults.iter().zip(names) {
                assert!(fault.starts_with(name), "{faults:?}");
            }
        }
    }

    #[test]
    fn what_a_health_check_asks_depends_on_no_file() {
        let broken = [("API_TOKENS_FILE", "/nowhere"), ("NATS_USER", "me"), ("API_PORT", "9")];
        let probed = Config::probed(lookup(&broken)).unwrap().unwrap();
        assert_eq!((probed.port, probed.over_tls), (9, false));
        let over_tls = Config::probed(lookup(&[("API_TLS_CERT", "/nowhere")])).unwrap().unwrap();
        assert!(over_tls.over_tls);
        assert_eq!(Config::probed(lookup(&[("API_PORT", "off")])).unwrap(), None);
        assert!(Config::probed(lookup(&[("API_PORT", "x")])).is_err());
    }
}
