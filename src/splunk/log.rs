//! The only writer of the standard error, which splunkd copies into its own log, one record per line.
//!
//! A line is `LEVEL key=value … Sentence.`; splunkd takes the level from the first word and logs anything else as an
//! ERROR. INFO is for what went as planned, WARN for what is odd but cost nothing, ERROR for what an administrator
//! must act on, FATAL for a defect of this program.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::progress::{CLEAR, ProgressLine, Reached};
use super::status::Status;
use crate::base::retry::Retry;
use crate::base::secret::redact;

/// The longest line. A pipe that has room at all has room for this many bytes (`PIPE_BUF` of Linux).
const MAX_LINE_BYTES: usize = 4096;

/// How long the last words of a run wait for a reader.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);

/// The levels of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What went as planned.
    Info,
    /// Odd, but nothing was lost and the run went on.
    Warn,
    /// An administrator must act.
    Error,
    /// A defect of this program.
    Fatal,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Writes log lines; clones write to the same place. A line that finds no room is counted instead: a log that nobody
/// reads must hold up neither the delivery nor the end of a run.
#[derive(Clone)]
pub struct Log {
    out: Arc<Mutex<Writer>>,
    input: String,
    always: Fields,
}

/// Whether a line can be written without waiting for its reader, after waiting for no longer than this.
type HasRoom = Box<dyn Fn(Duration) -> bool + Send>;

#[cfg(unix)]
fn stderr_has_room(patience: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stderr = std::io::stderr();
    let timeout = Timespec::try_from(patience).ok();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    // Where nobody can say, as with a closed descriptor, the attempt to write decides.
    poll(&mut polled, timeout.as_ref()).map_or(true, |ready| ready > 0)
}

#[cfg(not(unix))]
fn stderr_has_room(_: Duration) -> bool {
    true
}

struct Writer {
    out: Box<dyn Write + Send>,
    has_room: HasRoom,
    /// Lines that found no room since the last one that did.
    lost: u64,
    /// What a person sees instead of lines at INFO.
    progress: Option<ProgressLine>,
}

impl Log {
    /// A log that writes to `out`, which is always ready.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self::with_room(out, Box::new(|_| true))
    }

    /// The log of the process.
    #[must_use]
    pub fn to_stderr() -> Self {
        Self::with_room(Box::new(std::io::stderr()), Box::new(stderr_has_room))
    }

    fn with_room(out: Box<dyn Write + Send>, has_room: HasRoom) -> Self {
        Self {
            out: Arc::new(Mutex::new(Writer {
                out,
                has_room,
                lost: 0,
                progress: None,
            })),
            input: String::new(),
            always: Fields::new(),
        }
    }

    /// The same log, with the input's full name in every line.
    #[must_use]
    pub fn for_input(&self, input: &str) -> Self {
        Self {
            out: Arc::clone(&self.out),
            input: input.to_owned(),
            always: Fields::new().with("input", input),
        }
    }

    /// From now on a person at a terminal sees one line of progress instead of lines at INFO.
    pub fn show_progress(&self) {
        self.lock().progress = ProgressLine::for_stderr();
    }

    /// Shows how far a run of this input is, to a person at a terminal.
    pub fn reached(&self, reached: Reached) {
        let mut out = self.lock();
        let Some(progress) = &mut out.progress else {
            return;
        };
        if let Some(text) = progress.take_in(&self.input, reached)
            && (out.has_room)(Duration::ZERO)
        {
            out.print(&format!("{CLEAR}{text}"));
        }
    }

    /// Leaves the line of progress on the screen for good.
    pub fn end_progress(&self) {
        let mut out = self.lock();
        if out
            .progress
            .take()
            .is_some_and(|progress| progress.is_shown)
        {
            out.print("\n");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one line, without any secret that exists. A log that cannot be written is no reason to stop collecting,
    /// so failures are ignored.
    pub fn write(&self, level: Level, fields: &Fields, sentence: &str) {
        let line = line(level, &self.always.clone().and(fields), sentence);
        let patience = match level {
            Level::Error | Level::Fatal => LAST_WORDS_PATIENCE,
            _ => Duration::ZERO,
        };
        let mut out = self.lock();
        if let Some(progress) = &mut out.progress {
            if level == Level::Info {
                return;
            }
            if std::mem::take(&mut progress.is_shown) {
                out.print(CLEAR);
            }
        }
        out.write(&line, patience);
    }

    /// [`Log::write`] at INFO.
    pub fn info(&self, fields: &Fields, sentence: &str) {
        self.write(Level::Info, fields, sentence);
    }

    /// [`Log::write`] at WARN.
    pub fn warn(&self, fields: &Fields, sentence: &str) {
        self.write(Level::Warn, fields, sentence);
    }

    /// Warns of a request that failed and will be repeated.
    pub fn warn_of_retry(&self, fields: Fields, retry: Retry, problem: &str) {
        let fields = fields
            .with("attempt", retry.attempt)
            .with("retry_in_ms", retry.wait.as_millis());
        let problem = sentence(problem);
        self.warn(&fields, &format!("{problem} The request will be repeated."));
    }
}

impl Writer {
    fn write(&mut self, text: &str, patience: Duration) {
        if !(self.has_room)(patience) {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let fields = Fields::new()
                .with("action", "skip_log_lines")
                .with("n_lines", self.lost);
            let notice = line(
                Level::Warn,
                &fields,
                "The standard error was not read, so these lines could not be logged.",
            );
            self.lost = 0;
            self.print(&notice);
            return self.write(text, patience);
        }
        self.print(text);
    }

    fn print(&mut self, line: &str) {
        let written = self.out.write_all(line.as_bytes());
        let _ = written.and_then(|()| self.out.flush());
    }
}

/// The `key=value` part of a line, in order. Units belong in the key: `request_ms`.
#[derive(Clone, Debug, Default)]
pub struct Fields(String);

impl Fields {
    /// No fields yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field. A value with white space, separators, quotes or nothing in it is quoted, as Splunk's own search
    /// reads it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        let plain = !value.is_empty()
            && !value.chars().any(|c| {
                c.is_whitespace() || is_unprintable(c) || matches!(c, '"' | '\\' | ',' | ';' | '=')
            });
        if plain {
            self.0.push_str(&value);
        } else {
            let escaped = one_line(&value).replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(self.0, "\"{escaped}\"");
        }
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds all fields of `other`.
    #[must_use]
    pub fn and(mut self, other: &Fields) -> Self {
        self.0.push_str(&other.0);
        self
    }
}

/// A failure as an administrator reads it: the fields and the sentence of one log line.
#[derive(Debug)]
pub struct Failure {
    /// How a program ends because of it.
    pub status: Status,
    /// ERROR, or WARN for what nobody has to act on.
    pub level: Level,
    /// What a search can find it by.
    pub fields: Fields,
    /// What failed and what to do now.
    pub sentence: String,
}

impl Failure {
    /// An ERROR about `action`.
    #[must_use]
    pub fn of(action: &str, error: &anyhow::Error) -> Self {
        Self {
            status: Status::Failed,
            level: Level::Error,
            fields: Fields::new().with("action", action),
            sentence: format!("{error:#}"),
        }
    }

    /// An ERROR about a configuration that cannot be used.
    #[must_use]
    pub fn of_configuration(error: &anyhow::Error) -> Self {
        Self {
            status: Status::Configuration,
            ..Self::of("configure", error)
        }
    }

    /// An ERROR about arguments that are wrong.
    #[must_use]
    pub fn of_usage(sentence: String) -> Self {
        Self {
            status: Status::Usage,
            level: Level::Error,
            fields: Fields::new(),
            sentence,
        }
    }

    /// An ERROR about a refusal, after which only a change of configuration helps.
    #[must_use]
    pub fn definite(fields: Fields, sentence: String) -> Self {
        Self {
            status: Status::Configuration,
            level: Level::Error,
            fields,
            sentence,
        }
    }

    /// An ERROR that the next run may not meet again.
    #[must_use]
    pub fn temporary(fields: Fields, problem: &str) -> Self {
        Self {
            status: Status::TryAgain,
            level: Level::Error,
            fields,
            sentence: format!(
                "{} Nothing is lost: the next run tries again.",
                sentence(problem)
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// Puts a text on one line, with a capital letter and a full stop.
#[must_use]
pub fn sentence(text: &str) -> String {
    let text = one_line(text);
    let mut characters = text.chars();
    let mut sentence: String = match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => return text,
    };
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

fn line(level: Level, fields: &Fields, text: &str) -> String {
    let line = format!("{}{} {}", level.name(), fields.0, sentence(text));
    let mut line = redact(&line).into_owned();
    if line.len() >= MAX_LINE_BYTES {
        line.truncate(line.floor_char_boundary(MAX_LINE_BYTES - "\u{2026}\n".len()));
        line.push('\u{2026}');
    }
    line.push('\n');
    line
}

/// The text on one line, fit for a log and a terminal: line breaks become blanks, and what would move the cursor, turn
/// the direction of writing or hide itself is escaped.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => line.push(' '),
            c if is_unprintable(c) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// Control characters, separators of lines, and characters of Unicode that have no width or turn the direction.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::{Fields, Level, Log, MAX_LINE_BYTES, line};
    use crate::base::secret::Secret;

    /// A pipe with room for so many lines.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<(usize, String)>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut pipe = self.0.lock().unwrap();
            pipe.0 = pipe.0.checked_sub(1).expect("room was asked for");
            pipe.1.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_when_there_is_some() {
        let pipe = Pipe::default();
        let room = pipe.clone();
        let has_room = move |_| room.0.lock().unwrap().0 > 0;
        let log = Log::with_room(Box::new(pipe.clone()), Box::new(has_room));
        let say = |text: &str| log.info(&Fields::new(), text);
        pipe.0.lock().unwrap().0 = 1;
        for text in ["one", "two", "three"] {
            say(text);
        }
        pipe.0.lock().unwrap().0 = 9;
        say("four");
        let text = pipe.0.lock().unwrap().1.clone();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!((lines[0], lines[2]), ("INFO One.", "INFO Four."));
        assert!(lines[1].contains(" n_lines=2 "), "{text}");
    }

    #[test]
    fn a_line_is_never_longer_than_what_a_pipe_takes_at_once() {
        for length in [MAX_LINE_BYTES - 10, MAX_LINE_BYTES, 100_000] {
            let text = line(Level::Info, &Fields::new(), &"\u{e4}".repeat(length));
            assert!(text.len() <= MAX_LINE_BYTES && text.ends_with("\u{2026}\n"));
        }
    }

    #[test]
    fn no_secret_gets_into_a_line() {
        let secret = Secret::new("correct horse battery staple".to_owned());
        let fields = Fields::new().with("code", secret.expose());
        let text = line(
            Level::Error,
            &fields,
            "it said correct horse battery staple",
        );
        assert_eq!(text, "ERROR code=\"******\" It said ******.\n");
    }

    #[test]
    fn what_moves_the_cursor_or_turns_the_direction_is_escaped() {
        let fields = Fields::new().with("a", "x\u{202e}y").with("b", "n=1,m=2");
        assert_eq!(
            line(Level::Info, &fields, "\u{1b}[2J\u{2028}z\u{200b}"),
            "INFO a=\"x\\\\u{202e}y\" b=\"n=1,m=2\" \\u{1b}[2J z\\u{200b}.\n"
        );
    }

    #[test]
    fn a_line_has_a_level_fields_and_a_sentence() {
        let fields = Fields::new()
            .with("input", "ds_monitor://prod")
            .with("n_events", 2000)
            .with_some("lag_s", None::<i64>);
        assert_eq!(
            line(Level::Info, &fields, "all is well"),
            "INFO input=ds_monitor://prod n_events=2000 All is well.\n"
        );
    }

    #[test]
    fn nothing_breaks_the_line_or_a_field() {
        let fields = Fields::new()
            .with("a", "two words")
            .with("b", "")
            .with("c", "q\"\\\nx");
        assert_eq!(
            line(Level::Warn, &fields, "first\r\nsecond!"),
            "WARN a=\"two words\" b=\"\" c=\"q\\\"\\\\ x\" First  second!\n"
        );
    }

    #[test]
    fn the_last_words_of_a_run_wait_a_second_for_a_reader_and_no_other_line_does() {
        let waits = Arc::new(Mutex::new(vec![]));
        let asked = Arc::clone(&waits);
        let full = move |patience| {
            asked.lock().unwrap().push(patience);
            false
        };
        let log = Log::with_room(Box::new(std::io::sink()), Box::new(full));
        for level in [Level::Info, Level::Warn, Level::Error, Level::Fatal] {
            log.write(level, &Fields::new(), "Text.");
        }
        let second = Duration::from_secs(1);
        let expected = [Duration::ZERO, Duration::ZERO, second, second];
        assert_eq!(*waits.lock().unwrap(), expected);
        assert_eq!(log.out.lock().unwrap().lost, 4);
    }
}
