//! A demonstration without Splunk and without Docusign: `cargo run --example demo`.
//!
//! Stand-ins on loopback play the two outside worlds, and the real programs run between them, started as splunkd
//! starts them. Without arguments one screen says what came of it, `--full` shows every step. Every figure and every
//! sentence with a tick has been checked before it was printed; the first that does not hold ends the demo with exit
//! code 1, so that it is a smoke test as well.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use chrono::DateTime;
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::lookups::table::Table;
use ds_monitor::lookups::{ACCOUNTS, USERS};
use ds_monitor::splunk::input_definition::MASK;
use serde_json::Value;
use tempfile::TempDir;

use support::conf::{conf, macros, setting, stanza, table};
use support::docusign::{
    ACCESS_TOKEN_MARK, Directory, Docusign, PRIVATE_KEY, cursor_at, sample_record, sample_timestamp,
};
use support::hec::{self, Hec};
use support::input::{DEADLINE, Event, Input, LogLine, Outcome, Running};
use support::search_time::SearchTime;
use support::serve;
use support::spl::{Search, World};
use support::splunkd::{SESSION_KEY, Splunkd};

/// Records a page. Docusign's pages hold up to 2000; small ones show more of what happens.
const PAGE: usize = 5;

/// Events that happen before the first run, the second, the one that is cut off, and the one without consent.
const FIRST: usize = 10;
const NEW: usize = 3;
const CUT: usize = 10;
const WAITING: usize = 2;
const TOTAL: usize = FIRST + NEW + CUT + WAITING;

/// Events that splunkd has read whole when a run is cut off: a page, and half of the next.
const READ_BEFORE_THE_CUT: usize = PAGE + 3;

/// Rows at the beginning of a long table, and as many at its end, that are shown.
const SHOWN_AT_EITHER_END: usize = 4;

/// What must not leave the programs, nor lie in a checkpoint directory.
const SECRETS: [&str; 4] = [PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK, hec::TOKEN];

const HELP: &str = "\
cargo run --example demo                        one screen: what the real programs do
cargo run --example demo -- --full              every step
cargo run --example demo -- --serve [PORT]      stand-ins and the page Set up, for a browser
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (problem, hint) = match arguments.as_slice() {
        [] => return show(Detail::Brief),
        ["--full"] => return show(Detail::Full),
        ["--help" | "-h"] => {
            let written = io::stdout().write_all(HELP.as_bytes());
            return written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        ["--serve"] => return stand_up(serve::PORT),
        ["--serve", port] => match port.parse() {
            Ok(port) => return stand_up(port),
            Err(_) => ("--serve takes a port, a number up to 65535", ""),
        },
        _ => ("the arguments are not known", HELP),
    };
    let _ = write!(io::stderr(), "demo: {problem}.\n{hint}");
    ExitCode::from(2)
}

/// `--serve [PORT]`: the page Set up, for a browser.
fn stand_up(port: u16) -> ExitCode {
    let served = build()
        .map_err(|error| format!("{error:#}"))
        .and_then(|programs| serve::serve(&programs, port));
    served.map_or_else(|problem| stop(&problem), |()| ExitCode::SUCCESS)
}

fn show(detail: Detail) -> ExitCode {
    let mut screen = Screen::new(detail);
    // The stand-ins belong to the tests and fail as tests do, by a panic that has told its reason already.
    let told = catch_unwind(AssertUnwindSafe(|| tell(&mut screen)));
    let problem = match told {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "a stand-in or a run failed, as told above".to_owned(),
    };
    stop(&problem)
}

fn stop(problem: &str) -> ExitCode {
    let problem = problem.trim_end();
    let _ = writeln!(io::stderr(), "\nThe demo stops here: {problem}.");
    ExitCode::FAILURE
}

fn tell(screen: &mut Screen) -> Result<()> {
    let programs = build()?;
    let clock = SystemClock::new();
    let mut stage = Stage::set(programs)?;
    introduce(screen, &stage)?;
    show_configuration(screen, &stage)?;
    run_first(screen, &mut stage)?;
    show_checkpoint(screen, &stage)?;
    run_again(screen, &mut stage)?;
    let twice = cut_a_run_off(screen, &mut stage)?;
    let error = make_a_mistake(screen, &mut stage)?;
    let names = give_names(screen, &stage)?;
    let finding = find_something(screen, &stage)?;
    count_everything(screen, &stage)?;
    go_without_splunk(screen, &stage)?;
    say_what_next(screen)?;
    let told = Told {
        names,
        twice,
        finding,
        error,
        seconds: clock.elapsed().as_secs_f64(),
    };
    sum_up(screen, &stage, &told)
}

// ---- the one screen ----

/// What came of the story.
struct Told {
    /// Of every event, in order.
    names: Vec<Names>,
    /// Events that came twice after the cut.
    twice: usize,
    finding: Finding,
    /// The line of a run that failed.
    error: String,
    seconds: f64,
}

/// A row of a detection.
struct Finding {
    detection: String,
    severity: String,
    text: String,
}

/// Events on the one screen.
const SHOWN_EVENTS: usize = 8;

/// The one screen; in full everything has been said.
fn sum_up(screen: &mut Screen, stage: &Stage, told: &Told) -> Result<()> {
    if screen.detail == Detail::Full {
        return Ok(());
    }
    screen.brief_title("Docusign Monitor for Splunk")?;
    screen.brief(
        "The real programs, between stand-ins for Docusign and splunkd.",
        Style::Plain,
    )?;
    screen.brief_title("What Splunk has, with names from the lookups")?;
    let events = stage.happened.iter().zip(stage.times()?).zip(&told.names);
    let mut kinds = BTreeSet::new();
    let of_a_new_kind = events.filter(|((record, _), _)| kinds.insert(what(record)));
    for ((record, time), names) in of_a_new_kind.take(SHOWN_EVENTS) {
        screen.brief_row([
            &readable(&time)?,
            &what(record),
            &names.actor,
            &names.affected,
        ])?;
    }
    let unique: BTreeSet<_> = stage.indexed.iter().collect();
    screen.brief_title(&format!(
        "A run that was killed after {READ_BEFORE_THE_CUT} of {CUT} events"
    ))?;
    screen.brief(
        &format!(
            "{} lost, {} twice; dedup eventId leaves {} of {}.",
            stage.happened.len() - unique.len(),
            told.twice,
            unique.len(),
            stage.happened.len(),
        ),
        Style::Green,
    )?;
    let Finding {
        detection,
        severity,
        text,
    } = &told.finding;
    screen.brief_title(&format!(
        "A finding of the detection {detection}, {severity}"
    ))?;
    screen.brief(text, Style::Yellow)?;
    screen.brief_title("An error, and what to do about it")?;
    screen.brief(&told.error, Style::Red)?;
    screen.brief_title(&format!(
        "{} checks held in {:.1} s",
        screen.checks, told.seconds
    ))?;
    screen.brief(
        "Every step: cargo run --example demo -- --full. Your own events: docs/quickstart.md.",
        Style::Plain,
    )
}

/// Runs a detection on what Splunk has read, as the reader of searches understands it.
fn find_something(screen: &mut Screen, stage: &Stage) -> Result<Finding> {
    const DETECTION: &str = "Alert raised by Docusign";
    screen.heading("A detection")?;
    screen.say(
        "Twenty-three searches look for what should not happen. A Splunk is not here to run them; the reader of \
         searches that the tests use runs this one on the events that splunkd has read:",
    )?;
    let mut search_time = SearchTime::read();
    for (lookup, rows) in [
        ("ds_users", stage.lookup(&USERS)?),
        ("ds_accounts", stage.lookup(&ACCOUNTS)?),
    ] {
        for row in rows {
            let cells: Vec<_> = row
                .iter()
                .map(|(column, cell)| (column.as_str(), cell.as_str()))
                .collect();
            search_time = search_time.with_row(lookup, &cells);
        }
    }
    let now = SystemClock::new().now().timestamp();
    let unique: BTreeSet<_> = stage.indexed.iter().collect();
    let mut events = Vec::new();
    for record in unique {
        let mut event = search_time.event(&serde_json::from_str(record)?);
        event.insert("_indextime".to_owned(), vec![now.to_string()]);
        events.push(event);
    }
    let settings = stanza(
        &conf("savedsearches"),
        &format!("Docusign Detection - {DETECTION}"),
    );
    let text = setting(&settings, "search").context("the detection has no search")?;
    let search = Search::parse(text, &macros()).map_err(anyhow::Error::msg)?;
    let world = World {
        now: now + 1,
        events,
        lookups: search_time.lookups(),
        ..World::default()
    };
    let found = search.run(&world).map_err(anyhow::Error::msg)?;
    let row = found.first();
    let cell = |field: &str| {
        let cell = row
            .and_then(|row| row.get(field))
            .and_then(|values| values.first());
        cell.cloned().unwrap_or_default()
    };
    let finding = Finding {
        detection: DETECTION.to_owned(),
        severity: cell("severity"),
        text: cell("finding"),
    };
    screen.quote(&format!("{}: {}", finding.severity, finding.text))?;
    screen.check(
        !finding.text.is_empty() && !finding.severity.is_empty(),
        "the alert that Docusign raised is found, with its severity and a sentence about it",
    )?;
    Ok(finding)
}

// ---- the story ----

fn introduce(screen: &mut Screen, stage: &Stage) -> Result<()> {
    let programs = stage.programs.strip_prefix(env!("CARGO_MANIFEST_DIR"));
    screen.title("Docusign Monitor for Splunk: a demonstration")?;
    screen.say(&format!(
        "Two stand-ins on this machine play the outside worlds, Docusign at {} and splunkd at {}. Between them run \
         the real programs, ds_monitor and ds_lookups from {}, started the way Splunk starts them. What has a tick \
         was checked before it was printed.",
        stage.docusign.url(),
        stage.splunkd.url(),
        programs.unwrap_or(&stage.programs).display(),
    ))
}

fn show_configuration(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.heading("Splunk hands over the configuration")?;
    screen.say(
        "Once a minute Splunk starts ds_monitor and writes this to its standard input. Not shown are what every input \
         has, and the two secrets, which Splunk does write. The addresses and the low limit belong to this \
         demonstration; an input of yours does not need them.",
    )?;
    for line in shortened(&stage.input.input_xml()) {
        screen.quote(&line)?;
    }
    Ok(())
}

fn run_first(screen: &mut Screen, stage: &mut Stage) -> Result<()> {
    screen.heading("The first run")?;
    screen.say(&format!(
        "{FIRST} events are waiting at Docusign. ds_monitor signs a JWT with the private key, is given a token for it, \
         follows the stream in pages of {PAGE} and writes each record as one event. This is what Splunk indexes:",
    ))?;
    let sent = stage.happen(FIRST)?;
    let outcome = stage.run()?;
    let events = outcome.events();
    show_events(screen, &events)?;

    screen.say(
        "The first of them as it crosses the pipe, cut to fit. Splunk takes the time from <time>, the text from \
         <data>, and host, index, source and sourcetype from the settings of the input:",
    )?;
    let stdout = String::from_utf8_lossy(&outcome.stdout);
    screen.quote_start(stdout.lines().nth(1).unwrap_or_default())?;
    screen.say(
        "What splunkd.log says about the run, one line each there, with ids shortened here:",
    )?;
    screen.log(&outcome.log_lines(), &[])?;

    screen.check(
        texts(&events) == sent,
        &format!("{FIRST} events arrived, each byte for byte as Docusign sent it"),
    )?;
    let times = events
        .into_iter()
        .map(|event| event.time.unwrap_or_default());
    screen.check(
        times.eq(stage.times()?),
        "each has its record's own time to the last digit, from none to nine of them behind the point",
    )?;
    // Panics, with a report, if there is one.
    outcome.assert_no_secret(&SECRETS);
    screen.check(
        true,
        "neither the key nor a token is in the output, the log or the checkpoint",
    )?;
    screen.check(
        stage.has_moved_the_key(),
        &format!(
            "the pasted key has moved to Splunk's secure storage; its place in inputs.conf says {MASK}"
        ),
    )
}

fn show_checkpoint(screen: &mut Screen, stage: &Stage) -> Result<()> {
    let (name, text) = stage.checkpoint()?;
    screen.heading("The checkpoint")?;
    screen.say(&format!(
        "The position now lies in Splunk's checkpoint directory, in {name}. The file is replaced whole or not at all, \
         and a cursor gets into it only when splunkd has read every byte before it:",
    ))?;
    for line in text.lines() {
        screen.quote(line)?;
    }
    screen.terms(&CHECKPOINT_FIELDS)?;
    let checkpoint: Value = serde_json::from_str(&text).context("the checkpoint is not JSON")?;
    let fields = checkpoint
        .as_object()
        .context("the checkpoint is no object")?;
    let mut explained = CHECKPOINT_FIELDS.iter();
    screen.check(
        fields.len() == explained.len() && explained.all(|(field, _)| fields.contains_key(*field)),
        "these are all the fields there are",
    )
}

fn run_again(screen: &mut Screen, stage: &mut Stage) -> Result<()> {
    screen.heading("The second run, a minute later")?;
    screen.say(&format!(
        "Meanwhile {NEW} more things happened at Docusign. Splunk starts ds_monitor again; it reads the checkpoint and \
         asks for what comes after it:",
    ))?;
    let sent = stage.happen(NEW)?;
    let outcome = stage.run()?;
    show_events(screen, &outcome.events())?;
    screen.say("Its log, without the fields that are of no importance here:")?;
    screen.log(&outcome.log_lines(), &UNIMPORTANT_FIELDS)?;

    screen.check(
        texts(&outcome.events()) == sent,
        &format!("the {NEW} new events came, and nothing else"),
    )?;
    screen.check(
        stage
            .happened
            .iter()
            .all(|record| stage.copies(record) == 1),
        &format!(
            "after two runs Splunk has each of the {} events exactly once",
            stage.happened.len()
        ),
    )?;
    screen.check(
        is_chain(&stage.log),
        "every page begins where the one before ended (cursor_to, cursor_from): an auditor sees that none is missing",
    )
}

fn cut_a_run_off(screen: &mut Screen, stage: &mut Stage) -> Result<usize> {
    screen.heading("A run that is cut off")?;
    screen.say(&format!(
        "{CUT} more events, and the machine goes down in the middle of them: splunkd has read {READ_BEFORE_THE_CUT} \
         and a piece of the next when ds_monitor is killed. This stands in the checkpoint:",
    ))?;
    let sent = stage.happen(CUT)?;
    stage.run_until_cut()?;
    let (_, checkpoint) = stage.checkpoint()?;
    let lines = || {
        checkpoint
            .lines()
            .map(|line| line.trim().trim_end_matches(','))
    };
    for line in lines().filter(|line| line.starts_with("\"cursor") || line.starts_with("\"state")) {
        screen.quote(line)?;
    }
    screen.check(
        lines().any(|line| line == "\"state\": \"open\""),
        "the checkpoint is still open, by which the next run knows what happened",
    )?;

    screen.say(
        "The first page was read whole, and its end is saved as cursor. Yet what splunkd had read, but not indexed, \
         went down as well. So the next run begins one page earlier, at cursor_before_last_records:",
    )?;
    let outcome = stage.run()?;
    screen.log(&outcome.log_lines(), &UNIMPORTANT_FIELDS)?;
    screen.say("What splunkd has read of each event in the two runs:")?;
    show_copies(screen, stage, &sent)?;

    screen.check(
        texts(&outcome.events()) == sent,
        &format!("none is missing: the run after the cut brought all {CUT}"),
    )?;
    let twice = sent
        .iter()
        .filter(|record| stage.copies(record) == 2)
        .count();
    screen.check(
        twice == READ_BEFORE_THE_CUT && twice <= 2 * PAGE,
        &format!(
            "{twice} came twice, within the promised two pages; dedup eventId leaves one of each"
        ),
    )?;
    Ok(twice)
}

fn make_a_mistake(screen: &mut Screen, stage: &mut Stage) -> Result<String> {
    screen.heading("A mistake")?;
    screen.say(&format!(
        "{WAITING} events are waiting, but nobody has allowed the app to act for its user: the consent is missing. \
         This is what the administrator reads in splunkd.log:",
    ))?;
    let sent = stage.happen(WAITING)?;
    let position = stage.checkpoint()?;
    stage.docusign.consented_scopes(&[]);
    let failed = stage.start().finish();
    let lines = failed.log_lines();
    screen.log(&lines, &[])?;
    let errors: Vec<_> = lines.iter().filter(|line| line.level == "ERROR").collect();
    let error = errors.first().map(|line| line.sentence.clone());
    screen.check(
        errors.len() == 1 && failed.status.code() == Some(1) && failed.stdout.is_empty(),
        "one ERROR that says what to do, exit code 1, and nothing sent to Splunk",
    )?;
    screen.check(
        stage.checkpoint()? == position,
        "the checkpoint is as it was",
    )?;

    stage.docusign.consented_scopes(&["impersonation"]);
    screen.check(
        texts(&stage.run()?.events()) == sent,
        &format!("after the consent, the next run brings the {WAITING} events that were waiting"),
    )?;
    Ok(error.unwrap_or_default())
}

fn give_names(screen: &mut Screen, stage: &Stage) -> Result<Vec<Names>> {
    screen.heading("Names for the GUIDs")?;
    screen.say(
        "Once a day Splunk starts the other program, ds_lookups. Its input names that of ds_monitor, whose addresses, \
         user and key it uses. Only the consent is new, to three more scopes: signature, organization_read, user_read.",
    )?;
    let scopes = [
        "impersonation",
        "signature",
        "organization_read",
        "user_read",
    ];
    stage.docusign.consented_scopes(&scopes);
    let told = shortened(&stage.lookups.input_xml());
    let told = told.iter().map(|line| line.split_at(line.len().min(4)));
    let is_stanza = |text: &str| text.contains("stanza") || text.contains("<param");
    for (_, text) in told.filter(|(_, text)| is_stanza(text)) {
        screen.quote(text)?;
    }
    let calls = stage.docusign.requests().len();
    let outcome = stage.refresh()?;
    screen.say(
        "It asks Docusign for all users, accounts and organizations and fills the lookup files of the app, which have \
         no rows as shipped. Its log, and the main columns of ds_accounts.csv:",
    )?;
    screen.log(&outcome.log_lines(), &[])?;

    let (accounts, users) = (stage.lookup(&ACCOUNTS)?, stage.lookup(&USERS)?);
    show_accounts(screen, &accounts)?;
    screen.say(
        "And those of ds_users.csv, with the account by its name. Closed users are in it, because old events name \
         them. Of an account that the app's user is not in, Docusign does not tell who is an administrator:",
    )?;
    show_users(screen, &users, &accounts)?;
    screen.say(
        "Splunk joins them to the events in every search, by the automatic lookups in default/props.conf. This is \
         every second event of the first two runs, with names instead of GUIDs:",
    )?;
    let names: Vec<_> = stage
        .happened
        .iter()
        .map(|record| Names::of(record, &users, &accounts))
        .collect();
    show_names(screen, stage, &names)?;

    let known = names_at_docusign();
    let mut named = stage.happened.iter().zip(&names);
    screen.check(
        named.all(|(record, names)| names.are_right(record, &known)),
        &format!(
            "every user in the {} events found a name, and it is the one that Docusign has; so did every account",
            names.len()
        ),
    )?;
    let calls: Vec<_> = stage.docusign.requests().split_off(calls);
    let (grants, calls): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.method == "POST");
    let tokens: BTreeSet<_> = calls
        .iter()
        .map(|call| call.header("authorization"))
        .collect();
    screen.check(
        grants.len() == 1 && tokens.len() == 1,
        &format!("one token served all {} calls", calls.len()),
    )?;
    outcome.assert_no_secret(&SECRETS);
    screen.check(
        !outcome.stdin.contains("private_key") && stage.has_moved_the_key(),
        "the key came from secure storage, where the first run had put it, and is still there",
    )?;
    screen.check(
        stage.master_is_in_app(&USERS)? && stage.master_is_in_app(&ACCOUNTS)?,
        "both files are byte for byte those in the checkpoint directory, which no upgrade of the app empties",
    )?;
    Ok(names)
}

fn count_everything(screen: &mut Screen, stage: &Stage) -> Result<()> {
    let happened: BTreeSet<_> = stage.happened.iter().collect();
    let indexed: BTreeSet<_> = stage.indexed.iter().collect();
    screen.heading("The account")?;
    screen.say(&format!(
        "Six runs of ds_monitor, one of them cut off and one without consent. {} events happened at Docusign, Splunk \
         has read {}, and searches see {} after dedup eventId.",
        stage.happened.len(),
        stage.indexed.len(),
        indexed.len(),
    ))?;
    screen.check(
        happened.len() == TOTAL && happened == indexed,
        "nothing was lost, nothing was changed, nothing was made up",
    )
}

/// The same stream from a plain file, first to an event collector that acknowledges, then as lines.
fn go_without_splunk(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.heading("Without a forwarder")?;
    let hec = Hec::new().acknowledge(true);
    screen.say(&format!(
        "Where no Splunk runs beside it, cron, a systemd timer or a container starts ds_monitor with an inputs.conf of \
         its own, here one with start_from = earliest, and the events go to the HTTP Event Collector of a Splunk \
         elsewhere, here a stand-in at {}. The token comes from the environment:",
        hec.url()
    ))?;
    let folder = TempDir::new().context("there is no room for temporary files")?;
    let input = Input::for_docusign("demo", &stage.docusign, folder.path());
    let to_hec = input.clone().param("hec_url", hec.url());
    let arguments = run_alone(Path::new("…")).join(" ");
    screen.quote("export DS_MONITOR_HEC_TOKEN=…")?;
    screen.quote(&format!("ds_monitor {arguments}"))?;
    let outcome = stage.alone(
        &to_hec.env("DS_MONITOR_HEC_TOKEN", hec::TOKEN),
        folder.path(),
    )?;
    screen.log(&outcome.log_lines(), &[])?;
    screen.check(
        hec.events() == stage.happened,
        &format!(
            "the indexers have acknowledged all {TOTAL} events, each byte for byte as Docusign sent it"
        ),
    )?;

    let folder = TempDir::new().context("there is no room for temporary files")?;
    let outcome = stage.alone(&input, folder.path())?;
    let lines = String::from_utf8_lossy(&outcome.stdout).into_owned();
    screen.say("Without an event collector each record is a line, for any other tool to take:")?;
    screen.quote_start(lines.lines().next().unwrap_or_default())?;
    screen.check(
        lines.lines().eq(stage.happened.iter()),
        &format!("{TOTAL} records, {TOTAL} lines"),
    )
}

/// The arguments of a run without splunkd.
fn run_alone(folder: &Path) -> [String; 7] {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    [
        "run".to_owned(),
        "--conf".to_owned(),
        path("inputs.conf"),
        "--input".to_owned(),
        "demo".to_owned(),
        "--checkpoint-dir".to_owned(),
        path("positions"),
    ]
}

fn say_what_next(screen: &mut Screen) -> Result<()> {
    screen.heading("What next")?;
    let (verified, inferred) = meanings();
    let evidence = format!(
        "lookups/ds_actions.csv: {verified} meanings verified by public records, {inferred} inferred from names"
    );
    screen.terms(&[
        (
            "Build it",
            concat!(
                "./package.sh packs the app as target/package/ds_monitor-",
                env!("CARGO_PKG_VERSION"),
                "-linux-x86_64.spl"
            ),
        ),
        (
            "Install it",
            "in Splunk: Apps > Manage Apps > Install app from file, then Settings > Data inputs",
        ),
        (
            "Connect it",
            "docs/quickstart.md leads from the integration key to the first events of your own",
        ),
        (
            "Look at it",
            "the app's menu: ten dashboards, and twenty-three detections, off until you enable them",
        ),
        ("Add to it", &evidence),
    ])
}

/// Meanings in the table of events: verified ones, and those that are only inferred.
fn meanings() -> (usize, usize) {
    let (_, rows) = table("ds_actions");
    let names = |is_counted: fn(&BTreeMap<String, String>) -> bool| {
        let names = rows.iter().filter(|row| is_counted(row));
        names
            .map(|row| value_of(row, "event_name"))
            .collect::<BTreeSet<_>>()
    };
    let verified = names(|row| value_of(row, "basis") == "verified").len();
    let known = names(|row| value_of(row, "known") == "yes").len();
    (verified, known.saturating_sub(verified))
}

fn value_of<'a>(row: &'a BTreeMap<String, String>, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}

/// What Splunk indexes, as a table.
fn show_events(screen: &mut Screen, events: &[Event]) -> Result<()> {
    let mut rows = Vec::new();
    for Event { data, time, .. } in events {
        let time = time.clone().unwrap_or_default();
        let (place, style) = match member(data, "/data/Severity").as_str() {
            "" => (
                member(data, "/city") + ", " + &member(data, "/country"),
                Style::Plain,
            ),
            severity => (format!("severity {severity}"), Style::Red),
        };
        rows.push([
            (readable(&time)?, Style::Plain),
            (time, Style::Dim),
            (what(data), Style::Bold),
            (short(&member(data, "/userId")), Style::Plain),
            (member(data, "/ipAddress"), Style::Plain),
            (place, style),
            (short(&member(data, "/eventId")), Style::Dim),
        ]);
    }
    let header = [
        "in UTC",
        "_time",
        "object, action",
        "userId",
        "ipAddress",
        "place, severity",
        "eventId",
    ];
    screen.table(header, &rows)
}

/// What became of each record in the run that was cut off, and in the one after it.
fn show_copies(screen: &mut Screen, stage: &Stage, sent: &[String]) -> Result<()> {
    let cell = |text: &str, style| (text.to_owned(), style);
    let mut rows = Vec::new();
    for (n, record) in sent.iter().enumerate() {
        let (cut_off, before) = match n.cmp(&READ_BEFORE_THE_CUT) {
            Ordering::Less => (cell("read", Style::Green), 1),
            Ordering::Equal => (cell("cut in two, dropped", Style::Red), 0),
            Ordering::Greater => (cell("still in the pipe", Style::Red), 0),
        };
        let copies = stage.copies(record);
        let after = match (before, copies) {
            (1, 2) => cell("read again", Style::Yellow),
            (0, 1) => cell("read", Style::Green),
            _ => cell("not as expected", Style::Red),
        };
        let page = match n % PAGE {
            0 => (n / PAGE + 1).to_string(),
            _ => String::new(),
        };
        rows.push([
            (page, Style::Plain),
            (what(record), Style::Bold),
            (short(&member(record, "/eventId")), Style::Dim),
            cut_off,
            after,
            (copies.to_string(), Style::Plain),
        ]);
    }
    let header = [
        "page",
        "object, action",
        "eventId",
        "the run that was cut off",
        "the run after it",
        "copies",
    ];
    screen.table(header, &rows)
}

fn show_accounts(screen: &mut Screen, accounts: &[Row]) -> Result<()> {
    let columns = [
        "accountId",
        "account_name",
        "external_account_id",
        "organizationId",
        "organization_name",
    ];
    let cell = |row: &Row, column| (short(value(Some(row), column)), Style::Plain);
    let rows: Vec<_> = accounts
        .iter()
        .map(|row| columns.map(|column| cell(row, column)))
        .collect();
    screen.table(columns, &rows)
}

fn show_users(screen: &mut Screen, users: &[Row], accounts: &[Row]) -> Result<()> {
    let mut rows = Vec::new();
    for user in users {
        let of_user = |column| value(Some(user), column).to_owned();
        let account = find(accounts, "accountId", &of_user("accountId"));
        let status = of_user("user_status");
        let style = match status.as_str() {
            "Active" => Style::Green,
            _ => Style::Yellow,
        };
        rows.push([
            (short(&of_user("userId")), Style::Plain),
            (of_user("user_name"), Style::Bold),
            (of_user("user_email"), Style::Plain),
            (status, style),
            (of_user("is_admin"), Style::Plain),
            (value(account, "account_name").to_owned(), Style::Plain),
        ]);
    }
    let hidden = rows.len().saturating_sub(2 * SHOWN_AT_EITHER_END);
    if hidden > 1 {
        let gap = ["…", &format!("… {hidden} more"), "…", "…", "…", "…"];
        let gap = gap.map(|text| (text.to_owned(), Style::Dim));
        rows.splice(SHOWN_AT_EITHER_END..SHOWN_AT_EITHER_END + hidden, [gap]);
    }
    let header = [
        "userId",
        "user_name",
        "user_email",
        "user_status",
        "is_admin",
        "account_name",
    ];
    screen.table(header, &rows)
}

fn show_names(screen: &mut Screen, stage: &Stage, names: &[Names]) -> Result<()> {
    let mut rows = Vec::new();
    let events = stage.happened.iter().zip(stage.times()?).zip(names);
    for ((record, time), names) in events.take(FIRST + NEW).step_by(2) {
        let plain = |text: &str| (text.to_owned(), Style::Plain);
        rows.push([
            plain(&readable(&time)?),
            (what(record), Style::Bold),
            (names.actor.clone(), Style::Green),
            (names.affected.clone(), Style::Green),
            plain(&names.account),
            plain(&names.organization),
        ]);
    }
    let header = [
        "in UTC",
        "object, action",
        "actor",
        "affected user",
        "account_name",
        "organization_name",
    ];
    screen.table(header, &rows)
}

/// What the log has said often enough.
const UNIMPORTANT_FIELDS: [&str; 8] = [
    "input=",
    "modular_input_name=",
    "sourcetype_ingested=",
    "first_event_id=",
    "last_event_id=",
    "bytes=",
    "request_ms=",
    "duration_ms=",
];

/// What each field of the checkpoint means.
const CHECKPOINT_FIELDS: [(&str, &str); 9] = [
    (
        "version",
        "The form of this file. A program that does not know it refuses the file.",
    ),
    (
        "input",
        "Whose position it is: every input has a file of its own.",
    ),
    ("saved_at", "When it was saved."),
    (
        "cursor",
        "Splunk has read all that lies before this place in the stream. The next run begins here.",
    ),
    (
        "cursor_before_last_records",
        "Where the last page with records began. A run that follows a cut-off one begins here.",
    ),
    (
        "state",
        "Open from before a run's first event until its end. Found open, a run was cut off.",
    ),
    (
        "identity",
        "Whose stream it is. Settings that lead elsewhere are an error, never a silent new start.",
    ),
    (
        "user_id",
        "The service user of the last run. When another one takes over, the position stays.",
    ),
    (
        "trail",
        "Fingerprints of the last records, by which a repetition is noticed.",
    ),
];

// ---- the stage ----

/// Everything that plays a part.
struct Stage {
    docusign: Docusign,
    splunkd: Splunkd,
    input: Input,
    lookups: Input,
    /// The folder of the programs.
    programs: PathBuf,
    /// By how many seconds the sample records are moved, so that they happened in the last minutes.
    shift: i64,
    /// Every record that Docusign has, in order.
    happened: Vec<String>,
    /// The text of every event that Splunk has read, in order.
    indexed: Vec<String>,
    /// Every log line of the runs that reached their end.
    log: Vec<LogLine>,
    splunk_home: TempDir,
}

/// Where the app's lookups are, below `SPLUNK_HOME`.
const LOOKUPS_FOLDER: &str = "etc/apps/ds_monitor/lookups";

/// A row of a lookup: values by the names of their columns.
type Row = BTreeMap<String, String>;

impl Stage {
    fn set(programs: PathBuf) -> Result<Self> {
        let splunk_home = TempDir::new().context("there is no room for temporary files")?;
        let folder = |path: &str| -> Result<PathBuf> {
            let folder = splunk_home.path().join(path);
            fs::create_dir_all(&folder).context("there is no room for temporary files")?;
            Ok(folder)
        };
        let app_folder = folder(LOOKUPS_FOLDER)?;
        for table in [&USERS, &ACCOUNTS] {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("lookups")
                .join(table.file());
            fs::copy(&shipped, app_folder.join(table.file()))
                .with_context(|| format!("{} cannot be copied", shipped.display()))?;
        }
        let (docusign, splunkd) = (Docusign::new(), Splunkd::start());
        let checkpoint_dir = folder("var/lib/splunk/modinputs/ds_monitor")?;
        let input = Input::for_docusign("demo", &docusign, &checkpoint_dir)
            .pasted_key(PRIVATE_KEY)
            .app("ds_monitor")
            .without("start_from")
            .param("environment", "production")
            .param("limit", PAGE.to_string())
            .saved_in(&splunkd)
            .read_from(&splunkd);
        let lookups = Input::ds_lookups("demo")
            .checkpoint_dir(&folder("var/lib/splunk/modinputs/ds_lookups")?)
            .env("SPLUNK_HOME", splunk_home.path().to_string_lossy())
            .app("ds_monitor")
            .param("monitor_input", "demo")
            .param("output", "csv")
            .saved_in(&splunkd);
        let (newest, _) = sample_time(TOTAL)?;
        Ok(Self {
            docusign,
            splunkd,
            input,
            lookups,
            programs,
            shift: SystemClock::new().now().timestamp() - newest,
            happened: vec![],
            indexed: vec![],
            log: vec![],
            splunk_home,
        })
    }

    /// Lets `count` things happen at Docusign.
    fn happen(&mut self, count: usize) -> Result<Vec<String>> {
        let next = self.happened.len();
        let records = (next..next + count)
            .map(|n| self.record(n))
            .collect::<Result<Vec<_>>>()?;
        self.docusign.push_records(&records);
        self.happened.extend_from_slice(&records);
        Ok(records)
    }

    /// Sample record `n`, moved to the last minutes, and to where its user lives.
    fn record(&self, n: usize) -> Result<String> {
        let (seconds, fraction) = sample_time(n)?;
        let time =
            DateTime::from_timestamp(seconds + self.shift, 0).context("a time is out of range")?;
        let sample = sample_record(n);
        let (_, rest) = sample
            .split_once("Z\"")
            .context("a sample record has no timestamp")?;
        let [home, ..] = PLACES;
        let place = PLACES.get(n / 3 % PLACES.len()).unwrap_or(&home);
        let moves = home.into_iter().zip(*place);
        let rest = moves.fold(rest.to_owned(), |rest, (from, to)| rest.replace(from, to));
        let time = time.format("%Y-%m-%dT%H:%M:%S");
        Ok(format!("{{\"timestamp\":\"{time}{fraction}Z\"{rest}"))
    }

    /// What `<time>` must say for each record so far.
    fn times(&self) -> Result<Vec<String>> {
        let time = |n| {
            let (seconds, fraction) = sample_time(n)?;
            Ok(format!("{}{fraction}", seconds + self.shift))
        };
        (0..self.happened.len()).map(time).collect()
    }

    /// Starts a run with the parameters that splunkd has now.
    fn start(&mut self) -> Running {
        self.input = self.input.clone().read_from(&self.splunkd);
        self.input.spawn(&program(&self.programs, "ds_monitor"))
    }

    /// A run without splunkd, with its stanza in a file in `folder`.
    fn alone(&self, input: &Input, folder: &Path) -> Result<Outcome> {
        fs::write(folder.join("inputs.conf"), input.conf())?;
        fs::create_dir(folder.join("positions"))?;
        let arguments = run_alone(folder);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let run = input.start(
            &program(&self.programs, "ds_monitor"),
            &arguments,
            String::new(),
        );
        let outcome = ended_well(run.finish())?;
        outcome.assert_no_secret(&SECRETS);
        Ok(outcome)
    }

    /// A run that must end well; Splunk reads all of it.
    fn run(&mut self) -> Result<Outcome> {
        let outcome = ended_well(self.start().finish())?;
        self.indexed.extend(texts(&outcome.whole().events()));
        self.log.extend(outcome.log_lines());
        Ok(outcome)
    }

    /// A run that is killed while splunkd reads an event of its second page. The rest in the pipe is nobody's.
    fn run_until_cut(&mut self) -> Result<()> {
        let mut run = self.start();
        let mut pipe = run
            .stdout
            .take()
            .context("the run has no standard output")?;
        let mut read = Vec::new();
        let events = loop {
            let mut piece = [0; 256];
            let length = pipe.read(&mut piece)?;
            ensure!(length > 0, "a run ended before it could be cut off");
            read.extend(piece.iter().take(length));
            let (events, next) = Event::parse_all(&read);
            if events.len() == READ_BEFORE_THE_CUT && !next.is_empty() {
                break events;
            }
        };
        // Without this wait the first page would be saved in some demonstrations, and not yet in others.
        run.wait_for_stderr("action=page_ingested", DEADLINE);
        run.kill();
        drop(pipe);
        run.finish();
        self.indexed.extend(texts(&events));
        Ok(())
    }

    /// Name and text of the checkpoint; the copy before it and the lock end in other words.
    fn checkpoint(&self) -> Result<(String, String)> {
        for (path, bytes) in self.input.checkpoint_files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".json") {
                return Ok((name.into_owned(), String::from_utf8(bytes)?));
            }
        }
        bail!("there is no checkpoint in the checkpoint directory")
    }

    /// Whether the key is in secure storage, and in its place in the stanza the mask.
    fn has_moved_the_key(&self) -> bool {
        let params = self.splunkd.input("ds_monitor", "demo").unwrap_or_default();
        let is_key = |secret: &str| member(secret, "/private_key").trim() == PRIVATE_KEY.trim();
        let secrets = self.splunkd.secrets();
        params.get("private_key").map(String::as_str) == Some(MASK)
            && secrets.iter().any(|(_, _, secret)| is_key(secret))
    }

    /// A run of `ds_lookups` that must end well.
    fn refresh(&self) -> Result<Outcome> {
        ended_well(self.lookups.run(&program(&self.programs, "ds_lookups")))
    }

    /// The rows of a lookup of the app.
    fn lookup(&self, table: &Table) -> Result<Vec<Row>> {
        let path = self
            .splunk_home
            .path()
            .join(LOOKUPS_FOLDER)
            .join(table.file());
        let rows: csv::Result<_> =
            csv::Reader::from_path(&path).and_then(|reader| reader.into_deserialize().collect());
        rows.with_context(|| format!("{} cannot be read", path.display()))
    }

    /// Whether a lookup of the app is the same, byte for byte, as the master that it is made from.
    fn master_is_in_app(&self, table: &Table) -> Result<bool> {
        let of_app = self
            .splunk_home
            .path()
            .join(LOOKUPS_FOLDER)
            .join(table.file());
        let mut masters = self.lookups.checkpoint_files().into_iter();
        let master = masters.find(|(path, _)| path.file_name() == of_app.file_name());
        Ok(master.map(|(_, bytes)| bytes) == Some(fs::read(of_app)?))
    }

    /// How often Splunk has read a record.
    fn copies(&self, record: &str) -> usize {
        let id = member(record, "/eventId");
        let is_it = |text: &&String| member(text, "/eventId") == id;
        self.indexed.iter().filter(is_it).count()
    }
}

fn ended_well(run: Outcome) -> Result<Outcome> {
    let (status, report) = (run.status, run.report());
    ensure!(status.success(), "a run ended with {status}\n{report}");
    Ok(run)
}

// ---- the records ----

/// City, state, country, latitude and longitude of the users; the sample records all come from the first of them.
const PLACES: [[&str; 5]; 4] = [
    ["köln", "nordrhein-westfalen", "germany", "50.9300", "6.95"],
    ["lyon", "auvergne-rhône-alpes", "france", "45.7600", "4.84"],
    ["oslo", "oslo", "norway", "59.9100", "10.75"],
    ["faro", "faro", "portugal", "37.0200", "-7.93"],
];

/// When sample record `n` happened: whole seconds, and the digits behind them with their point.
fn sample_time(n: usize) -> Result<(i64, String)> {
    let text = sample_timestamp(n);
    let (seconds, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    Ok((seconds.parse()?, fraction.to_owned()))
}

/// `<time>` for people, to the second.
fn readable(time: &str) -> Result<String> {
    let (seconds, _) = time.split_once('.').unwrap_or((time, ""));
    let time = DateTime::from_timestamp(seconds.parse()?, 0).context("a time is out of range")?;
    Ok(time.format("%b %e %H:%M:%S").to_string())
}

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}

/// A text within a record, empty if there is none.
fn member(record: &str, pointer: &str) -> String {
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let text = record.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn what(record: &str) -> String {
    member(record, "/object") + " " + &member(record, "/action")
}

/// The names that belong to an event; empty where it has no GUID of that kind.
struct Names {
    actor: String,
    affected: String,
    account: String,
    organization: String,
}

impl Names {
    /// Those that the automatic lookups find.
    fn of(record: &str, users: &[Row], accounts: &[Row]) -> Self {
        let name = |id: &str| value(find(users, "userId", id), "user_name").to_owned();
        let account = find(accounts, "accountId", &member(record, "/accountId"));
        let organization = find(
            accounts,
            "organizationId",
            &member(record, "/organizationId"),
        );
        Self {
            actor: name(&member(record, "/userId")),
            affected: name(&affected_user(record)),
            account: value(account, "account_name").to_owned(),
            organization: value(account.or(organization), "organization_name").to_owned(),
        }
    }

    /// Whether they are those that Docusign has, which are `known` by their GUIDs.
    fn are_right(&self, record: &str, known: &BTreeMap<String, String>) -> bool {
        let found = [
            (&self.actor, member(record, "/userId")),
            (&self.affected, affected_user(record)),
            (&self.account, member(record, "/accountId")),
        ];
        let mut found = found.into_iter();
        !self.actor.is_empty()
            && found.all(|(name, id)| id.is_empty() || known.get(&id) == Some(name))
    }
}

/// The names of all users and accounts that Docusign has, by their GUIDs.
fn names_at_docusign() -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for account in Directory::sample().accounts {
        for user in account.users {
            let text = |key| user.get(key).and_then(Value::as_str).unwrap_or_default();
            names.insert(text("userId").to_owned(), text("userName").to_owned());
        }
        names.insert(account.id, account.name);
    }
    names
}

/// Who was affected, from the fields and in the order of `user_id` in `default/props.conf`.
fn affected_user(record: &str) -> String {
    let fields = [
        "/affectedUserId",
        "/data/AffectedUserId",
        "/referencedUserId",
    ];
    let mut ids = fields.iter().map(|field| member(record, field));
    ids.find(|id| !id.is_empty()).unwrap_or_default()
}

/// The first row that matches, as a lookup of Splunk finds it.
fn find<'a>(rows: &'a [Row], column: &str, wanted: &str) -> Option<&'a Row> {
    let mut rows = rows.iter();
    rows.find(|row| !wanted.is_empty() && value(Some(row), column).eq_ignore_ascii_case(wanted))
}

/// A value of a row, empty if there is none.
fn value<'a>(row: Option<&'a Row>, column: &str) -> &'a str {
    let value = row.and_then(|row| row.get(column));
    value.map(String::as_str).unwrap_or_default()
}

/// Whether each page of a log begins where the one before ended.
fn is_chain(log: &[LogLine]) -> bool {
    let is_page = |line: &&LogLine| line.field("action") == "page_ingested";
    let pages: Vec<_> = log.iter().filter(is_page).collect();
    let mut pairs = pages.iter().zip(pages.iter().skip(1));
    pages.len() > 1
        && pairs.all(|(page, next)| page.field("cursor_to") == next.field("cursor_from"))
}

/// The first part of a GUID, which is enough to tell them apart here; cursors lose their middle.
fn short(text: &str) -> String {
    let cursors = cursor_at(0);
    match text.strip_prefix(cursors.trim_end_matches('0')) {
        Some(position) => format!("aa_…_{position}"),
        None if text.len() == 36 && text.matches('-').count() == 4 => {
            text.split('-').next().unwrap_or_default().to_owned() + "…"
        }
        None => text.to_owned(),
    }
}

/// The configuration as far as it is worth reading, without its secrets.
fn shortened(xml: &str) -> Vec<String> {
    const LEFT_OUT: [&str; 6] = [
        "disabled",
        "host",
        "index",
        "sourcetype",
        "start_by_shell",
        "interval",
    ];
    let key = "-----BEGIN RSA PRIVATE KEY----- (left out) -----END RSA PRIVATE KEY-----";
    let xml = xml
        .replace(PRIVATE_KEY, key)
        .replace(SESSION_KEY, "(left out)");
    let is_wanted = |line: &&str| {
        !LEFT_OUT
            .iter()
            .any(|name| line.contains(&format!("<param name=\"{name}\">")))
    };
    xml.lines().filter(is_wanted).map(str::to_owned).collect()
}

// ---- the programs ----

/// Builds the programs, which `cargo run --example` does not, and tells where they lie: beside the folder of the
/// examples, because they are built with the same profile into the same target directory.
fn build() -> Result<PathBuf> {
    let example = std::env::current_exe().context("the demo does not know where it lies")?;
    let mut folders = example.ancestors().skip(2);
    let (Some(profile_dir), Some(target_dir)) = (folders.next(), folders.next()) else {
        bail!("the demo does not lie in a target directory");
    };
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args("build --quiet --bins --profile".split(' '))
        .arg(profile)
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .with_context(|| format!("could not start {}", cargo.display()))?;
    let errors = String::from_utf8_lossy(&built.stderr);
    ensure!(
        built.status.success(),
        "the programs do not build:\n{errors}"
    );
    Ok(profile_dir.to_owned())
}

fn program(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    program.with_extension(std::env::consts::EXE_EXTENSION)
}

// ---- the screen ----

/// Columns of the widest line of the story.
const WIDTH: usize = 120;

/// Columns of the narrowest and the widest terminal that the one screen is fitted to.
const LEAST_WIDTH: usize = 60;
const GREATEST_WIDTH: usize = 200;

/// Columns where nothing says how wide the terminal is.
const USUAL_WIDTH: usize = 80;

/// Columns of a paragraph, which is read more easily when it is narrower.
const TEXT_WIDTH: usize = 104;

/// Columns of what stands behind a bar.
const QUOTE_WIDTH: usize = WIDTH - 4;

/// How much is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// One screen.
    Brief,
    /// Every step.
    Full,
}

/// Columns of the terminal.
fn terminal_width(out: &io::Stdout) -> usize {
    let columns = std::env::var("COLUMNS").ok();
    let columns = columns.and_then(|columns| columns.parse().ok());
    let size = rustix::termios::tcgetwinsize(out).ok();
    let of_terminal = size
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0);
    columns
        .or(of_terminal)
        .unwrap_or(USUAL_WIDTH)
        .clamp(LEAST_WIDTH, GREATEST_WIDTH)
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// A cell of a table.
type Cell = (String, Style);

/// What stands together on the screen; a blank line separates it from what is of another kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Heading,
    Paragraph,
    Quote,
    Table,
    Terms,
    Ticks,
}

/// The standard output, with colours where a person looks at it.
struct Screen {
    out: io::Stdout,
    colour: bool,
    headings: usize,
    block: Block,
    detail: Detail,
    /// For the one screen.
    width: usize,
    /// Claims that have been found true.
    checks: usize,
}

impl Screen {
    fn new(detail: Detail) -> Self {
        let out = io::stdout();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: out.is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            width: terminal_width(&out),
            out,
            headings: 0,
            block: Block::Heading,
            detail,
            checks: 0,
        }
    }

    /// A heading of the one screen.
    fn brief_title(&mut self, text: &str) -> Result<()> {
        self.print("")?;
        for line in wrapped(text, self.width) {
            self.print(&self.paint(Style::Bold, &line))?;
        }
        Ok(())
    }

    /// A paragraph of the one screen.
    fn brief(&mut self, text: &str, style: Style) -> Result<()> {
        for line in wrapped(text, self.width - 2) {
            self.print(&format!("  {}", self.paint(style, &line)))?;
        }
        Ok(())
    }

    /// A row of the one screen: a time, and three cells that share what is left.
    fn brief_row(&mut self, [time, event, actor, affected]: [&str; 4]) -> Result<()> {
        let rest = self.width - columns(time) - 8;
        let widths = [rest * 2 / 5, rest * 3 / 10, rest * 3 / 10];
        let mut line = format!("  {time}");
        for ((text, style), width) in [
            (event, Style::Bold),
            (actor, Style::Green),
            (affected, Style::Green),
        ]
        .into_iter()
        .zip(widths)
        {
            let text = match columns(text) > width {
                true => text.chars().take(width - 1).chain(['…']).collect(),
                false => format!("{text:width$}"),
            };
            line += "  ";
            line += &self.paint(style, &text);
        }
        self.print(&line)
    }

    fn title(&mut self, text: &str) -> Result<()> {
        let rule = "═".repeat(columns(text));
        self.line("")?;
        self.line(&self.paint(Style::Bold, text))?;
        self.line(&self.paint(Style::Cyan, &rule))
    }

    fn heading(&mut self, text: &str) -> Result<()> {
        self.headings += 1;
        let text = format!("{}  {text} ", self.headings);
        let rule = "─".repeat(TEXT_WIDTH.saturating_sub(columns(&text)));
        let heading = self.paint(Style::Bold, &text) + &self.paint(Style::Cyan, &rule);
        self.line("")?;
        self.begin(Block::Heading)?;
        self.line(&heading)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.begin(Block::Paragraph)?;
        for line in wrapped(text, TEXT_WIDTH) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// A line that is not the demo's own.
    fn quote(&mut self, text: &str) -> Result<()> {
        self.begin(Block::Quote)?;
        let bar = self.paint(Style::Cyan, "│");
        self.line(&format!("  {bar} {text}"))
    }

    /// Such a line as far as it fits.
    fn quote_start(&mut self, text: &str) -> Result<()> {
        let start: String = text.chars().take(QUOTE_WIDTH - 2).collect();
        self.quote(&format!("{start} …"))
    }

    /// Log lines without the fields that are `left_out`.
    fn log(&mut self, lines: &[LogLine], left_out: &[&str]) -> Result<()> {
        for line in lines {
            self.log_line(line, left_out)?;
        }
        Ok(())
    }

    fn log_line(&mut self, line: &LogLine, left_out: &[&str]) -> Result<()> {
        let style = match line.level.as_str() {
            "INFO" => Style::Green,
            "WARN" => Style::Yellow,
            _ => Style::Red,
        };
        let fields = line.raw.strip_prefix(&line.level).unwrap_or_default();
        let fields = fields.strip_suffix(&line.sentence).unwrap_or_default();
        let fields: Vec<_> = fields
            .split_whitespace()
            .filter(|field| !left_out.iter().any(|key| field.starts_with(key)))
            .map(short_field)
            .collect();
        let text = format!("{} {}", fields.join(" "), line.sentence);

        let mut margin = self.paint(style, &format!("{:<6}", line.level));
        let mut fields = fields.len();
        for text in wrapped(&text, QUOTE_WIDTH - 6) {
            let words: Vec<_> = text.split(' ').collect();
            let (dim, plain) = words.split_at(fields.min(words.len()));
            fields -= dim.len();
            let dim = self.paint(Style::Dim, &dim.join(" "));
            let text = [dim, plain.join(" ")].join(" ");
            self.quote(&format!("{margin}{}", text.trim_start()))?;
            margin = " ".repeat(6);
        }
        Ok(())
    }

    fn table<const N: usize>(&mut self, header: [&str; N], rows: &[[Cell; N]]) -> Result<()> {
        let mut widths = header.map(columns);
        for row in rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = columns(text).max(*width);
            }
        }
        let header = header.map(|text| (text.to_owned(), Style::Dim));
        let rule = widths.map(|width| ("─".repeat(width), Style::Cyan));
        self.begin(Block::Table)?;
        for row in [&header, &rule].into_iter().chain(rows) {
            let mut line = String::new();
            for ((text, style), width) in row.iter().zip(widths) {
                line += "  ";
                line += &self.paint(*style, &format!("{text:width$}"));
            }
            self.line(&line)?;
        }
        Ok(())
    }

    /// Terms and what they mean.
    fn terms(&mut self, terms: &[(&str, &str)]) -> Result<()> {
        let width = terms
            .iter()
            .map(|(term, _)| columns(term))
            .max()
            .unwrap_or_default();
        self.begin(Block::Terms)?;
        for (term, meaning) in terms {
            let term = self.paint(Style::Bold, &format!("{term:width$}"));
            self.line(&format!("  {term}  {meaning}"))?;
        }
        Ok(())
    }

    /// Says what has been found true, or ends the demo.
    fn check(&mut self, holds: bool, claim: &str) -> Result<()> {
        ensure!(holds, "this should be so, and is not: {claim}");
        self.checks += 1;
        self.begin(Block::Ticks)?;
        let tick = self.paint(Style::Green, "✓");
        self.line(&format!("  {tick} {claim}"))
    }

    fn begin(&mut self, block: Block) -> Result<()> {
        if block != self.block || block == Block::Paragraph {
            self.line("")?;
        }
        self.block = block;
        Ok(())
    }

    /// A line of the story.
    fn line(&mut self, text: &str) -> Result<()> {
        match self.detail {
            Detail::Brief => Ok(()),
            Detail::Full => self.print(text),
        }
    }

    fn print(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{}", text.trim_end()).context("the standard output cannot be written")
    }

    fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Cyan => 36,
        };
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `key=value` with a short value.
fn short_field(field: &str) -> String {
    match field.split_once('=') {
        Some((key, value)) => format!("{key}={}", short(value)),
        None => field.to_owned(),
    }
}

/// `text` in lines of at most `width` columns. An address, which can be longer than that, also breaks after an `&`.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for piece in text.split_inclusive([' ', '&']) {
        if !line.is_empty() && columns(&line) + columns(piece.trim_end()) > width {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line += piece;
    }
    lines.push(line);
    lines
}

fn columns(text: &str) -> usize {
    text.chars().count()
}
