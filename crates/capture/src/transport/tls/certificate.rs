//! Certificates and keys as files: read, watched, and made where there are none.

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a certificate of our own making is valid. Nobody checks it but who was told to.
const OWN_VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Phones whose clock is behind must not find it invalid yet.
const OWN_VALID_BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A certificate (with those that signed it behind) and its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, our own first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A TLS listener without `tls_files`.
    #[error("no certificate for the TLS listeners")]
    NoCertificate,
    /// A file that cannot be read, written or used.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A key that belongs to another certificate.
    #[error("{} is not the key of {}", key.display(), certificate.display())]
    OtherKey {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// No DNS name and no IP address.
    #[error("{name:?} is no name that a certificate can carry")]
    BadName {
        /// As configured.
        name: String,
    },
    /// Cannot happen with the protocol versions that are built in.
    #[error("TLS cannot be set up: {0}")]
    Unusable(rustls::Error),
}

impl CertificateFiles {
    /// The pair in `folder` that signs itself, made for `names` (DNS names or IP addresses) if it
    /// is not there yet. To have it made anew, delete both files.
    ///
    /// # Errors
    /// [`TlsError`] if it cannot be made or written.
    pub fn own(folder: &Path, names: &[String]) -> Result<Self, TlsError> {
        let files =
            Self { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
        if files.certificate.exists() && files.key.exists() {
            return Ok(files);
        }
        let failed = |why: rcgen::Error| TlsError::File {
            path: files.certificate.clone(),
            why: format!("cannot be made: {why}"),
        };
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "Cheling SIP");
        let now = SystemTime::now();
        params.not_before = (now - OWN_VALID_BEFORE).into();
        params.not_after = (now + OWN_VALID_FOR).into();
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        write(&files.key, &key.serialize_pem(), 0o600)?;
        write(&files.certificate, &certificate.pem(), 0o644)?;
        tracing::info!(certificate = %files.certificate.display(), "made a TLS certificate");
        Ok(files)
    }
}

/// Writes beside and renames, so that a crash leaves no half of a file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        let _ = std::fs::remove_file(&beside);
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().map_err(|err| file_error(path, &err))
}

/// What changes when a file is replaced or written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified_s: i64,
    modified_ns: i64,
    inode: u64,
    bytes: u64,
}

impl Stamp {
    /// Follows links, as renewing programs set them.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            inode: metadata.ino(),
            bytes: metadata.len(),
        })
    }
}

/// The certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|err| file_error(path, &err))?;
    if certificates.is_empty() {
        return Err(TlsError::File { path: path.into(), why: "holds no certificate".into() });
    }
    Ok(certificates)
}

/// The authorities in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|err| file_error(path, &err))?;
    }
    Ok(roots)
}

pub(super) fn certified_key(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|err| file_error(&files.key, &err))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|err| match err {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::OtherKey { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        err => file_error(&files.certificate, &err),
    })
}

fn file_error(path: &Path, err: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.into(), why: err.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_certificate_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["192.0.2.1".to_owned(), "pbx.example".to_owned()];
        let files = CertificateFiles::own(folder.path(), &names).unwrap();
        let first = std::fs::read(&files.certificate).unwrap();
        assert_eq!(std::fs::metadata(&files.key).unwrap().mode() & 0o777, 0o600);
        assert_eq!(CertificateFiles::own(folder.path(), &names).unwrap(), files);
        assert_eq!(std::fs::read(&files.certificate).unwrap(), first);
        let provider = rustls::crypto::ring::default_provider();
        certified_key(&files, &provider).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["pbx.example".to_owned()];
        let good = CertificateFiles::own(folder.path(), &names).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let other = CertificateFiles::own(elsewhere.path(), &names).unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = folder.path().join("missing.pem");
        let provider = rustls::crypto::ring::default_provider();
        for (certificate, key, want) in [
            (&missing, &good.key, "missing.pem"),
            (&empty, &good.key, "empty.pem: holds no certificate"),
            (&good.certificate, &empty, "empty.pem"),
            (&good.certificate, &good.certificate, "certificate.pem"),
            (&good.certificate, &other.key, "is not the key of"),
        ] {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            let err = certified_key(&files, &provider).unwrap_err().to_string();
            assert!(err.contains(want), "{err}");
        }
    }
}
