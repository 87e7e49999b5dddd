//! Which authorities may vouch for an https server: the public ones, or those of the file that SSL_CERT_FILE names, as in
//! OpenSSL and the reference's client. Certificates are always checked; must never offer a way not to.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::sys::whole_file;

const VARIABLE: &str = "SSL_CERT_FILE";
/// The public authorities of a distribution are a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How ureq decides whom to believe. An error is a sentence; it matters to https alone.
pub fn from_environment() -> Result<TlsConfig, String> {
    match env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => from_file(&path),
        // Mozilla's list, compiled in: certifi, which the reference uses, is the same one.
        None => Ok(TlsConfig::builder().root_certs(RootCerts::WebPki).build()),
    }
}

pub(crate) fn from_file(path: &OsStr) -> Result<TlsConfig, String> {
    let path = Path::new(path);
    let refused = |why: &str| {
        format!(
            "{VARIABLE} {} cannot be used: {why}; name a PEM file of authorities there, or unset it",
            path.display()
        )
    };
    let text = whole_file::read(path, FILE_BYTES_MAX).map_err(|error| refused(&error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    // ureq leaves out what it cannot read; a file of nothing else must not become a mysterious failure later.
    let mut usable = RootCertStore::empty();
    let ders = certificates
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der()));
    if usable.add_parsable_certificates(ders).0 == 0 {
        return Err(refused("it holds no PEM certificate"));
    }
    let roots = RootCerts::new_with_certs(&certificates);
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// What to do about a server that is not believed, by the words of the TLS library's error.
pub fn advice(error: &str) -> &'static str {
    if error.contains("UnknownIssuer") {
        "; name its authority's PEM file in SSL_CERT_FILE"
    } else if error.contains("CaUsedAsEndEntity") {
        "; the server shows an authority's certificate: make its own with basicConstraints=CA:FALSE"
    } else if error.contains("InvalidContentType") {
        "; what answers there does not speak TLS: use http:// in its address"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> String {
        format!("{}/tests/golden/tls/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn a_file_replaces_the_public_authorities() {
        let config = from_file(OsStr::new(&golden("authority.pem"))).unwrap();
        assert!(matches!(config.root_certs(), RootCerts::Specific(certificates) if certificates.len() == 1));
    }

    #[test]
    fn a_file_that_vouches_for_nobody_is_refused() {
        for (name, why) in [
            ("none.pem", "No such file"),
            ("server-key.pem", "holds no PEM certificate"),
            (".", "directory"),
        ] {
            let text = from_file(OsStr::new(&golden(name))).unwrap_err();
            assert!(text.starts_with("SSL_CERT_FILE /") && text.contains(why), "{text}");
        }
        assert!(from_file(OsStr::new("/dev/zero")).unwrap_err().contains("1 MiB"));
    }
}
