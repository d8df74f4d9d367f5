//! What every HTTP call of ours needs: a body of bounded length, and words for a network that fails.
//!
//! Used towards Docusign and towards splunkd alike; nothing here knows either.

use std::io::Read;

use reqwest::Url;
use reqwest::blocking::Response;

/// Memory that is set aside because a server announces so long an answer.
const MAX_ANNOUNCED_BYTES: u64 = 8 * 1024 * 1024;

/// Why there was no answer, or none to the end.
#[derive(Debug)]
pub struct NetworkProblem {
    /// What happened, as a part of a sentence.
    pub text: String,
    /// Trying again does not help: a certificate does not become trusted by waiting.
    pub permanent: bool,
}

impl NetworkProblem {
    /// The words for an error of the HTTP library.
    #[must_use]
    pub fn of(error: &reqwest::Error) -> Self {
        let cause = innermost(error);
        let text = if error.is_dns() {
            format!("its name cannot be resolved ({cause})")
        } else if error.is_timeout() && error.is_connect() {
            "no connection in time".to_owned()
        } else if error.is_timeout() {
            "no answer in time".to_owned()
        } else if is_about_certificates(&cause) {
            format!("the TLS certificate is not trusted ({cause})")
        } else if is_about_credentials(&cause) {
            PROXY_WANTS_CREDENTIALS.to_owned()
        } else if error.is_connect() {
            format!("no connection ({cause})")
        } else {
            format!("no answer ({cause})")
        };
        Self {
            permanent: is_about_certificates(&cause) || is_about_credentials(&cause),
            text,
        }
    }
}

/// What to say when a proxy answers 407, to a request or to the opening of a tunnel.
pub const PROXY_WANTS_CREDENTIALS: &str =
    "no way without the right proxy_user and proxy_password (status 407)";

fn is_about_credentials(cause: &str) -> bool {
    cause.contains("proxy authorization")
}

/// The TLS library tells its errors apart by words only, once the HTTP library has wrapped them.
fn is_about_certificates(cause: &str) -> bool {
    cause.contains("certificate")
}

/// The whole body, unpacked, if it is not longer than `limit` bytes.
///
/// # Errors
/// The answer broke off, stalled, or is too long.
pub fn read_body(response: Response, limit: u64) -> Result<Vec<u8>, NetworkProblem> {
    // The announced length is only a hint for the first allocation, and a server may announce anything.
    let hint = response.content_length().unwrap_or_default();
    let hint = usize::try_from(hint.min(MAX_ANNOUNCED_BYTES)).unwrap_or_default();
    let mut body = Vec::with_capacity(hint);
    response
        .take(limit + 1)
        .read_to_end(&mut body)
        .map_err(|error| NetworkProblem {
            text: format!("the answer broke off ({})", innermost(&error)),
            permanent: false,
        })?;
    if body.len() as u64 > limit {
        return Err(NetworkProblem {
            text: format!("the answer is longer than {limit} bytes"),
            permanent: true,
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
