//! A forward proxy on loopback: it passes requests for `http` addresses on and opens tunnels to `https` ones.
//!
//! Whatever is asked of it, it connects to loopback only, so a test may name Docusign's real hosts. A connection
//! serves one request, and the client is told so. A server that resets its connection looks like one that closes it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http::{Loopback, Reply, Request, relay};

/// Headers that concern the proxy and nobody behind it.
const OWN_HEADERS: [&str; 3] = ["connection", "proxy-authorization", "proxy-connection"];

/// A running proxy, which stops when it is dropped.
pub struct Proxy {
    loopback: Loopback,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy for everybody.
    pub fn start() -> Self {
        Self::demanding(None)
    }

    /// A proxy that refuses whoever does not come with these credentials.
    pub fn with_credentials(user: &str, password: &str) -> Self {
        Self::demanding(Some(basic(user, password)))
    }

    fn demanding(authorization: Option<String>) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let loopback = Loopback::listen({
            let seen = seen.clone();
            move |client| serve(client, authorization.as_deref(), &seen)
        });
        Self { loopback, seen }
    }

    /// The address, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.loopback.address())
    }

    /// Every request so far, in order, as `GET http://127.0.0.1:80/path?query` or `CONNECT 127.0.0.1:443`. If it came
    /// with credentials, ` as user` follows, whether they were right or not, and if it was refused, ` refused`.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// The header that carries these credentials.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The user that a header's credentials are for.
fn user(authorization: &str) -> Option<String> {
    let encoded = authorization.strip_prefix("Basic ")?;
    let credentials = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, _) = credentials.split_once(':')?;
    Some(user.to_owned())
}

fn serve(
    mut client: &TcpStream,
    authorization: Option<&str>,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some(request) = Request::receive(client)? else {
        return Ok(());
    };
    // The byte that receive() leaves.
    client.read_exact(&mut [0])?;
    let presented = request.header("proxy-authorization");
    let connected = if authorization.is_some() && presented != authorization {
        let challenge = Reply::text(407, "text/plain", "Who are you?");
        Err(challenge.header("Proxy-Authenticate", "Basic realm=\"stand-in\""))
    } else {
        connect(&request)
    };
    let mut line = format!("{} {}", request.method, request.target);
    if let Some(presented) = presented {
        line = line + " as " + &user(presented).unwrap_or_else(|| "somebody".to_owned());
    }
    if connected.is_err() {
        line += " refused";
    }
    seen.lock().unwrap().push(line);
    match connected {
        Ok(server) if request.method == "CONNECT" => tunnel(client, &server),
        Ok(server) => pass_on(&request, client, &server),
        Err(refusal) => refusal.header("Connection", "close").send(client).map(drop),
    }
}

/// A connection to where the request is for, or the refusal.
fn connect(request: &Request) -> Result<TcpStream, Reply> {
    let refuse = |status, reason: &str| Reply::text(status, "text/plain", reason);
    let authority = if request.method == "CONNECT" {
        &request.target
    } else {
        split(&request.target)
            .ok_or_else(|| refuse(400, "This is a proxy."))?
            .0
    };
    let address = authority.replace("localhost", "127.0.0.1").parse();
    let address = address
        .ok()
        .filter(|address: &SocketAddr| address.ip().is_loopback())
        .ok_or_else(|| refuse(403, "This proxy leads to loopback only."))?;
    let server = TcpStream::connect(address);
    let server = server.and_then(|server| server.set_nodelay(true).map(|()| server));
    server.map_err(|_| refuse(502, "Nobody is there."))
}

/// Authority and path of an absolute target.
fn split(target: &str) -> Option<(&str, &str)> {
    let rest = target.strip_prefix("http://")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

fn tunnel(mut client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    relay(
        client,
        server,
        || copy(client, server),
        || copy(server, client),
    );
    Ok(())
}

fn pass_on(request: &Request, client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
    let (_, path) = split(&request.target).unwrap_or_default();
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        if !OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            head = head + name + ": " + value + "\r\n";
        }
    }
    head += "Connection: close\r\n\r\n";
    server.write_all(&[head.as_bytes(), &request.body].concat())?;
    relay(
        client,
        server,
        // Nothing follows the request; this waits for the client to leave.
        || copy(client, server),
        || pass_back(server, client),
    );
    Ok(())
}

/// Passes an answer back, and that the connection ends with it.
fn pass_back(server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
    let mut answer = BufReader::new(server);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if answer.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    head.truncate(head.len() - 2);
    head.extend(b"Connection: close\r\n\r\n");
    client.write_all(&head)?;
    copy(answer, client)
}

/// Passes on all bytes and the end.
fn copy(mut from: impl Read, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
