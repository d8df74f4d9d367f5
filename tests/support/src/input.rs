//! Runs a real binary as splunkd does: XML on stdin, a pipe each for stdout and stderr, hardly any environment.
//!
//! [`Input`] describes the stanza, [`Running`] is the process while it lives, [`Outcome`] is what it left behind.
//! The XML stream and the log lines are read by strict parsers of their own, since a lenient one would overlook
//! what splunkd does not. Every assertion here prints the whole story of the run when it fails.

#![expect(
    clippy::disallowed_methods,
    reason = "a stand-in is slow on purpose, and waits by the machine's own clock"
)]

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Debug, Write as _};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::docusign::{self, Docusign};
use super::hec::{self, Hec};
use super::splunkd::{SESSION_KEY, Splunkd};

/// How long a run may take before it counts as hung.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How often a run that may be ended early is looked after, and how long it then has to end by itself.
const LOOK: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(5);

const SECRET_PARAMS: [&str; 3] = ["private_key", "proxy_password", "hec_token"];

/// A stanza and the circumstances in which splunkd starts it.
#[derive(Clone)]
pub struct Input {
    kind: String,
    name: String,
    app: String,
    params: Vec<(String, String)>,
    env: Vec<(String, String)>,
    server_uri: String,
    checkpoint_dir: PathBuf,
    keeps_stdin_open: bool,
    leaves_stderr: bool,
    /// The checkpoint directory of an input that was given none; removed with the last clone.
    _own_dir: Arc<TempDir>,
}

impl Input {
    /// `[ds_monitor://name]` with the parameters that Splunk itself adds, an empty checkpoint directory, and no
    /// splunkd that answers.
    pub fn ds_monitor(name: &str) -> Self {
        Self::new("ds_monitor", name).param("interval", "60")
    }

    /// `[ds_lookups://name]`, likewise.
    pub fn ds_lookups(name: &str) -> Self {
        Self::new("ds_lookups", name).param("interval", "86400")
    }

    /// A complete `[ds_monitor://name]` that collects from the stand-in, with its key in a file.
    pub fn for_docusign(name: &str, docusign: &Docusign, checkpoint_dir: &Path) -> Self {
        Self::ds_monitor(name)
            .checkpoint_dir(checkpoint_dir)
            .param("integration_key", docusign::INTEGRATION_KEY)
            .param("user_id", docusign::USER_ID)
            .param("private_key_path", docusign::private_key_path())
            .param("auth_url", docusign.url())
            .param("monitor_url", docusign.url())
            .param("admin_url", docusign.url() + "/management")
            .param("start_from", "earliest")
    }

    /// Delivers to the stand-in event collector.
    pub fn delivers_to(self, hec: &Hec) -> Self {
        self.param("hec_url", hec.url())
            .param("hec_token", hec::TOKEN)
    }

    /// The key in the field for it, in the place of the file.
    pub fn pasted_key(self, key: &str) -> Self {
        self.without("private_key_path").param("private_key", key)
    }

    fn new(kind: &str, name: &str) -> Self {
        let own_dir = TempDir::new().unwrap();
        let input = Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            app: "search".to_owned(),
            params: vec![],
            env: vec![],
            // Nothing listens on port 1, as on a forwarder without a management port.
            server_uri: "https://127.0.0.1:1".to_owned(),
            checkpoint_dir: own_dir.path().to_owned(),
            keeps_stdin_open: false,
            leaves_stderr: false,
            _own_dir: Arc::new(own_dir),
        };
        let input = input
            .param("disabled", "0")
            .param("host", "$decideOnStartup");
        let input = input.param("index", "default").param("sourcetype", kind);
        input.param("start_by_shell", "false")
    }

    /// Sets a parameter, in place of an earlier value.
    pub fn param(mut self, key: &str, value: impl Into<String>) -> Self {
        self = self.without(key);
        self.params.push((key.to_owned(), value.into()));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.params.retain(|(existing, _)| existing != key);
        self
    }

    /// The app whose inputs.conf holds the stanza, `search` at first.
    pub fn app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    pub fn checkpoint_dir(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.checkpoint_dir);
        self
    }

    /// The splunkd that starts the input.
    pub fn splunkd(mut self, splunkd: &Splunkd) -> Self {
        self.server_uri = splunkd.url();
        self
    }

    /// The address at which splunkd says it can be reached.
    pub fn server_uri(mut self, url: String) -> Self {
        self.server_uri = url;
        self
    }

    /// [`Input::splunkd`], which also learns of the stanza, so that it can be read and edited there.
    pub fn saved_in(self, splunkd: &Splunkd) -> Self {
        splunkd.set_input(&self.kind, &self.name, &self.app, self.params.clone());
        self.splunkd(splunkd)
    }

    /// The parameters that splunkd has now, for the run after an edit.
    pub fn read_from(mut self, splunkd: &Splunkd) -> Self {
        let params = splunkd.input(&self.kind, &self.name);
        self.params = params
            .expect("splunkd knows the input")
            .into_iter()
            .collect();
        self
    }

    /// An environment variable; beside these the process gets PATH and HOME only.
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Leaves stdin open after the document, as splunkd sometimes does.
    pub fn keep_stdin_open(mut self) -> Self {
        self.keeps_stdin_open = true;
        self
    }

    /// Every file under the checkpoint directory with its content, by path.
    pub fn checkpoint_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![self.checkpoint_dir.clone()];
        while let Some(dir) = dirs.pop() {
            for path in fs::read_dir(dir)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().path())
            {
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let content = fs::read(&path).unwrap_or_default();
                    files.insert(path, content);
                }
            }
        }
        files
    }

    /// What splunkd writes to stdin for a run.
    pub fn input_xml(&self) -> String {
        let stanza = escape(&format!("{}://{}", self.kind, self.name));
        let (head, app, params) = (self.xml_head(), escape(&self.app), self.xml_params());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<input>\n{head}  <configuration>\n    \
             <stanza name=\"{stanza}\" app=\"{app}\">\n{params}    </stanza>\n  </configuration>\n</input>\n"
        )
    }

    /// What splunkd writes to stdin before it saves the stanza.
    pub fn items_xml(&self) -> String {
        let (head, name, params) = (self.xml_head(), escape(&self.name), self.xml_params());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<items>\n{head}  \
             <item name=\"{name}\">\n{params}  </item>\n</items>\n"
        )
    }

    fn xml_head(&self) -> String {
        let (uri, dir) = (
            escape(&self.server_uri),
            self.checkpoint_dir.display().to_string(),
        );
        let dir = escape(&dir);
        format!(
            "  <server_host>stand-in</server_host>\n  <server_uri>{uri}</server_uri>\n  \
             <session_key>{SESSION_KEY}</session_key>\n  <checkpoint_dir>{dir}</checkpoint_dir>\n"
        )
    }

    fn xml_params(&self) -> String {
        self.params
            .iter()
            .fold(String::new(), |mut xml, (key, value)| {
                let (key, value) = (escape(key), escape(value));
                let _ = writeln!(xml, "      <param name=\"{key}\">{value}</param>");
                xml
            })
    }

    /// The stanza as it stands in a conf file.
    pub fn conf(&self) -> String {
        let head = format!("[{}://{}]\n", self.kind, self.name);
        self.params.iter().fold(head, |conf, (key, value)| {
            conf + key + " = " + &value.replace('\n', "\\\n") + "\n"
        })
    }

    /// Starts a run.
    pub fn spawn(&self, binary: &Path) -> Running {
        self.start(binary, &[], self.input_xml())
    }

    /// A run from start to end.
    pub fn run(&self, binary: &Path) -> Outcome {
        self.spawn(binary).finish()
    }

    /// What splunkd does before it saves the stanza.
    pub fn validate(&self, binary: &Path) -> Outcome {
        self.start_validation(binary).finish()
    }

    /// Starts it.
    pub fn start_validation(&self, binary: &Path) -> Running {
        self.start(binary, &["--validate-arguments"], self.items_xml())
    }

    /// Nobody reads stderr before the process has ended.
    pub fn leave_stderr_unread(mut self) -> Self {
        self.leaves_stderr = true;
        self
    }

    /// Starts the binary with any arguments and any stdin.
    pub fn start(&self, binary: &Path, arguments: &[&str], stdin_text: String) -> Running {
        let inherited =
            ["PATH", "HOME"].map(|key| (key, std::env::var_os(key).unwrap_or_default()));
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env_clear()
            .envs(inherited)
            .envs(self.env.iter().cloned());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", binary.display()));

        let stderr = Arc::new(Stderr::default());
        let mut pipe = child.stderr.take().unwrap();
        let unread = match self.leaves_stderr {
            true => Some(pipe),
            false => {
                let collector = stderr.clone();
                thread::spawn(move || collector.collect(&mut pipe));
                None
            }
        };
        let mut stdin = child.stdin.take().unwrap();
        // A process that ends without reading is for the test to judge, not for this write.
        let _ = stdin.write_all(stdin_text.as_bytes());
        Running {
            stdin: self.keeps_stdin_open.then_some(stdin),
            stdout: child.stdout.take(),
            stdout_read: vec![],
            child,
            stderr,
            unread,
            command: format!("{} {}", binary.display(), arguments.join(" "))
                .trim_end()
                .to_owned(),
            stdin_text,
            input: self.clone(),
        }
    }

    /// `text` without the secrets among the parameters.
    fn redact(&self, text: &str) -> String {
        let secrets = self.params.iter().filter(|(key, value)| {
            // A mask is no secret, and a reader of the report wants to know that it was there.
            SECRET_PARAMS.contains(&key.as_str()) && value.contains(|c| c != '*')
        });
        secrets.fold(text.to_owned(), |text, (key, value)| {
            text.replace(&escape(value), &format!("({key} left out)"))
        })
    }
}

/// Escapes for text and attributes; a carriage return would otherwise be lost in reading.
fn escape(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\r', "&#13;")
}

/// What has come on stderr, and whether it is closed.
#[derive(Default)]
struct Stderr {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Stderr {
    fn collect(&self, pipe: &mut impl Read) {
        let mut chunk = [0; 4096];
        loop {
            let n = pipe.read(&mut chunk).unwrap_or_default();
            let mut state = self.state.lock().unwrap();
            state.0.extend_from_slice(&chunk[..n]);
            state.1 = n == 0;
            self.changed.notify_all();
            if n == 0 {
                return;
            }
        }
    }

    /// Returns when `enough` says so, when stderr is closed, or at the deadline.
    fn wait(&self, deadline: Duration, enough: impl Fn(&str) -> bool) {
        let state = self.state.lock().unwrap();
        let more = |(bytes, closed): &mut (Vec<u8>, bool)| {
            !*closed && !enough(&String::from_utf8_lossy(bytes))
        };
        drop(self.changed.wait_timeout_while(state, deadline, more));
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().unwrap().0).into_owned()
    }
}

fn read_rest(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = vec![];
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

/// A process that was started, killed when this is dropped.
pub struct Running {
    pub child: Child,
    /// Open after [`Input::keep_stdin_open`] until a test takes it or drops the process.
    pub stdin: Option<ChildStdin>,
    /// For a test to read at its own pace, or to drop; [`Running::finish`] reads what is left.
    pub stdout: Option<ChildStdout>,
    stdout_read: Vec<u8>,
    stderr: Arc<Stderr>,
    /// What nobody reads before the process has ended.
    unread: Option<ChildStderr>,
    command: String,
    stdin_text: String,
    input: Input,
}

impl Running {
    /// The status, if the process ends by the deadline; panics otherwise.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        match self.ended(deadline) {
            Some(status) => status,
            None => self.fail(&format!("still running after {deadline:?}")),
        }
    }

    /// Waits for stderr to be closed, which a process does by ending, so that nothing needs to be polled but the
    /// moment between the two.
    fn ended(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        if self.unread.is_none() {
            self.stderr.wait(deadline, |_| false);
        }
        loop {
            match self.child.try_wait().unwrap() {
                None if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
                status => return status,
            }
        }
    }

    /// Reads the rest of stdout and waits for the end, for at most [`DEADLINE`].
    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.finish_within(DEADLINE)
    }

    #[track_caller]
    pub fn finish_within(self, deadline: Duration) -> Outcome {
        self.finish_unless(deadline, || false)
    }

    /// The same, but as soon as `is_over` the process is ended as splunkd ends it when it stops.
    #[track_caller]
    pub fn finish_unless(mut self, deadline: Duration, is_over: impl Fn() -> bool) -> Outcome {
        let stdout = self.stdout.take();
        let reader = thread::spawn(move || read_rest(stdout));
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.ended(left.min(LOOK)).is_some() {
                break;
            }
            if is_over() {
                self.terminate();
                if self.ended(GRACE).is_none() {
                    let _ = self.child.kill();
                }
                break;
            }
            if left.is_zero() {
                let _ = self.child.kill();
                self.stdout_read = reader.join().unwrap();
                self.fail(&format!("still running after {deadline:?}"));
            }
        }
        self.stdout_read = reader.join().unwrap();
        self.outcome()
    }

    /// What there is of a process that has ended.
    fn outcome(&mut self) -> Outcome {
        let status = self.child.wait().unwrap();
        match self.unread.take() {
            Some(mut unread) => self.stderr.collect(&mut unread),
            // The process can have ended before its last lines are read.
            None => self.stderr.wait(DEADLINE, |_| false),
        }
        Outcome {
            status,
            stdout: std::mem::take(&mut self.stdout_read),
            stderr: self.stderr.text(),
            command: self.command.clone(),
            stdin: self.stdin_text.clone(),
            input: self.input.clone(),
        }
    }

    #[track_caller]
    fn fail(&mut self, message: &str) -> ! {
        let _ = self.child.kill();
        self.stdout_read.extend(read_rest(self.stdout.take()));
        let report = self.outcome().report();
        panic!("{message}, so the test killed it\n{report}")
    }

    /// Returns stderr as soon as it contains `text`, and panics if it does not by the deadline.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str, deadline: Duration) -> String {
        self.wait_for_stderr_that(|stderr| stderr.contains(text), deadline)
    }

    /// Returns stderr as soon as it satisfies `enough`, and panics if it does not by the deadline.
    #[track_caller]
    pub fn wait_for_stderr_that(
        &mut self,
        enough: impl Fn(&str) -> bool,
        deadline: Duration,
    ) -> String {
        self.stderr.wait(deadline, &enough);
        let text = self.stderr.text();
        if !enough(&text) {
            self.fail(&format!("not on stderr within {deadline:?}"));
        }
        text
    }

    /// Looks every millisecond until the process ends, and returns the most memory that it has had, in KiB.
    pub fn peak_kib(&mut self) -> usize {
        let file = format!("/proc/{}/status", self.child.id());
        let mut peak = 0;
        let end = Instant::now() + DEADLINE;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < end {
            let status = fs::read_to_string(&file).unwrap_or_default();
            // For a moment a new process still has the name and the memory of the one that started it.
            if status.starts_with("Name:\tds_") {
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                // One that has just ended has no such line any more.
                let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
                peak = kib.map_or(peak, |kib| kib.parse().unwrap());
            }
            thread::sleep(Duration::from_millis(1));
        }
        peak
    }

    /// SIGTERM, as splunkd sends it when the input is disabled or splunkd stops.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGKILL: what a crash or the end of splunkd's patience looks like.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// Any signal by name, through the `kill` command, because `std` sends none but SIGKILL.
    pub fn signal(&self, name: &str) {
        let (name, id) = (format!("-{name}"), self.child.id().to_string());
        let status = Command::new("kill").args([&name, &id]).status().unwrap();
        assert!(status.success(), "kill {name} {id}: {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run left behind.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub command: String,
    pub stdin: String,
    pub input: Input,
}

impl Outcome {
    /// The finished events; an event that was cut off does not count.
    #[track_caller]
    pub fn events(&self) -> Vec<Event> {
        self.stream().events
    }

    /// Asserts that stdout holds whole documents or nothing, as after an orderly end.
    #[track_caller]
    pub fn whole(&self) -> &Self {
        let stream = self.stream();
        self.check(stream.tail.is_empty(), || {
            format!("stdout ends within {:?}", stream.tail)
        });
        self.check(!stream.is_open, || {
            "stdout ends without </stream>".to_owned()
        });
        self
    }

    #[track_caller]
    fn stream(&self) -> Stream {
        Stream::parse(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is malformed: {error}\n{}", self.report()))
    }

    /// stderr line by line; panics on a line that is not of the form `LEVEL key=value … Sentence.`
    #[track_caller]
    pub fn log_lines(&self) -> Vec<LogLine> {
        let line = |line: &str| {
            LogLine::parse(line)
                .unwrap_or_else(|| panic!("not a log line: {line:?}\n{}", self.report()))
        };
        self.stderr.lines().map(line).collect()
    }

    #[track_caller]
    pub fn assert_exit(&self, code: i32) -> &Self {
        self.check(self.status.code() == Some(code), || {
            format!("exit {code} expected")
        });
        self
    }

    /// Asserts that neither a secret nor, of a PEM, any 24 characters of its body are in stdout, stderr or a file
    /// of the checkpoint directory.
    #[track_caller]
    pub fn assert_no_secret(&self, secrets: &[&str]) -> &Self {
        let mut places = self.input.checkpoint_files();
        places.insert("stdout".into(), self.stdout.clone());
        places.insert("stderr".into(), self.stderr.clone().into_bytes());
        for secret in secrets {
            let body: String = match secret.split_once("-----BEGIN") {
                Some((_, pem)) => pem
                    .lines()
                    .skip(1)
                    .take_while(|line| !line.contains("-----"))
                    .collect(),
                None => (*secret).to_owned(),
            };
            let length = if secret.contains("-----BEGIN") {
                24
            } else {
                body.len()
            };
            for (place, content) in &places {
                let leak = leak(content, body.as_bytes(), length);
                let leak = leak.map(String::from_utf8_lossy);
                self.check(leak.is_none(), || {
                    format!("{} holds {leak:?}", place.display())
                });
            }
        }
        self
    }

    #[track_caller]
    fn check(&self, holds: bool, message: impl FnOnce() -> String) {
        assert!(holds, "{}\n{}", message(), self.report());
    }

    /// The whole story of the run, without the secrets that it was given.
    pub fn report(&self) -> String {
        let files = self.input.checkpoint_files();
        let files = files
            .iter()
            .fold(String::new(), |mut text, (path, content)| {
                let _ = writeln!(text, "{}: {}", path.display(), head_and_tail(content));
                text
            });
        let report = format!(
            "--- command\n{}\n--- stdin\n{}--- checkpoint directory\n{files}--- status\n{}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.stdin,
            self.status,
            head_and_tail(&self.stdout),
            self.stderr,
        );
        self.input.redact(&report)
    }
}

impl Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

/// Enough of a long output to see how it begins and ends.
fn head_and_tail(bytes: &[u8]) -> String {
    const KEPT: usize = 2000;
    if bytes.len() <= 2 * KEPT {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let (head, tail) = (&bytes[..KEPT], &bytes[bytes.len() - KEPT..]);
    let (head, tail) = (String::from_utf8_lossy(head), String::from_utf8_lossy(tail));
    format!("{head}\n[… {} bytes …]\n{tail}", bytes.len() - 2 * KEPT)
}

/// An `<event>` as splunkd understands it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub stanza: Option<String>,
    pub unbroken: Option<String>,
    pub time: Option<String>,
    pub source: Option<String>,
    pub sourcetype: Option<String>,
    pub index: Option<String>,
    pub host: Option<String>,
    pub data: String,
    pub done: bool,
}

impl Event {
    /// The finished events of an XML stream and what was left of an unfinished one; panics on anything malformed.
    #[track_caller]
    pub fn parse_all(bytes: &[u8]) -> (Vec<Self>, String) {
        let stream = Stream::parse(bytes).unwrap_or_else(|error| panic!("malformed: {error}"));
        (stream.events, stream.tail)
    }
}

struct Stream {
    events: Vec<Event>,
    /// What follows the last finished event, if another one had begun.
    tail: String,
    is_open: bool,
}

/// Why reading stopped.
enum Stop {
    Unfinished,
    Malformed(String),
}

type Parsed<T> = Result<T, Stop>;

impl Stream {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // A killed process may leave half a character at the end, but nowhere else.
            Err(e) if e.error_len().is_none() => {
                std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap()
            }
            Err(e) => return Err(format!("at byte {}: {e}", e.valid_up_to())),
        };
        let mut xml = Xml { rest: text };
        let mut stream = Self {
            events: vec![],
            tail: String::new(),
            is_open: false,
        };
        while !xml.skip_space().is_empty() {
            let start = text.len() - xml.rest.len();
            match stream.step(&mut xml) {
                Ok(()) => {}
                Err(Stop::Unfinished) => {
                    stream.tail = String::from_utf8_lossy(&bytes[start..]).into_owned();
                    break;
                }
                Err(Stop::Malformed(error)) => {
                    let at = text.len() - xml.rest.len();
                    let near: String = xml.rest.chars().take(80).collect();
                    return Err(format!("{error} at byte {at}, before {near:?}"));
                }
            }
        }
        Ok(stream)
    }

    /// A document after another one is allowed, as splunkd allows it.
    fn step(&mut self, xml: &mut Xml) -> Parsed<()> {
        if !self.is_open {
            xml.expect("<stream>")?;
            self.is_open = true;
        } else if xml.eat("</stream>")? {
            self.is_open = false;
        } else {
            self.events.push(xml.event()?);
        }
        Ok(())
    }
}

/// A reader of exactly that XML which a modular input may write.
struct Xml<'a> {
    rest: &'a str,
}

impl<'a> Xml<'a> {
    fn skip_space(&mut self) -> &'a str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest
    }

    fn eat(&mut self, token: &str) -> Parsed<bool> {
        if let Some(rest) = self.rest.strip_prefix(token) {
            self.rest = rest;
            return Ok(true);
        }
        if token.starts_with(self.rest) {
            Err(Stop::Unfinished)
        } else {
            Ok(false)
        }
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token)? {
            Ok(())
        } else {
            malformed(format!("{token} expected"))
        }
    }

    fn until(&mut self, end: char) -> Parsed<&'a str> {
        let (text, _) = self.rest.split_once(end).ok_or(Stop::Unfinished)?;
        self.rest = &self.rest[text.len()..];
        Ok(text)
    }

    fn event(&mut self) -> Parsed<Event> {
        let mut event = Event::default();
        self.expect("<event")?;
        while !self.eat(">")? {
            self.expect(" ")?;
            let name = self.until('=')?;
            self.expect("=\"")?;
            let value = decode(self.until('"')?)?;
            self.expect("\"")?;
            put(
                match name {
                    "stanza" => &mut event.stanza,
                    "unbroken" => &mut event.unbroken,
                    _ => return malformed(format!("unknown attribute {name:?}")),
                },
                name,
                value,
            )?;
        }
        let mut data = None;
        loop {
            self.skip_space();
            if self.eat("</event>")? {
                break;
            }
            if event.done {
                return malformed("something between <done/> and </event>".to_owned());
            }
            if self.eat("<done/>")? {
                event.done = true;
                continue;
            }
            self.expect("<")?;
            let name = self.until('>')?;
            self.expect(">")?;
            let text = decode(self.until('<')?)?;
            self.expect(&format!("</{name}>"))?;
            put(
                match name {
                    "time" if !is_decimal(&text) => {
                        return malformed(format!("{text:?} as a time"));
                    }
                    "time" => &mut event.time,
                    "source" => &mut event.source,
                    "sourcetype" => &mut event.sourcetype,
                    "index" => &mut event.index,
                    "host" => &mut event.host,
                    "data" => &mut data,
                    _ => return malformed(format!("unknown element {name:?}")),
                },
                name,
                text,
            )?;
        }
        match data {
            Some(data) => Ok(Event { data, ..event }),
            None => malformed("an event without <data>".to_owned()),
        }
    }
}

fn malformed<T>(error: String) -> Parsed<T> {
    Err(Stop::Malformed(error))
}

fn put(slot: &mut Option<String>, name: &str, value: String) -> Parsed<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => malformed(format!("{name} twice")),
    }
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction]
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Text between markup as an XML parser hands it on, line ends included.
fn decode(raw: &str) -> Parsed<String> {
    let is_forbidden =
        |c: char| (c < ' ' && !"\t\n\r".contains(c)) || "\u{fffe}\u{ffff}".contains(c);
    if let Some(c) = raw.chars().find(|&c| is_forbidden(c)) {
        return malformed(format!("U+{:04X}, which XML forbids", c as u32));
    }
    if raw.contains("]]>") {
        return malformed("]]> in text".to_owned());
    }
    let mut parts = raw.split('&');
    let normalised = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
    let mut decoded = normalised(parts.next().unwrap_or_default());
    for part in parts {
        let Some((name, text)) = part.split_once(';') else {
            return malformed("& without ;".to_owned());
        };
        let number = |digits, radix| {
            u32::from_str_radix(digits, radix)
                .ok()
                .and_then(char::from_u32)
        };
        let character = match (name, name.strip_prefix("#x"), name.strip_prefix('#')) {
            ("amp", ..) => Some('&'),
            ("lt", ..) => Some('<'),
            ("gt", ..) => Some('>'),
            ("quot", ..) => Some('"'),
            ("apos", ..) => Some('\''),
            (_, Some(digits), _) => number(digits, 16),
            (_, _, Some(digits)) => number(digits, 10),
            _ => None,
        };
        match character.filter(|&c| !is_forbidden(c)) {
            Some(character) => decoded.push(character),
            None => return malformed(format!("&{name};")),
        }
        decoded += &normalised(text);
    }
    Ok(decoded)
}

/// A line of stderr, taken apart.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub level: String,
    pub fields: BTreeMap<String, String>,
    pub sentence: String,
    pub raw: String,
}

impl LogLine {
    /// The value of a field, empty if there is none.
    pub fn field(&self, key: &str) -> &str {
        self.fields.get(key).map(String::as_str).unwrap_or_default()
    }

    fn parse(raw: &str) -> Option<Self> {
        let (level, mut rest) = raw.split_once(' ')?;
        if !["DEBUG", "INFO", "WARN", "ERROR", "FATAL"].contains(&level) {
            return None;
        }
        let is_key = |key: &str| {
            let mut characters = key.chars();
            !key.is_empty() && characters.all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
        };
        let mut fields = BTreeMap::new();
        while let Some((key, after)) = rest.split_once('=').filter(|(key, _)| is_key(key)) {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let (value, after) = after.split_at(after.find(' ')?);
                    (value.to_owned(), after)
                }
            };
            rest = after.strip_prefix(' ')?;
            if fields.insert(key.to_owned(), value).is_some() {
                return None;
            }
        }
        let (level, sentence, raw) = (level.to_owned(), rest.to_owned(), raw.to_owned());
        rest.ends_with(['.', '!', '?']).then_some(Self {
            level,
            fields,
            sentence,
            raw,
        })
    }
}

/// A quoted value without its escapes, and what follows its closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}

/// So many bytes in a row of `secret` that are in `content` too; at least two.
pub fn leak<'a>(content: &'a [u8], secret: &[u8], length: usize) -> Option<&'a [u8]> {
    let pieces: HashSet<&[u8]> = secret.windows(length).collect();
    // Of the places that are half a piece apart, one begins a half that lies within the piece. So only these are looked
    // up, and not every place in some ten million bytes.
    let half = length / 2;
    let halves: HashSet<&[u8]> = secret.windows(half).collect();
    let chunks = content.chunks_exact(half).enumerate();
    let mut near = chunks.filter(|(_, chunk)| halves.contains(chunk));
    near.find_map(|(number, _)| {
        let at = number * half;
        let end = content.len().min(at + 2 * half + 1);
        let mut around = content[at.saturating_sub(half)..end].windows(length);
        around.find(|piece| pieces.contains(piece))
    })
}
