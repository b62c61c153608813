//! Trust: which authorities and client certificates apply to a host, and TLS over a connection.
//!
//! The connector is our own because the client's built-in one panics on a client key that does not fit, and because a
//! self-signed certificate that is itself put into `certs.d` must be accepted, as OpenSSL and Go do.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::ClientOptions;
use super::error::{Cause, RegistryError};

/// *Units*: bytes. The largest real bundles have some 300 KiB.
const PEM_MAX_BYTES: u64 = 8 << 20;

/// Builds the TLS settings for `host[:port]`. `verify = false` takes any certificate.
pub(super) fn client_config(
    options: &ClientOptions,
    host_port: &str,
    default_port_host: Option<&str>,
    verify: bool,
) -> Result<Arc<ClientConfig>, RegistryError> {
    let provider = Arc::new(ring::default_provider());
    let mut own_authorities = Vec::new();
    let mut client_pair = None;
    if let Some(path) = &options.ca_file {
        own_authorities.extend(read_certificates(path)?);
    }
    for dir in &options.cert_dirs {
        for name in std::iter::once(host_port).chain(default_port_host) {
            read_cert_dir(&dir.join(name), &mut own_authorities, &mut client_pair)?;
        }
    }
    let verifier = Arc::new(Verifier::new(&provider, own_authorities, verify));
    let failed =
        |source: rustls::Error| RegistryError::Certificate { registry: host_port.to_owned(), source: Box::new(source) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match client_pair {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(failed)?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

type ClientPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads one `certs.d/HOST` folder; absent is empty.
fn read_cert_dir(
    dir: &Path,
    authorities: &mut Vec<CertificateDer<'static>>,
    client_pair: &mut Option<ClientPair>,
) -> Result<(), RegistryError> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => authorities.extend(read_certificates(&path)?),
            Some("cert") if client_pair.is_none() => {
                let key_path = path.with_extension("key");
                let key = PrivateKeyDer::from_pem_slice(&read_pem(&key_path)?)
                    .map_err(|error| certificate_file(&key_path, error))?;
                *client_pair = Some((read_certificates(&path)?, key));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let pem = read_pem(path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| certificate_file(path, error))?;
    if found.is_empty() { Err(certificate_file(path, "it holds no PEM certificate")) } else { Ok(found) }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| certificate_file(path, error))?;
    file.take(PEM_MAX_BYTES).read_to_end(&mut bytes).map_err(|error| certificate_file(path, error))?;
    Ok(bytes)
}

fn certificate_file(path: &Path, source: impl Into<Cause>) -> RegistryError {
    RegistryError::CertificateFile { path: path.to_owned(), source: source.into() }
}

/// The system's authorities, read once: `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the usual places.
fn system_authorities() -> &'static [CertificateDer<'static>] {
    static FOUND: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    FOUND.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

/// Checks certificates by the system's and the host's own authorities.
#[derive(Debug)]
struct Verifier {
    /// `None`: there is no authority at all on this machine.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates put there for this host, accepted as they are besides being authorities.
    own: Vec<CertificateDer<'static>>,
    verify: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(provider: &Arc<CryptoProvider>, own: Vec<CertificateDer<'static>>, verify: bool) -> Self {
        let mut roots = RootCertStore::empty();
        if verify {
            roots.add_parsable_certificates(system_authorities().iter().cloned());
            roots.add_parsable_certificates(own.iter().cloned());
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().ok();
        Self { chain, own, verify, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.verify {
            return Ok(ServerCertVerified::assertion());
        }
        let Some(chain) = &self.chain else {
            return Err(rustls::Error::General("this machine trusts no authority: install ca-certificates".to_owned()));
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Raised after the dates were checked, so only the name is left to check.
            Err(error) if is_authority_as_server(&error) && self.own.iter().any(|own| own == end_entity) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_authority_as_server(error: &rustls::Error) -> bool {
    match error {
        // The verifying library's own error type is not re-exported; its name is all there is to match on.
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            format!("{other:?}").contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

/// Puts TLS over the connection where the address wants it.
pub(super) struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    pub(super) fn new(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Err(ureq::Error::ConnectionFailed) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("the host name is not valid for TLS"))?;
        let failed = |error: rustls::Error| ureq::Error::Other(Box::new(error));
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(failed)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned { conn: connection, sock: socket } })))
    }
}

/// A connection under TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
