//! Events, and what a place where events go must know: how much of what was sent is safe there.

use std::fmt;
use std::io;
use std::time::Duration;

use serde_json::Value;

use super::log::{Failure, Fields, Level};
use super::status::Status;
use crate::base::clock::Timestamp;

/// A place where events go, which knows how much of what was sent has been taken there.
pub trait EventSink {
    /// Adds one event. Waits as long as the other side is behind.
    ///
    /// # Errors
    /// The other side is gone or refuses, or the run is to stop.
    fn write(&mut self, event: &Event<'_>) -> Result<(), Undelivered>;

    /// Sends off what is still held back. Afterwards [`Progress::sent`] counts every event so far.
    ///
    /// # Errors
    /// The other side is gone or refuses, or the run is to stop.
    fn flush(&mut self) -> Result<(), Undelivered>;

    /// How far the other side is.
    fn progress(&self) -> Progress;

    /// Whether `events` more events, with `data_bytes` bytes of data, may be sent while `unsaved` bytes are not known
    /// to be taken, without a cut-off becoming too expensive.
    fn has_room(&self, unsaved: u64, events: usize, data_bytes: usize) -> bool;

    /// Watches the other side: warns when it has taken nothing for a while.
    ///
    /// # Errors
    /// The other side is gone or refuses, or the run is to stop.
    fn check(&mut self) -> Result<(), Undelivered>;

    /// Ends the stream of events.
    ///
    /// # Errors
    /// The other side is gone, or the run is to stop.
    fn finish(&mut self) -> Result<(), Undelivered>;
}

/// How far the other side of an [`EventSink`] is, in bytes of the sink's own form of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have been sent off.
    pub sent: u64,
    /// How many of them the other side has taken. Never too many; it can be a moment behind.
    pub taken: u64,
    /// How many of the events the other side has refused, so that they were left out.
    pub refused: u64,
    /// What it means that they have been taken.
    pub receipt: Receipt,
}

/// What it means that bytes have been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// splunkd has read them. What it has not indexed yet is lost when it is killed.
    ReadBySplunkd,
    /// A reader of lines has read them, and may lose them likewise.
    Read,
    /// An event collector has accepted them.
    Accepted,
    /// The indexers have acknowledged them.
    Acknowledged,
}

impl Receipt {
    /// Whether what has been taken stays taken, whatever happens to this process and to the one that reads from it.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::ReadBySplunkd | Self::Read => false,
            Self::Accepted | Self::Acknowledged => true,
        }
    }
}

/// One event as Splunk indexes it. `<host>`, `<index>` and `<source>` are left to the stanza.
pub struct Event<'a> {
    /// The time of the event; without one Splunk takes the time of arrival.
    pub time: Option<Timestamp>,
    /// What kind of data it is; without one it is the stanza's.
    pub sourcetype: Option<&'static str>,
    /// The text of the event.
    pub data: &'a str,
    /// Whether the text is JSON. Where only JSON may go, any other text goes as a string.
    pub is_json: bool,
}

impl Event<'_> {
    /// Adds the event to `buffer` as a JSON value.
    pub(super) fn append_json(&self, buffer: &mut Vec<u8>) {
        if self.is_json {
            buffer.extend_from_slice(self.data.as_bytes());
        } else {
            buffer.extend_from_slice(Value::from(self.data).to_string().as_bytes());
        }
    }
}

/// Why events did not arrive. What was confirmed before stays confirmed.
#[derive(Debug)]
pub enum Undelivered {
    /// The process was asked to stop.
    Stopped,
    /// Nobody reads the standard output any more.
    ReaderClosed,
    /// The other side refuses the events, and why.
    Refused(Failure),
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the input was asked to stop"),
            Self::ReaderClosed => f.write_str("nobody reads the standard output any more"),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Undelivered {}

impl From<io::Error> for Undelivered {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderClosed,
            _ => Self::Refused(Failure {
                status: Status::Failed,
                level: Level::Error,
                fields: Fields::new().with("action", "deliver"),
                sentence: format!("could not write to the standard output: {error}"),
            }),
        }
    }
}

/// How long a wait lasts without looking for a signal or a closed reader; a stop must take effect within 2 s.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How often a reader that does not read is mentioned.
pub(super) const STALL_WARNING: Duration = Duration::from_secs(60);

/// When the other side last took something.
pub(super) struct Stall {
    taken: u64,
    since: Duration,
}

impl Stall {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            taken: 0,
            since: now,
        }
    }

    /// Whether it is time to say that nothing has been taken, while something is under way.
    pub(super) fn is_due(&mut self, progress: Progress, now: Duration) -> bool {
        let Progress { sent, taken, .. } = progress;
        if taken > self.taken || taken == sent {
            *self = Self { taken, since: now };
            return false;
        }
        let due = now.saturating_sub(self.since) >= STALL_WARNING;
        if due {
            self.since = now;
        }
        due
    }
}
