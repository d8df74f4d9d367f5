//! Runs without splunkd: of several inputs side by side, once or again and again on a beat.
//!
//! Every run has a thread of its own and nothing else of its input's is shared but the log, the standard output and the
//! signal to stop: an input has its own lock, position and log lines, and one that fails stops no other. Between runs
//! an input costs no thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Error, Result};

use super::event::CHECK_INTERVAL;
use super::input_definition::InputDefinition;
use super::log::{Failure, Fields, Level};
use super::scheme::Scheme;
use super::status::Status;
use super::{Input, Open, Session, name_input};

/// How long runs have after the signal to stop; the process must be gone after 2 s.
const STOP_GRACE: Duration = Duration::from_millis(1500);

/// An input and its runs.
struct Member {
    name: String,
    definition: InputDefinition,
    /// Ready for the next run; absent during a run, and where it could not be made ready.
    input: Option<Box<dyn Input>>,
    /// When the next run is due, on the clock's own scale; `None` if there will be no other.
    due: Option<Duration>,
    runs: bool,
}

/// The end of a run.
struct Ended {
    member: usize,
    input: Option<Box<dyn Input>>,
    result: Result<()>,
}

/// Runs all inputs once, or on the beat of `every` until the process is asked to stop.
///
/// # Errors
/// The signals cannot be watched for, or nobody reads the standard output any more.
pub(super) fn run(
    open: Open,
    scheme: &Scheme,
    definitions: Vec<InputDefinition>,
    every: Option<Duration>,
    session: Session,
) -> Result<Status> {
    session.stop_on_signals()?;
    let session = Arc::new(session);
    let clock = Arc::clone(&session.clock);
    let (report, ended) = channel();
    let start = clock.elapsed();
    let member = |definition: InputDefinition| Member {
        name: scheme.input(&definition.stanza.name),
        definition,
        input: None,
        due: Some(start),
        runs: false,
    };
    let mut members: Vec<_> = definitions.into_iter().map(member).collect();
    let mut status = Status::Done;
    let mut stopping_since = None;
    loop {
        let now = clock.elapsed();
        if session.stop.load(Ordering::Relaxed) {
            stopping_since.get_or_insert(now);
        }
        for (n, member) in members.iter_mut().enumerate() {
            let is_due = member.due.is_some_and(|due| due <= now);
            if stopping_since.is_none() && is_due && !member.runs {
                member.due = every.map(|every| next_beat(start, every, now));
                member.runs = true;
                member.start(n, open, &session, &report);
            }
        }
        let is_over =
            |member: &Member| !member.runs && (stopping_since.is_some() || member.due.is_none());
        let out_of_grace = |since| now.saturating_sub(since) >= STOP_GRACE;
        if members.iter().all(is_over) || stopping_since.is_some_and(out_of_grace) {
            break;
        }
        if every.is_some() && stopping_since.is_none() && session.has_lost_its_reader() {
            // It will not come back, and whoever started both must start both again.
            session.stop.store(true, Ordering::Relaxed);
            status = Status::Failed;
        }
        let Ok(Ended {
            member,
            input,
            result,
        }) = ended.recv_timeout(CHECK_INTERVAL)
        else {
            continue;
        };
        let Some(member) = members.get_mut(member) else {
            continue;
        };
        member.runs = false;
        member.input = input;
        if let Err(error) = result {
            let failure = name_input(&member.name, error);
            let log = &session.log;
            log.write(failure.level, &failure.fields, &failure.sentence);
            if every.is_none() {
                status = status.max(failure.status);
            }
        }
    }
    match (every, status) {
        (Some(_), Status::Failed) => Err(Failure {
            status,
            level: Level::Warn,
            fields: Fields::new().with("action", "stop"),
            sentence: "nobody reads the standard output any more, so the service ends".to_owned(),
        }
        .into()),
        // A run that was still going on at the signal has been cut off.
        (None, _) if members.iter().any(|member| member.runs) => Ok(status.max(Status::Failed)),
        _ => Ok(status),
    }
}

/// The first beat after `now`; a run that takes longer than a beat leaves out those that it covers.
fn next_beat(start: Duration, every: Duration, now: Duration) -> Duration {
    let since = now.saturating_sub(start);
    let beats = since.as_nanos() / every.as_nanos().max(1) + 1;
    start + every.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX))
}

impl Member {
    fn start(&mut self, n: usize, open: Open, session: &Arc<Session>, report: &Sender<Ended>) {
        let (input, definition) = (self.input.take(), self.definition.clone());
        let (session, report_end) = (Arc::clone(session), report.clone());
        let work = move || {
            let ended = match input.map_or_else(|| open(definition, &session), Ok) {
                Ok(mut input) => Ended {
                    member: n,
                    result: input.run(&session),
                    input: Some(input),
                },
                Err(error) => not_run(n, error),
            };
            // Nobody hears it after a stop.
            let _ = report_end.send(ended);
        };
        let thread = std::thread::Builder::new().name("run".to_owned());
        if let Err(error) = thread.spawn(work).context("could not start a thread") {
            let _ = report.send(not_run(n, error));
        }
    }
}

fn not_run(member: usize, error: Error) -> Ended {
    Ended {
        member,
        input: None,
        result: Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::next_beat;

    #[test]
    fn a_long_run_leaves_out_beats_and_moves_none() {
        let next = |now| next_beat(Duration::from_secs(5), Duration::from_secs(60), now);
        for (now, expected) in [(5, 65), (6, 65), (64, 65), (65, 125), (200, 245)] {
            assert_eq!(
                next(Duration::from_secs(now)),
                Duration::from_secs(expected)
            );
        }
    }
}
