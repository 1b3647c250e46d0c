//! Settings of HTTP.

pub(crate) mod certificate;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::faults::Faults;
use super::forms::{Number, OneOf, Optional, Parsed, flag, number, one_of, optional, parsed, path};
use super::reader::Reader;
use super::setting::{Described, Setting, settings};
use super::tokens::{Role, Tokens};
use crate::schedule::FieldFault;
use certificate::Certificate;

const ADDRESS: &str = "an IP address or `localhost`";
const PORT: &str = "0 to 65535, or `off`";
const TOKENS: &str = "tokens separated by commas";

settings! {
    /// Address that HTTP listens on. Any but a loopback address needs a token
    API_HOST: Parsed<IpAddr> = parsed(IpAddr::V4(Ipv4Addr::LOCALHOST), ADDRESS, address);
    /// Port that HTTP listens on; 0 for any, `off` for no HTTP. `dev` has `--http-port`, which goes before it
    API_PORT: Parsed<Port> = parsed(Port::At(8008), PORT, port);
    /// File that the URL where HTTP listens is written to once it does, whole or not at all; gone when the service ends.
    /// For programs that start it with `API_PORT=0`
    API_URL_FILE: Optional<PathBuf> = path();
    /// Bearer tokens that may do everything; with none at all everybody may
    API_TOKENS: Optional<Vec<String>> = optional(TOKENS, tokens), secret;
    /// Bearer tokens that may only look
    API_READ_TOKENS: Optional<Vec<String>> = optional(TOKENS, tokens), secret;
    /// Bearer tokens that may only send heartbeats and reports of jobs
    API_WORKER_TOKENS: Optional<Vec<String>> = optional(TOKENS, tokens), secret;
    /// File with a token a line, as in `full SECRET`, `read SECRET` or `worker SECRET`; `#` begins a comment;
    /// read again when it changes
    API_TOKENS_FILE: Optional<PathBuf> = path();
    /// Certificate chain of HTTP (PEM file), with `API_TLS_KEY`; both are read again when they change
    API_TLS_CERT: Optional<PathBuf> = path();
    /// Key of that certificate (PEM file), with `API_TLS_CERT`
    API_TLS_KEY: Optional<PathBuf> = path();
    /// Listen on an address other than this machine's without any token, as `--insecure-http` does
    API_INSECURE: OneOf<bool> = flag(false);
    /// HTTP connections at once, on this instance, more than `API_MAX_CONCURRENT`; one more takes the place of
    /// the idlest
    API_MAX_CONNECTIONS: Number<usize> = number(1024, 2..=1_000_000);
    /// Longest body of a request over HTTP, in bytes
    API_MAX_BODY_BYTES: Number<usize> = number(1 << 20, 1024..=64 << 20);
    /// How long a request over HTTP may take; a change goes on after it
    API_TIMEOUT_SECONDS: Number<u64> = number(65, 1..=3600);
    /// Requests over HTTP worked on at once, on this instance, without those that only wait
    API_MAX_CONCURRENT: Number<usize> = number(512, 1..=100_000);
    /// Pages to look at and to act on, at `/`; `off` leaves them out
    DASHBOARD: OneOf<bool> = one_of(true, &[("on", true), ("off", false)]);
    /// Whether the dashboard shows payloads and replies; `hide` for those who must not see them there
    DASHBOARD_PAYLOADS: OneOf<bool> = one_of(true, &[("show", true), ("hide", false)]);
    /// Browsers that the dashboard tells of changes at once, on this instance; one more has to ask
    DASHBOARD_MAX_STREAMS: Number<usize> = number(256, 0..=100_000);
}

/// Settings of the HTTP facade.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address that it listens on.
    pub host: IpAddr,
    /// Port; 0 for any.
    pub port: u16,
    /// File that says where it listens.
    pub url_file: Option<PathBuf>,
    /// Accepted tokens, until their file changes.
    pub tokens: Tokens,
    /// Certificate for TLS, until its files change.
    pub tls: Option<Certificate>,
    /// Whether SIGHUP makes it read those files again at once; otherwise SIGHUP ends the process, as by default.
    pub rereads_on_hangup: bool,
    /// Maximum number of connections at once.
    pub max_connections: usize,
    /// Maximum size of a request's body, in bytes.
    pub max_body: usize,
    /// Maximum time for an operation.
    pub timeout: Duration,
    /// Maximum number of operations under way at once.
    pub max_concurrent: usize,
    /// The dashboard, unless it is off.
    pub dashboard: Option<DashboardConfig>,
}

/// Settings of the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct DashboardConfig {
    /// Whether payloads and replies are shown.
    pub shows_payloads: bool,
    /// Maximum number of streams of events.
    pub max_streams: usize,
}

/// Where to ask an instance whether it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The address that it listens on.
    pub host: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it uses TLS.
    pub over_tls: bool,
}

impl Probed {
    /// Finds the address of an instance with these settings; nothing if it has no HTTP.
    ///
    /// No other setting matters for that: an instance whose file of tokens is being written still works.
    ///
    /// # Errors
    /// All faults, each with the setting's name.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Vec<FieldFault>> {
        let mut read = Reader::new(&lookup);
        let over_tls = read.is_set(API_TLS_CERT.name);
        let probed = listens(&mut read).map(|(host, port)| Self { host, port, over_tls });
        read.done(probed)
    }
}

impl HttpConfig {
    pub(super) fn read(read: &mut Reader<'_>) -> Option<Self> {
        let (host, port) = listens(read)?;
        let config = Self {
            host,
            port,
            url_file: read.get(&API_URL_FILE),
            tokens: known(read),
            tls: certificate(read),
            rereads_on_hangup: false,
            max_connections: read.get(&API_MAX_CONNECTIONS),
            max_body: read.get(&API_MAX_BODY_BYTES),
            timeout: Duration::from_secs(read.get(&API_TIMEOUT_SECONDS)),
            max_concurrent: read.get(&API_MAX_CONCURRENT),
            dashboard: dashboard(read),
        };
        config.check(read.get(&API_INSECURE), read);
        Some(config)
    }

    /// Checks settings against each other. A setting that is itself faulty is not compared.
    fn check(&self, insecure: bool, read: &mut Reader<'_>) {
        let host = self.host;
        if self.tokens.is_empty()
            && !host.is_loopback()
            && !insecure
            && read.are_sound(&[
                &API_TOKENS,
                &API_READ_TOKENS,
                &API_WORKER_TOKENS,
                &API_TOKENS_FILE,
            ])
        {
            let reason = format!(
                "{host} can be reached from elsewhere: set API_TOKENS, or say --insecure-http if \
                 everybody there may do everything"
            );
            read.fault(FieldFault::new(API_HOST.name, reason));
        }
        let (connections, concurrent) = (&API_MAX_CONNECTIONS, &API_MAX_CONCURRENT);
        if self.max_connections <= self.max_concurrent && read.are_sound(&[connections, concurrent])
        {
            let reason = format!(
                "must be more than {}, {}, so that probes are answered while so many requests are \
                 under way",
                concurrent.name, self.max_concurrent
            );
            read.fault(FieldFault::new(connections.name, reason));
        }
    }
}

/// Values of API_PORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// HTTP is off.
    Off,
    /// This port; 0 for any.
    At(u16),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(port) => port.fmt(f),
        }
    }
}

fn port(text: &str) -> Option<Port> {
    if text.eq_ignore_ascii_case("off") {
        return Some(Port::Off);
    }
    text.parse().ok().map(Port::At)
}

fn address(text: &str) -> Option<IpAddr> {
    if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() }
}

/// Address and port, unless HTTP is off.
fn listens(read: &mut Reader<'_>) -> Option<(IpAddr, u16)> {
    let Port::At(port) = read.get(&API_PORT) else { return None };
    Some((read.get(&API_HOST), port))
}

/// Parses a list of tokens. An empty list is a fault: it would allow everybody everything, which is not what was meant.
fn tokens(text: &str, faults: &mut Faults<'_>) -> Option<Vec<String>> {
    let tokens = text.split(',').map(str::trim).filter(|token| !token.is_empty());
    let tokens: Vec<_> = tokens.map(str::to_owned).collect();
    if tokens.is_empty() {
        faults.say("has no token");
    }
    Some(tokens)
}

/// All configured tokens.
fn known(read: &mut Reader<'_>) -> Tokens {
    let mut known = Tokens::default();
    for (setting, role) in [
        (&API_TOKENS, Role::Full),
        (&API_READ_TOKENS, Role::Read),
        (&API_WORKER_TOKENS, Role::Worker),
    ] {
        let listed = read.get(setting).unwrap_or_default();
        listed.iter().for_each(|token| known.add(token, role));
    }
    if let Some(path) = read.get(&API_TOKENS_FILE)
        && let Err(reason) = known.add_file(&path)
    {
        read.fault(FieldFault::new(API_TOKENS_FILE.name, reason));
    }
    known
}

fn dashboard(read: &mut Reader<'_>) -> Option<DashboardConfig> {
    let config = DashboardConfig {
        shows_payloads: read.get(&DASHBOARD_PAYLOADS),
        max_streams: read.get(&DASHBOARD_MAX_STREAMS),
    };
    read.get(&DASHBOARD).then_some(config)
}

fn certificate(read: &mut Reader<'_>) -> Option<Certificate> {
    read.pair(&API_TLS_CERT, &API_TLS_KEY);
    let (chain, key) = (read.get(&API_TLS_CERT), read.get(&API_TLS_KEY));
    let certificate = Certificate::read(chain?, key?);
    certificate.map_err(|fault| read.fault(fault)).ok()
}

#[cfg(test)]
mod tests;
