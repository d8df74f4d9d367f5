//! A scripted HTTP/1.1 server on loopback: one handler turns each [`Request`] into a [`Reply`].
//!
//! It keeps connections alive, logs every request before answering it, and can fail the way networks do: a body
//! cut short, a wrong length, silence, a reset. Mock crates cannot do that, hence plain `std::net`. It reads no
//! chunked request bodies and speaks no TLS, for which there is [`super::tls`]. A handler that panics fails the test
//! when the server is dropped.

#![expect(
    clippy::disallowed_methods,
    reason = "a stand-in is slow on purpose, and waits by the machine's own clock"
)]

use std::any::Any;
use std::fmt::{Display, Write as _};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const CHUNK_BYTES: usize = 16 * 1024;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The request target as sent; absolute (`http://host/path`) when the client takes the server for a proxy.
    pub target: String,
    /// The target's path, percent-decoded.
    pub path: String,
    /// The query's pairs in order, percent-decoded.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.as_str()))
    }

    /// The first query parameter of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        pairs.find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// The pairs of a form-encoded body.
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&String::from_utf8_lossy(&self.body))
    }

    /// The path's segments, decoded after splitting, so that an encoded slash stays inside its segment.
    pub fn segments(&self) -> Vec<String> {
        let (path, _) = local_target(&self.target);
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        segments
            .map(|segment| percent_decode(segment, false))
            .collect()
    }

    /// Reads one request but leaves its last byte in the socket: closing a socket that holds unread bytes is what
    /// makes the system send a reset, and `std` has no stable way to ask for one.
    pub fn receive(mut stream: &TcpStream) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        let mut chunk = [0; 4096];
        let unread = loop {
            let seen = stream.peek(&mut chunk)?;
            if seen == 0 {
                return Ok(None);
            }
            let before = head.len();
            head.extend_from_slice(&chunk[..seen]);
            if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                head.truncate(end);
                break end + 4 - before;
            }
            stream.read_exact(&mut chunk[..seen])?;
        };
        let mut request = Self::parse(&String::from_utf8_lossy(&head));
        let length = request
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        let mut rest = vec![0; unread + length];
        let last = rest.len() - 1;
        stream.read_exact(&mut rest[..last])?;
        stream.peek(&mut rest[last..])?;
        request.body = rest.split_off(unread);
        Ok(Some(request))
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        let headers = lines.map(header).collect();
        let (path, query) = local_target(&target);
        let (path, query) = (percent_decode(path, false), pairs(query));
        Self {
            method,
            target,
            path,
            query,
            headers,
            body: Vec::new(),
        }
    }
}

/// Path and query of a target, without the scheme and host that a proxy is sent.
fn local_target(target: &str) -> (&str, &str) {
    let local = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            &rest[rest.find('/').unwrap_or(rest.len())..]
        }
        _ => target,
    };
    local.split_once('?').unwrap_or((local, ""))
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(name, true), percent_decode(value, true))
    };
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(pair)
        .collect()
}

fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [
                    bytes.next().unwrap_or_default(),
                    bytes.next().unwrap_or_default(),
                ];
                let digits = String::from_utf8_lossy(&digits);
                u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("%{digits} in {text:?}"))
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// An answer, right or deliberately wrong. Byte counts mean the body as it travels, compressed if it is.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<[u8]>,
    chunked: bool,
    delay: Duration,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    InPieces(usize, Duration),
    CutAfter(usize),
    WrongLength(usize),
    StallAfter(usize),
    Silence,
    Reset,
}

impl Reply {
    /// A JSON body: a `serde_json::Value`, or text that is sent exactly as it is.
    pub fn json(status: u16, body: impl Display) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    pub fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::shared(status, content_type, body.into().into())
    }

    /// A body that several replies share; it is never copied, which is what makes large ones cheap.
    pub fn shared(status: u16, content_type: &str, body: Arc<[u8]>) -> Self {
        let reply = Self {
            status,
            headers: vec![],
            body,
            chunked: false,
            delay: Duration::ZERO,
            fault: Fault::None,
        };
        reply.header("Content-Type", content_type)
    }

    /// Accepts the request and never answers, until the client leaves or the server is dropped.
    pub fn stall() -> Self {
        Self::text(200, "text/plain", "").faulty(Fault::Silence)
    }

    /// Resets the connection instead of answering.
    pub fn reset() -> Self {
        Self::text(200, "text/plain", "").faulty(Fault::Reset)
    }

    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Compresses the body now, unless it is compressed already; faults count bytes of the result.
    pub fn gzip(mut self) -> Self {
        if self
            .headers
            .iter()
            .any(|(name, _)| name == "Content-Encoding")
        {
            return self;
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&self.body).unwrap();
        self.body = encoder.finish().unwrap().into();
        self.header("Content-Encoding", "gzip")
    }

    /// Compresses each half of the body on its own, as a server that forwards what it gets in parts does, and calls
    /// that `coding`.
    pub fn gzip_in_two_members(mut self, coding: &str) -> Self {
        let (first, second) = self.body.split_at(self.body.len() / 2);
        let member = |half: &[u8]| Self::text(200, "", half).gzip().body;
        self.body = [member(first), member(second)].concat().into();
        self.header("Content-Encoding", coding)
    }

    /// Puts a byte order mark before the body.
    pub fn with_byte_order_mark(mut self) -> Self {
        self.body = [b"\xEF\xBB\xBF", &self.body[..]].concat().into();
        self
    }

    /// Sends the body in chunks, so that its length is not announced.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Announces the whole body, sends `n` bytes of it and closes.
    pub fn cut_after(self, n: usize) -> Self {
        self.faulty(Fault::CutAfter(n))
    }

    /// Announces `n` bytes, sends the whole body and closes.
    pub fn wrong_length(self, n: usize) -> Self {
        self.faulty(Fault::WrongLength(n))
    }

    /// Sends `n` bytes of the body, then stays silent until the client leaves or the server is dropped.
    pub fn stall_after(self, n: usize) -> Self {
        self.faulty(Fault::StallAfter(n))
    }

    /// Sends the body in `n` pieces with a pause before each, as a slow line does.
    pub fn in_pieces(self, n: usize, pause: Duration) -> Self {
        self.faulty(Fault::InPieces(n, pause))
    }

    /// Waits before the first byte: the latency that a benchmark needs.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The body as it would travel, for a script that wants to cut it in its middle.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    fn faulty(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Sends the reply and says whether the connection may serve another request.
    pub fn send(&self, stream: &TcpStream) -> io::Result<bool> {
        thread::sleep(self.delay);
        let sent = match self.fault {
            Fault::CutAfter(n) | Fault::StallAfter(n) => &self.body[..n.min(self.body.len())],
            Fault::None | Fault::WrongLength(_) => &self.body[..],
            Fault::InPieces(..) => &[],
            Fault::Silence | Fault::Reset => return wait_until_closed(stream).map(|()| false),
        };
        let mut head = format!("HTTP/1.1 {} \r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.chunked {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            write_both(
                stream,
                head.as_bytes(),
                &in_chunks(sent, self.fault == Fault::None),
            )?;
        } else {
            let length = if let Fault::WrongLength(n) = self.fault {
                n
            } else {
                self.body.len()
            };
            let _ = write!(head, "Content-Length: {length}\r\n\r\n");
            write_both(stream, head.as_bytes(), sent)?;
        }
        match self.fault {
            Fault::StallAfter(_) => wait_until_closed(stream)?,
            Fault::InPieces(n, pause) => {
                for piece in self.body.chunks(self.body.len().div_ceil(n)) {
                    thread::sleep(pause);
                    write_both(stream, &[], piece)?;
                }
                return Ok(true);
            }
            _ => {}
        }
        Ok(self.fault == Fault::None)
    }
}

fn in_chunks(body: &[u8], complete: bool) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(body.len() + body.len() / CHUNK_BYTES * 8 + 16);
    for chunk in body.chunks(CHUNK_BYTES) {
        encoded.extend(format!("{:x}\r\n", chunk.len()).bytes());
        encoded.extend_from_slice(chunk);
        encoded.extend(b"\r\n");
    }
    if complete {
        encoded.extend(b"0\r\n\r\n");
    }
    encoded
}

/// One system call for both where the socket takes it, as a client's timing should not depend on two packets.
fn write_both(mut stream: &TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let written = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
    stream.write_all(&head[written.min(head.len())..])?;
    stream.write_all(&body[written.saturating_sub(head.len())..])
}

fn wait_until_closed(mut stream: &TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

/// A listening server with its own threads; dropping it closes everything, stalled connections included.
pub struct Server {
    loopback: Loopback,
    shared: Arc<Shared>,
}

struct Shared {
    gate: Box<dyn Fn(&str) -> bool + Send + Sync>,
    handler: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
    log: Mutex<Vec<Request>>,
    arrived: Condvar,
    panics: Mutex<Vec<String>>,
}

impl Server {
    /// Listens on a free port of loopback and answers every request through `handler`.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::guarded(|_| true, handler)
    }

    /// [`Server::start`] on a listener that is open already, for a port that a person chose.
    pub fn on(
        listener: TcpListener,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listening(listener, |_| true, handler)
    }

    /// [`Server::start`] with a `gate` that sees the first line of every request before anything is read. Where it
    /// says no, the connection is reset, and the request was never there.
    pub fn guarded(
        gate: impl Fn(&str) -> bool + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listening(free_port(), gate, handler)
    }

    fn listening(
        listener: TcpListener,
        gate: impl Fn(&str) -> bool + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            gate: Box::new(gate),
            handler: Box::new(handler),
            log: Mutex::default(),
            arrived: Condvar::new(),
            panics: Mutex::default(),
        });
        let loopback = Loopback::listen_on(listener, {
            let shared = shared.clone();
            move |stream| shared.serve(stream)
        });
        Self { loopback, shared }
    }

    /// The base address, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.loopback.address())
    }

    /// Every request received so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Returns as soon as `n` requests have arrived since the start, and panics if they do not by the deadline.
    #[track_caller]
    pub fn wait_for_requests(&self, n: usize, deadline: Duration) {
        let log = self.shared.log.lock().unwrap();
        let too_few = |log: &mut Vec<Request>| log.len() < n;
        let (log, timeout) = self
            .shared
            .arrived
            .wait_timeout_while(log, deadline, too_few)
            .unwrap();
        let targets = || {
            log.iter()
                .map(|request| &request.target)
                .collect::<Vec<_>>()
        };
        assert!(
            !timeout.timed_out(),
            "{n} requests expected within {deadline:?}, got {:#?}",
            targets()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.loopback.close();
        let panics = self.shared.panics.lock().unwrap().join("\n");
        assert!(
            panics.is_empty() || thread::panicking(),
            "the stand-in's handler panicked: {panics}"
        );
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let mut first = [0; 256];
            let seen = stream.peek(&mut first)?;
            let first = String::from_utf8_lossy(&first[..seen]);
            if seen == 0 || !(self.gate)(first.lines().next().unwrap_or_default()) {
                break;
            }
            let Some(request) = Request::receive(stream)? else {
                break;
            };
            self.log.lock().unwrap().push(request.clone());
            self.arrived.notify_all();
            let reply = self.answer(&request);
            if reply.fault == Fault::Reset {
                break;
            }
            stream.read_exact(&mut [0])?;
            if !reply.send(stream)? || request.header("connection") == Some("close") {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Reply {
        let text = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic
                .downcast_ref::<&str>()
                .copied()
                .unwrap_or("without a text")
                .to_owned(),
        };
        catch_unwind(AssertUnwindSafe(|| (self.handler)(request))).unwrap_or_else(|panic| {
            let text = format!("{} {}: {}", request.method, request.target, text(panic));
            self.panics.lock().unwrap().push(text.clone());
            Reply::text(500, "text/plain", text)
        })
    }
}

fn free_port() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

/// A listener on a free port of loopback, with a thread for every connection; dropping it closes them all.
pub struct Loopback {
    address: SocketAddr,
    connections: Arc<Connections>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Connections {
    /// Weak, because a connection's thread must be able to close its socket by letting go of it.
    open: Mutex<Vec<Weak<TcpStream>>>,
    closing: AtomicBool,
}

impl Loopback {
    /// An error of `serve` is a client that left, which is its right.
    pub fn listen(serve: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::listen_on(free_port(), serve)
    }

    fn listen_on(
        listener: TcpListener,
        serve: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Connections>::default();
        let acceptor = thread::spawn({
            let (connections, serve) = (connections.clone(), Arc::new(serve));
            move || connections.accept(&listener, &serve)
        });
        Self {
            address,
            connections,
            acceptor: Some(acceptor),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn close(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.connections.closing.store(true, Ordering::SeqCst);
        // The acceptor sleeps in accept(); a connection of our own wakes it up to see the flag.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join();
        let open = self.connections.open.lock().unwrap();
        for connection in open.iter().filter_map(Weak::upgrade) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.close();
    }
}

impl Connections {
    fn accept<S>(&self, listener: &TcpListener, serve: &Arc<S>)
    where
        S: Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        for stream in listener.incoming() {
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            let stream = Arc::new(stream.unwrap());
            let mut open = self.open.lock().unwrap();
            open.retain(|connection| connection.strong_count() > 0);
            open.push(Arc::downgrade(&stream));
            let serve = serve.clone();
            thread::spawn(move || serve(&stream));
        }
    }
}

/// Passes bytes on between a client and a server, each way by its own function; as soon as one of them fails, both
/// sides are closed, so that the other ends too.
pub fn relay(
    client: &TcpStream,
    server: &TcpStream,
    there: impl FnOnce() -> io::Result<()> + Send,
    back: impl FnOnce() -> io::Result<()>,
) {
    let close_on_failure = |result: io::Result<()>| {
        if result.is_err() {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| close_on_failure(there()));
        close_on_failure(back());
    });
}
