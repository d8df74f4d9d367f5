//! What every HTTP call of ours needs: a body of bounded length, and words for a network that fails.
//!
//! Used towards Docusign and towards splunkd alike; nothing here knows either.

use std::io::Read;

use reqwest::Url;
use reqwest::blocking::Response;

/// Memory that is set aside because a server announces so long an answer.
const MAX_ANNOUNCED_BYTES: u64 = 8 * 1024 * 1024;

/// The part of an answer's length that is set aside in addition, for a next one that is a little longer.
const HEADROOM: usize = 16;

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
