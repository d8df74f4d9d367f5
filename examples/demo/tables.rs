//! The tables of the story.

use std::cmp::Ordering;

use anyhow::Result;

use support::input::Event;

use crate::records::{Names, Row, find, member, readable, short, value, what};
use crate::screen::{Screen, Style};
use crate::stage::{FIRST, NEW, PAGE, READ_BEFORE_THE_CUT, Stage};

/// Rows at the beginning of a long table, and as many at its end, that are shown.
pub(crate) const SHOWN_AT_EITHER_END: usize = 4;
/// What Splunk indexes, as a table.
pub(crate) fn show_events(screen: &mut Screen, events: &[Event]) -> Result<()> {
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
pub(crate) fn show_copies(screen: &mut Screen, stage: &Stage, sent: &[String]) -> Result<()> {
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

pub(crate) fn show_accounts(screen: &mut Screen, accounts: &[Row]) -> Result<()> {
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

pub(crate) fn show_users(screen: &mut Screen, users: &[Row], accounts: &[Row]) -> Result<()> {
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

pub(crate) fn show_names(screen: &mut Screen, stage: &Stage, names: &[Names]) -> Result<()> {
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
