//! What every HTTP call of ours needs: a way to the server, a body of bounded length, and words for a network that
//! fails.
//!
//! Used towards Docusign and towards Splunk alike; nothing here knows either.

use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::header::HeaderValue;
use reqwest::{Certificate, NoProxy, Proxy, Url};

use crate::retry::Patience;
use crate::secret::Secret;

/// The answer of a proxy, not of the server.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// Memory that is set aside because a server announces so long an answer.
const MAX_ANNOUNCED_BYTES: u64 = 8 * 1024 * 1024;

/// The part of an answer's length that is set aside in addition, for a next one that is a little longer.
const HEADROOM: usize = 16;

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Network {
    /// The proxy for every call; without one the environment's `HTTPS_PROXY` and `NO_PROXY` apply.
    pub proxy: Option<ProxySettings>,
    /// Certificates that are trusted beside the system's.
    pub ca_certificates: Vec<Certificate>,
    /// Whether the proxy of the environment applies where none is given.
    pub environment_proxy: bool,
    /// Whether hosts of the environment's `NO_PROXY` are called directly although a proxy is given.
    pub no_proxy: bool,
    /// Whether any connection is encrypted: otherwise the system's trust roots need not be read.
    pub tls: bool,
    /// How long to wait and how often to try.
    pub patience: Patience,
}

/// A proxy and the credentials for it.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// `http(s)://host:port`.
    pub url: Url,
    /// User name and password, if the proxy wants them.
    pub credentials: Option<(String, Secret)>,
}

impl Network {
    /// The configured proxy, which may be to blame when there is no connection.
    #[must_use]
    pub fn through(&self) -> Option<String> {
        let proxy = self.proxy.as_ref()?;
        Some(proxy.url.as_str().trim_end_matches('/').to_owned())
    }

    /// A client that takes this way; `finish` adds what only one server needs.
    ///
    /// # Errors
    /// The proxy or the certificates cannot be used.
    pub fn client(self, finish: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client> {
        let mut builder = Client::builder()
            .user_agent(concat!("ds_monitor/", env!("CARGO_PKG_VERSION")))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.patience.connect)
            // For the blocking client this bounds each wait for the answer's next bytes, not the whole call.
            .timeout(self.patience.progress);
        if let Some(proxy) = self.proxy {
            let mut through = Proxy::all(proxy.url).context("proxy_url cannot be used")?;
            if self.no_proxy {
                through = through.no_proxy(NoProxy::from_env());
            }
            if let Some((user, password)) = proxy.credentials {
                // The library's own basic_auth takes the way through a URL, which changes special characters.
                let credentials = STANDARD.encode(format!("{user}:{}", password.expose()));
                let mut header = HeaderValue::try_from(format!("Basic {credentials}"))
                    .context("the proxy credentials cannot be used")?;
                header.set_sensitive(true);
                through = through.custom_http_auth(header);
            }
            builder = builder.proxy(through);
        } else if !self.environment_proxy {
            builder = builder.no_proxy();
        }
        builder = if self.tls {
            builder.tls_certs_merge(self.ca_certificates)
        } else {
            builder.tls_certs_only([])
        };
        finish(builder).build().context(
            "could not set up TLS: are the system's certificates (ca-certificates) installed?",
        )
    }
}

/// Sends a request and reads the head of its answer. A proxy's refusal is a problem of the network, not an answer.
///
/// # Errors
/// There is no answer.
pub fn send(request: RequestBuilder) -> Result<Response, NetworkProblem> {
    let response = request.send().map_err(|error| NetworkProblem::of(&error))?;
    if response.status().as_u16() == PROXY_AUTHENTICATION_REQUIRED {
        return Err(NetworkProblem::proxy_credentials());
    }
    Ok(response)
}

/// Why there was no answer, or none to the end.
#[derive(Debug)]
pub struct NetworkProblem {
    /// Its kind, which decides what can be done.
    pub kind: ProblemKind,
    /// What happened, as a part of a sentence.
    pub text: String,
}

/// The kinds of network problems that have remedies of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The name has no address.
    Name,
    /// The certificate is not trusted.
    Certificate,
    /// Something other than TLS is spoken there.
    NotTls,
    /// The proxy demands credentials, or others.
    ProxyCredentials,
    /// The proxy does not connect to the host.
    Tunnel,
    /// The answer is too long.
    TooLong,
    /// No connection, or one that broke off or fell silent.
    Connection,
}

impl ProblemKind {
    /// Whether trying again does not help: a certificate does not become trusted by waiting.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::Certificate | Self::NotTls | Self::ProxyCredentials | Self::TooLong
        )
    }
}

impl NetworkProblem {
    /// The words for an error of the HTTP library, whose parts can be told apart by their texts only.
    #[must_use]
    pub fn of(error: &reqwest::Error) -> Self {
        let cause = innermost(error);
        let (kind, text) = if error.is_dns() {
            (
                ProblemKind::Name,
                format!("the name cannot be resolved ({cause})"),
            )
        } else if error.is_timeout() && error.is_connect() {
            (ProblemKind::Connection, "no connection in time".to_owned())
        } else if error.is_timeout() {
            (ProblemKind::Connection, "no answer in time".to_owned())
        } else if cause.contains("certificate") {
            let text = format!("the TLS certificate is not trusted ({cause})");
            (ProblemKind::Certificate, text)
        } else if cause.contains("InvalidContentType") {
            (ProblemKind::NotTls, "no TLS is spoken there".to_owned())
        } else if cause.contains("proxy authorization") {
            return Self::proxy_credentials();
        } else if cause.contains("tunnel error") {
            (
                ProblemKind::Tunnel,
                "the proxy opens no tunnel to it".to_owned(),
            )
        } else if error.is_connect() {
            (ProblemKind::Connection, format!("no connection ({cause})"))
        } else {
            (ProblemKind::Connection, format!("no answer ({cause})"))
        };
        Self { kind, text }
    }

    /// Who is not reached which way, why, and what to do: the end of a sentence that begins with the host.
    #[must_use]
    pub fn describe(&self, through: Option<&str>) -> String {
        let way = match through {
            Some(proxy) => format!(" through the proxy {proxy}"),
            None => String::new(),
        };
        let remedy = match self.kind {
            ProblemKind::Name => "Check name resolution on this machine, or set proxy_url",
            ProblemKind::Certificate => {
                "Set ca_file to the certificate of the CA that signed it, for example that of a proxy that inspects TLS"
            }
            ProblemKind::NotTls => "Should the address, or that of the proxy, begin with http://?",
            ProblemKind::ProxyCredentials => "Check proxy_user and proxy_password",
            ProblemKind::Tunnel => "Check that the proxy allows connections to it",
            ProblemKind::TooLong => "Where pages are long, a lower limit makes them shorter",
            ProblemKind::Connection => "Check the firewall and proxy_url",
        };
        format!("cannot be reached{way}: {}. {remedy}", self.text)
    }

    /// A proxy's answer 407, to a request or to the opening of a tunnel.
    #[must_use]
    pub fn proxy_credentials() -> Self {
        Self {
            kind: ProblemKind::ProxyCredentials,
            text: "the proxy demands credentials, or others than these (status 407)".to_owned(),
        }
    }
}

/// The whole body, unpacked, if it is not longer than `limit` bytes, in the memory of `body`.
///
/// # Errors
/// The answer broke off, stalled, or is too long.
pub fn read_body(
    response: Response,
    limit: u64,
    mut body: Vec<u8>,
) -> Result<Vec<u8>, NetworkProblem> {
    // The announced length is only a hint for the first allocation, and a server may announce anything.
    let hint = response.content_length().unwrap_or_default();
    let hint = usize::try_from(hint.min(MAX_ANNOUNCED_BYTES)).unwrap_or_default();
    body.clear();
    if body.capacity() < hint {
        // Growing would keep both memories for a moment, and double the larger one.
        body = Vec::new();
        body.reserve_exact(hint + hint / HEADROOM);
    }
    response
        .take(limit + 1)
        .read_to_end(&mut body)
        .map_err(|error| NetworkProblem {
            kind: ProblemKind::Connection,
            text: format!("the answer broke off ({})", innermost(&error)),
        })?;
    if body.len() as u64 > limit {
        return Err(NetworkProblem {
            kind: ProblemKind::TooLong,
            text: format!("the answer is longer than {limit} bytes"),
        });
    }
    Ok(body)
}

/// The last cause of an error: the outer ones repeat the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether `url`'s host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
