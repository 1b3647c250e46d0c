//! The certificate of HTTP, and the faults of its files.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};

use super::{API_TLS_CERT, API_TLS_KEY};
use crate::config::content::{Digest, digest};
use crate::schedule::FieldFault;

const CERT: &str = API_TLS_CERT.name();
const KEY: &str = API_TLS_KEY.name();

/// A certificate and its key, ready for use.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The files with the chain and with the key.
    pub(crate) files: [PathBuf; 2],
    /// Digest of their content when they were read.
    pub(crate) read: Digest,
    pub(crate) config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads a chain and its key, both as PEM.
    ///
    /// # Errors
    /// The faulty setting, and what is wrong with it.
    pub fn read(chain: PathBuf, key: PathBuf) -> Result<Self, FieldFault> {
        let read = |name: &str, path: &PathBuf| {
            let content = std::fs::read(path);
            content.map_err(|error| FieldFault::new(name, format!("{}: {error}", path.display())))
        };
        let contents = [read(CERT, &chain)?, read(KEY, &key)?];
        let config = parse(&contents[0], &contents[1])?;
        Ok(Self { files: [chain, key], read: digest(&contents), config })
    }
}

/// Builds the TLS configuration.
pub(crate) fn parse(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, FieldFault> {
    let not_pem = |name| move |_| FieldFault::new(name, "is not a PEM file");
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(not_pem(CERT))?;
    if chain.is_empty() {
        return Err(FieldFault::new(CERT, "has no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| FieldFault::new(KEY, "has no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FieldFault::new(CERT, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            FieldFault::new(KEY, format!("is not the key of the certificate of {CERT}"))
        }
        Error::InvalidCertificate(error) => FieldFault::new(CERT, error.to_string()),
        error => FieldFault::new(KEY, error.to_string()),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_of_the_setting_that_it_is_wrong_with() {
        let pair = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec!["localhost".to_owned()];
            let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key);
            (certificate.unwrap().pem(), key.serialize_pem())
        };
        let ((chain, key), (_, other)) = (pair(), pair());
        assert!(parse(chain.as_bytes(), key.as_bytes()).is_ok());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (chain, key, setting, reason) in [
            (&*chain, &*other, KEY, "is not the key"),
            (&*chain, &*chain, KEY, "no private key"),
            (&*chain, "", KEY, "no private key"),
            ("", &*key, CERT, "no certificate"),
            (&*key, &*key, CERT, "no certificate"),
            (broken, &*key, CERT, ""),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", &*key, CERT, "PEM"),
        ] {
            let fault = parse(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert_eq!(fault.field, setting, "{fault:?}");
            assert!(fault.reason.contains(reason), "{fault:?}");
        }
    }
}
