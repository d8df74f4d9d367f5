//! The story: six runs, one of them cut off, one that fails, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::lookups::{ACCOUNTS, USERS};
use ds_monitor::splunk::input_definition::MASK;
use serde_json::Value;
use tempfile::TempDir;

use support::conf::table;
use support::hec::{self, Hec};
use support::input::Input;

use crate::records::{Names, is_chain, names_at_docusign, shortened, texts};
use crate::screen::Screen;
use crate::stage::{
    CUT, FIRST, NEW, PAGE, READ_BEFORE_THE_CUT, SECRETS, Stage, TOTAL, WAITING, run_alone,
};
use crate::summary::{Told, find_something, sum_up};
use crate::tables::{show_accounts, show_copies, show_events, show_names, show_users};

pub(crate) fn tell(screen: &mut Screen, programs: PathBuf) -> Result<()> {
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
         user and key it uses. Only the consent is new, to five more scopes: signature, \
         organization_read, user_read, permission_read and group_read.",
    )?;
    let scopes = [
        "impersonation",
        "signature",
        "organization_read",
        "user_read",
        "permission_read",
        "group_read",
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
        "It asks Docusign for all users, accounts, organizations, permission profiles and groups, and fills the lookup \
         files of the app, which have no rows as shipped. Its log, and the main columns of ds_accounts.csv:",
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
