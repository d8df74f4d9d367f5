//! `--serve [PORT]`: the stand-ins stay up, for a person with a browser or with a real Splunk.
//!
//! What the inputs bring that the person makes on the page Set up is shown as it comes. When a signal ends it, nothing
//! is left behind: no process, no file.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use chrono::DateTime;
use ds_monitor::base::clock::{Clock, SystemClock};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use support::docusign::{
    ACCOUNT_ID, Docusign, INTEGRATION_KEY, ORGANIZATION_ID, USER_ID, private_key_path,
};
use support::search_time::SearchTime;
use support::splunk_web::{Ran, SplunkWeb};
use support::week;

use crate::records::{member, what};
use crate::screen::{Screen, Style};

/// The port without one in the arguments: none of those that a Splunk on the same machine has.
pub(crate) const PORT: u16 = 8010;

/// The time between two events at Docusign.
const PAUSE: Duration = Duration::from_secs(20);

/// Rows of one run; a first run brings a week.
const SHOWN: usize = 30;

/// What the one who shows the runs writes into the pipe of the signals when that came to an end; a signal writes `X`.
const ENDED: u8 = b'!';

/// What the page Set up asks the consent for.
const CONSENT: &str = "/oauth/auth?scope=impersonation%20signature%20organization_read%20user_read%20permission_read%20group_read";

/// Serves until a signal. `programs` is the folder of the real programs.
pub(crate) fn serve(mut screen: Screen, programs: &Path, port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| {
        format!("port {port} of this machine cannot be used; name another one: --serve PORT")
    })?;
    let (mut asked, ask) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        pipe::register(signal, ask.try_clone()?)?;
    }
    let records = week::records(SystemClock::new().now());
    let next = records.len();
    // Who opens the address of the consent has given it, as at the real one.
    let docusign = Docusign::new()
        .directory(week::directory())
        .records(records)
        .consented_scopes(&[])
        .start();
    let (ran, runs) = channel();
    let web = SplunkWeb::start(listener, programs, &docusign, ran);
    introduce(&mut screen, &web.url(), &docusign.url())?;
    // A screen may stop for as long as it likes; a signal is heard in any case.
    let shows = thread::spawn(move || {
        let shown = catch_unwind(AssertUnwindSafe(|| {
            show(&mut screen, &docusign, &runs, next)
        }));
        let _ = (&ask).write_all(&[ENDED]);
        shown.unwrap_or_else(|_| Err(anyhow!("a stand-in failed, as told above")))
    });
    let mut reason = [0];
    asked.read_exact(&mut reason)?;
    drop(web);
    match reason {
        [ENDED] => shows.join().unwrap_or(Ok(())),
        _ => Ok(()),
    }
}

fn introduce(screen: &mut Screen, page: &str, docusign: &str) -> Result<()> {
    let key = private_key_path();
    // The tests of the page look for this line.
    screen.print(&format!("The page Set up:  {page}"))?;
    if !SplunkWeb::is_built() {
        screen.brief(
            "It has not been built yet. With Node.js 20 or newer: cd web && npm ci && npm run build",
            Style::Yellow,
        )?;
    }
    screen.print("")?;
    screen.brief(
        &format!(
            "Splunk and Docusign are stand-ins on this machine. The real programs test what you save, and collect on \
             schedule. Docusign has a week of invented people, with a break-in {} minutes ago, and something new \
             every {} seconds. The page asks for these:",
            week::BEGAN.num_minutes(),
            PAUSE.as_secs()
        ),
        Style::Plain,
    )?;
    screen.print("")?;
    for (name, value) in [
        ("Integration key", INTEGRATION_KEY),
        ("User ID", USER_ID),
        ("Private key", key),
        ("Organization", ORGANIZATION_ID),
        ("Account", ACCOUNT_ID),
    ] {
        screen.print(&format!("  {name:<18}{value}"))?;
    }
    screen.brief_title("A real Splunk on this machine can collect from it too")?;
    screen.brief("Open this address once, for the consent:", Style::Plain)?;
    screen.print(&format!("  {docusign}{CONSENT}"))?;
    screen.brief(
        "Then install the app, let Splunk's user read the key, and write into its local/inputs.conf (with \
         organization_id it follows the organization's stream):",
        Style::Plain,
    )?;
    screen.print("")?;
    for line in [
        "[ds_monitor://demo]",
        &format!("auth_url = {docusign}"),
        &format!("monitor_url = {docusign}"),
        &format!("admin_url = {docusign}/management"),
        &format!("integration_key = {INTEGRATION_KEY}"),
        &format!("user_id = {USER_ID}"),
        &format!("private_key_path = {key}"),
        "start_from = earliest",
        // Either stream has the same records.
        &format!("# organization_id = {ORGANIZATION_ID}"),
        "",
        "[ds_lookups://demo]",
        "monitor_input = demo",
    ] {
        screen.print(&format!("  {line}"))?;
    }
    screen.brief_title("What your inputs bring")?;
    screen.brief(
        "Make one on the page Set up. Ctrl+C ends all this and leaves nothing behind.",
        Style::Plain,
    )
}

/// Shows what comes of each run, and lets something happen now and then.
fn show(screen: &mut Screen, docusign: &Docusign, runs: &Receiver<Ran>, next: usize) -> Result<()> {
    let clock = SystemClock::new();
    let search_time = week::search_time();
    for n in next.. {
        let until = clock.elapsed() + PAUSE;
        loop {
            match runs.recv_timeout(until.saturating_sub(clock.elapsed())) {
                Ok(run) => show_run(screen, &search_time, &run)?,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        docusign.push_records([week::record(n, clock.now())]);
    }
    Ok(())
}

fn show_run(screen: &mut Screen, search_time: &SearchTime, run: &Ran) -> Result<()> {
    let refreshed = run
        .log
        .iter()
        .filter(|line| line.field("action") == "lookups_refreshed");
    let troubles = run.log.iter().filter(|line| line.level != "INFO");
    if !run.events.is_empty() {
        screen.brief_title(&format!("{}: {} events", run.input, run.events.len()))?;
        show_events(screen, search_time, &run.events)?;
    }
    for line in refreshed.chain(troubles) {
        let style = match line.level.as_str() {
            "INFO" => Style::Green,
            "WARN" => Style::Yellow,
            _ => Style::Red,
        };
        screen.brief_title(&run.input)?;
        screen.brief(&format!("{} {}", line.level, line.sentence), style)?;
    }
    Ok(())
}

/// The last of the events, with the names that the lookups give them. What somebody does again and again is one row.
fn show_events(screen: &mut Screen, search_time: &SearchTime, events: &[String]) -> Result<()> {
    let mut rows: Vec<(&String, usize)> = vec![];
    let kind = |record: &str| {
        let parts = ["/userId", "/ipAddress", "/result", "/affectedUserId"];
        (what(record), parts.map(|part| member(record, part)))
    };
    for event in events {
        match rows.last_mut() {
            Some((last, times)) if kind(last) == kind(event) => {
                (*last, *times) = (event, *times + 1)
            }
            _ => rows.push((event, 1)),
        }
    }
    let hidden = rows.len().saturating_sub(SHOWN);
    if hidden > 0 {
        let hidden: usize = rows.drain(..hidden).map(|(_, times)| times).sum();
        screen.brief(&format!("… {hidden} earlier ones"), Style::Dim)?;
    }
    let header = ["time (UTC)", "who", "what", "where", "status"];
    screen.event_row(header.map(|name| (name, Style::Dim)))?;
    for (event, times) in rows {
        let record = serde_json::from_str(event)?;
        let fields: BTreeMap<_, _> = search_time.find(&record).fields;
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| fields.get(*name)?.first());
            values.next().cloned().unwrap_or_default()
        };
        let (actor, affected) = (first(&["actor_name", "actor_id"]), first(&["user_name"]));
        let who = match first(&["user_id"]) == first(&["actor_id"]) || affected.is_empty() {
            true => actor,
            false => format!("{actor} → {affected}"),
        };
        let what = match times {
            1 => first(&["event_name"]),
            times => format!("{times} × {}", first(&["event_name"])),
        };
        let place = match screen.is_narrow() {
            true => first(&["src_city"]),
            false => [first(&["src_city"]), first(&["src_country"])].join(", "),
        };
        let (status, style) = match first(&["status"]).as_str() {
            "success" => ("success", Style::Green),
            "failure" => ("failure", Style::Red),
            _ => ("", Style::Plain),
        };
        let time = DateTime::parse_from_rfc3339(&first(&["timestamp"]))?;
        screen.event_row([
            (&time.format("%b %e %H:%M").to_string(), Style::Plain),
            (&who, Style::Bold),
            (&what, Style::Plain),
            (&place, Style::Plain),
            (status, style),
        ])?;
    }
    Ok(())
}
