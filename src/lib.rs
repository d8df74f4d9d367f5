//! Docusign Monitor for Splunk.
//!
//! **The promise.** Every record of Docusign's Monitor stream reaches Splunk at least once, byte for byte, at its own
//! time; a position is saved only when the events before it have been read, or an event collector has confirmed them.
//! No secret leaves through the standard output, the log or a file of ours.
//!
//! **The path.** `stdin -> InputDefinition -> Settings -> JWT grant -> pages -> events -> checkpoint`: read
//! [`monitor`] from the top, where `drain` is the whole loop.
//!
//! **The parts.** Who has Splunk's manual open needs [`splunk`] and nothing else; who has Docusign's, [`docusign`].
//!
//! | module | may use | holds |
//! |---|---|---|
//! | [`monitor`] | all below | the input `ds_monitor`: a record becomes an event, a cursor a checkpoint |
//! | [`lookups`] | all below, and `monitor`'s configuration | the input `ds_lookups`: users and accounts become rows |
//! | [`failures`] | `splunk`, `docusign` and below | Docusign's errors as lines of Splunk's log |
//! | [`params`] | `splunk`, `docusign` and below | forms that arguments share: GUIDs, addresses, files, times |
//! | [`splunk`] | the five below | the modular input protocol: scheme, configuration, events, log, checkpoint; the event collector |
//! | [`docusign`] | the five below | JWT Grant and the Monitor API: hosts, tokens, pages, retries |
//! | [`http`] | the four below | ways to a server, bounded answers, words for a network that fails |
//! | [`clock`], [`durable`], [`retry`], [`secret`] | nothing here | time, files that survive a crash, waits between attempts, texts that are not shown |
//!
//! `splunk` and `docusign` never use each other; a test holds the table to that.
//!
//! **Words.** A *record* is Docusign's, an *event* is Splunk's. A *cursor* is Docusign's, a *checkpoint* is ours. A
//! *stanza* is text, *settings* are checked. An *input* is one stanza; a *run* is one process that Splunk starts for
//! it.

pub mod clock;
pub mod docusign;
pub mod durable;
pub mod failures;
pub mod http;
pub mod lookups;
pub mod monitor;
pub mod params;
pub mod retry;
pub mod secret;
pub mod splunk;
