//! When a call is made again, how often, and how long to wait in between: one loop for every server.
//!
//! The `backoff` crate, which is named here and nowhere else, adds the jitter. Its own retry loop is not used: it lets
//! a server's `Retry-After` override the time limit, and it sleeps where no test can see.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::base::clock::Clock;

/// How much patience a caller has.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest time without a byte, from the request to the end of the answer.
    pub progress: Duration,
    /// Most attempts for one call.
    pub attempts: u32,
    /// Most time spent waiting between attempts, in total.
    pub waiting: Duration,
    /// No attempt begins later than this after the first one: a server that never answers costs `progress` each time.
    pub attempting: Duration,
    /// Longest wait before one call for the sake of a budget of calls.
    pub budget: Duration,
}

impl Patience {
    /// For a run in the background. The next run starts soon, so giving up costs little; the limits only keep one run
    /// from getting stuck.
    pub const RUN: Self = Self {
        connect: Duration::from_secs(10),
        progress: Duration::from_secs(60),
        attempts: 6,
        waiting: Duration::from_secs(120),
        attempting: Duration::from_secs(150),
        budget: Duration::from_secs(60),
    };

    /// For a server that is often busy even when it is healthy.
    pub const DELIVERY: Self = Self {
        attempts: 12,
        attempting: Duration::from_secs(600),
        ..Self::RUN
    };

    /// For a person who is waiting for the answer.
    pub const INTERACTIVE: Self = Self {
        connect: Duration::from_secs(3),
        progress: Duration::from_secs(4),
        attempts: 1,
        waiting: Duration::ZERO,
        attempting: Duration::ZERO,
        budget: Duration::ZERO,
    };
}

/// How an attempt failed.
#[derive(Debug)]
pub(crate) enum Failed<E> {
    /// Another attempt would fail the same way.
    ForGood(E),
    /// Another attempt may succeed. `asked` is the wait that the server requests.
    ForNow { error: E, asked: Option<Duration> },
}

impl<E> Failed<E> {
    /// An attempt after which the server requests no wait.
    pub(crate) fn for_now(error: E) -> Self {
        Self::ForNow { error, asked: None }
    }
}

/// An attempt that failed and will be followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The number of the attempt that failed, from 1.
    pub attempt: u32,
    /// The wait before the next attempt.
    pub wait: Duration,
}

/// Makes attempts until one succeeds or fails for good, or until `patience` runs out. `announce` is called before each
/// wait.
pub(crate) fn repeat<T, E>(
    patience: Patience,
    clock: &dyn Clock,
    mut attempt: impl FnMut() -> Result<T, Failed<E>>,
    announce: impl Fn(&E, Retry),
) -> Result<T, E> {
    let mut schedule = Schedule::new(patience);
    let started = clock.elapsed();
    let mut number = 0;
    loop {
        number += 1;
        let (error, asked) = match attempt() {
            Ok(value) => return Ok(value),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::ForNow { error, asked }) => (error, asked),
        };
        let spent = clock.elapsed().saturating_sub(started);
        let wait = schedule.next(asked);
        let Some(wait) = wait.filter(|wait| spent + *wait <= patience.attempting) else {
            return Err(error);
        };
        announce(
            &error,
            Retry {
                attempt: number,
                wait,
            },
        );
        clock.sleep(wait);
    }
}

/// First wait between two attempts, unless the server requests another.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest single wait, even if the server requests a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Own waits grow only to this where the server says when to come back, however soon that is.
const LEAST_ASKED_WAIT: Duration = Duration::from_secs(1);

/// The waits between the attempts of one call.
struct Schedule {
    backoff: ExponentialBackoff,
    attempts_left: u32,
    waiting_left: Duration,
}

impl Schedule {
    fn new(patience: Patience) -> Self {
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

    /// The wait before the next attempt, or `None` when patience has run out. `asked` is the server's request.
    fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.attempts_left = self.attempts_left.checked_sub(1)?;
        let own = self.backoff.next_backoff()?;
        // A server that asks for no wait at all is believed, but not so far that it would be hammered.
        let wait = asked.map_or(own, |asked| asked.max(own.min(LEAST_ASKED_WAIT)));
        let wait = wait.min(LONGEST_WAIT);
        self.waiting_left = self.waiting_left.checked_sub(wait)?;
        Some(wait)
    }
}

/// The wait that the server requests, at most [`LONGEST_WAIT`]: `Retry-After` (seconds or an HTTP date), or else
/// `X-RateLimit-Reset` (Unix seconds). Moments are compared with the answer's own `Date`: this machine's clock may be
/// wrong, and `now` counts only for an answer without one.
pub(crate) fn asked_wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let now = text(DATE.as_str()).and_then(http_date).unwrap_or(now);
    let until = |moment: DateTime<Utc>| (moment - now).to_std().unwrap_or_default();
    let after = text(RETRY_AFTER.as_str()).and_then(|after| match http_date(after) {
        Some(moment) => Some(until(moment)),
        // Two servers on the way may each have added a wish of their own.
        None => after
            .split(',')
            .filter_map(seconds)
            .max()
            .map(Duration::from_secs),
    });
    let wait = after.or_else(|| {
        let reset = i64::try_from(seconds(text("x-ratelimit-reset")?)?).unwrap_or(i64::MAX);
        let moment = DateTime::from_timestamp(reset, 0);
        Some(until(moment.unwrap_or(DateTime::<Utc>::MAX_UTC)))
    });
    wait.map(|wait| wait.min(LONGEST_WAIT))
}

/// Seconds as a server writes them, rounded up; more than fit are as many as fit.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let begun = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Some(whole.parse().unwrap_or(u64::MAX).saturating_add(begun))
}

/// A date in one of the three spellings of RFC 9110, section 5.6.7.
pub(crate) fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let old = |format| NaiveDateTime::parse_from_str(text, format).ok();
    DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|date| date.to_utc())
        .or_else(|| old("%A, %d-%b-%y %H:%M:%S GMT").map(|date| date.and_utc()))
        .or_else(|| old("%a %b %e %H:%M:%S %Y").map(|date| date.and_utc()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use std::cell::{Cell, RefCell};

    use super::{FIRST_WAIT, Failed, LONGEST_WAIT, Patience, Retry, Schedule, asked_wait, repeat};
    use crate::base::clock::Clock;

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
    fn every_spelling_of_a_wait_is_understood_and_capped() {
        for (value, expected) in [
            ("0", 0),
            ("3.5", 4),
            ("3.0", 3),
            ("0,12", 12),
            ("7, 3", 7),
            ("60", 60),
            ("61", 60),
            ("99999999999999999999999", 60),
            ("Sunday, 13-Sep-20 12:26:49 GMT", 9),
            ("Sun Sep 13 12:26:49 2020", 9),
            ("Fri, 13 Sep 2999 12:26:49 GMT", 60),
        ] {
            assert_eq!(asked("retry-after", value), Some(expected), "{value}");
        }
        for value in ["", "-1", "1e3", "3.x", "0x7"] {
            assert_eq!(asked("retry-after", value), None, "{value}");
        }
        let far = "99999999999999999999999";
        assert_eq!(asked("x-ratelimit-reset", far), Some(60));
    }

    /// With this machine's clock ahead, every moment that the server names would be over already.
    #[test]
    fn moments_are_measured_by_the_servers_own_clock() {
        let ahead = DateTime::from_timestamp(1_600_009_999, 0).unwrap();
        for (name, value) in [
            ("retry-after", "Sun, 13 Sep 2020 12:26:49 GMT"),
            ("x-ratelimit-reset", "1600000009"),
        ] {
            let mut headers = HeaderMap::new();
            let date = HeaderValue::from_static("Sun, 13 Sep 2020 12:26:40 GMT");
            headers.insert("date", date);
            headers.insert(name, HeaderValue::from_static(value));
            let wait = asked_wait(&headers, ahead);
            assert_eq!(wait, Some(Duration::from_secs(9)), "{name}");
        }
    }

    /// Six requests within 10 ms, if the wish alone counted.
    #[test]
    fn a_server_cannot_ask_for_less_than_the_own_wait() {
        let mut schedule = Schedule::new(Patience::RUN);
        let wait = schedule.next(Some(Duration::ZERO)).unwrap();
        assert!(wait >= FIRST_WAIT / 2, "{wait:?}");
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

    /// A clock that only counts what is slept.
    #[derive(Default)]
    struct Slept(std::sync::Mutex<Duration>);

    impl Clock for Slept {
        fn now(&self) -> DateTime<chrono::Utc> {
            DateTime::UNIX_EPOCH
        }

        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, duration: Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    #[test]
    fn attempts_go_on_until_one_succeeds_or_fails_for_good() {
        // Longer than the own first two waits, jitter included.
        let wish = Duration::from_secs(2);
        for (last, expected) in [
            (Ok("done"), Ok("done")),
            (Err(Failed::ForGood("no")), Err("no")),
        ] {
            let (attempts, last) = (Cell::new(0), RefCell::new(Some(last)));
            let (clock, announced) = (Slept::default(), RefCell::new(vec![]));
            let outcome = repeat(
                Patience::RUN,
                &clock,
                || {
                    attempts.set(attempts.get() + 1);
                    if attempts.get() == 3 {
                        return last.take().unwrap();
                    }
                    Err(Failed::ForNow {
                        error: "busy",
                        asked: Some(wish),
                    })
                },
                |error, retry| announced.borrow_mut().push((*error, retry)),
            );
            assert_eq!(outcome, expected);
            assert_eq!(clock.elapsed(), 2 * wish);
            let retry = |attempt| {
                let wait = wish;
                ("busy", Retry { attempt, wait })
            };
            assert_eq!(announced.into_inner(), [retry(1), retry(2)]);
        }
    }

    /// Six times 60 seconds, if only attempts and waits counted.
    #[test]
    fn a_server_that_never_answers_does_not_get_all_attempts() {
        let (clock, attempts) = (Slept::default(), Cell::new(0));
        let outcome: Result<(), &str> = repeat(
            Patience::RUN,
            &clock,
            || {
                attempts.set(attempts.get() + 1);
                clock.sleep(Patience::RUN.progress);
                Err(Failed::for_now("no answer in time"))
            },
            |_, _| {},
        );
        assert_eq!(outcome, Err("no answer in time"));
        assert_eq!(attempts.get(), 3);
    }

    #[test]
    fn when_patience_runs_out_the_last_error_remains() {
        let attempts = Cell::new(0);
        let outcome: Result<(), u32> = repeat(
            Patience::RUN,
            &Slept::default(),
            || {
                attempts.set(attempts.get() + 1);
                Err(Failed::ForNow {
                    error: attempts.get(),
                    asked: Some(Duration::ZERO),
                })
            },
            |_, _| {},
        );
        assert_eq!(outcome, Err(Patience::RUN.attempts));
    }
}
