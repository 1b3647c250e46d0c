//! The listener: accepts connections, with or without TLS, and passes requests on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::connections::{Connections, SAID};
use super::door::Door;
use super::reread::{Hangups, Source, follow};
use super::turn::{HEAD, IDLE};
use super::{Http, HttpError, Listening, files};
use crate::config::http::certificate;
use crate::config::http::{API_TLS_CERT, API_TOKENS_FILE};
use crate::failpoint::reached;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 1024;
/// Time for connections to end once nothing is in flight.
const GOODBYE: Duration = Duration::from_secs(1);

impl Http {
    /// Listens and answers until `stop`, which should come once nothing is in flight any more; also with `pages` of
    /// others.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn start(
        self: Arc<Self>,
        pages: Router<Arc<Self>>,
        stop: CancellationToken,
    ) -> Result<Listening, HttpError> {
        let address = SocketAddr::new(self.config.host, self.config.port);
        let listen = |error| HttpError::Listen { address, error };
        let listener = bind(address).map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let most = files::room(self.config.max_connections);
        let connections = Connections::new(most, Arc::clone(&self.metrics));
        tokio::spawn(Arc::clone(&connections).sweep(stop.clone()));
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener).map_err(listen)?;
        let mut server = server.handle(handle.clone()).acceptor(Door(connections));
        // A peer that does not answer the ping is gone.
        server.http_builder().http2().keep_alive_interval(IDLE / 3).keep_alive_timeout(HEAD);
        let server = server.accept_error_handler(say_why());
        let tls = self
            .config
            .tls
            .as_ref()
            .map(|certificate| RustlsConfig::from_config(Arc::clone(&certificate.config)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let hangups = Hangups::new(self.config.rereads_on_hangup);
        let health = Arc::clone(&self.health);
        tokio::spawn(follow(self.sources(tls.as_ref()), health, hangups, stop.clone()));
        let service = self.router(pages).into_make_service();
        let serving = match tls {
            Some(tls) => {
                let over = |door| RustlsAcceptor::new(tls).handshake_timeout(HEAD).acceptor(door);
                tokio::spawn(server.map(over).serve(service))
            }
            // Without TLS a client cannot negotiate another protocol.
            None => tokio::spawn(server.http1_only().serve(service)),
        };
        tokio::spawn(async move {
            stop.cancelled().await;
            handle.graceful_shutdown(Some(GOODBYE));
        });
        let url = format!("{scheme}://{local}");
        info!("listening on {url}");
        Ok(Listening { url, serving })
    }

    /// The files to watch.
    fn sources(self: &Arc<Self>, tls: Option<&RustlsConfig>) -> Vec<Source> {
        let mut sources = Vec::new();
        if let Some((file, read)) = self.tokens().file() {
            let (http, paths) = (Arc::clone(self), vec![file.to_owned()]);
            sources.push(Source::new(API_TOKENS_FILE.name(), paths, read, move |contents| {
                let tokens =
                    http.tokens().with_file(contents.first().map_or(&[], Vec::as_slice))?;
                let what = format!("tokens accepted now: {}", tokens.len());
                http.set_tokens(tokens);
                Ok(what)
            }));
        }
        if let (Some(certificate), Some(tls)) = (&self.config.tls, tls) {
            let (tls, read) = (tls.clone(), certificate.read);
            sources.push(Source::new(
                API_TLS_CERT.name(),
                certificate.files.to_vec(),
                read,
                move |contents| {
                    let [chain, key] = contents else { return Err("needs two files".to_owned()) };
                    tls.reload_from_config(
                        certificate::parse(chain, key).map_err(|fault| fault.to_string())?,
                    );
                    Ok("new connections get this certificate".to_owned())
                },
            ));
        }
        sources
    }
}

/// Binds the address with a backlog for many simultaneous connects: those that do not fit wait a second.
fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise the port stays blocked while connections of a previous instance have not quite ended.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Its connections inherit it. A test that fills them would need megabytes otherwise.
    if reached("small_sends") {
        socket.set_send_buffer_size(4096)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Logs why connections fail, at a useful rate. A connection that ends before its first request is its client's own
/// concern.
fn say_why() -> impl Fn(Option<&SocketAddr>, &std::io::Error) + Send + Sync + 'static {
    let said: Mutex<Option<Instant>> = Mutex::default();
    move |peer, error| {
        if let Some(peer) = peer {
            debug!(%peer, %error, "no HTTP connection");
            return;
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAID) {
            *said = Some(Instant::now());
            warn!(%error, "HTTP connections cannot be accepted");
        }
    }
}
