//! TLS for connections to a service. Certificates are always verified.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::http::trust::Authorities;

#[derive(Clone)]
pub struct TlsSetup(Arc<ClientConfig>);

impl TlsSetup {
    /// Trusts only the authorities in `ca_file` (PEM); without it, those of `http::trust`.
    pub fn new(ca_file: Option<&Path>) -> Result<TlsSetup, String> {
        let authorities = match ca_file {
            None => Authorities::from_environment()?,
            Some(path) => Authorities::from_pem(path)
                .map_err(|reason| format!("could not read tls_ca_file {}: {reason}", path.display()))?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("could not set up TLS: {error}"))?
            .with_root_certificates(authorities.roots())
            .with_no_client_auth();
        Ok(TlsSetup(Arc::new(config)))
    }

    pub fn session(&self, host: &str) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)
    }
}
