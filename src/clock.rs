//! Time: the one place that asks the machine what time it is, and the exact reading of a timestamp.
//!
//! A [`Timestamp`] keeps the fraction digits of the text it was read from, because a floating point number
//! would change them. Formats: RFC 3339 as Docusign writes it, and Splunk's `<time>`, decimal seconds since
//! 1970-01-01T00:00:00Z.

use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};

/// What the time is, and how to let it pass. Tests bring a clock of their own, so that no test waits.
pub trait Clock: Send + Sync {
    /// The wall clock, for what is compared with other machines' clocks.
    fn now(&self) -> DateTime<Utc>;
    /// Time since an arbitrary start that never jumps, for measuring.
    fn elapsed(&self) -> Duration;
    /// Returns after `duration`.
    fn sleep(&self, duration: Duration);
}

/// The machine's own clock.
pub struct SystemClock {
    start: Instant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that asks the machine"
)]
impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that asks the machine"
)]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A moment with the decimal digits it was written with.
///
/// Displayed as Splunk's `<time>`: seconds since the epoch, then a point and the same fraction digits, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    seconds: i64,
    fraction: u32,
    digits: u8,
}

/// Fraction digits that are kept; more than nanoseconds are cut, not rounded.
const MAX_FRACTION_DIGITS: usize = 9;

impl Timestamp {
    /// Reads `YYYY-MM-DDTHH:MM:SS[.fraction][Z|±HH:MM|±HHMM]`. Text without an offset is UTC, as all of
    /// Docusign's timestamps are.
    ///
    /// `None` for anything else, and for times before 1970, which Splunk cannot index.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let date = text.get(..10)?;
        let [b'T' | b't' | b' '] = text.as_bytes().get(10..11)? else {
            return None;
        };
        let time = text.get(11..19)?;
        let seconds = civil_seconds(date, time)?;

        let rest = text.get(19..)?;
        let (fraction, offset) = match rest.strip_prefix('.') {
            Some(rest) => {
                let end = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                rest.split_at_checked(end).filter(|(f, _)| !f.is_empty())?
            }
            None => ("", rest),
        };
        let fraction = fraction.get(..MAX_FRACTION_DIGITS).unwrap_or(fraction);
        let seconds = seconds.checked_sub(offset_seconds(offset)?)?;
        if seconds < 0 {
            return None;
        }
        Some(Self {
            seconds,
            fraction: if fraction.is_empty() {
                0
            } else {
                fraction.parse().ok()?
            },
            digits: u8::try_from(fraction.len()).ok()?,
        })
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Appends the decimal seconds, without the formatting machinery: this runs once an event.
    pub fn append_to(self, out: &mut Vec<u8>) {
        append_digits(out, self.seconds.unsigned_abs(), 1);
        if self.digits > 0 {
            out.push(b'.');
            append_digits(out, u64::from(self.fraction), usize::from(self.digits));
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digits {
            0 => write!(f, "{}", self.seconds),
            digits => write!(
                f,
                "{}.{:0width$}",
                self.seconds,
                self.fraction,
                width = usize::from(digits)
            ),
        }
    }
}

/// Appends `value` with at least `width` decimal digits.
fn append_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    while value > 0 || out.len() - start < width {
        out.push(b'0' + u8::try_from(value % 10).unwrap_or_default());
        value /= 10;
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Seconds from the epoch to `YYYY-MM-DD` `HH:MM:SS`, both in UTC.
fn civil_seconds(date: &str, time: &str) -> Option<i64> {
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    let midnight = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let moment = midnight.and_hms_opt(hour, minute, second)?;
    Some(moment.and_utc().timestamp())
}

/// Seconds that the offset's clock is ahead of UTC.
fn offset_seconds(offset: &str) -> Option<i64> {
    if matches!(offset, "" | "Z" | "z") {
        return Some(0);
    }
    let sign = match offset.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let offset = offset.get(1..)?;
    let (hour, minute) = match offset.len() {
        5 => {
            let [hour, minute] = fields(offset, ':', [2, 2])?;
            (hour, minute)
        }
        4 => (digits(offset.get(..2)?)?, digits(offset.get(2..)?)?),
        _ => return None,
    };
    (hour < 24 && minute < 60).then(|| sign * i64::from(hour * 3600 + minute * 60))
}

/// Splits `text` at `separator` into exactly `N` numbers of the given widths.
fn fields<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = digits(part)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// A number of ASCII digits only: `str::parse` would let a sign through.
fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    fn epoch(text: &str) -> Option<String> {
        let timestamp = Timestamp::parse(text)?;
        let mut appended = Vec::new();
        timestamp.append_to(&mut appended);
        assert_eq!(appended, timestamp.to_string().as_bytes());
        Some(timestamp.to_string())
    }

    #[test]
    fn fraction_digits_stay_as_they_were_written() {
        for (text, expected) in [
            ("2020-04-07T18:23:02Z", "1586283782"),
            ("2020-04-07T18:23:02.5Z", "1586283782.5"),
            ("2020-04-07T18:23:02.5539916Z", "1586283782.5539916"),
            ("2020-04-07T18:23:02.553990Z", "1586283782.553990"),
            ("2020-04-07T18:23:02.000000001Z", "1586283782.000000001"),
            ("2020-04-07T18:23:02.1234567899Z", "1586283782.123456789"),
            ("2020-04-07 18:23:02", "1586283782"),
            ("1970-01-01T00:00:00.0Z", "0.0"),
        ] {
            assert_eq!(epoch(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn offsets_are_honoured() {
        for text in [
            "2020-04-07T20:23:02.50+02:00",
            "2020-04-07T12:53:02.50-0530",
            "2020-04-07T18:23:02.50+00:00",
        ] {
            assert_eq!(epoch(text).as_deref(), Some("1586283782.50"), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_timestamp() {
        for text in [
            "",
            "2020-04-07",
            "2020-04-07T18:23Z",
            "2020-13-07T18:23:02Z",
            "2020-02-30T18:23:02Z",
            "2020-04-07T24:23:02Z",
            "2020-04-07T18:23:02.Z",
            "2020-04-07T18:23:02+25:00",
            "2020-04-07T18:23:02 UTC",
            "2020-04-+7T18:23:02Z",
            "1969-12-31T23:59:59Z",
            "2020-04-07T18:23:0é",
            "tomorrow at noon, or later",
        ] {
            assert_eq!(epoch(text), None, "{text}");
        }
    }
}
