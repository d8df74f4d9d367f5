//! `start_from`: where the first run of an input begins.

use anyhow::{Result, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use super::settings::START_FROM;
use crate::docusign::monitor_api::MAX_CURSOR_BYTES;
use crate::params::iso;

/// Docusign's own default when no cursor is sent.
const DEFAULT_START: TimeDelta = TimeDelta::days(7);

/// Docusign's first data.
const EARLIEST: &str = "2021-01-01T00:00:00Z";

/// Where the first run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// Seven days before the first run.
    SevenDaysAgo,
    /// At this moment, an ISO 8601 date-time.
    Time(String),
    /// After this cursor of Docusign's.
    Cursor(String),
}

impl StartFrom {
    /// The text that the administrator chose, if any.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::SevenDaysAgo => None,
            Self::Time(text) | Self::Cursor(text) => Some(text.clone()),
        }
    }

    /// The cursor that a first run at `now` sends.
    #[must_use]
    pub fn cursor(&self, now: DateTime<Utc>) -> String {
        match self {
            Self::SevenDaysAgo => iso(now - DEFAULT_START),
            Self::Time(text) | Self::Cursor(text) => text.clone(),
        }
    }

    /// Checks it by another clock than the one that it was read by.
    ///
    /// # Errors
    /// It is a time in the future.
    pub fn require_past(&self, now: DateTime<Utc>) -> Result<()> {
        match self {
            Self::Time(text) => Self::parse(Some(text), now).map(drop),
            Self::SevenDaysAgo | Self::Cursor(_) => Ok(()),
        }
    }

    /// Reads the parameter. Text that starts like a date must be one, so that a misspelt date is not sent as a
    /// cursor.
    ///
    /// # Errors
    /// It has none of the accepted forms, or is in the future.
    pub fn parse(text: Option<&str>, now: DateTime<Utc>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self::SevenDaysAgo);
        };
        if text.eq_ignore_ascii_case("earliest") {
            return Ok(Self::Time(EARLIEST.to_owned()));
        }
        if let Some(time) = date_or_time(text) {
            if time > now {
                bail!(
                    "the parameter {} is in the future ({}): enter a past date, or leave it empty for 7 days ago",
                    START_FROM.name,
                    iso(time)
                );
            }
            return Ok(Self::Time(iso(time)));
        }
        if looks_like_cursor(text) {
            return Ok(Self::Cursor(text.to_owned()));
        }
        bail!(
            "the parameter {} must be a date such as 2026-01-31, a date-time such as 2026-01-31T08:00:00Z, earliest, or a cursor of Docusign Monitor",
            START_FROM.name
        )
    }
}

fn date_or_time(text: &str) -> Option<DateTime<Utc>> {
    // The library also takes a date of one digit, which the form does not have.
    let has_date_length = text.len() == "YYYY-MM-DD".len();
    if let Some(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| has_date_length)
    {
        return date.and_hms_opt(0, 0, 0).map(|time| time.and_utc());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(time.to_utc());
    }
    let without_offset = text.trim_end_matches('Z');
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(without_offset, form).ok())
        .map(|time| time.and_utc())
}

/// Cursors are opaque, but all that have been seen contain digits and do not start with one
/// (`aa_637218935854425652_637218935412032088_12`).
fn looks_like_cursor(text: &str) -> bool {
    text.len() <= MAX_CURSOR_BYTES
        && text.chars().all(|c| c.is_ascii_graphic())
        && text.contains(|c: char| c.is_ascii_digit())
        && !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '@'))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::StartFrom;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-23T10:00:00.5Z")
            .unwrap()
            .to_utc()
    }

    #[test]
    fn the_first_position_is_a_date_a_time_or_a_cursor() {
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T08:30:00Z", "2026-01-31T08:30:00Z"),
            ("2026-01-31T08:30:00.999+02:00", "2026-01-31T06:30:00Z"),
            ("2026-01-31T08:30:00", "2026-01-31T08:30:00Z"),
            ("2026-01-31T08:30Z", "2026-01-31T08:30:00Z"),
            ("2026-01-31T08:30:00+0200", "2026-01-31T06:30:00Z"),
            ("2026-01-31T08:30:00.5+0000", "2026-01-31T08:30:00Z"),
            ("earliest", "2021-01-01T00:00:00Z"),
            ("Earliest", "2021-01-01T00:00:00Z"),
            (
                "aa_637218935854425652_637218935412032088_12",
                "aa_637218935854425652_637218935412032088_12",
            ),
        ] {
            let start = StartFrom::parse(Some(text), now()).unwrap();
            assert_eq!(start.cursor(now()), expected);
        }
        let start = StartFrom::parse(None, now()).unwrap();
        assert_eq!(start.cursor(now()), "2026-11-16T10:00:00Z");
    }
    #[test]
    fn a_time_that_lies_in_the_future_by_docusigns_clock_is_refused() {
        let start = StartFrom::parse(Some("2026-01-31"), now()).unwrap();
        let before = DateTime::parse_from_rfc3339("2025-11-23T10:00:00Z");
        let error = start.require_past(before.unwrap().to_utc()).unwrap_err();
        assert!(error.to_string().contains("in the future"), "{error}");
    }
}
