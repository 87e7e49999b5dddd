//! TLS for connections to a service. Certificates are always verified.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::sys::whole_file;

/// Four times the size of a distribution's bundle of public authorities.
const CA_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone)]
pub struct TlsSetup(Arc<ClientConfig>);

impl TlsSetup {
    /// Trusts the public authorities, or those of `ca_file` (PEM) alone.
    pub fn new(ca_file: Option<&Path>) -> Result<TlsSetup, String> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let refused = |reason: String| format!("could not read tls_ca_file {}: {reason}", path.display());
                let text = whole_file::read(path, CA_BYTES_MAX).map_err(|error| refused(error.to_string()))?;
                for certificate in CertificateDer::pem_slice_iter(&text) {
                    let certificate = certificate.map_err(|error| refused(error.to_string()))?;
                    roots.add(certificate).map_err(|error| refused(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(refused("it holds no PEM certificate".to_owned()));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("could not set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsSetup(Arc::new(config)))
    }

    pub fn session(&self, host: &str) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)
    }
}
