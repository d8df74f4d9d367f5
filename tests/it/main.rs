//! The integration tests: real binaries, driven through pipes as splunkd would, against scripted stand-ins.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// `--scheme`, `--help` and the other ways to be started.
mod introspection;

/// What a person types, and what a person sees.
mod command_line;

/// `--validate-arguments`.
mod validation;

/// A run: what arrives in Splunk, byte for byte.
mod execution;

/// Tokens, keys and what Docusign says when they do not fit.
mod authentication;

/// Secure storage, masks, and what splunkd is asked.
mod secrets;

/// `check`, `show` and `reset`.
mod diagnosis;

/// What Docusign does wrong, and which of it ends a run.
mod faults;

/// The way to Docusign: proxies and certificates.
mod network;

/// Streams that repeat themselves, and records that are no JSON.
mod repeats;

/// The budget of calls that Docusign allows an account.
mod budget;

/// Where a run goes on: checkpoints, locks, readers that stop, signals.
mod resuming;

/// Nothing is lost: kills, stops, blocked readers, and an account of it all.
mod delivery;

/// Several members of a search head cluster, and the one position they share.
mod cluster;

/// The lease: a model of members that are killed, frozen and cut off, and the thread that keeps it.
mod lease;

/// The way to an HTTP Event Collector: batches, acknowledgements, and all that goes wrong there.
mod hec;

/// `run --conf`: a run without splunkd.
mod standalone;

/// `run --every`: several inputs side by side, again and again.
mod service;

/// What must hold for any input: thousands of random ones.
mod properties;

/// The targets in `fuzz/`, over their seeds.
mod fuzzing;

/// The `ds_lookups` input: what becomes of Docusign's directory, and what it is that stays.
mod lookups;

/// The page Set up says what the code says: arguments, keys, entries in secure storage.
mod web;

/// Numbers from outside, and where they end: `docs/bounds.md`, and a test beyond each of them that is nowhere else.
mod bounds;

/// The files that Splunk reads say what the code says, and the modules keep to their import table.
mod tidy;

/// The documentation says what the code says, and its links lead somewhere.
mod docs;

/// The search-time files: every name that a setting or a search uses exists.
mod knowledge;

/// The table of events: what its rows rest on, and which one each spelling reaches.
mod actions;

/// The reader of searches, held against what Splunk says of its language.
mod spl;

/// The demo, as somebody sees it who tries the project.
mod demo;

/// The dashboards: what they search, show and link to.
mod views;

/// What becomes of a record at search time, held against Splunk's Common Information Model.
mod cim;

/// The detections, computed on events that they must find and on events that they must not.
mod detections;

/// The saved searches that watch the feed and keep the lookups.
mod upkeep;

use std::path::Path;
use std::sync::LazyLock;

/// A folder with other builds of the programs to test, for example under emulation.
const PROGRAMS: &str = "DS_MONITOR_PROGRAMS";

fn program(name: &str, built: &str) -> &'static Path {
    let path =
        std::env::var_os(PROGRAMS).map_or_else(|| built.into(), |dir| Path::new(&dir).join(name));
    Box::leak(path.into_boxed_path())
}

/// The collector under test.
fn ds_monitor() -> &'static Path {
    static PROGRAM: LazyLock<&Path> =
        LazyLock::new(|| program("ds_monitor", env!("CARGO_BIN_EXE_ds_monitor")));
    &PROGRAM
}

/// The companion under test.
fn ds_lookups() -> &'static Path {
    static PROGRAM: LazyLock<&Path> =
        LazyLock::new(|| program("ds_lookups", env!("CARGO_BIN_EXE_ds_lookups")));
    &PROGRAM
}
