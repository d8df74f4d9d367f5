//! When a call is made again, and how often: one schedule for the waiting, towards Docusign and Splunk alike.
//!
//! The schedule's jitter comes from the `backoff` crate, which is named here and nowhere else. Its own retry
//! loop is not used: it lets a server's `Retry-After` overrule the time limit, and sleeps where no test can see.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How much patience a caller has.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest time without a byte, from the request to the end of the answer.
    pub progress: Duration,
    /// How often a call is made at the most.
    pub attempts: u32,
    /// How long the waits between the attempts may be altogether.
    pub waiting: Duration,
}

impl Patience {
    /// For a run in the background. Splunk starts the next run soon, so that giving up costs little; the limits
    /// only keep one run from being stuck.
    pub const RUN: Self = Self {
        connect: Duration::from_secs(10),
        progress: Duration::from_secs(60),
        attempts: 6,
        waiting: Duration::from_secs(120),
    };

    /// For events on their way to a collector, which is busy now and then when it is in good health.
    pub const DELIVERY: Self = Self {
        attempts: 12,
        ..Self::RUN
    };

    /// For a person who waits for the answer.
    pub const INTERACTIVE: Self = Self {
        connect: Duration::from_secs(3),
        progress: Duration::from_secs(4),
        attempts: 1,
        waiting: Duration::ZERO,
    };
}

/// First wait between two attempts, if the server names none.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest single wait, also when the server asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The waits between the attempts of one call.
pub(crate) struct Schedule {
    backoff: ExponentialBackoff,
    attempts_left: u32,
    waiting_left: Duration,
}

impl Schedule {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            backoff: ExponentialBackoff {
                initial_interval: FIRST_WAIT,
                current_interval: FIRST_WAIT,
                multiplier: 2.0,
                max_interval: LONGEST_WAIT,
                // Time is limited here, by attempts and by the sum of the waits.
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            },
            attempts_left: patience.attempts.saturating_sub(1),
            waiting_left: patience.waiting,
        }
    }

    /// The wait before the next attempt, or `None` when patience is at its end. `asked` is the server's wish.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.attempts_left = self.attempts_left.checked_sub(1)?;
        let own = self.backoff.next_backoff()?;
        let wait = asked.unwrap_or(own).min(LONGEST_WAIT);
        self.waiting_left = self.waiting_left.checked_sub(wait)?;
        Some(wait)
    }
}

/// How long the server asks us to wait: `Retry-After` (seconds or an HTTP date), else `X-RateLimit-Reset` (Unix
/// seconds).
pub(crate) fn asked_wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let until = |moment: DateTime<Utc>| (moment - now).to_std().unwrap_or_default();
    if let Some(after) = text(RETRY_AFTER.as_str()) {
        if let Ok(seconds) = after.parse() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(moment) = DateTime::parse_from_rfc2822(after) {
            return Some(until(moment.to_utc()));
        }
    }
    let reset = text("x-ratelimit-reset")?.parse().ok()?;
    DateTime::from_timestamp(reset, 0).map(until)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{LONGEST_WAIT, Patience, Schedule, asked_wait};

    fn asked(name: &'static str, value: &'static str) -> Option<u64> {
        let now = DateTime::from_timestamp(1_600_000_000, 0).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        asked_wait(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_server_may_say_how_long() {
        assert_eq!(asked("retry-after", "7"), Some(7));
        assert_eq!(
            asked("retry-after", "Sun, 13 Sep 2020 12:26:49 GMT"),
            Some(9)
        );
        assert_eq!(
            asked("retry-after", "Sun, 13 Sep 2020 12:26:00 GMT"),
            Some(0)
        );
        assert_eq!(asked("retry-after", "soon"), None);
        assert_eq!(asked("x-ratelimit-reset", "1600000003"), Some(3));
        assert_eq!(asked("x-ratelimit-reset", "1500000000"), Some(0));
        assert_eq!(asked("date", "7"), None);
    }

    #[test]
    fn waits_are_capped_one_by_one_and_altogether() {
        let mut schedule = Schedule::new(Patience::RUN);
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(schedule.next(hour), Some(LONGEST_WAIT));
        assert_eq!(schedule.next(hour), Some(LONGEST_WAIT));
        assert_eq!(schedule.next(hour), None);
    }

    #[test]
    fn attempts_are_counted_and_own_waits_grow() {
        let mut schedule = Schedule::new(Patience::RUN);
        let waits: Vec<_> = std::iter::from_fn(|| schedule.next(None)).collect();
        assert_eq!(waits.len(), 5);
        // Jitter is half of the wait up or down, so that two steps of doubling cannot be undone by it.
        assert!(waits[3] > waits[0], "{waits:?}");
        let mut schedule = Schedule::new(Patience::RUN);
        let at_once: Vec<_> = std::iter::from_fn(|| schedule.next(Some(Duration::ZERO))).collect();
        assert_eq!(at_once.len(), 5);
    }
}
