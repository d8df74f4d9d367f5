//! The standard output, and its only writer.
//!
//! Another thread does the writing, so that a reader that does not read holds up nothing else: a signal, a closed
//! pipe and the minute's warning are still noticed. How far the reader is, is known: bytes written minus what the pipe
//! still holds. Where the output is not a pipe (a file, a socket, a terminal, Windows) a written byte counts as taken,
//! of a file once it is on the disk. Inputs that run side by side share it. Format: Splunk's manual "Modular inputs", "Set up streaming", XML mode; or JSON
//! lines, for a reader that is not Splunk.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memchr::memchr3_iter;

use super::event::{
    CHECK_INTERVAL, Event, EventSink, Progress, Receipt, STALL_WARNING, Stall, Undelivered,
};
use super::log::{Fields, Log};
use crate::base::clock::Clock;

/// Bytes of one write.
const BUFFER_BYTES: usize = 128 * 1024;

/// Room for the event that fills a buffer, so that only a very long one makes it grow.
const OVERFLOW_BYTES: usize = 16 * 1024;

/// What a pipe holds by default on Linux.
const PIPE_BYTES: u64 = 64 * 1024;

/// One buffer is filled, one is written, one is on its way.
const BUFFERS: usize = 3;

/// Upper bound of what one event adds to its data: the tags and the time.
const ENVELOPE_BYTES: u64 = 96;

/// The forms of events on the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Splunk's XML stream, for splunkd.
    Xml,
    /// The data of each event on a line, for any other reader.
    JsonLines,
}

/// An output, which several writers may share. Each buffer is written whole, so that events do not mix.
pub struct Output {
    file: Mutex<File>,
    /// Bytes of whole buffers.
    written: AtomicU64,
    reader: Reader,
    is_file: bool,
}

impl Output {
    /// The output `file`, which nobody else may write to.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            reader: Reader::of(&file),
            is_file: file.metadata().is_ok_and(|metadata| metadata.is_file()),
            file: Mutex::new(file),
            written: AtomicU64::new(0),
        }
    }

    /// Whether it is a pipe that nobody reads from any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reader.is_closed()
    }

    /// Writes a buffer, and returns how many bytes all writers have written then.
    fn write(&self, buffer: &[u8]) -> io::Result<u64> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write_patiently(&mut file, buffer)?;
        match self.is_file {
            // A file is its own reader: what it takes must outlive a power cut, as the position will that is saved for
            // it.
            true => file.sync_data()?,
            false => file.flush()?,
        }
        let length = buffer.len() as u64;
        Ok(self.written.fetch_add(length, Ordering::AcqRel) + length)
    }

    /// Bytes of all writers that have been read. Never too many; it can be a moment behind.
    fn read(&self) -> u64 {
        let written = self.written.load(Ordering::Acquire);
        written.saturating_sub(self.reader.unread())
    }
}

/// How far a writer is: its own bytes, and those of all writers together, after the last buffer of its own.
#[derive(Clone, Copy, Default)]
struct Written {
    own: u64,
    all: u64,
}

/// Writes events to the standard output and knows how much of it has been read.
pub struct EventWriter {
    format: Format,
    buffer: Vec<u8>,
    spare: Vec<Vec<u8>>,
    full: Sender<Vec<u8>>,
    free: Receiver<io::Result<Vec<u8>>>,
    written: Arc<Mutex<Written>>,
    handed_over: u64,
    opened: bool,
    output: Arc<Output>,
    stall: Stall,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    log: Log,
}

impl EventWriter {
    /// A writer of `format` to `output`, which `stop` ends.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn new(
        output: Arc<Output>,
        format: Format,
        stop: Arc<AtomicBool>,
        clock: Arc<dyn Clock>,
        log: Log,
    ) -> io::Result<Self> {
        let written = Arc::new(Mutex::new(Written::default()));
        let (full, to_write) = channel::<Vec<u8>>();
        let (give_back, free) = channel();
        let (out, counter) = (Arc::clone(&output), Arc::clone(&written));
        std::thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || write_all(&out, &to_write, &give_back, &counter))?;
        Ok(Self {
            format,
            buffer: Vec::with_capacity(BUFFER_BYTES + OVERFLOW_BYTES),
            spare: (1..BUFFERS)
                .map(|_| Vec::with_capacity(BUFFER_BYTES + OVERFLOW_BYTES))
                .collect(),
            full,
            free,
            written,
            handed_over: 0,
            opened: false,
            output,
            stall: Stall::new(clock.elapsed()),
            stop,
            clock,
            log,
        })
    }

    fn written(&self) -> Written {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&mut self) {
        if !self.opened {
            self.opened = true;
            self.buffer.extend_from_slice(b"<stream>\n");
        }
    }

    fn write_xml(&mut self, event: &Event<'_>) {
        self.open();
        self.buffer.extend_from_slice(b"<event unbroken=\"1\">");
        if let Some(time) = event.time {
            self.buffer.extend_from_slice(b"<time>");
            time.append_to(&mut self.buffer);
            self.buffer.extend_from_slice(b"</time>");
        }
        if let Some(sourcetype) = event.sourcetype {
            self.buffer.extend_from_slice(b"<sourcetype>");
            self.buffer.extend_from_slice(sourcetype.as_bytes());
            self.buffer.extend_from_slice(b"</sourcetype>");
        }
        self.buffer.extend_from_slice(b"<data>");
        append_data(&mut self.buffer, event.data);
        self.buffer.extend_from_slice(b"</data><done/></event>\n");
    }

    /// Line breaks occur only between JSON tokens, where a space means the same.
    fn write_line(&mut self, event: &Event<'_>) {
        let start = self.buffer.len();
        event.append_json(&mut self.buffer);
        for byte in self.buffer.iter_mut().skip(start) {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.buffer.push(b'\n');
    }

    fn hand_over(&mut self) -> Result<(), Undelivered> {
        // Only a wait looks around; while the reader keeps up, there is nothing to see.
        while let Ok(returned) = self.free.try_recv() {
            self.spare.push(returned?);
        }
        let next = loop {
            match self.spare.pop() {
                Some(spare) => break spare,
                None => self.wait(CHECK_INTERVAL)?,
            }
        };
        let full = std::mem::replace(&mut self.buffer, next);
        self.handed_over += full.len() as u64;
        // The thread ends only after it has reported an error, which the next check finds.
        let _ = self.full.send(full);
        Ok(())
    }

    /// Waits for a buffer to come back, but not longer than `at_most`.
    fn wait(&mut self, at_most: Duration) -> Result<(), Undelivered> {
        match self.free.recv_timeout(at_most) {
            Ok(returned) => self.spare.push(returned?),
            Err(RecvTimeoutError::Timeout) => self.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(Undelivered::ReaderClosed),
        }
        Ok(())
    }
}

impl EventSink for EventWriter {
    fn write(&mut self, event: &Event<'_>) -> Result<(), Undelivered> {
        match self.format {
            Format::Xml => self.write_xml(event),
            Format::JsonLines => self.write_line(event),
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Undelivered> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.hand_over()
    }

    fn progress(&self) -> Progress {
        let Written { own, all } = self.written();
        // What lies unread before the end of the last buffer may be its own.
        let unread = all.saturating_sub(self.output.read());
        Progress {
            sent: self.handed_over,
            taken: own.saturating_sub(unread),
            // A pipe takes everything.
            refused: 0,
            receipt: match self.format {
                Format::Xml => Receipt::ReadBySplunkd,
                Format::JsonLines => Receipt::Read,
            },
        }
    }

    /// What a pipe holds may lie unread in it, if nothing needs escaping.
    fn has_room(&self, unsaved: u64, events: usize, data_bytes: usize) -> bool {
        unsaved + data_bytes as u64 + events as u64 * ENVELOPE_BYTES <= PIPE_BYTES
    }

    fn check(&mut self) -> Result<(), Undelivered> {
        while let Ok(returned) = self.free.try_recv() {
            self.spare.push(returned?);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Undelivered::Stopped);
        }
        if self.output.is_closed() {
            return Err(Undelivered::ReaderClosed);
        }
        let progress = self.progress();
        if self.stall.is_due(progress, self.clock.elapsed()) {
            let fields = Fields::new()
                .with("action", "wait_for_splunk")
                .with("unread_bytes", progress.sent - progress.taken);
            let sentence = format!(
                "Splunk has read nothing for {} seconds; its queues may be full. The input waits, and nothing is lost.",
                STALL_WARNING.as_secs()
            );
            self.log.warn(&fields, &sentence);
        }
        Ok(())
    }

    /// Completes the XML document; lines are complete by themselves.
    fn finish(&mut self) -> Result<(), Undelivered> {
        if self.format == Format::Xml {
            self.open();
            self.buffer.extend_from_slice(b"</stream>\n");
        }
        self.flush()?;
        // Not waiting for the reader: a pipe keeps what was written when the process ends.
        while self.written().own < self.handed_over {
            self.wait(CHECK_INTERVAL)?;
        }
        Ok(())
    }
}

/// The writing thread: writes what arrives and returns the emptied buffers, until the first error.
fn write_all(
    out: &Output,
    to_write: &Receiver<Vec<u8>>,
    give_back: &Sender<io::Result<Vec<u8>>>,
    written: &Mutex<Written>,
) {
    for mut buffer in to_write {
        let result = out.write(&buffer).map(|all| {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let own = written.own + buffer.len() as u64;
            *written = Written { own, all };
        });
        let failed = result.is_err();
        buffer.clear();
        if give_back.send(result.map(|()| buffer)).is_err() || failed {
            return;
        }
    }
}

/// Writes all of `bytes`. Somebody may have set the output not to block; then its reader is waited for all the same.
fn write_patiently(out: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for_room(out)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn wait_for_room(out: &File) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    match poll(&mut [PollFd::new(out, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn wait_for_room(_: &File) -> io::Result<()> {
    Err(ErrorKind::WouldBlock.into())
}

/// Appends JSON text as XML text: `& < >` escaped, line breaks between JSON tokens made spaces (inside JSON
/// strings there are none), and the two characters that XML forbids but JSON allows made JSON escapes.
fn append_data(out: &mut Vec<u8>, data: &str) {
    let bytes = data.as_bytes();
    let markup = memchr3_iter(b'&', b'<', b'>', bytes);
    // Line breaks and the lead byte of U+FFFE and U+FFFF are rare: most data is copied in one piece.
    let rare = memchr3_iter(b'\n', b'\r', 0xEF, bytes);
    let mut copied = 0;
    for at in in_order(markup, rare) {
        let rest = bytes.get(at..).unwrap_or_default();
        let (replacement, length): (&[u8], usize) = match rest {
            [b'&', ..] => (b"&amp;", 1),
            [b'<', ..] => (b"&lt;", 1),
            [b'>', ..] => (b"&gt;", 1),
            [b'\n' | b'\r', ..] => (b" ", 1),
            [0xEF, 0xBF, 0xBE, ..] => (b"\\ufffe", 3),
            [0xEF, 0xBF, 0xBF, ..] => (b"\\uffff", 3),
            _ => continue,
        };
        out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
        out.extend_from_slice(replacement);
        copied = at + length;
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
}

/// Two rising sequences as one.
fn in_order(
    a: impl Iterator<Item = usize>,
    b: impl Iterator<Item = usize>,
) -> impl Iterator<Item = usize> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if x < y => a.next(),
        (_, Some(_)) => b.next(),
        (_, None) => a.next(),
    })
}

/// The other end of the standard output.
enum Reader {
    /// A pipe: the kernel says how much it still holds and whether anybody has it open for reading.
    #[cfg(unix)]
    Pipe(std::os::fd::OwnedFd),
    /// Anything else: there is nobody to ask.
    Unknown,
}

impl Reader {
    #[cfg(unix)]
    fn of(out: &File) -> Self {
        use std::os::fd::AsFd;
        use std::os::unix::fs::FileTypeExt;
        let is_pipe = out
            .metadata()
            .is_ok_and(|metadata| metadata.file_type().is_fifo());
        match out.as_fd().try_clone_to_owned() {
            Ok(descriptor) if is_pipe => Self::Pipe(descriptor),
            _ => Self::Unknown,
        }
    }

    #[cfg(not(unix))]
    fn of(_: &File) -> Self {
        Self::Unknown
    }

    /// Bytes in the pipe. Should the kernel ever refuse to say, everything counts as unread, and nothing as taken.
    fn unread(&self) -> u64 {
        match self {
            #[cfg(unix)]
            Self::Pipe(pipe) => rustix::io::ioctl_fionread(pipe).unwrap_or(u64::MAX),
            Self::Unknown => 0,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Pipe(pipe) => {
                use rustix::event::{PollFd, PollFlags, Timespec, poll};
                let mut look = [PollFd::new(pipe, PollFlags::empty())];
                let at_once = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let _ = poll(&mut look, Some(&at_once));
                let [seen] = look;
                seen.revents().contains(PollFlags::ERR)
            }
            Self::Unknown => false,
        }
    }
}

/// The process's standard output, without the line buffering of the standard library.
///
/// # Errors
/// There is no standard output.
pub fn standard_output() -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }
    #[cfg(windows)]
    {
        use std::os::windows::io::AsHandle;
        Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
    }
}

/// Checks that events on the standard output go somewhere: a file, a pipe, a socket or a terminal. A process that was
/// started without one has the null device there.
///
/// # Errors
/// They would be lost, or there is no standard output.
pub fn require_standard_output() -> Result<()> {
    let out = standard_output().context("could not open the standard output")?;
    if is_other_device(&out) {
        bail!(
            "the standard output is closed or the null device, where events would be lost: nothing was collected. Send it to a pipe or a file"
        );
    }
    Ok(())
}

#[cfg(unix)]
fn is_other_device(out: &File) -> bool {
    use std::io::IsTerminal;
    use std::os::unix::fs::FileTypeExt;
    let is_device = out
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_char_device());
    is_device && !out.is_terminal()
}

#[cfg(not(unix))]
fn is_other_device(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::event::{Event, EventSink, Undelivered};
    use super::{EventWriter, Format, Output, append_data};
    use crate::base::clock::{SystemClock, Timestamp};
    use crate::splunk::log::Log;

    fn data(text: &str) -> String {
        let mut out = Vec::new();
        append_data(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_xml_or_splunk_would_misread_is_changed() {
        for (json, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
            (r#"{"a":"x<y>&z"}"#, r#"{"a":"x&lt;y&gt;&amp;z"}"#),
            ("{\r\n\t\"a\": 1\n}", "{  \t\"a\": 1 }"),
            (
                "\"\u{FFFE}é\u{FFFF}\u{FFFD}\u{F000}\"",
                "\"\\ufffeé\\uffff\u{FFFD}\u{F000}\"",
            ),
            ("\"]]>\"", "\"]]&gt;\""),
            (r#""\u0001\n""#, r#""\u0001\n""#),
            ("", ""),
        ] {
            assert_eq!(data(json), expected);
        }
    }

    struct Pipe {
        reader: std::io::PipeReader,
        writer: EventWriter,
        stop: Arc<AtomicBool>,
    }

    fn pipe() -> Pipe {
        let (reader, out) = std::io::pipe().unwrap();
        let out = std::fs::File::from(std::os::fd::OwnedFd::from(out));
        let stop = Arc::new(AtomicBool::new(false));
        let log = Log::new(Box::new(std::io::sink()));
        let clock = Arc::new(SystemClock::new());
        let writer = EventWriter::new(
            Arc::new(Output::new(out)),
            Format::Xml,
            Arc::clone(&stop),
            clock,
            log,
        )
        .unwrap();
        Pipe {
            reader,
            writer,
            stop,
        }
    }

    fn event(data: &str) -> Event<'_> {
        Event {
            time: Timestamp::parse("2020-04-07T18:23:02.50Z"),
            sourcetype: None,
            data,
            is_json: true,
        }
    }

    #[test]
    fn a_byte_counts_as_taken_when_it_has_left_the_pipe() {
        let mut pipe = pipe();
        pipe.writer.write(&event("{}")).unwrap();
        pipe.writer.flush().unwrap();
        let end = usize::try_from(pipe.writer.progress().sent).unwrap();
        assert_eq!(pipe.writer.progress().taken, 0);
        let mut read = vec![0; end];
        pipe.reader.read_exact(&mut read[..end - 1]).unwrap();
        while pipe.writer.progress().taken < end as u64 - 1 {
            std::thread::yield_now();
        }
        assert_eq!(pipe.writer.progress().taken, end as u64 - 1);
        pipe.reader.read_exact(&mut read[end - 1..]).unwrap();
        assert_eq!(pipe.writer.progress().taken, end as u64);
        pipe.writer.finish().unwrap();
        drop(pipe.writer);
        let mut rest = String::new();
        pipe.reader.read_to_string(&mut rest).unwrap();
        assert_eq!(
            String::from_utf8(read).unwrap() + &rest,
            "<stream>\n<event unbroken=\"1\"><time>1586283782.50</time><data>{}</data><done/></event>\n</stream>\n"
        );
    }

    #[test]
    fn a_closed_reader_is_noticed_even_when_nothing_is_being_written() {
        let mut pipe = pipe();
        pipe.writer.write(&event("{}")).unwrap();
        pipe.writer.flush().unwrap();
        drop(pipe.reader);
        assert!(matches!(
            pipe.writer.check(),
            Err(Undelivered::ReaderClosed)
        ));
        assert_eq!(pipe.writer.progress().taken, 0);
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_reader_that_does_not_read() {
        let mut pipe = pipe();
        let big = "x".repeat(1 << 20);
        pipe.stop.store(true, Ordering::Relaxed);
        let stopped = (0..4).find_map(|_| pipe.writer.write(&event(&big)).err());
        assert!(matches!(stopped, Some(Undelivered::Stopped)));
    }
}
