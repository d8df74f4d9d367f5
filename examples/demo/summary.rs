//! The one screen: what comes of the story.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::lookups::{ACCOUNTS, USERS};

use support::conf::{conf, macros, setting, stanza};
use support::search_time::SearchTime;
use support::spl::{Search, World};

use crate::records::{Names, readable, what};
use crate::screen::{Detail, Screen, Style};
use crate::stage::{CUT, READ_BEFORE_THE_CUT, Stage};

/// What came of the story.
pub(crate) struct Told {
    /// Of every event, in order.
    pub(crate) names: Vec<Names>,
    /// Events that came twice after the cut.
    pub(crate) twice: usize,
    pub(crate) finding: Finding,
    /// The line of a run that failed.
    pub(crate) error: String,
    pub(crate) seconds: f64,
}

/// A row of a detection.
pub(crate) struct Finding {
    pub(crate) detection: String,
    pub(crate) severity: String,
    pub(crate) text: String,
}

/// Events on the one screen.
pub(crate) const SHOWN_EVENTS: usize = 8;

/// The one screen; in full everything has been said.
pub(crate) fn sum_up(screen: &mut Screen, stage: &Stage, told: &Told) -> Result<()> {
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
pub(crate) fn find_something(screen: &mut Screen, stage: &Stage) -> Result<Finding> {
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
