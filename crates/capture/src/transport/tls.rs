//! SIP under TLS (RFC 3261 §26.2.1, RFC 5922): what we show, whom we believe.
//!
//! Certificates that change on disk are read again by the next connection, so a renewal needs no
//! restart; a file that cannot be used is told of once and the old certificate stays.

mod certificate;

pub use certificate::{CertificateFiles, TlsError};

use certificate::{Stamp, certified_key, roots};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What the TLS listeners show and ask for.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The first that is valid for the name asked for is shown (SNI, RFC 6066 §3); the first of
    /// all if none is, or if no name is asked for.
    pub certificates: Vec<CertificateFiles>,
    /// Authorities, in PEM. If set, who connects by TLS (not by WSS: browsers) must show a
    /// certificate signed by one of them.
    pub client_ca: Option<PathBuf>,
}

/// To whom we connect by TLS.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// What names it to [`super::Transports::move_tls_peer`].
    pub trunk: String,
    /// Where it is, as far as that is known.
    pub addresses: Vec<SocketAddr>,
    /// The name that its certificate must carry, and that is asked for (SNI); or an IP address.
    pub name: String,
    /// How it proves who it is.
    pub trust: TlsTrust,
    /// The certificate that we show if it asks for one; read at the start. Default: none.
    pub shown: Option<CertificateFiles>,
}

impl TlsPeer {
    /// One at a single address, known by its IP address alone.
    pub fn at(address: SocketAddr, trust: TlsTrust) -> Self {
        let name = address.ip().to_string();
        Self { trunk: name.clone(), addresses: vec![address], name, trust, shown: None }
    }
}

/// How the other side proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsTrust {
    /// By a certificate of an authority that browsers know.
    WebRoots,
    /// By a certificate of an authority in this PEM file, or by this very certificate.
    Authorities(PathBuf),
    /// Not at all: whoever answers is believed. Only keeps out those who merely listen.
    Anyone,
}

/// One listener's side of TLS.
#[derive(Debug)]
pub(super) struct Server {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: Vec<Option<Stamp>>,
    config: Arc<ServerConfig>,
}

impl Server {
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = files.stamps();
        let config = server_config(&files)?;
        Ok(Self { files, loaded: Mutex::new(Loaded { stamps, config }) })
    }

    pub(super) async fn accept(
        self: Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<server::TlsStream<TcpStream>> {
        // A disk that hangs holds up this connection only.
        let config = tokio::task::spawn_blocking(move || self.current());
        let config = config.await.map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(stream).await
    }

    fn current(&self) -> Arc<ServerConfig> {
        let stamps = self.files.stamps();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.stamps != stamps {
            // Noted even where it cannot be used, so that it is told of once; the key that is
            // written after its certificate changes the stamps again.
            loaded.stamps = stamps;
            match server_config(&self.files) {
                Ok(config) => {
                    tracing::info!("TLS certificates read again");
                    loaded.config = config;
                }
                Err(err) => tracing::warn!(%err, "new TLS certificate unusable, the old one stays"),
            }
        }
        Arc::clone(&loaded.config)
    }
}

/// What a failed handshake means by our settings, as the end of a sentence; empty if nothing.
pub(super) fn refusal(err: &io::Error) -> &'static str {
    match err.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::NoCertificatesPresented) => {
            ": it showed no certificate, and sip.tls_client_ca asks for one"
        }
        Some(rustls::Error::InvalidCertificate(_)) => {
            ": its certificate is not of an authority in sip.tls_client_ca, or not valid now"
        }
        _ => "",
    }
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let pairs = self.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        pairs.chain(&self.client_ca).map(|path| Stamp::of(path)).collect()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let keys = files.certificates.iter().map(|pair| certified_key(pair, &provider).map(Arc::new));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    let config = match &files.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let clients =
                WebPkiClientVerifier::builder_with_provider(roots(path)?.into(), provider);
            config.with_client_cert_verifier(
                clients
                    .build()
                    .map_err(|err| TlsError::File { path: path.clone(), why: err.to_string() })?,
            )
        }
    };
    Ok(Arc::new(config.with_cert_resolver(Arc::new(ByName(keys)))))
}

/// Chooses a certificate by the name asked for. Never empty.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = asked.and_then(|name| self.0.iter().find(|key| carries(key, &name)));
        named.or(self.0.first()).cloned()
    }
}

fn carries(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .and_then(|certificate| rustls::client::verify_server_name(&certificate, name))
        .is_ok()
}

/// Our side of a TLS connection that we open.
#[derive(Clone, Debug)]
pub(super) struct Client {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Client {
    pub(super) fn load(peer: &TlsPeer) -> Result<Self, TlsError> {
        let name = peer.name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| TlsError::BadName { name: peer.name.clone() })?;
        let provider = provider();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?;
        let config = match &peer.trust {
            TlsTrust::WebRoots => {
                let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
                config.with_root_certificates(roots)
            }
            TlsTrust::Authorities(path) => {
                let verifier = PinnedOrSigned::new(path, &provider)?;
                config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            TlsTrust::Anyone => {
                let verifier = Anyone(Arc::clone(&provider));
                config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match &peer.shown {
            None => config.with_no_client_auth(),
            Some(files) => {
                let key = certified_key(files, &provider)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        Ok(Self { name, config: Arc::new(config) })
    }

    pub(super) async fn connect(
        self,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        TlsConnector::from(self.config).connect(self.name, stream).await
    }
}

/// Believes a certificate that is in the file itself, as gateways with a certificate of their own
/// making need, or that one in the file has signed.
#[derive(Debug)]
struct PinnedOrSigned {
    pinned: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
}

impl PinnedOrSigned {
    fn new(path: &std::path::Path, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let pinned = certificate::certificates(path)?;
        let signed =
            WebPkiServerVerifier::builder_with_provider(roots(path)?.into(), Arc::clone(provider));
        let signed = signed
            .build()
            .map_err(|err| TlsError::File { path: path.into(), why: err.to_string() })?;
        Ok(Self { pinned, signed })
    }
}

impl ServerCertVerifier for PinnedOrSigned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&certificate, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.signed.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// Believes every certificate, if only its key is there.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
