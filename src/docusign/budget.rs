//! The calls that Docusign still allows an account, which all its integrations share: 3,000 per hour, and some hundred
//! per half minute.
//!
//! Below a fifth of a budget, calls are spread over the time until it is renewed, and the last
//! thirty are left to others. Format: Docusign's API guide, "Resource limits": `X-RateLimit-Limit`, `-Remaining`, `-Reset` (Unix
//! seconds), and `X-BurstLimit-Limit`, `-Remaining`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;

/// Calls that are left to the account's other integrations, whatever happens.
const RESERVED_CALLS: u64 = 30;

/// A budget is scarce below this part of it.
const SCARCE_PART: u64 = 5;

/// The hourly budget is renewed at the top of the hour, so a later moment is none.
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// How long a budget lasts whose end the answer does not name, or names wrongly.
const UNKNOWN_PERIOD: Duration = Duration::from_secs(60);

/// The period of the burst limit, by Docusign's documentation.
const BURST_PERIOD: Duration = Duration::from_secs(30);

/// What an answer says about a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Calls that are left.
    pub left: u64,
    /// Calls in a whole period.
    pub limit: u64,
    /// When it is renewed, counted from the answer.
    pub renewed_in: Duration,
}

impl Budget {
    /// The scarcer one of the budgets that an answer at `now` names, by the server's clock.
    pub(super) fn of(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Self> {
        let number = |name: &str| -> Option<u64> {
            let text = headers.get(name)?.to_str().ok()?.trim();
            text.parse().ok()
        };
        let budget = |kind: &str, renewed_in: Duration| {
            let limit = number(&format!("x-{kind}-limit"))?;
            let left = number(&format!("x-{kind}-remaining"))?;
            // With less than twice the reserve the numbers mean something else.
            (limit >= 2 * RESERVED_CALLS && left <= limit).then_some(Self {
                left,
                limit,
                renewed_in,
            })
        };
        let reset = number("x-ratelimit-reset").and_then(|reset| i64::try_from(reset).ok());
        let reset = reset.and_then(|reset| DateTime::from_timestamp(reset, 0));
        let period = match reset.map(|reset| reset - now) {
            Some(period) if period > TimeDelta::zero() => period.to_std().unwrap_or_default(),
            _ => UNKNOWN_PERIOD,
        };
        let hourly = budget("ratelimit", period.min(LONGEST_PERIOD));
        let burst = budget("burstlimit", BURST_PERIOD);
        hourly.into_iter().chain(burst).max_by_key(Self::pause)
    }

    /// How long to wait before the next call.
    pub(super) fn pause(&self) -> Duration {
        if self.left >= self.limit / SCARCE_PART {
            return Duration::ZERO;
        }
        let usable = self.left.saturating_sub(RESERVED_CALLS);
        match u32::try_from(usable) {
            Ok(usable @ 1..) => self.renewed_in / usable,
            _ => self.renewed_in,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::Budget;

    const NOW: i64 = 1_600_000_000;

    fn pause(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let pair = |&(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().map(pair).collect();
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        Budget::of(&headers, now).map(|budget| budget.pause())
    }

    fn hourly(left: &'static str, reset: &'static str) -> Option<u64> {
        let pause = pause(&[
            ("x-ratelimit-limit", "3000"),
            ("x-ratelimit-remaining", left),
            ("x-ratelimit-reset", reset),
        ]);
        pause.map(|pause| pause.as_secs())
    }

    #[test]
    fn below_a_fifth_calls_are_spread_and_thirty_are_left() {
        for (left, expected) in [
            ("3000", 0),
            ("600", 0),
            ("590", 3),
            ("210", 10),
            ("31", 1800),
            ("30", 1800),
            ("0", 1800),
        ] {
            assert_eq!(hourly(left, "1600001800"), Some(expected), "{left}");
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_bounded_or_not_believed() {
        for (left, reset, expected) in [
            ("10", "1500000000", Some(60)),
            ("10", "1600000000", Some(60)),
            ("10", "soon", Some(60)),
            ("10", "99999999999", Some(3600)),
            ("10", "99999999999999999999999", Some(60)),
            ("-1", "1600001800", None),
            ("many", "1600001800", None),
            ("3001", "1600001800", None),
        ] {
            assert_eq!(hourly(left, reset), expected, "{left} {reset}");
        }
        for limit in ["0", "59", "-3000", "x"] {
            let headers = [("x-ratelimit-limit", limit), ("x-ratelimit-remaining", "0")];
            assert_eq!(pause(&headers), None, "{limit}");
        }
        assert_eq!(pause(&[]), None);
        assert_eq!(pause(&[("x-ratelimit-remaining", "0")]), None);
    }

    #[test]
    fn the_scarcer_budget_counts() {
        let both = |burst: &'static str, left: &'static str| {
            pause(&[
                ("x-burstlimit-limit", "500"),
                ("x-burstlimit-remaining", burst),
                ("x-ratelimit-limit", "3000"),
                ("x-ratelimit-remaining", left),
                ("x-ratelimit-reset", "1600001800"),
            ])
        };
        assert_eq!(both("499", "2999"), Some(Duration::ZERO));
        assert_eq!(both("20", "2999"), Some(Duration::from_secs(30)));
        assert_eq!(both("60", "2999"), Some(Duration::from_secs(1)));
        assert_eq!(both("20", "20"), Some(Duration::from_secs(1800)));
    }
}
