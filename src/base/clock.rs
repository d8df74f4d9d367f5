//! Time: the one place that asks the machine what time it is, and the exact reading of a timestamp.
//!
//! A [`Timestamp`] keeps the fraction digits of the text it was read from, because a floating point number
//! would change them. Formats: RFC 3339 with up to nine fraction digits, and decimal seconds since
//! 1970-01-01T00:00:00Z.

use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};

/// Tells the time and lets it pass. Tests bring their own clock, so that no test waits.
pub trait Clock: Send + Sync {
    /// The wall clock, for what is compared with other machines' clocks.
    fn now(&self) -> DateTime<Utc>;
    /// Time since an arbitrary start that never jumps, for measuring.
    fn elapsed(&self) -> Duration;
    /// The same, but it passes while the machine is suspended, too. For what others may have done meanwhile.
    fn uptime(&self) -> Duration {
        self.elapsed()
    }
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
        // Utc::now() panics where the clock is set before 1970.
        std::time::SystemTime::now().into()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    #[cfg(target_os = "linux")]
    fn uptime(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A moment with the decimal digits it was written with.
///
/// Displayed in decimal: seconds since the epoch, then a point and the same fraction digits, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    seconds: i64,
    fraction: u32,
    digits: u8,
}

/// Fraction digits that are kept; more than nanoseconds are cut, not rounded.
const MAX_FRACTION_DIGITS: usize = 9;

impl Timestamp {
    /// Reads `YYYY-MM-DDTHH:MM:SS[.fraction][Z|±HH:MM|±HHMM]`. Text without an offset is UTC.
    ///
    /// `None` for anything else, and for times before 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (moment, rest) = text
            .as_bytes()
            .split_at_checked("YYYY-MM-DDTHH:MM:SS".len())?;
        for (at, separators) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
            if !separators.as_bytes().contains(moment.get(at)?) {
                return None;
            }
        }
        let part = |from, to| number(moment.get(from..to)?);
        let year = i32::try_from(part(0, 4)?).ok()?;
        let midnight = NaiveDate::from_ymd_opt(year, part(5, 7)?, part(8, 10)?)?;
        let moment = midnight.and_hms_opt(part(11, 13)?, part(14, 16)?, part(17, 19)?)?;

        let (fraction, offset) = match rest.split_first() {
            Some((b'.', rest)) => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
                rest.split_at_checked(digits.count())?
            }
            _ => (&b"0"[..0], rest),
        };
        if fraction.is_empty() && rest.starts_with(b".") {
            return None;
        }
        let fraction = fraction.get(..MAX_FRACTION_DIGITS).unwrap_or(fraction);
        let seconds = moment.and_utc().timestamp() - offset_seconds(offset)?;
        if seconds < 0 {
            return None;
        }
        Some(Self {
            seconds,
            fraction: number(fraction)?,
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

/// Seconds that the offset's clock is ahead of UTC.
fn offset_seconds(offset: &[u8]) -> Option<i64> {
    let (sign, [h1, h2, m1, m2]) = match *offset {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [h1, h2, m1, m2]),
        _ => return None,
    };
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hour, minute) = (number(&[h1, h2])?, number(&[m1, m2])?);
    (hour < 24 && minute < 60).then(|| sign * i64::from(hour * 3600 + minute * 60))
}

/// A number of ASCII digits only, at most nine; no digits are zero.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
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
