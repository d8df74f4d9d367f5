//! What every HTTP call needs: a checked address, a way to the server, an answer of bounded length, and words for a
//! network that fails.
//!
//! Nothing here knows the servers. What their administrators can do about a problem is the caller's to say, in
//! [`Network::remedy`].

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::MultiGzDecoder;
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Certificate, NoProxy, Proxy, Url};

use crate::base::clock::{Clock, SystemClock};
use crate::base::retry::Patience;
use crate::base::secret::{Secret, redact};

/// The answer of a proxy, not of the server.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// The longest time for the body of one answer: 4 MB of a page at 14 kB per second.
const LONGEST_ANSWER: Duration = Duration::from_secs(300);

/// A call that takes longer than this is mentioned.
const SLOW_ANSWER: Duration = Duration::from_secs(60);

/// What some servers put before a text, although JSON allows nothing there (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The files of one run: pipes, lock, checkpoint, certificates, a few connections.
const LEAST_OPEN_FILES: u64 = 32;

/// Most memory reserved for an answer only because the server announces one that long.
const MAX_ANNOUNCED_BYTES: u64 = 8 * 1024 * 1024;

/// The part of an answer's length that is reserved in addition, for a next one that is a little longer.
const HEADROOM: usize = 16;

/// The part of a server's text that is passed on, in characters: what fits a line that a person reads.
pub(crate) const MAX_SERVER_TEXT_CHARS: usize = 300;

/// A text from a server as a part of our own sentence: cut to [`MAX_SERVER_TEXT_CHARS`], without the secrets that the
/// server may have been sent, on one line, and with `:` for `=`, so that it cannot pass for a field of the log.
#[must_use]
pub(crate) fn server_text(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SERVER_TEXT_CHARS).collect();
    let one_line = |c: char| match c {
        '=' => ':',
        c if c.is_control() => ' ',
        c => c,
    };
    redact(&cut).chars().map(one_line).collect()
}

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Network {
    /// The caller's name and version, as servers log it.
    pub user_agent: &'static str,
    /// The proxy for every call; the environment's is the caller's to find.
    pub proxy: Option<ProxySettings>,
    /// Certificates that are trusted in addition to the system's.
    pub ca_certificates: Vec<Certificate>,
    /// Whether hosts in the environment's `NO_PROXY` are called directly although a proxy is given.
    pub no_proxy: bool,
    /// Whether any connection is encrypted: otherwise the system's trust roots need not be read.
    pub tls: bool,
    /// How long to wait and how often to try.
    pub patience: Patience,
    /// What to do about a problem, in the words of those who set up this way.
    pub remedy: fn(ProblemKind) -> &'static str,
}

/// A proxy and the credentials for it.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// `http(s)://host:port`.
    pub url: Url,
    /// User name and password, if the proxy requires them.
    pub credentials: Option<(String, Secret)>,
}

impl Network {
    /// The predicate of a sentence about a server: it cannot be reached, which way, why, and what to do.
    #[must_use]
    pub fn describe(&self, problem: &NetworkProblem) -> String {
        let way = match &self.proxy {
            Some(proxy) => format!(
                " through the proxy {}",
                proxy.url.as_str().trim_end_matches('/')
            ),
            None => String::new(),
        };
        format!(
            "cannot be reached{way}: {}. {}",
            problem.text,
            (self.remedy)(problem.kind)
        )
    }

    /// A client that takes this way; `finish` adds what only one server needs.
    ///
    /// # Errors
    /// The proxy or the certificates cannot be used.
    pub fn client(&self, finish: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client> {
        let accepted = [(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))];
        let mut builder = Client::builder()
            .user_agent(self.user_agent)
            // `exchange` unpacks: the library's own decoder reads only the first member of a gzip body.
            .default_headers(accepted.into_iter().collect())
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.patience.connect)
            // For the blocking client this bounds each wait for the answer's next bytes, not the whole call.
            .timeout(self.patience.progress);
        if let Some(proxy) = &self.proxy {
            let mut through =
                Proxy::all(proxy.url.clone()).context("the address of the proxy cannot be used")?;
            if self.no_proxy {
                through = through.no_proxy(NoProxy::from_env());
            }
            if let Some((user, password)) = &proxy.credentials {
                // The library's own basic_auth passes them through a URL, which changes special characters.
                let credentials = STANDARD.encode(format!("{user}:{}", password.expose()));
                let mut header = HeaderValue::try_from(format!("Basic {credentials}"))
                    .context("the proxy credentials cannot be used")?;
                header.set_sensitive(true);
                through = through.custom_http_auth(header);
            }
            builder = builder.proxy(through);
        } else {
            builder = builder.no_proxy();
        }
        builder = if self.tls {
            builder.tls_certs_merge(self.ca_certificates.clone())
        } else {
            builder.tls_certs_only([])
        };
        // The system's certificates would seem to be missing, because the library cannot open their file.
        if let Some(limit) = open_files().filter(|limit| *limit < LEAST_OPEN_FILES) {
            bail!(
                "this process may open only {limit} files at a time. {}",
                (self.remedy)(ProblemKind::OpenFiles)
            );
        }
        finish(builder).build().context(
            "could not set up TLS: are the system's certificates (ca-certificates) installed?",
        )
    }
}

/// A whole answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, unpacked.
    pub body: Vec<u8>,
}

/// Sends a request and reads its whole answer, whose body is at most `limit` bytes long, into the memory of `buffer`.
/// A byte order mark before the body is dropped. `on_slow` gets the bytes of the answer so far, once, when it takes
/// longer than a minute. A proxy's refusal is a problem of the network, not an answer.
///
/// # Errors
/// There is no answer, or it broke off, stalled, or is too long.
pub fn exchange(
    request: RequestBuilder,
    limit: u64,
    buffer: Vec<u8>,
    on_slow: impl Fn(usize),
) -> Result<Answer, NetworkProblem> {
    let response = request.send().map_err(|error| NetworkProblem::of(&error))?;
    if response.status().as_u16() == PROXY_AUTHENTICATION_REQUIRED {
        return Err(NetworkProblem::proxy_credentials());
    }
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: read_body(response, limit, buffer, on_slow)?,
    })
}

/// Why there was no answer, or no whole one.
#[derive(Debug)]
pub struct NetworkProblem {
    /// Its kind, which decides what can be done about it.
    pub kind: ProblemKind,
    /// What happened, as a part of a sentence.
    pub text: String,
}

/// The kinds of network problems, by their remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The name has no address.
    Name,
    /// The certificate is not trusted.
    Certificate,
    /// The other side does not speak TLS.
    NotTls,
    /// The proxy requires credentials, or does not accept those it gets.
    ProxyCredentials,
    /// The proxy refuses to connect to the host.
    Tunnel,
    /// The answer is too long.
    TooLong,
    /// This process may open no more files, and a connection is one.
    OpenFiles,
    /// There is no connection.
    Connection,
    /// There was a connection, but it broke off or fell silent before a whole answer.
    NoAnswer,
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
    /// Puts an error of the HTTP library into words. Its parts differ in their texts only.
    fn of(error: &reqwest::Error) -> Self {
        let cause = innermost(error);
        let (kind, text) = if out_of_files(&cause) {
            (ProblemKind::OpenFiles, cause)
        } else if error.is_dns() {
            (
                ProblemKind::Name,
                format!("the name cannot be resolved ({cause})"),
            )
        } else if error.is_timeout() && error.is_connect() {
            (ProblemKind::Connection, "no connection in time".to_owned())
        } else if error.is_timeout() {
            (ProblemKind::NoAnswer, "no answer in time".to_owned())
        } else if cause.contains("certificate") {
            let text = format!("the TLS certificate is not trusted ({cause})");
            (ProblemKind::Certificate, text)
        } else if cause.contains("InvalidContentType") {
            (
                ProblemKind::NotTls,
                "the other side does not speak TLS".to_owned(),
            )
        } else if cause.contains("proxy authorization") {
            return Self::proxy_credentials();
        } else if cause.contains("tunnel error") {
            (
                ProblemKind::Tunnel,
                "the proxy refuses to connect to it".to_owned(),
            )
        } else if error.is_connect() {
            (ProblemKind::Connection, format!("no connection ({cause})"))
        } else {
            (ProblemKind::NoAnswer, format!("no answer ({cause})"))
        };
        Self { kind, text }
    }

    /// A proxy's answer 407, to a request or to the opening of a tunnel.
    fn proxy_credentials() -> Self {
        Self {
            kind: ProblemKind::ProxyCredentials,
            text: "the proxy requires credentials, or does not accept these (status 407)"
                .to_owned(),
        }
    }
}

fn read_body(
    response: Response,
    limit: u64,
    mut body: Vec<u8>,
    on_slow: impl Fn(usize),
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
    let packing = Packing::of(response.headers())?;
    let clock = SystemClock::new();
    let arriving = Unhurried {
        answer: response,
        clock: &clock,
        started: clock.elapsed(),
        bytes: 0,
        on_slow: Some(on_slow),
    };
    packing
        .unpack(BufReader::new(arriving), limit + 1, &mut body)
        .map_err(|error| NetworkProblem {
            kind: ProblemKind::NoAnswer,
            text: format!("the answer broke off ({})", innermost(&error)),
        })?;
    if body.len() as u64 > limit {
        return Err(NetworkProblem {
            kind: ProblemKind::TooLong,
            text: format!("the answer is longer than {limit} bytes"),
        });
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(body)
}

/// How a body is packed: RFC 9110, section 8.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Self, NetworkProblem> {
        let mut packing = Self::Plain;
        for header in headers.get_all(CONTENT_ENCODING) {
            for coding in String::from_utf8_lossy(header.as_bytes()).split(',') {
                packing = match (coding.trim().to_ascii_lowercase().as_str(), packing) {
                    ("" | "identity", packing) => packing,
                    // RFC 9110, section 8.4.1.3: the old name means the same.
                    ("gzip" | "x-gzip", Self::Plain) => Self::Gzip,
                    _ => {
                        return Err(NetworkProblem {
                            kind: ProblemKind::NoAnswer,
                            text: format!(
                                "the answer is packed in a way that was not asked for (Content-Encoding: {})",
                                server_text(coding.trim())
                            ),
                        });
                    }
                };
            }
        }
        Ok(packing)
    }

    /// Reads at most `limit` bytes of the unpacked body.
    fn unpack(
        self,
        mut packed: impl BufRead,
        limit: u64,
        body: &mut Vec<u8>,
    ) -> std::io::Result<usize> {
        match self {
            // An empty body is not packed, whatever its header says.
            Self::Gzip if !packed.fill_buf()?.is_empty() => {
                MultiGzDecoder::new(packed).take(limit).read_to_end(body)
            }
            Self::Gzip | Self::Plain => packed.take(limit).read_to_end(body),
        }
    }
}

/// An answer that may take its time, but not for ever: a byte now and then is progress to the client's own limit.
struct Unhurried<'a, R, F> {
    answer: R,
    clock: &'a dyn Clock,
    /// On [`Clock::elapsed`]'s scale.
    started: Duration,
    bytes: usize,
    /// Until it has been called.
    on_slow: Option<F>,
}

impl<R: Read, F: Fn(usize)> Read for Unhurried<'_, R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.clock.elapsed().saturating_sub(self.started);
        if taken >= LONGEST_ANSWER {
            let text = format!("it took longer than {} seconds", LONGEST_ANSWER.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        if taken >= SLOW_ANSWER
            && let Some(on_slow) = self.on_slow.take()
        {
            on_slow(self.bytes);
        }
        let read = self.answer.read(buffer)?;
        self.bytes += read;
        Ok(read)
    }
}

/// How many files this process may have open at a time, if that is limited.
fn open_files() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    return None;
}

/// Whether the system refused to open one more file (EMFILE or ENFILE). Its number is lost on the way through the
/// libraries; the text is not.
fn out_of_files(cause: &str) -> bool {
    cause.contains("Too many open files")
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

/// Where an address may do without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Anywhere.
    Anywhere,
    /// On this machine, where nobody can listen in.
    OnLoopback,
}

/// Why a text is not the base address of a server. Displayed as the end of a sentence that begins with the name of
/// what holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlProblem {
    /// It is not `http://host` or `https://host`, with or without a port.
    Form,
    /// It contains a user name or a password.
    Credentials,
    /// It has a part after the path, with `?` or `#`.
    Query,
    /// It begins with http://, but leads to another machine.
    PlainHttp,
}

impl fmt::Display for UrlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "must be an address such as https://host or https://host:port",
            Self::Credentials => "must not contain a user name or password",
            Self::Query => "must be a base address, without ? and #",
            Self::PlainHttp => {
                "must begin with https://: anybody on the way could read the token that is sent there"
            }
        })
    }
}

/// Reads the base address of a server: scheme, host, and perhaps a port and a path, without a slash at the end.
///
/// # Errors
/// What is wrong with it.
pub fn base_url(text: &str, plain: PlainHttp) -> Result<Url, UrlProblem> {
    let mut url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(UrlProblem::Form)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlProblem::Query);
    }
    if url.scheme() == "http" && plain == PlainHttp::OnLoopback && !is_loopback(&url) {
        return Err(UrlProblem::PlainHttp);
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use reqwest::header::{CONTENT_ENCODING, HeaderValue};

    use super::{
        LONGEST_ANSWER, MAX_SERVER_TEXT_CHARS, Packing, PlainHttp, Unhurried, UrlProblem, base_url,
        server_text,
    };
    use crate::base::clock::Clock;
    use crate::base::secret::Secret;

    /// One byte per second kept a run busy for as long as the server liked.
    #[test]
    fn an_answer_that_trickles_has_a_limit() {
        struct Ticking(std::sync::Mutex<Duration>);

        impl Clock for Ticking {
            fn now(&self) -> chrono::DateTime<chrono::Utc> {
                chrono::DateTime::UNIX_EPOCH
            }

            fn elapsed(&self) -> Duration {
                let mut elapsed = self.0.lock().unwrap();
                *elapsed += Duration::from_secs(1);
                *elapsed
            }

            fn sleep(&self, _: Duration) {}
        }

        let clock = Ticking(std::sync::Mutex::default());
        let trickle = vec![b'x'; 1000];
        let mut body = [0; 1];
        let warnings = std::cell::RefCell::new(Vec::new());
        let mut answer = Unhurried {
            answer: trickle.as_slice(),
            clock: &clock,
            started: Duration::ZERO,
            bytes: 0,
            on_slow: Some(|bytes| warnings.borrow_mut().push(bytes)),
        };
        let mut received = 0;
        let error = loop {
            match answer.read(&mut body) {
                Ok(n) => received += n,
                Err(error) => break error,
            }
        };
        assert_eq!(received as u64, LONGEST_ANSWER.as_secs() - 1);
        assert!(error.to_string().contains("300 seconds"), "{error}");
        assert_eq!(warnings.into_inner(), [59], "one warning, after a minute");
    }

    #[test]
    fn every_spelling_of_gzip_is_unpacked_to_its_last_member() {
        let member = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let members = [member("{\"data\":"), member(""), member("[]}")].concat();
        let unpack = |coding: &'static str, packed: &[u8]| {
            let headers = [(CONTENT_ENCODING, HeaderValue::from_static(coding))];
            let packing = Packing::of(&headers.into_iter().collect()).unwrap();
            let mut body = Vec::new();
            packing.unpack(packed, 1000, &mut body).unwrap();
            String::from_utf8(body).unwrap()
        };
        for coding in [
            "gzip",
            "GZIP",
            "x-gzip",
            "X-GZip",
            " gzip ",
            "identity, gzip",
        ] {
            assert_eq!(unpack(coding, &members), "{\"data\":[]}", "{coding}");
            assert_eq!(unpack(coding, b""), "", "{coding}");
        }
        for coding in ["", "identity"] {
            assert_eq!(unpack(coding, b"{}"), "{}", "{coding}");
        }
    }

    #[test]
    fn a_packing_that_was_not_asked_for_is_named() {
        for coding in ["br", "deflate", "gzip, gzip", "br, gzip"] {
            let headers = [(CONTENT_ENCODING, HeaderValue::from_static(coding))];
            let problem = Packing::of(&headers.into_iter().collect()).unwrap_err();
            assert!(
                problem.text.contains("Content-Encoding"),
                "{}",
                problem.text
            );
        }
    }

    /// A gzip body of 1 MB can hold 1 GB.
    #[test]
    fn unpacking_ends_at_the_limit() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 1_000_000]).unwrap();
        let packed = encoder.finish().unwrap();
        let mut body = Vec::new();
        Packing::Gzip
            .unpack(packed.as_slice(), 1001, &mut body)
            .unwrap();
        assert_eq!(body.len(), 1001);
    }

    #[test]
    fn a_servers_text_is_one_line_of_bounded_length_that_forges_no_field_and_holds_no_secret() {
        assert_eq!(
            server_text("busy\r\n2026 INFO n_events=7"),
            "busy  2026 INFO n_events:7"
        );
        let longest = "ä".repeat(MAX_SERVER_TEXT_CHARS);
        assert_eq!(server_text(&longest), longest);
        assert_eq!(server_text(&format!("{longest}b")), longest);
        let token = Secret::new("kQ81-zaYw0pL3vX9s==".to_owned());
        let text = format!("the token {} is bad", token.expose());
        assert!(!server_text(&text).contains("kQ81"));
        // Cut in the middle of the token, the rest of it is still one.
        let start = "x".repeat(MAX_SERVER_TEXT_CHARS - 15);
        let text = format!("{start} {}", token.expose());
        assert!(!server_text(&text).contains("kQ81"));
    }

    #[test]
    fn a_base_address_has_a_scheme_a_host_and_nothing_after_the_path() {
        use PlainHttp::{Anywhere, OnLoopback};
        for (text, plain, expected) in [
            (
                "https://host.example.com",
                OnLoopback,
                Ok("https://host.example.com/"),
            ),
            (
                "https://host.example.com:1/a/",
                OnLoopback,
                Ok("https://host.example.com:1/a"),
            ),
            ("http://[::1]:1", OnLoopback, Ok("http://[::1]:1/")),
            ("http://127.9.9.9", OnLoopback, Ok("http://127.9.9.9/")),
            (
                "http://host.example.com:3128",
                Anywhere,
                Ok("http://host.example.com:3128/"),
            ),
            (
                "http://host.example.com",
                OnLoopback,
                Err(UrlProblem::PlainHttp),
            ),
            (
                "http://127.0.0.1.example.com",
                OnLoopback,
                Err(UrlProblem::PlainHttp),
            ),
            (
                "http://localhost.example.com",
                OnLoopback,
                Err(UrlProblem::PlainHttp),
            ),
            ("", Anywhere, Err(UrlProblem::Form)),
            ("host.example.com", Anywhere, Err(UrlProblem::Form)),
            ("host.example.com:8088", Anywhere, Err(UrlProblem::Form)),
            ("ftp://127.0.0.1", Anywhere, Err(UrlProblem::Form)),
            ("https://", Anywhere, Err(UrlProblem::Form)),
            (
                "https://user@host.example.com",
                Anywhere,
                Err(UrlProblem::Credentials),
            ),
            (
                "https://:pass@host.example.com",
                Anywhere,
                Err(UrlProblem::Credentials),
            ),
            (
                "https://host.example.com?x=1",
                Anywhere,
                Err(UrlProblem::Query),
            ),
            (
                "https://host.example.com/#x",
                Anywhere,
                Err(UrlProblem::Query),
            ),
        ] {
            let url = base_url(text, plain);
            assert_eq!(
                url.as_ref().map(reqwest::Url::as_str),
                expected.as_ref().copied(),
                "{text}"
            );
        }
    }
}
