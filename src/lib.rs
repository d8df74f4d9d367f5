//! Docusign Monitor for Splunk.
//!
//! **The promise.** Every record of Docusign's Monitor stream reaches Splunk at least once, byte for byte, at its own
//! time; a position is saved only when the events before it have been read, or an event collector has confirmed them.
//! No secret leaves through the standard output, the log or a file of ours.
//!
//! **The path.** `stdin -> InputDefinition -> Settings -> JWT grant -> pages -> events -> checkpoint`: read
//! [`monitor`] from the top; `drain` in `monitor/delivery.rs` is the whole loop.
//!
//! **The parts.** With Splunk's manual open you need only [`splunk`]; with Docusign's, only [`docusign`].
//!
//! | module | uses | contains |
//! |---|---|---|
//! | [`lookups`] | `monitor` `failures` `params` `splunk` `docusign` `base` | the input `ds_lookups`: users and accounts become rows |
//! | [`monitor`] | `failures` `params` `splunk` `docusign` `base` | the input `ds_monitor`: a record becomes an event, a cursor a checkpoint |
//! | [`failures`] | `splunk` `docusign` `base` | Docusign's errors as lines of Splunk's log; remedies in the words of our parameters |
//! | [`params`] | `splunk` `docusign` `base` | forms that arguments share: GUIDs, addresses, files, times |
//! | [`splunk`] | `base` | Splunk's words: the modular input protocol, splunkd's REST interface, the event collector |
//! | [`docusign`] | `base` | Docusign's words: JWT Grant, the Monitor API, the directory of users and accounts |
//! | [`base`] | | time, files, servers, waits, secrets |
//!
//! No text under `base`, `splunk` or `docusign` names a parameter or a command of ours, or the other side: where a
//! remedy needs a name, the caller passes it. A test reads this table and holds the imports and the texts to it.
//!
//! **Words.** A *record* is Docusign's, an *event* is Splunk's. A *cursor* is Docusign's, a *checkpoint* is ours. A
//! *stanza* is text, *settings* are checked. An *input* is one stanza; a *run* is one process that Splunk starts for
//! it. *HEC* is Splunk's event collector, and nothing else is called a collector.

pub mod base;
pub mod docusign;
pub mod failures;
pub mod lookups;
pub mod monitor;
pub mod params;
pub mod splunk;
