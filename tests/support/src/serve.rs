//! `--serve [PORT]`: the stand-ins stay up, so that a person can open the page Set up in a browser.
//!
//! People and events are invented; new ones come in while it runs.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it speaks to a person, and waits by the machine's own clock"
)]

use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};

use super::docusign::{Docusign, INTEGRATION_KEY, USER_ID, private_key_path, sample_record};
use super::splunk_web::SplunkWeb;

/// The port without one in the arguments; Splunk Web's own.
pub const PORT: u16 = 8000;
/// Events that have happened before anybody looks.
const BEFORE: usize = 40;
/// The time between two of them, and between those that follow.
const PAUSE: TimeDelta = TimeDelta::seconds(20);

/// Serves until the process is ended. `programs` is the folder of the real binaries.
///
/// # Errors
/// The page has not been built, or the port is taken.
pub fn serve(programs: &Path, port: u16) -> Result<(), String> {
    if !SplunkWeb::is_built() {
        return Err(
            "the page Set up has not been built. It needs Node.js 20 or newer: cd web && npm ci && npm run build"
                .to_owned(),
        );
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
        format!("port {port} of this machine cannot be used ({error}); name another: --serve PORT")
    })?;
    let records = (0..BEFORE).map(|n| record(n, BEFORE - n));
    // Who opens the consent address has consented, as at the real one.
    let docusign = Docusign::new()
        .records(records)
        .consented_scopes(&[])
        .start();
    let web = SplunkWeb::start(listener, programs, &docusign);
    println!(
        "The page Set up:  {}\n\n\
         Integration key   {INTEGRATION_KEY}\n\
         User ID           {USER_ID}\n\
         Private key       {}\n\n\
         Splunk and Docusign ({}) are stand-ins on this machine; saving and collecting is done by the real programs \
         in {}. Ctrl+C ends it.",
        web.url(),
        private_key_path(),
        docusign.url(),
        programs.display(),
    );
    for n in BEFORE.. {
        thread::sleep(PAUSE.to_std().unwrap_or(Duration::ZERO));
        docusign.push_records([record(n, 0)]);
    }
    Ok(())
}

/// Record number `n` of the sample, as if it had happened `ago` pauses ago.
fn record(n: usize, ago: usize) -> String {
    let ago = i32::try_from(ago).unwrap_or(i32::MAX);
    let time = (Utc::now() - PAUSE * ago).to_rfc3339_opts(SecondsFormat::Millis, true);
    let record = sample_record(n);
    let (_, rest) = record.split_once(r#"Z","#).unwrap_or_default();
    format!(r#"{{"timestamp":"{time}",{rest}"#)
}
