//! Client that asks an instance on this machine whether it works.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::http::Probed;

/// Maximum time to wait for the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why an instance could not be confirmed to work.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The port is unknown, since the instance picks any free one.
    #[error("API_PORT is 0, which is any: there is no address to ask. Set API_PORT to a port")]
    AnyPort,
    /// There was no answer, or it did not say that the instance works.
    #[error("{url}: {error}")]
    Failed {
        /// The URL that was requested.
        url: String,
        /// The reason.
        error: io::Error,
    },
}

/// Requests `/live`, and waits up to 5 seconds for the answer.
///
/// # Errors
/// If there is no answer, or it does not say that the instance works.
pub async fn ask_live(probed: Probed) -> Result<(), ProbeError> {
    if probed.port == 0 {
        return Err(ProbeError::AnyPort);
    }
    let host = match probed.host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    let address = SocketAddr::new(host, probed.port);
    let asked = timeout(DEADLINE, ask_at(address, probed.over_tls)).await;
    let late = || {
        let message = format!("no answer within {} s", DEADLINE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    };
    let scheme = if probed.over_tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}/live");
    asked.unwrap_or_else(|_| late()).map_err(|error| ProbeError::Failed { url, error })
}

async fn ask_at(address: SocketAddr, over_tls: bool) -> io::Result<()> {
    let host = address.ip();
    let stream = TcpStream::connect(address).await?;
    if !over_tls {
        return ask(stream, host).await;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OwnInstance(provider)))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(tls));
    ask(connector.connect(ServerName::IpAddress(host.into()), stream).await?, host).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: IpAddr) -> io::Result<()> {
    let host = SocketAddr::new(host, 0).to_string();
    let host = host.trim_end_matches(":0");
    let request = format!("GET /live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if &head == b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!("answered {:?}", String::from_utf8_lossy(&head))))
}

/// Accepts any certificate: it is issued for another name than this machine's, and no secret is sent.
#[derive(Debug)]
struct OwnInstance(Arc<CryptoProvider>);

impl ServerCertVerifier for OwnInstance {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
