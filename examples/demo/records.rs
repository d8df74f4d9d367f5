//! What is in a record, and the names that belong to it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::DateTime;
use serde_json::Value;

use support::docusign::{Directory, PRIVATE_KEY, cursor_at, sample_timestamp};
use support::input::{Event, LogLine};
use support::splunkd::SESSION_KEY;

/// A row of a lookup: values by the names of their columns.
pub(crate) type Row = BTreeMap<String, String>;

/// When sample record `n` happened: whole seconds, and the digits behind them with their point.
pub(crate) fn sample_time(n: usize) -> Result<(i64, String)> {
    let text = sample_timestamp(n);
    let (seconds, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    Ok((seconds.parse()?, fraction.to_owned()))
}

/// `<time>` for people, to the second.
pub(crate) fn readable(time: &str) -> Result<String> {
    let (seconds, _) = time.split_once('.').unwrap_or((time, ""));
    let time = DateTime::from_timestamp(seconds.parse()?, 0).context("a time is out of range")?;
    Ok(time.format("%b %e %H:%M:%S").to_string())
}

pub(crate) fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}

/// A text within a record, empty if there is none.
pub(crate) fn member(record: &str, pointer: &str) -> String {
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let text = record.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

pub(crate) fn what(record: &str) -> String {
    member(record, "/object") + " " + &member(record, "/action")
}

/// The names that belong to an event; empty where it has no GUID of that kind.
pub(crate) struct Names {
    pub(crate) actor: String,
    pub(crate) affected: String,
    pub(crate) account: String,
    pub(crate) organization: String,
}

impl Names {
    /// Those that the automatic lookups find.
    pub(crate) fn of(record: &str, users: &[Row], accounts: &[Row]) -> Self {
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
    pub(crate) fn are_right(&self, record: &str, known: &BTreeMap<String, String>) -> bool {
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
pub(crate) fn names_at_docusign() -> BTreeMap<String, String> {
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
pub(crate) fn affected_user(record: &str) -> String {
    let fields = [
        "/affectedUserId",
        "/data/AffectedUserId",
        "/referencedUserId",
    ];
    let mut ids = fields.iter().map(|field| member(record, field));
    ids.find(|id| !id.is_empty()).unwrap_or_default()
}

/// The first row that matches, as a lookup of Splunk finds it.
pub(crate) fn find<'a>(rows: &'a [Row], column: &str, wanted: &str) -> Option<&'a Row> {
    let mut rows = rows.iter();
    rows.find(|row| !wanted.is_empty() && value(Some(row), column).eq_ignore_ascii_case(wanted))
}

/// A value of a row, empty if there is none.
pub(crate) fn value<'a>(row: Option<&'a Row>, column: &str) -> &'a str {
    let value = row.and_then(|row| row.get(column));
    value.map(String::as_str).unwrap_or_default()
}

/// Whether each page of a log begins where the one before ended.
pub(crate) fn is_chain(log: &[LogLine]) -> bool {
    let is_page = |line: &&LogLine| line.field("action") == "page_ingested";
    let pages: Vec<_> = log.iter().filter(is_page).collect();
    let mut pairs = pages.iter().zip(pages.iter().skip(1));
    pages.len() > 1
        && pairs.all(|(page, next)| page.field("cursor_to") == next.field("cursor_from"))
}

/// The first part of a GUID, which is enough to tell them apart here; cursors lose their middle.
pub(crate) fn short(text: &str) -> String {
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
pub(crate) fn shortened(xml: &str) -> Vec<String> {
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
