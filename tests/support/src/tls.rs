//! TLS in front of a stand-in, so that it can be reached at an `https` address.
//!
//! The certificate is for 127.0.0.1 and localhost, and nobody vouches for it but the CA in [`CA_FILE`]. Both were
//! made once, with openssl, and are valid from 2020 to 2120; the CA's key was thrown away.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::http::{Loopback, relay};

/// What `ca_file` must be for the stand-in to be trusted.
pub const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/test_only_ca.pem");

const CERTIFICATE: &[u8] = include_bytes!("../../fixtures/test_only_server.pem");
const PRIVATE_KEY: &[u8] = include_bytes!("../../fixtures/test_only_server_key.pem");

const CHUNK_BYTES: usize = 16 * 1024;

/// A listener that decrypts for a stand-in and encrypts what that answers; it stops when it is dropped.
///
/// A stand-in that closes is passed on as an orderly end of TLS, one that resets as a connection that breaks off.
pub struct Tls {
    loopback: Loopback,
}

impl Tls {
    /// Serves what `url`, an `http` address on loopback, serves.
    pub fn in_front_of(url: &str) -> Self {
        let address = url.strip_prefix("http://").and_then(|it| it.parse().ok());
        let server: SocketAddr = address.unwrap_or_else(|| panic!("{url} is no http://ip:port"));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
                PrivateKeyDer::from_pem_slice(PRIVATE_KEY).unwrap(),
            );
        let config = Arc::new(config.unwrap());
        let loopback = Loopback::listen(move |client| serve(&config, client, server));
        Self { loopback }
    }

    /// The base address, `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://{}", self.loopback.address())
    }
}

fn serve(config: &Arc<ServerConfig>, client: &TcpStream, server: SocketAddr) -> io::Result<()> {
    let tls = Mutex::new(ServerConnection::new(config.clone()).map_err(io::Error::other)?);
    let server = &TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    relay(
        client,
        server,
        || decrypt(&tls, client, server),
        || encrypt(&tls, server, client),
    );
    Ok(())
}

/// From the client to the server; the handshake happens here too.
fn decrypt(
    tls: &Mutex<ServerConnection>,
    mut client: &TcpStream,
    mut server: &TcpStream,
) -> io::Result<()> {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        // Waiting must not keep the other direction from encrypting, so the lock comes after it.
        let n = client.read(&mut chunk)?;
        if n == 0 {
            return server.shutdown(Shutdown::Write);
        }
        let mut tls = tls.lock().unwrap();
        let mut received = &chunk[..n];
        while !received.is_empty() && tls.read_tls(&mut received)? > 0 {
            let state = tls.process_new_packets();
            // After an error, this is the alert that tells the client.
            send(&mut tls, client)?;
            let mut plain = vec![0; state.map_err(io::Error::other)?.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut plain)?;
            server.write_all(&plain)?;
        }
    }
}

/// From the server to the client.
fn encrypt(
    tls: &Mutex<ServerConnection>,
    mut server: &TcpStream,
    client: &TcpStream,
) -> io::Result<()> {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let n = server.read(&mut chunk)?;
        let mut tls = tls.lock().unwrap();
        if n == 0 {
            tls.send_close_notify();
            send(&mut tls, client)?;
            return client.shutdown(Shutdown::Write);
        }
        tls.writer().write_all(&chunk[..n])?;
        send(&mut tls, client)?;
    }
}

/// Sends what has been encrypted, whose order the lock of `tls` keeps.
fn send(tls: &mut ServerConnection, mut client: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut client)?;
    }
    Ok(())
}
