//! splunkd's certificate, known from Splunk's own folder: whoever else listens at its address does not get the session
//! key.
//!
//! Splunk signs its default certificate with an authority whose key ships with every Splunk, and for a name that is no
//! host's. So neither the signature nor the name proves anything: the certificate itself is compared. Format:
//! server.conf.spec, `[sslConfig]`, `serverCert`: a PEM file whose first certificate is the server's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::conf_file::stanzas;
use crate::base::durable;

/// Longest file that is read for a certificate or a setting.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Most apps whose `server.conf` is read.
const MAX_APPS: usize = 1000;

/// Splunk's certificate unless a `server.conf` names another.
const DEFAULT_FILE: &str = "etc/auth/server.pem";

/// A TLS configuration that accepts nothing but splunkd's own certificate. `None` where that cannot be read.
#[must_use]
pub(super) fn accept_only_splunkds(home: &Path) -> Option<ClientConfig> {
    let files = files(home);
    let known: Vec<_> = files.iter().filter_map(|file| first_in(file)).collect();
    if known.is_empty() {
        return None;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = OnlyThese {
        known,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Some(config)
}

/// The files that splunkd may have its certificate from. Which setting wins is splunkd's affair: all are its own.
fn files(home: &Path) -> Vec<PathBuf> {
    let mut files = vec![home.join(DEFAULT_FILE)];
    let apps = std::fs::read_dir(home.join("etc/apps"));
    let apps = apps.into_iter().flatten().flatten().take(MAX_APPS);
    let mut folders = vec![home.join("etc/system/local")];
    for app in apps {
        folders.extend(["local", "default"].map(|part| app.path().join(part)));
    }
    for folder in folders {
        let text = durable::read(&folder.join("server.conf"), MAX_FILE_BYTES);
        let Some(text) = text.ok().flatten() else {
            continue;
        };
        // splunkd skips a line that it cannot read, but then it has told the administrator so.
        let stanzas = stanzas(&String::from_utf8_lossy(&text)).unwrap_or_default();
        let named = stanzas.get("sslConfig").and_then(|it| it.get("serverCert"));
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            files.push(PathBuf::from(
                named.replace("$SPLUNK_HOME", &home.to_string_lossy()),
            ));
        }
    }
    files
}

/// The server's own certificate, which comes first in the file.
fn first_in(file: &Path) -> Option<CertificateDer<'static>> {
    let pem = durable::read(file, MAX_FILE_BYTES).ok().flatten()?;
    CertificateDer::from_pem_slice(&pem).ok()
}

/// Accepts these certificates and no other.
struct OnlyThese {
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for OnlyThese {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnlyThese({} certificates)", self.known.len())
    }
}

impl ServerCertVerifier for OnlyThese {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.contains(presented) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!(
            "its certificate is neither in {DEFAULT_FILE} nor named by serverCert in a server.conf; after a change of the certificate restart Splunk, otherwise find out what else listens at this address"
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{DEFAULT_FILE, MAX_APPS, MAX_FILE_BYTES, accept_only_splunkds, files};

    #[test]
    fn a_file_that_is_too_long_holds_no_certificate_and_the_apps_that_are_looked_at_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let certificate = include_str!("../../tests/fixtures/test_only_certificate.pem");
        let longest = usize::try_from(MAX_FILE_BYTES).unwrap();
        for (length, is_read) in [(longest, true), (longest + 1, false)] {
            let padding = "\n".repeat(length - certificate.len());
            write(DEFAULT_FILE, &format!("{certificate}{padding}"));
            assert_eq!(accept_only_splunkds(home.path()).is_some(), is_read);
        }
        for n in 0..=MAX_APPS {
            let conf = "[sslConfig]\nserverCert = $SPLUNK_HOME/cert.pem\n";
            write(&format!("etc/apps/app{n}/local/server.conf"), conf);
        }
        assert_eq!(files(home.path()).len(), 1 + MAX_APPS);
    }
}
