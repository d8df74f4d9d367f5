//! The path from pages to the checkpoint, and the promise that nothing on it is lost.
//!
//! [`drain`] is that path. A cursor is saved only when every byte of its page has been taken: read from the pipe, or
//! confirmed by an event collector. A run that was cut off from splunkd starts again before the last page that held
//! records, because what splunkd had read but not indexed can be lost too. Towards splunkd at most one page, or one pipe
//! full of small pages, is sent and not saved at any moment, so that a cut-off costs at most two pages of duplicates.
//! Towards an event collector as many pages may wait for their acknowledgements as it has room for, at most
//! [`MAX_PAGES_UNDER_WAY`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::pages::Pages;
use super::position::Position;
use super::position_store::{NotSaved, PositionStore};
use crate::base::clock::Clock;
use crate::docusign::client::ApiError;
use crate::docusign::monitor_api::{End, Next, Page, Record, Trail};
use crate::failures;
use crate::params::iso;
use crate::splunk::checkpoint::State;
use crate::splunk::event::{Event, EventSink, Receipt, Undelivered};
use crate::splunk::lease::Loss;
use crate::splunk::log::{Failure, Fields, Level, Log};
use crate::splunk::progress::Reached;
use crate::splunk::status::Status;

/// First pause between two looks at what the reader has taken.
const FIRST_TAKEN_TICK: Duration = Duration::from_micros(50);

/// Longest pause between two such looks.
const LONGEST_TAKEN_TICK: Duration = Duration::from_millis(10);

/// Most pages that are sent and not saved at once: what a cut-off costs at most where pages wait for acknowledgements.
const MAX_PAGES_UNDER_WAY: usize = 16;

/// Most records that are named in one line of the log.
const MAX_NAMED_RECORDS: usize = 10;

/// The path. Every step that can end a run leaves the checkpoint at a page whose records have been read.
pub(super) fn drain(pages: &Pages, delivery: &mut Delivery) -> Result<End, Stop> {
    let end = loop {
        let page = match pages.next(|| delivery.settle()) {
            Ok(Next::Page(page)) => page,
            Ok(Next::End(end)) => break end,
            Err(stop) => {
                // What has been sent is whole; if only Docusign failed, the delivery ends in good order.
                if matches!(stop, Stop::Docusign(_)) {
                    delivery.close()?;
                }
                return Err(stop);
            }
        };
        delivery.make_room(&page)?;
        if !page.is_empty() {
            delivery.mark_open()?;
        }
        for record in page.records() {
            delivery.send(&event(record))?;
        }
        delivery.finish_page(&page)?;
        pages.give_back(*page);
        delivery.settle()?;
    };
    if let End::BudgetSpent { renewed_in } = end {
        delivery.pause(renewed_in);
    }
    delivery.close()?;
    Ok(end)
}

/// A record of Docusign's as an event of Splunk's.
fn event(record: Record<'_>) -> Event<'_> {
    Event {
        time: record.timestamp(),
        sourcetype: None,
        data: record.json,
        is_json: record.is_json,
    }
}

/// Why a run ends before it is caught up.
pub(super) enum Stop {
    /// Docusign refuses a page.
    Docusign(ApiError),
    /// The reader or the event collector does not take the events.
    Undelivered(Undelivered),
    /// The lease of the run is lost, so that another member collects now.
    Lost(Loss),
    /// The checkpoint cannot be saved, or a thread ended.
    Other(anyhow::Error),
}

impl From<NotSaved> for Stop {
    fn from(not_saved: NotSaved) -> Self {
        match not_saved {
            NotSaved::Lost(loss) => Self::Lost(loss),
            NotSaved::Failed(error) => Self::Other(error),
        }
    }
}

impl From<Undelivered> for Stop {
    fn from(undelivered: Undelivered) -> Self {
        Self::Undelivered(undelivered)
    }
}

impl Stop {
    fn into_failure(self) -> anyhow::Error {
        match self {
            Self::Docusign(error) => failures::failure(error).into(),
            Self::Undelivered(Undelivered::Refused(failure)) => failure.into(),
            Self::Undelivered(undelivered) => Failure {
                status: Status::Failed,
                level: Level::Warn,
                fields: Fields::new().with("action", "stop"),
                sentence: format!(
                    "{undelivered}. What was taken is saved; the next run continues from there"
                ),
            }
            .into(),
            Self::Lost(loss) => Failure {
                level: Level::Error,
                status: Status::TryAgain,
                fields: Fields::new().with("action", "lose_lease"),
                sentence: format!(
                    "The position cannot be saved, so this run stops: {loss}. What it has sent and not saved arrives twice"
                ),
            }
            .into(),
            Self::Other(error) => Failure::of("deliver", &error).into(),
        }
    }
}

/// The way from events to checkpoints: which pages are under way, and which have arrived.
pub(super) struct Delivery {
    events: Box<dyn EventSink>,
    store: Box<dyn PositionStore>,
    position: Position,
    under_way: VecDeque<PageUnderWay>,
    /// The sink's position up to which everything is saved.
    saved_end: u64,
    /// Events without a time on the page that is being sent.
    untimed: usize,
    /// Time of the newest record on the page that is being sent, in seconds since the epoch.
    newest: Option<i64>,
    started: Duration,
    /// Refused events that a page's log line has counted.
    refused_logged: u64,
    summary: Summary,
    clock: Arc<dyn Clock>,
    log: Log,
}

/// A page whose events have been sent, but are not known to have been taken.
struct PageUnderWay {
    /// The sink's position after the page's last byte.
    end: u64,
    /// What is saved once the page is taken; nothing if Docusign named no cursor.
    cursor: Option<String>,
    /// The cursor that was sent for the page, if it held records.
    cursor_before_records: Option<String>,
    /// What is saved with the cursor, to notice a repetition.
    trail: Trail,
    /// What is logged once it is saved; nothing for a page without records and without a new cursor.
    line: Option<Fields>,
}

/// The figures for a run's last line.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) events: usize,
    pub(super) pages: usize,
    /// Events that an event collector refused.
    pub(super) refused: u64,
    /// Time of the newest record, in seconds since the epoch.
    pub(super) newest: Option<i64>,
}

impl Delivery {
    /// Delivers to `events`, from `position` on.
    pub(super) fn new(
        events: Box<dyn EventSink>,
        store: Box<dyn PositionStore>,
        position: Position,
        clock: Arc<dyn Clock>,
        log: Log,
    ) -> Self {
        Self {
            events,
            store,
            position,
            under_way: VecDeque::new(),
            saved_end: 0,
            untimed: 0,
            newest: None,
            started: clock.elapsed(),
            refused_logged: 0,
            summary: Summary::default(),
            clock,
            log,
        }
    }

    /// Ends the stream of events, and returns the figures and the position of the run. Every event has been taken and
    /// saved by then.
    pub(super) fn finish(mut self) -> (Summary, Position) {
        self.summary.refused = self.events.progress().refused;
        // The closing tag is a courtesy.
        let _ = self.events.finish();
        (self.summary, self.position)
    }

    /// Waits until `page` may be sent: until nothing is under way, or everything that is and the page together are what
    /// the sink has room for. Without this bound a cut-off could cost any number of duplicates.
    fn make_room(&mut self, page: &Page) -> Result<(), Stop> {
        let (events, bytes) = (page.len(), page.bytes());
        self.settle_until(|delivery| {
            let unsaved = delivery.events.progress().sent - delivery.saved_end;
            delivery.under_way.is_empty()
                || delivery.under_way.len() < MAX_PAGES_UNDER_WAY
                    && delivery.events.has_room(unsaved, events, bytes)
        })
    }

    /// Marks the checkpoint open, durably, before the first byte of the run's first page goes out. Where nothing that
    /// was taken can be lost, there is no need: a run that is cut off then leaves nothing to repeat.
    fn mark_open(&mut self) -> Result<(), Stop> {
        match self.position.state {
            State::Closed if !self.events.progress().receipt.is_final() => self.save(State::Open),
            State::Open | State::Closed => Ok(()),
        }
    }

    fn send(&mut self, event: &Event<'_>) -> Result<(), Stop> {
        match event.time {
            Some(time) => self.newest = self.newest.max(Some(time.seconds())),
            None => self.untimed += 1,
        }
        Ok(self.events.write(event)?)
    }

    /// Sends the rest of a page and takes note of it.
    fn finish_page(&mut self, page: &Page) -> Result<(), Stop> {
        self.events.flush()?;
        self.warn_of_oddities(page);
        let newest = self.newest.take();
        self.summary.newest = self.summary.newest.max(newest);
        self.summary.events += page.len();
        self.summary.pages += 1;
        let moves = page.end_cursor.as_ref() != Some(&page.cursor);
        self.under_way.push_back(PageUnderWay {
            end: self.events.progress().sent,
            line: (moves || !page.is_empty()).then(|| page_line(page, newest)),
            cursor_before_records: (!page.is_empty()).then(|| page.cursor.clone()),
            cursor: page.end_cursor.clone(),
            trail: page.trail.clone(),
        });
        Ok(())
    }

    fn warn_of_oddities(&mut self, page: &Page) {
        let fields = |action, n_events: usize| {
            Fields::new()
                .with("action", action)
                .with("n_events", n_events)
                .with("cursor_from", &page.cursor)
        };
        let untimed = std::mem::take(&mut self.untimed);
        if untimed > 0 {
            self.log.warn(
                &fields("deliver_without_time", untimed),
                "Records without a usable timestamp were delivered; Splunk uses their time of arrival.",
            );
        }
        let damaged = page.damaged();
        if damaged.len() > 0 {
            let line = fields("deliver_damaged", damaged.len());
            let named = damaged.take(MAX_NAMED_RECORDS).map(|(number, record)| {
                let id = record.event_id();
                format!("{}:{}", number + 1, id.as_deref().unwrap_or("unknown"))
            });
            let line = line.with("records", named.collect::<Vec<_>>().join(","));
            self.log.warn(
                &line,
                "Docusign sent records that are no JSON. They were delivered as they came, with what JSON forbids as \\u escapes. Each is named by its place on the page and its eventId; send both to Docusign's support if this continues.",
            );
        }
        if page.repeated > 0 {
            self.log.warn(
                &fields("skip_repeated", page.repeated).with_some("cursor_to", page.end_cursor.as_ref()),
                "Docusign sent records again that had been delivered just before; they were left out.",
            );
        }
    }

    /// Saves the position of what has been taken by now.
    ///
    /// # Errors
    /// The reader is gone or the run is to stop, after saving; or the checkpoint cannot be saved.
    fn settle(&mut self) -> Result<(), Stop> {
        let alive = self.events.check();
        self.save_taken()?;
        Ok(alive?)
    }

    fn settle_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        let mut pause = FIRST_TAKEN_TICK;
        loop {
            self.settle()?;
            if done(self) {
                return Ok(());
            }
            self.clock.sleep(pause);
            pause = LONGEST_TAKEN_TICK.min(pause * 2);
        }
    }

    fn save_taken(&mut self) -> Result<(), Stop> {
        self.store.check()?;
        let progress = self.events.progress();
        let mut lines = Vec::new();
        let mut moved = false;
        while let Some(page) = self
            .under_way
            .pop_front_if(|page| page.end <= progress.taken)
        {
            self.saved_end = page.end;
            if let Some(cursor) = page.cursor {
                moved |= self.position.cursor != cursor || page.cursor_before_records.is_some();
                self.position.cursor = cursor;
                self.position.trail = page.trail;
            }
            if let Some(cursor) = page.cursor_before_records {
                self.position.cursor_before_last_records = cursor;
            }
            lines.extend(page.line);
        }
        if moved {
            let state = match progress.receipt.is_final() {
                true => State::Closed,
                false => self.position.state,
            };
            self.save(state)?;
        }
        for mut line in lines {
            if progress.refused > self.refused_logged {
                line = line.with("n_refused", progress.refused - self.refused_logged);
                self.refused_logged = progress.refused;
            }
            self.log.info(&line, receipt_sentence(progress.receipt));
            self.log.reached(self.reached());
        }
        Ok(())
    }

    /// How far the run is, for a person who watches.
    fn reached(&self) -> Reached {
        Reached {
            events: self.summary.events,
            pages: self.summary.pages,
            newest: self.summary.newest,
            elapsed: self.clock.elapsed().saturating_sub(self.started),
            complete: false,
        }
    }

    /// Waits until everything has been taken, and marks the checkpoint closed.
    fn close(&mut self) -> Result<(), Stop> {
        self.settle_until(|delivery| delivery.under_way.is_empty())?;
        if self.position.state == State::Open || self.position.paused_until.is_some() {
            self.save(State::Closed)?;
        }
        Ok(self.store.end(&self.position)?)
    }

    /// Has the next runs leave Docusign alone for a time, once this one is closed.
    fn pause(&mut self, time: Duration) {
        let until = self.clock.now() + TimeDelta::from_std(time).unwrap_or_default();
        self.position.paused_until = Some(iso(until));
    }

    fn save(&mut self, state: State) -> Result<(), Stop> {
        self.position.state = state;
        Ok(self.store.save(&self.position)?)
    }

    /// Ends a run that cannot continue. What has been taken by now is saved; the checkpoint stays open.
    ///
    /// # Errors
    /// Why it cannot continue, unless another member does.
    pub(super) fn give_up(&mut self, stop: Stop) -> anyhow::Result<()> {
        let stop = match (stop, self.save_taken()) {
            (Stop::Undelivered(_), Err(worse)) | (_, Err(worse @ Stop::Lost(_))) => worse,
            (stop, _) => stop,
        };
        match stop {
            Stop::Lost(loss @ (Loss::Taken(_) | Loss::Expired)) => {
                let fields = Fields::new().with("action", "lose_lease");
                let sentence = format!(
                    "{loss}. This run stops and saves nothing more; what it has sent and not saved arrives twice."
                );
                self.log.warn(&fields, &sentence);
                Ok(())
            }
            stop => Err(stop.into_failure()),
        }
    }
}

fn receipt_sentence(receipt: Receipt) -> &'static str {
    match receipt {
        Receipt::ReadBySplunkd => "Splunk has read this page.",
        Receipt::Read => "This page has been read.",
        Receipt::Accepted => "The event collector has accepted this page.",
        Receipt::Acknowledged => "The indexers have acknowledged this page.",
    }
}

fn time(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

/// The line by which an auditor can prove that no page is missing: `cursor_to` is the next line's `cursor_from`.
fn page_line(page: &Page, newest: Option<i64>) -> Fields {
    Fields::new()
        .with("action", "page_ingested")
        .with("cursor_from", &page.cursor)
        .with_some("cursor_to", page.end_cursor.as_ref())
        .with("n_events", page.len())
        // How far a long backfill has come.
        .with_some("newest", newest.and_then(time).map(iso))
        .with_some(
            "first_event_id",
            page.records().next().and_then(|record| record.event_id()),
        )
        .with_some(
            "last_event_id",
            page.records()
                .next_back()
                .and_then(|record| record.event_id()),
        )
        .with("bytes", page.bytes())
        .with("request_ms", page.request_time.as_millis())
}
