//! The certificate authorities that https and TLS servers are verified against: those in the file `SSL_CERT_FILE` and in the
//! files of the folders `SSL_CERT_DIR` if one of these variables is set, else Mozilla's list, which is compiled in. Certificates
//! are always verified.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::sys::whole_file;

const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";
/// Four times the size of a distribution's bundle of public authorities.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of one folder that are read; a distribution has about 150 authorities, each in two names.
const FOLDER_FILES_MAX: usize = 2000;
/// Bytes of one folder's files.
const FOLDER_BYTES_MAX: usize = 16 << 20;

/// The authorities that a certificate must lead to.
#[derive(Clone, Debug)]
pub enum Authorities {
    /// Mozilla's list; certifi, which the reference's client uses, is the same one.
    Public,
    Named(Vec<CertificateDer<'static>>),
}

impl Authorities {
    /// An error is a sentence that names the variable; it matters to TLS alone.
    pub fn from_environment() -> Result<Authorities, String> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let mut named = None;
        if let Some(path) = set(FILE) {
            named = Some(from_file(Path::new(&path))?);
        }
        if let Some(folders) = set(FOLDERS) {
            let found = from_folders(env::split_paths(&folders))?;
            let named: &mut Vec<_> = named.get_or_insert_default();
            if named.is_empty() && found.is_empty() {
                let folders = folders.display();
                return Err(refused_folder(&folders, "no file in it has a PEM certificate"));
            }
            named.extend(found);
        }
        Ok(named.map_or(Authorities::Public, Authorities::Named))
    }

    /// The authorities of a PEM file alone, each of which must be usable. The error is the reason, without the file's name.
    pub fn from_pem(path: &Path) -> Result<Authorities, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
        let found = read.map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for certificate in &found {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        match found.is_empty() {
            true => Err("it holds no PEM certificate".into()),
            false => Ok(Authorities::Named(found)),
        }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        match self {
            Authorities::Public => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Authorities::Named(certificates) => {
                roots.add_parsable_certificates(certificates.iter().cloned());
            }
        }
        roots
    }

    /// The same for ureq.
    pub fn for_ureq(&self) -> TlsConfig {
        let roots = match self {
            Authorities::Public => RootCerts::WebPki,
            Authorities::Named(certificates) => {
                let certificates = certificates.iter().map(|der| Certificate::from_der(der).to_owned());
                RootCerts::new_with_certs(&certificates.collect::<Vec<_>>())
            }
        };
        TlsConfig::builder().root_certs(roots).build()
    }
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    read(path).and_then(|text| certificates(&text)).map_err(|why| {
        format!(
            "{FILE} {} cannot be used: {why}; name a PEM file of authorities there, or unset it",
            path.display()
        )
    })
}

fn refused_folder(folder: &dyn fmt::Display, why: &str) -> String {
    format!("{FOLDERS} {folder} cannot be used: {why}; name a folder of PEM files there, or unset it")
}

/// Each authority once. Folders that are missing and files without a certificate are skipped: the variable is often a list for
/// several distributions.
fn from_folders(folders: impl Iterator<Item = PathBuf>) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let (mut files, mut bytes) = (0, 0);
        for text in paths.filter(|path| path.is_file()).filter_map(|path| read(&path).ok()) {
            (files, bytes) = (files + 1, bytes + text.len());
            if files > FOLDER_FILES_MAX || bytes > FOLDER_BYTES_MAX {
                let why = format!(
                    "it has more than {FOLDER_FILES_MAX} files or {} MiB",
                    FOLDER_BYTES_MAX >> 20
                );
                return Err(refused_folder(&folder.display(), &why));
            }
            for certificate in certificates(&text).unwrap_or_default() {
                if !found.contains(&certificate) {
                    found.push(certificate);
                }
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    whole_file::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())
}

/// The certificates of a bundle. Broken blocks and other PEM blocks are skipped, but one certificate must be usable.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text).flatten().collect();
    if RootCertStore::empty()
        .add_parsable_certificates(found.iter().cloned())
        .0
        == 0
    {
        return Err("it holds no PEM certificate".into());
    }
    Ok(found)
}

/// What to do about a certificate that is refused, by the words of the TLS library's error.
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
        let named = Authorities::Named(from_file(Path::new(&golden("authority.pem"))).unwrap());
        assert_eq!(named.roots().len(), 1);
        let config = named.for_ureq();
        assert!(matches!(config.root_certs(), RootCerts::Specific(certificates) if certificates.len() == 1));
        assert!(Authorities::Public.roots().len() > 100);
    }

    #[test]
    fn a_broken_certificate_is_passed_over_in_a_bundle_and_refused_alone() {
        let path = crate::testing::temporary_path("trust");
        let good = fs::read_to_string(golden("authority.pem")).unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&path, format!("{broken}{good}")).unwrap();
        let (bundle, alone) = (from_file(&path), Authorities::from_pem(&path));
        fs::remove_file(&path).unwrap();
        assert_eq!(Authorities::Named(bundle.unwrap()).roots().len(), 1);
        assert!(alone.is_err());
    }

    #[test]
    fn folders_give_each_authority_once_and_skip_the_rest() {
        let folders = ["none", "", "../engine/hostile", ""].map(|name| PathBuf::from(golden(name)));
        let found = from_folders(folders.into_iter()).unwrap();
        let alone = from_file(Path::new(&golden("authority.pem"))).unwrap();
        assert!(found.contains(&alone[0]));
        assert!(found.iter().enumerate().all(|(at, one)| !found[at + 1..].contains(one)));
    }

    #[test]
    fn the_files_of_a_folder_have_a_common_limit() {
        let folder = crate::testing::temporary_path("authorities");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(golden("authority.pem"), folder.join("authority.pem")).unwrap();
        let fill = |files: usize| {
            for n in 0..files {
                let file = fs::File::create(folder.join(format!("{n}"))).unwrap();
                file.set_len(FILE_BYTES_MAX).unwrap();
            }
            from_folders(std::iter::once(folder.clone()))
        };
        assert_eq!(fill(15).unwrap().len(), 1);
        assert!(fill(16).unwrap_err().contains("more than 2000 files or 16 MiB"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_without_an_authority_is_refused() {
        for (name, why) in [
            ("none.pem", "No such file"),
            ("server-key.pem", "holds no PEM certificate"),
            (".", "directory"),
        ] {
            let text = from_file(Path::new(&golden(name))).unwrap_err();
            assert!(text.starts_with("SSL_CERT_FILE /") && text.contains(why), "{text}");
        }
        assert!(from_file(Path::new("/dev/zero")).unwrap_err().contains("1 MiB"));
    }
}
